"""Pages as rows: opened by evidence, closed at a lower level, acknowledged or snoozed by people, judged by later labels."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from luthier.errors import UsageError
from luthier.evidence.estimates import share
from luthier.evidence.intervals import chernoff
from luthier.stores.base import Row, Store
from luthier.types import Estimate, Finding, Promise

__all__ = ["Called", "acknowledge", "called", "calling", "follow", "in_hindsight", "open_of", "precision", "snooze"]

_FEWEST = 30  # labelled answers before hindsight says anything
_MISS = 0.025  # a side, of hindsight's interval


@dataclass(frozen=True, slots=True)
class Called:
    """One page: which check of which model called, when, and what became of it.

    `limit`: the mean loss that was acceptable when it opened (NaN: unknown). `hindsight`: "right" when labels of answers given
    since then show a mean loss above it, "wrong" when they show that it stayed below, "unknown" between.
    """

    id: str
    model: str
    check: str
    slice: str
    opened: datetime
    why: str
    evidence: float
    limit: float = math.nan
    closed: datetime | None = None
    closed_because: str = ""
    acknowledged: str = ""
    snoozed_until: datetime | None = None
    hindsight: str = "unknown"
    loss: Estimate = field(default_factory=Estimate)


def called(store: Store) -> list[Called]:
    """All pages there ever were, oldest first."""
    pages: dict[str, Called] = {}
    for row in store.scan("page"):
        body, name = row.body, row.body["page"]
        if body["action"] == "open":
            limit = math.nan if body["limit"] is None else body["limit"]
            pages[name] = Called(
                name, body["model"], body["check"], body["slice"], row.at, body["why"], body["evidence"], limit
            )
        elif body["action"] == "close":
            pages[name] = replace(pages[name], closed=row.at, closed_because=body["why"])
        elif body["action"] == "ack":
            pages[name] = replace(pages[name], acknowledged=body["why"])
        else:
            pages[name] = replace(pages[name], snoozed_until=datetime.fromisoformat(body["until"]))
    return list(pages.values())


def open_of(store: Store, model: str) -> set[tuple[str, str]]:
    """Check and slice of every open page of a model."""
    return {(one.check, one.slice) for one in called(store) if one.closed is None and one.model == model}


def calling(pages: Iterable[Called], now: datetime) -> list[Called]:
    """Those that call a person now: open, not acknowledged, not snoozed."""
    return [
        one for one in pages
        if one.closed is None and not one.acknowledged and (one.snoozed_until is None or one.snoozed_until <= now)
    ]  # fmt: skip


def follow(
    store: Store, found: Mapping[str, Sequence[Finding]], loud: Mapping[str, Sequence[Finding]], now: datetime,
    gone: str = "its model is not watched any more",
) -> list[Called]:  # fmt: skip
    """Open a page for every loud finding of a model that has none, close those whose evidence is gone; all pages after it.

    `found`: the newest findings of every model that is watched, by its name; `loud`: those of them that page. A page opens
    where its promise says (1/alpha, or the ARL) and closes when the evidence is below the square root of that, half
    the way back in bets won: one level for both would open and close it with every answer around it. Pages of
    models that `found` lacks close, because `gone`.
    """
    pages = called(store)
    open_ = {(one.model, one.check, one.slice): one for one in pages if one.closed is None}
    closing = _closing(open_.values(), found, gone)
    rows = [_row(name, "close", now, why=why) for name, why in closing.items()]
    fresh = [
        (model, finding) for model, findings in loud.items() for finding in findings
        if (model, finding.check, finding.slice) not in open_
    ]  # fmt: skip
    for number, (model, finding) in enumerate(fresh, len(pages) + 1):
        limit = _limit(finding, found[model])
        rows.append(
            _row(
                f"p{number}", "open", finding.at or now, why=finding.why, model=model, check=finding.check, slice=finding.slice,
                evidence=finding.evidence, limit=None if math.isnan(limit) else limit,
            )
        )  # fmt: skip
    if not rows:
        return pages
    store.append("page", rows)
    return called(store)


def _closing(open_: Iterable[Called], found: Mapping[str, Sequence[Finding]], gone: str) -> dict[str, str]:
    """Which of the open pages close, and why."""
    closing = {one.id: gone for one in open_ if one.model not in found}
    mine = {(one.model, one.check, one.slice): one.id for one in open_ if one.model in found}
    for model in {model for model, _, _ in mine}:
        for finding in found[model]:
            name = mine.get((model, finding.check, finding.slice))
            if name and _is_over(finding):
                closing[name] = f"its evidence is down to {finding.evidence:.3g}"
    return closing


def _is_over(finding: Finding) -> bool:
    if finding.promise.kind == "fixed":  # one look, not evidence that grows: it says itself when it is over
        return not finding.alarm
    return finding.evidence < math.sqrt(_level(finding.promise))


def _limit(finding: Finding, found: Sequence[Finding]) -> float:
    """The mean loss that risk checks accept in the slice of this finding, or in all; NaN where none says so."""
    limits = {one.slice: one.limit for one in found if one.check.startswith("risk")}
    return limits.get(finding.slice, limits.get("", math.nan))


def acknowledge(store: Store, page: str, why: str, now: datetime) -> Called:
    """Somebody has seen it: the page stays open but does not call any more. Raises UsageError for a page that is not open."""
    _open_page(store, page)
    store.append("page", [_row(page, "ack", now, store.last("page"), why=why)])
    return _open_page(store, page)


def snooze(store: Store, page: str, hours: float, why: str, now: datetime) -> Called:
    """The page does not call for `hours`. Raises UsageError for a page that is not open, or hours that are not positive."""
    if not (isinstance(hours, int | float) and 0 < hours <= 24 * 365):
        raise UsageError(f"cannot snooze for {hours} hours: give more than 0 and at most {24 * 365}")
    _open_page(store, page)
    until = (now + timedelta(hours=hours)).isoformat()
    store.append("page", [_row(page, "snooze", now, store.last("page"), why=why, until=until)])
    return _open_page(store, page)


def in_hindsight(pages: Sequence[Called], losses: Callable[[Called], np.ndarray]) -> list[Called]:
    """Each page with what labels say now; `losses(page)` are those (n,) of answers that its model gave since it opened."""
    return [_judged(one, losses(one)) for one in pages]


def precision(pages: Sequence[Called]) -> Estimate:
    """Share of pages that were right among those that hindsight can judge, with Wilson's interval."""
    right, wrong = (sum(one.hindsight == verdict for one in pages) for verdict in ("right", "wrong"))
    return share(right, right + wrong, 0.95)


def _judged(one: Called, losses: np.ndarray) -> Called:
    known = losses[~np.isnan(losses)]
    n = len(known)
    if n == 0:
        return one
    low, high = (float(end) for end in chernoff(known.sum(), n, _MISS))
    loss = Estimate(float(known.mean()), n, low, high)
    verdict = "unknown"
    if n >= _FEWEST and not math.isnan(one.limit):
        verdict = "right" if low > one.limit else "wrong" if high <= one.limit else "unknown"
    return replace(one, loss=loss, hindsight=verdict)


def _open_page(store: Store, page: str) -> Called:
    pages = {one.id: one for one in called(store) if one.closed is None}
    if page not in pages:
        there = f"open are {', '.join(pages)}" if pages else "no page is open"
        raise UsageError(f"{page!r} is not an open page: {there}. See them all with: luthier page list")
    return pages[page]


def _level(promise: Promise) -> float:
    return promise.level if promise.kind == "e-detector" else 1 / promise.level


def _row(page: str, action: str, at: datetime, seq: int = 0, **body: Any) -> Row:
    name = f"{page}/{action}" + (f"/{seq}" if seq else "")
    return Row(name, at, {"page": page, "action": action, **body})
