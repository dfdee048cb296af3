"""Many models on one page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from luthier.errors import UsageError
from luthier.reports import compare


@pytest.fixture
def story() -> dict[str, Any]:
    return json.loads((Path(__file__).parents[1] / "story.json").read_text(encoding="utf-8"))


def test_champions_of_projects_worst_first(story: dict[str, Any]) -> None:
    page = {
        "id": "p1",
        "model": "v2",
        "check": "risk.v1",
        "slice": "",
        "opened": "2026-03-03T00:00:00Z",
        "closed": None,
    }
    stories = {"quiet": story, "loud": story | {"pages": [page]}, "new": {"versions": []}}
    report = compare.report(stories, {"quiet": "v2", "loud": "v2", "new": ""})
    rows = report.rows()
    assert rows[0]["project"] == "loud"
    assert rows[0]["open_pages"] == 1
    assert rows[0]["accuracy_now"].n >= 200
    assert rows[0]["accuracy_registered"].value == pytest.approx(story["versions"][1]["metrics"]["accuracy"]["value"])
    new = next(row for row in rows if row["project"] == "new")
    assert new["accuracy_now"].n == new["answers"] == 0
    assert "1 model with an open page" in report.sheet.headline
    page_ = report.html()
    assert "p1 risk.v1" in page_
    assert "no champion" in page_
    assert "loud" in report.markdown()
    assert report.frame("arrow").num_rows == 3


def test_versions_of_one_project(story: dict[str, Any]) -> None:
    report = compare.report({"sentiment": story}, {"sentiment": "v2"})
    assert {row["model"] for row in report.rows()} == {"v1", "v2"}
    assert [row["model"] for row in report.rows() if row["champion"]] == ["v2"]
    assert "Versions" in report.html()


def test_nothing_to_compare_is_an_error() -> None:
    with pytest.raises(UsageError, match="at least one project"):
        compare.report({}, {})
