"""What stages hand to each other about data: issues, and records with the rows they came from."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from luthier.types import Record

__all__ = ["Issue", "Loaded", "Progress", "normalised"]

Progress = Callable[[str, float], None]
"""Called as progress(what, share done in [0, 1])."""


@dataclass(frozen=True, slots=True)
class Issue:
    """One thing that is wrong with the data, told once: how often, where first, and the way out.

    An error stops `fit`, a warning does not. `rows` are the first five places, each `file:row` (a line of a text
    file, a row counted from 1 of any other), `count` how many there are.
    """

    severity: Literal["error", "warning"]
    rule: str
    message: str
    count: int = 1
    rows: tuple[str, ...] = ()

    def __str__(self) -> str:
        more = self.count - len(self.rows)
        where = f" [{', '.join(self.rows)}{f' and {more:,} more' if more > 0 else ''}]" if self.rows else ""
        return f"{self.severity}: {self.rule}: {self.message}{where}"


@dataclass(frozen=True, slots=True)
class Loaded:
    """Records, the place each came from (`rows`, as long as `records`), and what was rejected on the way."""

    records: tuple[Record, ...] = ()
    issues: tuple[Issue, ...] = ()
    rows: tuple[str, ...] = ()

    @classmethod
    def of(cls, records: Sequence[Record]) -> Loaded:
        """Records that came from no file: their ids stand for the rows."""
        return cls(tuple(records), (), tuple(record.id for record in records))


def normalised(value: Any) -> str:
    """An input without what does not make it another one: Unicode form (NFKC), case, and runs of white space.

    >>> normalised("  Great\\nFILM ")
    'great film'
    """
    if not isinstance(value, str):
        return json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
    text = value if value.isascii() else unicodedata.normalize("NFKC", value)
    return " ".join(text.casefold().split())
