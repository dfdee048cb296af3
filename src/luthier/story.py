"""How a story is read: the plain dictionary that report, figures, dashboard and terminal draw, taken leniently.

A story has any of: project created timeline evidence events slices labels decisions versions fit data claims
environment. What is missing or of the wrong form counts as absent; nothing here raises on a story's content.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, is_dataclass, replace
from datetime import UTC, datetime
from typing import Any

from luthier.evidence.estimates import share
from luthier.types import Estimate

__all__ = [
    "Block",
    "Event",
    "Point",
    "blocks",
    "clean",
    "estimate",
    "estimate_text",
    "events",
    "headline",
    "instant",
    "number",
    "number_text",
    "part",
    "pooled",
    "promise_text",
    "promise_words",
    "rows",
    "spans",
    "text",
    "threshold",
    "time_text",
    "timeline",
]

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]+")


@dataclass(frozen=True, slots=True)
class Point:
    """One bucket of event time: `n` answers, accuracy where labels came, and what was estimated without labels."""

    at: datetime
    model: str
    n: int
    true: Estimate
    estimated: Estimate
    valid: bool
    why: str


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened: start, shift, detect, page, label, update, gate, promote, rollback, reject, or another."""

    at: datetime
    kind: str
    title: str
    why: str


@dataclass(frozen=True, slots=True)
class Block:
    """Neighbouring buckets with labels enough to say something: from `start` to `end`, true accuracy pooled."""

    start: datetime
    end: datetime
    true: Estimate
    model: str


def text(value: Any, limit: int = 400) -> str:
    """`value` as one line without control characters, cut at `limit` characters; None is empty."""
    line = _CONTROL.sub(" ", "" if value is None else str(value)).strip()
    return line if len(line) <= limit else line[: limit - 1] + "…"


def number(value: Any) -> float:
    """`value` as a float; NaN for anything that is not a number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def instant(value: Any) -> datetime | None:
    """An ISO string or datetime as UTC (a time without zone is taken as UTC); None for anything else."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    if not isinstance(value, datetime):
        return None
    try:
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    except OverflowError:
        return None


def part(value: Any, key: str) -> dict[str, Any]:
    """The mapping at `key`, or an empty one."""
    found = _plain(value).get(key)
    return _plain(found)


def rows(value: Any, key: str) -> list[dict[str, Any]]:
    """The mappings in the list at `key`; whatever else stands there is skipped."""
    found = _plain(value).get(key)
    if isinstance(found, str | bytes | Mapping) or not isinstance(found, Iterable):
        return []
    return [_plain(item) for item in found if isinstance(item, Mapping) or is_dataclass(item)]


def estimate(value: Any) -> Estimate:
    """An Estimate from one, from its dict, or from a bare number; the empty Estimate from anything else."""
    if isinstance(value, Estimate):
        return value
    if isinstance(value, Mapping):
        n = number(value.get("n"))
        count = int(n) if math.isfinite(n) and n > 0 else 0
        return Estimate(number(value.get("value")), count, number(value.get("low")), number(value.get("high")))
    return Estimate(number(value))


def timeline(story: Mapping[str, Any]) -> list[Point]:
    """The buckets of the story in order of time; a bucket without a readable time is left out."""
    found = []
    for row in rows(story, "timeline"):
        at = instant(row.get("at"))
        if at is None:
            continue
        guess = part(row, "estimated")
        n = number(row.get("n"))
        found.append(
            Point(
                at=at,
                model=text(row.get("model"), 40),
                n=int(n) if math.isfinite(n) and n > 0 else 0,
                true=estimate(row.get("true")),
                estimated=estimate(guess or None),
                valid=bool(guess.get("valid", True)),
                why=text(guess.get("why")),
            )
        )
    return sorted(found, key=lambda point: point.at)


def events(story: Mapping[str, Any]) -> list[Event]:
    """What happened, in order of time; an event without a readable time is left out."""
    found = []
    for row in rows(story, "events"):
        at = instant(row.get("at"))
        if at is not None:
            kind = text(row.get("kind"), 20) or "event"
            found.append(Event(at, kind, text(row.get("title"), 60) or kind, text(row.get("why"))))
    return sorted(found, key=lambda event: event.at)


def spans(points: list[Point]) -> list[tuple[str, int, int]]:
    """Stretches answered by one model: (model, first index, last index)."""
    found: list[tuple[str, int, int]] = []
    for index, point in enumerate(points):
        if found and found[-1][0] == point.model:
            found[-1] = (point.model, found[-1][1], index)
        else:
            found.append((point.model, index, index))
    return found


