"""Versions and the champion's history, as rows."""

from __future__ import annotations

from pathlib import Path

import pytest

from luthier.errors import Tampered, UsageError
from luthier.stages.registry import Registry
from luthier.stores.sqlite import SqliteStore


def folder(home: Path, text: str) -> Path:
    made = home / text
    made.mkdir()
    (made / "config.json").write_text(text)
    return made


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(SqliteStore(tmp_path / "store"))


def test_promotions_and_rollbacks_are_a_history(registry: Registry, tmp_path: Path) -> None:
    assert registry.champion() is None
    one = registry.register(folder(tmp_path, "one"), parent=None, about={})
    two = registry.register(folder(tmp_path, "two"), parent=1, about={"met": True})
    registry.promote(one.number, why="first")
    registry.promote(two.number, why="better")
    assert registry.champion() == registry.version(2)
    before = registry.champion_since()
    registry.rollback(why="wrong on refunds")
    assert registry.champion() == registry.version(1)
    assert registry.champion_since() > before
    assert [(p.number, p.previous, p.action) for p in registry.history()] == [
        (1, None, "promote"), (2, 1, "promote"), (1, 2, "rollback"),
    ]  # fmt: skip


def test_the_same_content_is_the_same_version(registry: Registry, tmp_path: Path) -> None:
    first = registry.register(folder(tmp_path, "one"), parent=None, about={})
    assert registry.register(tmp_path / "one", parent=None, about={}) == first
    assert len(registry.versions()) == 1


def test_changed_content_never_becomes_champion(registry: Registry, tmp_path: Path) -> None:
    made = registry.register(folder(tmp_path, "one"), parent=None, about={})
    path = registry.folder(made) / "config.json"
    path.chmod(0o644)
    path.write_text("another model")
    with pytest.raises(Tampered, match=r"config\.json"):
        registry.promote(made.number, why="first")
    assert registry.champion() is None


def test_what_is_not_there_is_named(registry: Registry) -> None:
    with pytest.raises(UsageError, match="luthier fit"):
        registry.promote(3, why="no")
    with pytest.raises(UsageError, match="no earlier champion"):
        registry.rollback(why="no")
