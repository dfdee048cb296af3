"""What keeps the house in order: imports go down only, heavy packages open late, importing is quick."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "luthier"
HEAVY = {
    "torch", "transformers", "ray", "sklearn", "scipy", "pandas", "polars", "plotly", "pyarrow", "peft", "datasets",
    "accelerate", "duckdb", "nicegui", "onnxruntime", "optuna", "shap",
}  # fmt: skip
LAYERS = [
    {"types", "errors", "options"},
    {"config", "names", "codec"},
    {"sums", "properties", "evidence", "statistics", "tables", "series", "outliers", "fewlabels", "rootcause", "choice",
     "stores", "storage", "rows", "engines", "reading", "models", "story", "progress", "tickets", "results"},
    {"scoring", "checks", "tasks", "recipes", "explainers", "figures", "page", "sinks", "terminal"},
    {"stages"},
    {"workshop", "answering", "watching", "repairing", "loop", "fleet", "projects", "reports"},
    {"cli", "__main__", "rest", "dashboard", "demo", "doctor"},
]  # fmt: skip
"""The rooms of the house from the ground up; `luthier/__init__` opens all of them late."""
SHARED = {"sums", "evidence", "tables", "series", "outliers", "fewlabels", "rootcause", "storage", "reading", "models", "scoring",
          "figures", "page", "reports", "demo"}  # fmt: skip
"""Folders whose files are parts of one thing and may import each other; in the others, only `base.py`."""
WITHIN = {
    ("answering", "loop"),
    ("cli", "__main__"),
    ("demo", "cli"),
    ("errors", "options"),
    ("doctor", "cli"),
    ("evidence", "choice"),
    ("evidence", "fewlabels"),
    ("evidence", "models"),
    ("evidence", "rootcause"),
    ("evidence", "series"),
    ("evidence", "statistics"),
    ("evidence", "story"),
    ("evidence", "tables"),
    ("figures", "page"),
    ("loop", "projects"),
    ("outliers", "fewlabels"),
    ("reading", "tables"),
    ("repairing", "loop"),
    ("rest", "cli"),
    ("series", "choice"),
    ("series", "tables"),
    ("statistics", "choice"),
    ("statistics", "tables"),
    ("storage", "models"),
    ("storage", "stores"),
    ("stores", "rows"),
    ("sums", "statistics"),
    ("tables", "choice"),
    ("tables", "rootcause"),
    ("tasks", "recipes"),
    ("watching", "loop"),
    ("watching", "repairing"),
    ("workshop", "answering"),
    ("workshop", "loop"),
    ("workshop", "projects"),
    ("workshop", "repairing"),
    ("workshop", "watching"),
}
"""Pairs (below, above) that stand on one floor, where the second may import the first."""
SURFACES = {"rest", "dashboard", "cli"}


def modules() -> dict[str, Path]:
    paths = sorted(SOURCE.rglob("*.py"))
    return {".".join(path.relative_to(SOURCE).with_suffix("").parts): path for path in paths}


def imported(path: Path) -> set[str]:
    """Names of luthier modules that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "luthier":
            found |= {alias.name for alias in node.names if alias.name in {name.split(".")[0] for name in modules()}}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("luthier."):
            inner = node.module.removeprefix("luthier.")  # type: ignore[union-attr]
            nested = {f"{inner}.{alias.name}" for alias in node.names}
            found |= (nested & modules().keys()) or {inner}
    return found


def floor(room: str) -> int:
    for number, rooms in enumerate(LAYERS):
        if room in rooms:
            return number
    raise AssertionError(f"{room} is in no layer: add it to LAYERS in {__file__} and to ARCHITECTURE.md")


@pytest.mark.parametrize("name", [name for name in modules() if name != "__init__"])
def test_imports_go_down_only(name: str) -> None:
    room, *inner = name.split(".")
    for other in imported(modules()[name]):
        there, *rest = other.split(".")
        if there == room:
            own = room in SURFACES | SHARED or inner == ["__init__"]
            assert own or not rest or rest == ["base"], (
                f"{name} imports its sibling {other}; only base.py may be shared"
            )
        else:
            below = floor(there) < floor(room) or (there, room) in WITHIN
            assert below, f"{name} imports {other}, which is not below it"


@pytest.mark.parametrize("name", list(modules()))
def test_heavy_packages_are_imported_where_they_are_needed(name: str) -> None:
    for node in ast.parse(modules()[name].read_text(encoding="utf-8")).body:
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) and node.level == 0 else []
        heavy = {imported.split(".")[0] for imported in names} & HEAVY
        assert not heavy, f"{name} imports {heavy} at the top: import it inside the function that needs it"


def loaded_by(code: str) -> set[str]:
    script = f"import sys; {code}; print(' '.join(sorted({{name.split('.')[0] for name in sys.modules}})))"
    return set(
        subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout.split()
    )


def test_the_root_imports_nothing_but_the_standard_library() -> None:
    assert not loaded_by("import luthier") & (HEAVY | {"numpy", "pydantic", "rich", "typer", "yaml"})


def test_monitoring_imports_no_framework() -> None:
    code = "import luthier.stages.monitor, luthier.stages.detect, luthier.fleet, luthier.stages.record, luthier.stores.sqlite, luthier.names as n"
    code += "; x = n.every('check')+ n.every('statistic') + n.every('store')"
    assert not loaded_by(code) & (HEAVY | {"pydantic", "rich", "typer", "fastapi"})


def test_help_needs_no_framework() -> None:
    code = "import contextlib, io, luthier.cli as c\nwith contextlib.redirect_stdout(io.StringIO()): c.app(['--help'], standalone_mode=False)"
    script = f"import sys\n{code}\nprint(' '.join(sorted({{name.split('.')[0] for name in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert not set(done.stdout.split()) & HEAVY


def test_no_pickle_is_ever_loaded() -> None:
    for name, path in modules().items():
        text = path.read_text(encoding="utf-8")
        assert "import pickle" not in text, name
        assert "joblib" not in text, name
        assert "allow_pickle=True" not in text, name
        assert "trust_remote_code=True" not in text, name
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
                assert any(key.arg == "weights_only" and ast.unparse(key.value) == "True" for key in node.keywords), (
                    name
                )


def test_names_are_sorted_and_complete() -> None:
    import luthier

    assert luthier.__all__ == sorted(luthier.__all__)
    for name in luthier.__all__:
        assert getattr(luthier, name).__doc__, f"luthier.{name} has no docstring"