def pooled(points: Iterable[Point]) -> Estimate:
    """True accuracy over several buckets, weighted by their labels, with its 95 % interval as a share of all of them."""
    seen = [point.true for point in points if point.true.n and math.isfinite(point.true.value)]
    n = sum(one.n for one in seen)
    hits = round(sum(one.value * one.n for one in seen), 6)  # whole, as they were counted
    return replace(share(min(max(hits, 0.0), n), n, 0.95), value=hits / n) if n else Estimate()


def blocks(points: list[Point], happened: Iterable[Event] = ()) -> list[Block]:
    """True accuracy over neighbouring buckets pooled to about a twentieth of all labels, 40 at least.

    A block never spans two versions, nor a shift, promotion or rollback; buckets without labels widen their block.
    """
    cuts = {event.at for event in happened if event.kind in ("shift", "promote", "rollback")}
    target = max(40, sum(point.true.n for point in points) // 20)
    groups: list[list[int]] = []
    labels = 0
    for index, point in enumerate(points):
        new = not groups or point.model != points[index - 1].model
        new = new or any(points[index - 1].at < cut <= point.at for cut in cuts)
        if new or labels >= target:
            groups.append([])
            labels = 0
        groups[-1].append(index)
        labels += point.true.n
    found = []
    for group in groups:
        first, last = points[group[0]], points[group[-1]]
        start = first.at - (first.at - points[group[0] - 1].at) / 2 if group[0] else first.at
        end = last.at + (points[group[-1] + 1].at - last.at) / 2 if group[-1] + 1 < len(points) else last.at
        true = pooled(points[i] for i in group)
        if true.n:
            found.append(Block(start, end, true, first.model))
    return found


def number_text(value: Any, digits: int = 3) -> str:
    """0.951, 1,240, 3.2e+09; "–" for what is not a finite number (an infinite one is "∞")."""
    found = number(value)
    if math.isinf(found):
        return "∞" if found > 0 else "−∞"
    if math.isnan(found):
        return "–"
    if found != 0 and (abs(found) >= 1e6 or abs(found) < 1e-3):
        return f"{found:.1e}"
    if abs(found) >= 100 or (float(found).is_integer() and abs(found) >= 10):
        return f"{found:,.0f}"
    return f"{found:.{digits if abs(found) < 10 else 1}f}"


def estimate_text(value: Any) -> str:
    """0.951 (0.934–0.964, n 800); "–" when nothing was seen."""
    found = estimate(value)
    if not math.isfinite(found.value):
        return "–"
    inside = []
    if math.isfinite(found.low) and math.isfinite(found.high):
        inside.append(f"{number_text(found.low)}–{number_text(found.high)}")
    if found.n:
        inside.append(f"n {found.n:,}")
    return number_text(found.value) + (f" ({', '.join(inside)})" if inside else "")


def time_text(value: Any) -> str:
    """2 Mar 2026 08:00 UTC; "–" when there is no readable time."""
    at = instant(value)
    return "–" if at is None else f"{at.day} {at:%b %Y %H:%M} UTC"


def threshold(promise: Mapping[str, Any]) -> float:
    """The evidence at which a promise lets its check alarm; NaN where there is none.

    1 / level for "e-value" and "fixed" (Ville, Markov), the level itself (the ARL) for "e-detector".
    """
    level = number(promise.get("level"))
    if not level > 0:
        return math.nan
    kind = promise.get("kind")
    return level if kind == "e-detector" else 1 / level if kind in ("e-value", "fixed") else math.nan


def promise_text(promise: Mapping[str, Any]) -> str:
    """The promise in one short line, for a figure or a table."""
    limit, level, kind = threshold(promise), number(promise.get("level")), promise.get("kind")
    if not math.isfinite(limit):
        return "no promise"
    if kind == "e-detector":
        return f"at most 1 false alarm in {level:,.0f} observations"
    return f"false alarm {'ever' if kind == 'e-value' else 'per look'} at most {level:g}"


def promise_words(promise: Mapping[str, Any]) -> str:
    """The promise as a person would explain it, in one or two sentences."""
    limit, kind = threshold(promise), promise.get("kind")
    if not math.isfinite(limit):
        return "A plain comparison of numbers. It makes no promise about false alarms."
    at = number_text(limit)
    if kind == "e-detector":
        return (
            f"It alarms when the evidence reaches {at}. While nothing is wrong, that happens at most once in {at} "
            f"observations on average, however often one looks: good enough to call a person."
        )
    if kind == "e-value":
        return (
            f"It alarms when the evidence reaches {at}. If nothing is ever wrong, the chance that this happens at any "
            f"time, however long and often one looks, is at most 1 in {at}: good enough to act without asking."
        )
    return f"It alarms when the evidence reaches {at}. If nothing is wrong, one look does so at most 1 time in {at}."


def clean(value: Any) -> Any:
    """`value` as JSON can hold it: times as ISO text, dataclasses as dicts, NaN and infinities as None."""
    if isinstance(value, Mapping):
        return {text(key, 200): clean(item) for key, item in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return clean(asdict(value))
    if isinstance(value, datetime):
        return value.isoformat()
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if hasattr(value, "tolist"):
        return clean(value.tolist())
    if isinstance(value, Iterable) and not isinstance(value, bytes | bytearray):
        return [clean(item) for item in value]
    return str(value)


def headline(story: Mapping[str, Any]) -> str:
    """What happened, in two sentences or three, from the story alone."""
    points, happened = timeline(story), events(story)
    if not points:
        versions = rows(story, "versions")
        if not versions:
            return "Nothing has happened yet: there is no version and no answer."
        return f"{len(versions)} version{'s' * (len(versions) > 1)} registered. No answers have been recorded yet."
    alarms = [event for event in happened if event.kind in ("detect", "update")]
    if not alarms:
        return _quiet(points)
    past = [event.at for event in happened if event.kind in ("promote", "rollback") and event.at < alarms[-1].at]
    if past:
        points = [point for point in points if point.at >= past[-1]]
        happened = [event for event in happened if event.at > past[-1]]
    return _loud(points, happened, next(event for event in happened if event.kind in ("detect", "update")))


def _quiet(points: list[Point]) -> str:
    answers, accuracy = sum(point.n for point in points), pooled(points)
    known = "No labels arrived yet, so the accuracy is unknown."
    if accuracy.n:
        known = f"Accuracy is {estimate_text(accuracy)}."
    return f"{answers:,} answers were watched over {_span(points)} and nothing was found wrong. {known}"


def _loud(points: list[Point], happened: list[Event], detected: Event) -> str:
    shift = next((event for event in reversed(happened) if event.kind == "shift" and event.at <= detected.at), None)
    change = shift.at if shift else detected.at
    ends = [event for event in happened if event.at >= detected.at and event.kind in ("promote", "rollback", "reject")]
    end = next((event for event in ends if event.kind == "promote"), ends[-1] if ends else None)
    swapped = end is not None and end.kind != "reject"
    before = pooled(point for point in points if point.at < change)
    during = pooled(point for point in points if change <= point.at and not (swapped and end and point.at >= end.at))
    sentences = [_change(before, during, shift, detected)]
    if end is None:
        sentences.append("No update has been promoted yet.")
    elif end.kind == "reject":
        sentences.append(f"The candidate was rejected on {time_text(end.at)}, and the champion still answers.")
    else:
        after = pooled(point for point in points if point.at >= end.at)
        what = "A repaired version was promoted" if end.kind == "promote" else "The earlier version was put back"
        since = (
            f"; accuracy since then is {estimate_text(replace(after, n=0))}"
            if after.n
            else "; no labels have arrived since"
        )
        sentences.append(f"{what} on {time_text(end.at)}{since}.")
    return " ".join(sentences)


def _change(before: Estimate, during: Estimate, shift: Event | None, detected: Event) -> str:
    seen = f"on {time_text(detected.at)}"
    if shift is not None and detected.at > shift.at:
        seen = f"{_hours((detected.at - shift.at).total_seconds())} after the change"
    if not before.n or not during.n:
        found = "A change was found" if detected.kind == "detect" else "A repair began"
        return f"{found} {seen}: {detected.title}."
    verb = "fell" if during.high < before.low else "rose" if during.low > before.high else "went"
    return (
        f"Accuracy {verb} from {number_text(before.value)} to {number_text(during.value)}, "
        f"and {'the first alarm came' if detected.kind == 'detect' else 'a repair began'} {seen} ({detected.title})."
    )


def _span(points: list[Point]) -> str:
    return _hours((points[-1].at - points[0].at).total_seconds()) if len(points) > 1 else "one stretch of time"


def _hours(seconds: float) -> str:
    for size, unit in ((86_400.0, "day"), (3600.0, "hour"), (60.0, "minute")):
        if seconds >= (2 * size if unit == "day" else size):
            count = round(seconds / size)
            return f"{count} {unit}{'s' * (count != 1)}"
    return f"{seconds:.0f} seconds"


def _plain(value: Any) -> dict[str, Any]:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    return dict(value) if isinstance(value, Mapping) else {}
