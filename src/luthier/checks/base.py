"""What a check is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Protocol, TypeAlias

from luthier.types import Columns, Finding, Promise

__all__ = ["Check", "Memory"]

Memory: TypeAlias = Mapping[str, Any]
"""Plain data: str, int, float, bool, lists and dicts of them, and numpy arrays without objects. Bounded; never pickled."""


class Check(Protocol):
    """A frozen dataclass of options with two methods.

    `when` "answer": windows hold answers as they arrive; "label": rows whose target has just become known; "pair":
    paired columns of candidate and champion (a gate).

    `start` turns the reference (or, in a gate, nothing: `{}`) into memory; `step` takes the next window of columns
    and answers with the new memory and a Finding on everything seen so far. A window may be empty. Neither changes
    its arguments. The laws (laws.py): a window cut into parts gives the same last finding as the whole, memory
    survives `codec.pack`/`unpack`, what `step` never changes lies under the key "reference" (the monitor derives it again
    instead of storing it), an empty window changes nothing, NaN never reaches `evidence`.
    """

    name: str
    when: Literal["answer", "label", "pair"]

    @property
    def promise(self) -> Promise: ...
    def start(self, reference: Columns) -> Memory: ...
    def step(self, memory: Memory, window: Columns) -> tuple[Memory, Finding]: ...
