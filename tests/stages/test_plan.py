"""Label plans of a project: kept as rows, picked labels known for what they are, an estimate once labels came."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from luthier.errors import UsageError
from luthier.rows import at_random
from luthier.stages import plan, record
from luthier.stores.memory import MemoryStore
from luthier.tasks.text_classification import TextClassification
from luthier.types import Record

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
TASK = TextClassification(labels=("no", "yes"))


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def answered(store: MemoryStore, n: int, model: str = "v1", seed: int = 0) -> dict[str, str]:
    """Answers of a model that is right as often as its confidence says; what is true of each."""
    rng = np.random.default_rng(seed)
    truth = {}
    for i in range(n):
        sure = float(rng.uniform(0.5, 1))
        said = "yes" if rng.random() < 0.5 else "no"
        truth[f"{model}-{i}"] = said if rng.random() < sure else ("no" if said == "yes" else "yes")
        output = {"label": said, "confidence": sure, "embedding": rng.standard_normal(4)}
        one = Record(f"{model}-{i}", NOON + timedelta(minutes=i), f"text {i}", output=output, model=model)
        record.append(store, [record.to_row(one)])
    return truth


def draw(store: MemoryStore, budget: int, decision: str, **more: Any) -> Any:
    rest: dict[str, Any] = {"reference": {}, "limit": 0.12, "arl": 1e5, "pool": 1000} | more
    return plan.draw(store, TASK, "v1", budget, decision, **rest)


def losses(store: MemoryStore) -> Any:
    def found(ids: Sequence[str]) -> dict[str, float]:
        came = record.labelled(store, ids)
        return dict(zip([one.id for one in came], TASK.columns(came)["loss"], strict=True))

    return found


def test_a_plan_is_kept_and_its_labels_become_an_estimate(store: MemoryStore) -> None:
    truth = answered(store, 600)
    made = draw(store, 150, "accuracy")
    assert plan.standing(store, "v1", losses(store)) is None, "no label has come"
    record.feedback(store, [{"id": one.id, "target": truth[one.id]} for one in made.requests[:120]])
    said = plan.standing(store, "v1", losses(store))
    assert said is not None
    assert (said.plan, said.decision, said.came, said.asked) == (made.id, "accuracy", 120, 150)
    wrong = np.mean([row.body["output"]["label"] != truth[row.id] for row in store.scan("answer")])
    assert said.risk.estimate.low <= wrong <= said.risk.estimate.high
    assert said.risk.method == "combined"
    assert plan.standing(store, "v2", losses(store)) is None
    (kept,) = plan.kept(store)
    assert kept.id == made.id
    assert kept.buys.why == made.buys.why
    assert store.count("request") == 150


def test_only_a_plan_that_prefers_some_marks_labels_as_picked(store: MemoryStore) -> None:
    answered(store, 300)
    fair = draw(store, 50, "worse")
    assert plan.picked(store) == set()
    tilted = draw(store, 100, "accuracy", seed=1)
    picked = plan.picked(store)
    assert picked == {one.id for one in tilted.requests if not one.at_random} - {one.id for one in fair.requests}
    assert len(picked) > 5
    one, other = sorted(picked)[0], fair.requests[0].id
    record.feedback(store, [{"id": name, "target": "yes", "at_random": name not in picked} for name in (one, other)])
    known = {found.id: found for found in record.labelled(store)}
    assert (at_random(known[one]), at_random(known[other])) == (False, True)
    target = "no"
    record.feedback(store, [{"id": one, "target": target, "correct": True}])
    (again,) = record.labelled(store, [one])
    assert (again.target, at_random(again)) == ("no", False), "a correction does not make it one of the traffic"


def test_an_answer_cannot_say_of_itself_that_it_was_picked(store: MemoryStore) -> None:
    one = Record("a", NOON, "text", output={"label": "yes"}, model="v1", tags={"luthier.picked": "yes"})
    record.append(store, [record.to_row(one)])
    record.feedback(store, [{"id": "a", "target": "no"}])
    (found,) = record.joined(store).records
    assert at_random(found)


def test_what_has_a_label_is_not_asked_for_again(store: MemoryStore) -> None:
    truth = answered(store, 100)
    record.feedback(store, [{"id": f"v1-{i}", "target": truth[f"v1-{i}"]} for i in range(60)])
    worse = draw(store, 100, "worse")
    assert len(worse.requests) == 40
    accuracy = draw(store, 100, "accuracy")
    assert (len(accuracy.requests), len(accuracy.open), accuracy.pool.n) == (100, 40, 100)
    record.feedback(store, [{"id": f"v1-{i}", "target": truth[f"v1-{i}"]} for i in range(60, 100)])
    with pytest.raises(UsageError, match="no answers without a label among the newest 1,000"):
        draw(store, 10, "worse")
    with pytest.raises(UsageError, match="no answers among"):
        plan.draw(store, TASK, "v9", 10, "worse", reference={}, limit=0.12, arl=1e5, pool=10)


def test_better_asks_only_where_the_two_differ(store: MemoryStore) -> None:
    answered(store, 200)
    with pytest.raises(UsageError, match="no candidate"):
        draw(store, 10, "better")

    def candidate(records: Sequence[Record]) -> dict[str, Any]:
        said = TASK.columns(records)["predicted"].copy()
        said[:30] = 1 - said[:30]
        return {"predicted": said}

    made = draw(store, 100, "better", candidate=candidate)
    newest = [f"v1-{i}" for i in range(170, 200)]
    assert {one.id for one in made.requests} == set(newest)
    champion = {row.id: row.body["output"]["label"] for row in store.scan("answer")}
    assert all(one.predicted == champion[one.id] for one in made.requests), "shown is what the champion said"
