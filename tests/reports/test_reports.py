"""The front door: kinds, results in every form, and files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.parquet as parquet
import pytest

import luthier
from luthier import reports
from luthier.errors import UsageError


def table(n: int, moved: float = 0.0, seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    score = rng.random(n)
    return {"age": rng.normal(moved, 1, n), "score": score, "target": (rng.random(n) < score).astype(int)}


@pytest.mark.parametrize("kind", reports.KINDS)
@pytest.mark.parametrize("form", [dict, pa.table, "pandas"])
def test_every_kind_takes_every_table_and_gives_every_form(kind: Any, form: Any, tmp_path: Path) -> None:
    make = pytest.importorskip("pandas").DataFrame if form == "pandas" else form
    report = luthier.report(kind, make(table(600)), make(table(200, 0, 1)), chunk=100, title="Loans")
    paths = report.save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{kind}.html", f"{kind}.json", f"{kind}.md"]
    assert json.loads(paths.json.read_text(encoding="utf-8"))["kind"] == kind
    assert "Loans" in paths.html.read_text(encoding="utf-8")
    assert paths.markdown.read_text(encoding="utf-8").startswith("# Loans")
    assert report.frame("arrow").num_rows == len(report.rows()) > 0
    assert kind in str(report)
    assert "sandbox" in report._repr_html_()
    assert len(repr(report)) < 100_000


def test_forms_do_not_depend_on_the_library() -> None:
    given = [luthier.report("drift", make(table(600)), make(table(200, 1, 1))).json() for make in (dict, pa.table)]
    assert given[0].replace("float64", "double") == given[1].replace("float64", "double")


def test_another_kind_is_refused() -> None:
    with pytest.raises(UsageError, match="known are drift, performance, quality"):
        luthier.report("outlier", {}, {})  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", reports.KINDS)
def test_files_are_read_in_parts(kind: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("luthier.tables.parquet._part_rows", lambda file, names: 64)
    parquet.write_table(pa.table(table(600)), tmp_path / "a.parquet")
    csv.write_csv(pa.table(table(200, 0, 1)), tmp_path / "b.csv")
    parquet.write_table(pa.table(table(200, 0, 1)), tmp_path / "b.parquet")
    told: list[float] = []
    one = reports.of_files(kind, tmp_path / "a.parquet", tmp_path / "b.parquet", lambda *a: told.append(a[1]), chunk=50)
    two = reports.of_files(kind, tmp_path / "a.parquet", tmp_path / "b.csv", chunk=50)
    whole = luthier.report(kind, pa.table(table(600)), pa.table(table(200, 0, 1)), chunk=50)
    assert told[-1] == 1.0
    assert [f.why for f in one.findings] == [f.why for f in whole.findings] == [f.why for f in two.findings]
