"""Pages as rows: opened by evidence, closed at a lower level, acknowledged or snoozed by people, judged by later labels."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from luthier.errors import UsageError
from luthier.evidence import wilson
from luthier.intervals import chernoff
from luthier.stores.base import Row, Store
from luthier.types import Estimate, Finding, Promise

__all__ = ["Called", "acknowledge", "called", "calling", "follow", "in_hindsight", "precision", "snooze"]

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


def calling(pages: Iterable[Called], now: datetime) -> list[Called]:
    """Those that call a person now: open, not acknowledged, not snoozed."""
    return [
        one for one in pages
        if one.closed is None and not one.acknowledged and (one.snoozed_until is None or one.snoozed_until <= now)
    ]  # fmt: skip


def follow(
    store: Store, model: str, findings: Sequence[Finding], loud: Sequence[Finding], now: datetime
) -> list[Called]:
    """Open a page for every loud finding of `model` that has none, close those whose evidence is gone; all pages after it.

    A page opens where its promise says (1/alpha, or the ARL) and closes when the evidence is below the square root of
    that, half the way back in bets won: one level for both would open and close it with every answer around it. Pages
    of another model close: it is not champion any more.
    """
    pages = called(store)
    rows = []
    open_ = {(one.check, one.slice): one for one in pages if one.closed is None and one.model == model}
    for one in pages:
        if one.closed is None and one.model != model:
            rows.append(_row(one.id, "close", now, why=f"{model} answers now"))
    latest = {(finding.check, finding.slice): finding for finding in findings}
    for key, one in open_.items():
        finding = latest.get(key)
        if finding is not None and finding.evidence < math.sqrt(_level(finding.promise)):
            rows.append(_row(one.id, "close", now, why=f"its evidence is down to {finding.evidence:.3g}"))
    limits = {finding.slice: finding.limit for finding in findings if finding.check.startswith("risk")}
    fresh = [finding for finding in loud if (finding.check, finding.slice) not in open_]
    for number, finding in enumerate(fresh, len(pages) + 1):
        limit = limits.get(finding.slice, limits.get("", math.nan))
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


def acknowledge(store: Store, page: str, why: str, now: datetime) -> Called:
    """Somebody has seen it: the page stays open but does not call any more. Raises UsageError for a page that is not open."""
    _open_page(store, page)
    store.append("page", [_row(page, "ack", now, store.last("page"), why=why)])
    return _open_page(store, page)


def snooze(store: Store, page: str, hours: float, why: str, now: datetime) -> Called:
    """The page does not call for `hours`. Raises UsageError for a page that is not open, or hours that are not positive."""
    if not 0 < hours <= 24 * 365:
        raise UsageError(f"cannot snooze for {hours:g} hours: give more than 0 and at most {24 * 365}")
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
    n = right + wrong
    return Estimate(right / n, n, *wilson(right, n)) if n else Estimate()


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
