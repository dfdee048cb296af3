"""docs/configuration.md has a section for every setting there is, with its default, and none for one there is not."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from luthier import config

PAGE = Path(__file__).parents[1] / "docs" / "configuration.md"
SECTIONS = dict(re.findall(r"(?ms)^### `(.+?)`\n(.*?)(?=^##|\Z)", PAGE.read_text(encoding="utf-8")))


def written(value: Any) -> str:
    """A value as luthier.yaml writes it."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"[{', '.join(value)}]" if isinstance(value, tuple) else str(value)


def test_the_page_and_the_settings_are_the_same_list() -> None:
    assert set(SECTIONS) == set(config.settings())


@pytest.mark.parametrize("name", config.settings())
def test_a_section_tells_the_default_and_what_the_setting_does(name: str) -> None:
    default, text = re.fullmatch(r"\nDefault: `(.*?)`\n\n(.+)", SECTIONS[name], re.DOTALL).groups()  # type: ignore[union-attr]
    assert default == written(config.settings()[name])
    assert len(text.split()) >= 4


def test_every_rule_about_data_is_explained() -> None:
    stages = Path(config.__file__).parent / "stages"
    source = "".join((stages / name).read_text(encoding="utf-8") for name in ("data.py", "examine.py"))
    rules = set(re.findall(r'"([a-z]+_[a-z_]+)"', source)) - {"rows_needed"} | {"duplicate", "imbalance", "malformed"}
    page = (PAGE.parent / "data.md").read_text(encoding="utf-8")
    assert [rule for rule in sorted(rules) if f"`{rule}`" not in page] == []


def test_examples_are_valid(tmp_path: Path) -> None:
    blocks = re.findall(r"(?ms)^```yaml\n(.*?)^```", PAGE.read_text(encoding="utf-8"))
    assert blocks
    for block in blocks:
        (tmp_path / "luthier.yaml").write_text(block, encoding="utf-8")
        config.read(tmp_path / "luthier.yaml")


def test_the_example_project_is_valid() -> None:
    assert config.read(Path(__file__).parents[1] / "examples" / "reviews" / "luthier.yaml").name == "reviews"
