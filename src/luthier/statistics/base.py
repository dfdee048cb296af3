"""What a statistic is, and the exact sums that make it add up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np

from luthier.types import Columns, Estimate

__all__ = ["State", "Statistic"]

State: TypeAlias = Mapping[str, Any]
"""Plain data: str, int, float, lists and dicts of them, and numpy arrays without objects. Bounded; never pickled."""


class Statistic(Protocol):
    """`observe` folds columns to a state, states merge, a state reads as estimates.

    `when` "answer": observed as answers arrive; "label": as targets become known. The law (laws.py): `merge(observe(A), observe(B)) == observe(A + B)`, exactly, in any order, empty included.
    """

    name: str
    when: Literal["answer", "label"]

    def observe(self, columns: Columns) -> State: ...
    def merge(self, a: State, b: State) -> State: ...
    def read(self, state: State) -> Mapping[str, Estimate]: ...


def column(columns: Columns, name: str) -> np.ndarray:
    """Column `name` as a float64 array (n,)."""
    return np.asarray(columns[name], dtype=np.float64)
