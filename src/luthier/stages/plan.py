"""Label plans of a project: drawn from the newest answers, kept as rows, and read as an estimate once labels came."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from luthier.errors import UsageError
from luthier.fewlabels import Combined, Pool
from luthier.fewlabels.labelplan import Buys, LabelPlan, Request, asked, design
from luthier.rows import from_row, plain
from luthier.stores.base import Row, Store
from luthier.types import Columns, Record

__all__ = ["Standing", "draw", "kept", "picked", "standing"]

_LOOKED = 20  # newest plans that are looked through


@dataclass(frozen=True, slots=True)
class Standing:
    """What the labels of a plan say so far: `came` of `asked`, and the mean loss from them and the confidence."""

    plan: str
    decision: str
    came: int
    asked: int
    risk: Combined


def draw(
    store: Store, task: Any, model: str, budget: int, decision: str, *, reference: Columns, limit: float, arl: float,
    pool: int, seed: int = 0, candidate: Callable[[Sequence[Record]], Columns] | None = None,
) -> LabelPlan:  # fmt: skip
    """A plan over the newest `pool` answers of `model`, kept in the store. `candidate` answers them too, for "better".

    "accuracy" is drawn from all answers, those with a label included (which then need none), the rest from those without.
    `limit` and `arl` are those of risk.v1. Raises UsageError when there are none, StateError as `labelplan.design` does.
    """
    rows = store.scan("answer", newest_first=True, limit=pool)
    newest = [one for one in map(from_row, rows) if one.model == model]
    known = store.known("label", [one.id for one in newest])
    records = [one for one in newest if decision == "accuracy" or one.id not in known]
    if not records:
        what = "answers without a label" if newest else "answers"
        raise UsageError(f"{model} has no {what} among the newest {pool:,}: there is nothing to label yet")
    columns = task.columns(records)
    both = columns
    if decision == "better":
        if candidate is None:
            raise UsageError(f"there is no candidate to compare with {model}: name a version")
        both = {**columns, "champion_predicted": columns["predicted"], "predicted": candidate(records)["predicted"]}
    plan = design(both, budget, decision, reference=reference, limit=limit, arl=arl, seed=seed)
    ids, inputs = [one.id for one in records], [one.input for one in records]
    made = asked(plan, ids, inputs, columns, names=task.labels, model=model, known=known)
    _keep(store, made, max(one.at for one in records))
    return made


def _keep(store: Store, plan: LabelPlan, at: datetime) -> None:
    """The plan as one row, and a request row for each record to label."""
    body = {
        "decision": plan.decision, "model": plan.model, "pool": list(plan.pool), "buys": asdict(plan.buys),
        "requests": [
            [one.id, one.guess, one.chance, one.cell, one.at_random] for one in plan.requests
        ],
    }  # fmt: skip
    with store.transaction():
        store.append("plan", [Row(plan.id, at, plain(body))])
        asked = [
            Row(one.id, at, plain({"input": one.input, "model": plan.model, "plan": plan.id})) for one in plan.open
        ]
        store.append("request", asked)


def kept(store: Store, model: str = "") -> list[LabelPlan]:
    """The newest plans (of `model`), newest first, without inputs and predictions."""
    rows = store.scan("plan", newest_first=True, limit=_LOOKED)
    return [_plan(row) for row in rows if model in ("", row.body["model"])]


def _plan(row: Row) -> LabelPlan:
    said = row.body
    half, alone, shows = (said["buys"][name] for name in ("half_width", "alone", "shows"))
    buys = Buys(_nan(half), _nan(alone), _nan(shows), said["buys"]["why"])
    requests = tuple(
        Request(id, None, "", math.nan, guess, chance, cell, at_random)
        for id, guess, chance, cell, at_random in said["requests"]
    )
    n, mean, variance = said["pool"]
    return LabelPlan(row.id, said["decision"], said["model"], Pool(n, mean, variance), buys, requests)


def _nan(value: float | None) -> float:
    return math.nan if value is None else value


def picked(store: Store) -> set[str]:
    """Ids that plans asked for with a larger chance than others, and no plan at random: see `rows.at_random`."""
    asked_for = [one for plan in kept(store) for one in plan.requests]
    return {one.id for one in asked_for if not one.at_random} - {one.id for one in asked_for if one.at_random}


def standing(
    store: Store, model: str, losses: Callable[[Sequence[str]], Mapping[str, float]], confidence: float = 0.95
) -> Standing | None:
    """What the newest plan with labels says of `model`; None without one. `losses` gives those of labelled ids."""
    for plan in kept(store, model):
        came = losses([one.id for one in plan.requests]) if plan.decision != "better" else {}
        if came:
            return Standing(
                plan.id, plan.decision, len(came), len(plan.requests), plan.estimate(came, confidence=confidence)
            )
    return None
