"""The documentation is proved: every code block runs, and every verb and registered name has its place."""

from __future__ import annotations

import contextlib
import csv
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from luthier import names
from luthier.types import Record

HOME = Path(__file__).parents[1]
PAGES = sorted((HOME / "docs").glob("*.md"))
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(page: Path) -> list[tuple[str, str]]:
    return BLOCK.findall(page.read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def hub(tmp_path_factory: pytest.TempPathFactory, minilm: Path) -> Path:
    """A hub cache as huggingface_hub lays it out, holding the real MiniLM under its name; nothing is fetched."""
    home = tmp_path_factory.mktemp("hub")
    model = home / "hub" / "models--sentence-transformers--all-MiniLM-L6-v2"
    (model / "refs").mkdir(parents=True)
    (model / "refs" / "main").write_text("0123456789abcdef0123456789abcdef01234567")
    shutil.copytree(minilm, model / "snapshots" / "0123456789abcdef0123456789abcdef01234567")
    return home


@pytest.fixture
def desk(tmp_path: Path, hub: Path, tweets: list[Record], films: list[Record]) -> dict[str, str]:
    """A folder with the data files that the pages speak of; the environment to run in."""
    write(tmp_path / "reviews.csv", tweets[:1600])
    write(tmp_path / "new.csv", films[:20])
    write(tmp_path / "fresh.csv", films[20:80])
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return os.environ | {"HF_HOME": str(hub), "HF_HUB_OFFLINE": "1", "PATH": path, "DESK": str(tmp_path)}


def write(path: Path, records: list[Record]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["text", "label"])
        rows.writerows([record.input, record.target] for record in records)


def run(command: list[str], desk: dict[str, str], seconds: float = 400) -> str:
    """Run in a process group of its own, so that what was started in the background ends with it."""
    log = Path(desk["DESK"]) / "printed.log"
    with log.open("wb") as printed:
        process = subprocess.Popen(
            command, cwd=desk["DESK"], env=desk, stdout=printed, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            code = process.wait(seconds)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    said = log.read_text(errors="replace")
    assert code == 0, f"{command[-1]}\nended with {code}:\n{said[-4000:]}"
    return said


@pytest.mark.timeout(900)
def test_the_readme_runs_from_top_to_bottom(desk: dict[str, str]) -> None:
    found = blocks(HOME / "README.md")
    assert [kind for kind, _ in found] == ["sh", "sh", "python", "python", "python"]
    port = free_port()
    for kind, text in found:
        code = text.replace("8080", str(port))
        run(["bash", "-euc", code] if kind == "sh" else [sys.executable, "-c", code], desk)
    page = (Path(desk["DESK"]) / "report" / "report.html").read_text(encoding="utf-8")
    assert len(page) > 100_000


@pytest.mark.parametrize(
    "page", [page for page in PAGES if any(kind == "python" for kind, _ in blocks(page))], ids=lambda p: p.stem
)
def test_the_blocks_of_a_page_run(page: Path, desk: dict[str, str], request: pytest.FixtureRequest) -> None:
    """The Python blocks of a page are one program, its shell blocks another."""
    if "LUTHIER_DATA" in page.read_text(encoding="utf-8"):
        desk = desk | {"LUTHIER_DATA": str(request.getfixturevalue("data_folder"))}
    for kind, command in (("python", [sys.executable, "-W", "ignore", "-c"]), ("sh", ["bash", "-euc"])):
        code = "\n".join(text for found, text in blocks(page) if found == kind)
        if code:
            run([*command, code], desk)


def test_only_known_kinds_of_blocks_are_used() -> None:
    assert {kind for page in PAGES for kind, _ in blocks(page)} <= {"python", "sh", "yaml", "json", "text"}


def test_every_verb_has_its_section_and_every_option_is_known() -> None:
    from luthier.cli import app

    verbs = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    text = (HOME / "docs" / "verbs.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^## (\w+)$", text, re.MULTILINE)) == verbs
    for verb in verbs:
        shown = subprocess.run(
            [sys.executable, "-m", "luthier", verb, "--help"], check=True, capture_output=True, text=True
        )
        section = text.split(f"\n## {verb}\n")[1].split("\n## ")[0]
        for option in re.findall(r"(?<=\s)--[a-z]+", section):
            assert option in shown.stdout, f"docs/verbs.md names {verb} {option}, which is not there"
        assert "Example:" in shown.stdout, f"{verb} --help has no example"


@pytest.mark.parametrize(
    ("kind", "page"), [("check", "checks.md"), ("statistic", "statistics.md"), ("task", "tasks.md")]
)
def test_every_registered_name_is_documented(kind: str, page: str) -> None:
    text = (HOME / "docs" / page).read_text(encoding="utf-8")
    missing = [name for name in names.every(kind) if name not in text]
    assert not missing, f"docs/{page} does not mention {missing}"


def test_links_between_pages_lead_somewhere() -> None:
    for page in [*PAGES, HOME / "README.md", HOME / "ARCHITECTURE.md"]:
        for target in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
            assert "://" in target or (page.parent / target).exists(), (
                f"{page.name} links to {target}, which is not there"
            )


def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_every_check_says_what_it_promises_when_not_to_use_it_its_cost_and_its_source() -> None:
    sections = (HOME / "docs" / "checks.md").read_text(encoding="utf-8").split("\n### ")
    found = {section.split("\n", 1)[0]: section for section in sections[1:]}
    for name in names.every("check"):
        for fact in ("**Promise**", "**Not for**", "**Cost**", "**Source**"):
            assert fact in found[name], f"docs/checks.md does not say {fact} of {name}"
