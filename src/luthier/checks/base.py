"""What a check is."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal, Protocol, TypeAlias

from luthier.types import Columns, Finding, Promise

__all__ = ["Check", "Memory", "counting_passed_over", "ended", "passed_over", "silent", "watched_by_default"]

Memory: TypeAlias = Mapping[str, Any]
"""Plain data: str, int, float, bool, lists and dicts of them, and numpy arrays without objects. Bounded; never pickled."""


class Check(Protocol):
    """A frozen dataclass of options with two methods.

    `when` "answer": windows hold answers as they arrive; "label": rows whose target has just become known; "pair":
    paired columns of candidate and champion (a gate); "curve": rows are training steps.

    `start` turns the reference (or, in a gate, nothing: `{}`) into memory; `step` takes the next window of columns
    and answers with the new memory and a Finding on everything seen so far. A window may be empty. Neither changes
    its arguments. The laws (laws.py): a window cut into parts gives the same last finding as the whole, memory
    survives `codec.pack`/`unpack`, what `step` never changes lies under the key "reference" (the monitor derives it again
    instead of storing it), an empty window changes nothing, NaN never reaches `evidence`.

    When nothing can be said (the reference is too small or lacks a column, nothing has been seen) the Finding has
    value nan, evidence 1 and no alarm, and `why` says what is missing. A column absent from a window is nothing seen.
    `alarm` of a monitor: something is wrong, and it stays until the memory is started again. In a gate `evidence`
    speaks for the requirement, which is shown once it reaches 1/level; `alarm` says that the opposite is shown.
    """

    name: str
    when: Literal["answer", "label", "pair", "curve"]

    @property
    def promise(self) -> Promise: ...
    def start(self, reference: Columns) -> Memory: ...
    def step(self, memory: Memory, window: Columns) -> tuple[Memory, Finding]: ...


def watched_by_default(name: str) -> bool:
    """Whether a check that is given no columns looks at this one: known with the answer, and no tag, id or time, which move
    on their own."""
    moves = name in ("target", "loss", "champion_loss", "id", "at") or name.endswith("_loss") or name.startswith("tag:")
    return not moves


def silent(name: str, promise: Promise, why: str, *, limit: float = math.nan, n: int = 0) -> Finding:
    """The Finding of a check that has nothing to say yet, and why."""
    return Finding(check=name, value=math.nan, limit=limit, evidence=1.0, promise=promise, alarm=False, n=n, why=why)


def ended(value: str, n: int, noun: str, alarm_n: int) -> str:
    """What an alarm that stays says once the rows that raised it are followed by as many good ones."""
    return (
        f"{value} over all {n} {noun}s; an alarm was shown at {noun} {alarm_n} and stays, though the newest {noun}s no longer "
        f"stand out. See whether what happened then is over"
    )


def passed_over(memory: Memory, window: Columns, used: int) -> Memory:
    """The memory, with how many rows so far a check could not use; `used`: those of this window that it could."""
    lost = max((len(values) for values in window.values()), default=0) - used
    return {**memory, "unread": memory.get("unread", 0) + lost} if lost else memory


def counting_passed_over(memory: Memory, finding: Finding, needed: str) -> Finding:
    """The finding, which says how many answers came without the columns it needs, lest an old number looks new."""
    count = memory.get("unread", 0)
    return replace(finding, why=f"{finding.why}; {count:,} answers came without {needed}") if count else finding
