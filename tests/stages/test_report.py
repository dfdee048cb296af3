"""The report: one page that works offline, honest where parts are missing, safe whatever the strings say."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from luthier.errors import SetupError, UsageError
from luthier.stages import report

pytest.importorskip("plotly")
BAD = "</script><script>alert(1)</script><img src=https://evil.example/x onerror=alert(2)> | `x` \"'&"


class Page(HTMLParser):
    """Tags with attributes, the text of each script, and what a reader reads."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.words = ""
        self._open = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._open = tag
        if tag == "script":
            self.scripts.append((dict(attrs), ""))

    def handle_endtag(self, tag: str) -> None:
        self._open = ""

    def handle_data(self, data: str) -> None:
        if self._open == "script":
            self.scripts[-1] = (self.scripts[-1][0], self.scripts[-1][1] + data)
        elif self._open != "style":
            self.words += data


@pytest.fixture(scope="module")
def story() -> dict[str, Any]:
    return json.loads((Path(__file__).parents[1] / "story.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def page(story: dict[str, Any]) -> Page:
    return Page(report.html(story))


def hostile(value: Any, key: str = "") -> Any:
    if isinstance(value, dict):
        return {name: hostile(item, name) for name, item in value.items()} | {BAD: BAD}
    if isinstance(value, list):
        return [hostile(item, key) for item in value]
    return BAD if isinstance(value, str) and key not in ("at", "kind", "created") else value


def test_three_files_complete_and_nothing_else(story: dict[str, Any], tmp_path: Path) -> None:
    paths = report.write(story, tmp_path / "new" / "folder")
    assert [path.name for path in (paths.html, paths.markdown, paths.json)] == [
        "report.html",
        "report.md",
        "report.json",
    ]
    assert sorted(path.name for path in paths.html.parent.iterdir()) == ["report.html", "report.json", "report.md"]
    assert json.loads(paths.json.read_text(encoding="utf-8"))["project"] == "sentiment"
    again = report.write({}, paths.html.parent)
    assert json.loads(again.json.read_text(encoding="utf-8")) == {}


def test_page_loads_nothing_from_elsewhere(page: Page) -> None:
    for tag, attributes in page.tags:
        for name in ("src", "href", "srcset", "action", "data", "poster"):
            assert not (attributes.get(name) or "").strip().lower().startswith(("http", "//", "file")), (
                tag,
                attributes,
            )
        assert tag not in ("link", "iframe", "object", "embed", "img", "base")
        assert not [name for name in attributes if name.startswith("on")]


def test_library_is_inlined_once_and_the_policy_names_exactly_our_scripts(page: Page) -> None:
    run = [text for attributes, text in page.scripts if attributes.get("type") != "application/json"]
    assert len(run) == 2
    assert sum(len(text) > 1_000_000 for text in run) == 1
    policy = next(about["content"] or "" for tag, about in page.tags if about.get("http-equiv"))
    digests = {base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in run}
    assert set(re.findall(r"'sha256-([^']+)'", policy)) == digests
    assert "default-src 'none'" in policy
    assert "script-src 'unsafe" not in policy


def test_each_figure_has_its_place_and_data(page: Page) -> None:
    places = {about.get("id") for tag, about in page.tags if tag == "div"}
    data = [about["data-figure"] for about, _ in page.scripts if about.get("type") == "application/json"]
    assert data == ["figure-accuracy", "figure-evidence", "figure-before_after", "figure-labels", "figure-curves"]
    assert set(data) <= places
    for about, text in page.scripts:
        if about.get("type") == "application/json":
            assert json.loads(text)["data"]


def test_page_tells_the_story(page: Page) -> None:
    for words in (
        "Accuracy fell from", "repaired", "at most 1 in 100: good enough to act without asking", "not_worse.v1",
        "Lineage: v1 → v2", "0.968 (0.945–0.981, n 400)", "lower bound 0.803 is below 0.92", "near duplicates",
        "no alarm on the tweets", "2 threads, bf16", "Champion and gate",
    ):  # fmt: skip
        assert words in page.words
    assert "nan" not in page.words.lower().split()


def test_hostile_strings_stay_text(story: dict[str, Any]) -> None:
    text = report.html(hostile(story))
    found = Page(text)
    assert sum(about.get("type") != "application/json" for about, _ in found.scripts) == 2
    assert not [tag for tag, _ in found.tags if tag == "img"]
    assert "<script>alert" not in text
    for about, data in found.scripts:
        if about.get("type") == "application/json":
            json.loads(data)
            assert "<" not in data


def test_hostile_strings_stay_text_in_markdown(story: dict[str, Any]) -> None:
    text = report.markdown(hostile(story))
    assert "<script" not in text
    assert "<img" not in text
    for line in text.splitlines():
        if line.startswith("| --- "):
            continue
        assert not re.search(r"(?<!\\)`", line)


def test_missing_parts_are_said_where_a_reader_looks() -> None:
    words = Page(report.html({})).words
    for note in ("No answers have been recorded yet", "No labels arrived yet", "No decision", "No version", "No check"):
        assert note in words
    text = report.markdown({})
    assert "*No labels arrived yet.*" in text


def test_unlabelled_traffic_is_called_unknown(story: dict[str, Any]) -> None:
    bare = {"timeline": [row | {"true": None} for row in story["timeline"]]}
    words = Page(report.html(bare)).words
    assert "No labels arrived yet, so the true accuracy is unknown." in words
    assert "0.000" not in words


@pytest.mark.parametrize(
    "odd",
    [
        {"project": None, "timeline": "x", "events": [[]], "labels": 4, "fit": [{"curves": 3, "rungs": None}]},
        {"slices": [{"slice": None, "before": 3, "after": "x"}], "versions": [{"number": "two", "metrics": []}]},
        {"decisions": [{"because": "x"}], "claims": [{"holds": None}], "data": [{"rows": "abc"}], "environment": []},
        {"evidence": [{"check": None, "points": [{"at": "2026-01-01", "evidence": "high"}], "promise": None}]},
    ],
)
def test_odd_stories_are_written_all_the_same(odd: dict[str, Any], tmp_path: Path) -> None:
    assert report.write(odd, tmp_path).html.stat().st_size > 1_000_000


def test_markdown_has_the_same_parts(story: dict[str, Any]) -> None:
    text = report.markdown(story)
    assert "| tweets | 0.968 (0.945–0.981, n 400) |" in text
    assert "not\\_worse.v1 tweets: v2 is not worse" in text
    assert "used for training v2 | 400" in text
    assert "- ✓ no alarm on the tweets" in text


def test_a_failed_claim_is_seen_at_once(story: dict[str, Any]) -> None:
    failed = story | {"claims": [{"claim": "tweets hold", "holds": False, "numbers": "-0.05"}]}
    found = Page(report.html(failed))
    assert "a claim does not hold" in found.words
    assert "✗" in found.words


def test_a_name_cannot_leave_the_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\.\./up"):
        report.write({}, tmp_path, name="../up")


def test_unwritable_folder_says_so_and_leaves_the_old_report(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SetupError, match="Name a folder that you may write to"):
        report.write({}, tmp_path / "file")
    assert (tmp_path / "file").read_text() == "in the way"
