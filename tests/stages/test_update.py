"""What a repair learns from."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from luthier.options import UpdateOptions
from luthier.stages.update import mix
from luthier.types import Record, Split

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def records(name: str, n: int) -> list[Record]:
    return [
        Record(f"{name}{i}", NOON, f"text {name} {i}", output={"label": "a"}, target="a", model="v1") for i in range(n)
    ]


OLD = Split(records("old", 2000), records("val", 200), records("test", 200))


def test_holdout_and_training_never_share_a_record_and_answers_do_not_leak() -> None:
    mixed = mix(records("new", 600), OLD, UpdateOptions(holdout=0.3))
    trained = {one.id for one in (*mixed.split.train, *mixed.split.validation)}
    held = {one.id for one in mixed.holdout}
    assert not trained & held
    assert 130 < len(held) < 230
    assert all(one.output is None and not one.model for one in (*mixed.split.train, *mixed.holdout))
    assert mix(records("new", 600), OLD, UpdateOptions(holdout=0.3)).holdout == mixed.holdout


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 0.8])
def test_replay_is_the_share_that_was_asked_for(share: float) -> None:
    mixed = mix(records("new", 400), OLD, UpdateOptions(replay=share))
    total = len(mixed.fresh) + len(mixed.replayed)
    assert len(mixed.replayed) / total == pytest.approx(share, abs=0.01)


def test_only_the_newest_labels_within_the_budget_are_used() -> None:
    mixed = mix(records("new", 900), OLD, UpdateOptions(min_labels=100, max_labels=300))
    assert len(mixed.fresh) + len(mixed.holdout) == 300
    assert {one.id for one in mixed.holdout} <= {f"new{i}" for i in range(600, 900)}
