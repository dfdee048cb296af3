"""Data: read files into records, divide them by a hash, and give a set its fingerprint."""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from luthier.errors import DataError
from luthier.options import ColumnOptions, SplitOptions
from luthier.reading.files import LONGEST, BadRow, Table, broken, label_text, moment, table
from luthier.reading.roles import roles
from luthier.stages.base import Issue, Loaded, Progress, normalised
from luthier.types import Record, Split, content_id, utc_now

__all__ = ["Issue", "Loaded", "fingerprint", "read", "split"]

_ADVICE = {
    "malformed": "correct these rows; the others were read",
    "huge_row": f"shorten these texts to {LONGEST:,} characters or divide them",
    "empty_input": "give them a text or delete them",
    "not_text": "an input is text; name another column under `data.columns.input`",
    "broken_text": "export the file again as UTF-8",
    "no_label": "label them or delete them",
    "bad_label": "give each row one label",
    "bad_time": "write ISO 8601 (2026-01-31T12:00:00Z) or Unix seconds, or leave out `data.columns.at`",
    "id_twice": "an id stands for one record; the first was kept",
}


def read(
    paths: str | Path | Sequence[str | Path], columns: ColumnOptions | None = None, *, base: Path | None = None,
    labelled: bool = True, progress: Progress | None = None,
) -> Loaded:  # fmt: skip
    """Records of one or several files, relative paths starting at `base`.

    Rows that cannot be used become issues, counted and named, and the rest is read; without `labelled` a row needs no
    target. The id is the caller's column, else a hash of the input; the time is the column `at`, else now.

    Raises DataError when a file cannot be read at all, when a column cannot be found, or when no row is usable.
    """
    listed = [paths] if isinstance(paths, str | Path) else list(paths)
    if not listed:
        raise DataError("there is no data file; name one under `data: train:` in luthier.yaml")
    taken = _Taken(labelled=labelled, now=utc_now())
    for number, path in enumerate(listed):
        if progress:
            progress(f"reading {Path(path).name}", number / len(listed))
        _take(taken, table((base or Path()) / path), columns or ColumnOptions(), [Path(each).name for each in listed])
    return taken.loaded(", ".join(map(str, listed)))


@dataclass(slots=True)
class _Taken:
    """What was read so far."""

    labelled: bool
    now: datetime
    records: list[Record] = field(default_factory=list)
    rows: list[str] = field(default_factory=list)
    bad: dict[str, list[tuple[str, str]]] = field(default_factory=lambda: defaultdict(list))
    inputs: dict[str, str] = field(default_factory=dict)

    def loaded(self, where: str) -> Loaded:
        rejected = sum(map(len, self.bad.values()))
        severe = rejected > len(self.records)
        total = rejected + len(self.records)
        issues = tuple(
            Issue(
                "error" if severe else "warning", rule,
                f"{len(found):,} of {total:,} rows were left out ({found[0][1]}); {_ADVICE[rule]}",
                len(found), tuple(place for place, _ in found[:5]),
            )
            for rule, found in self.bad.items()
        )  # fmt: skip
        if not self.records:
            why = "\n".join(map(str, issues)) or "there is no row below the header"
            raise DataError(f"{where}: no row can be used:\n{why}")
        return Loaded(tuple(self.records), issues, tuple(self.rows))


def _take(taken: _Taken, source: Table, columns: ColumnOptions, names: Sequence[str]) -> None:
    found = roles(str(source.path), source.columns, columns, labelled=taken.labelled)
    clash = names.count(source.path.name) > 1  # two folders, one file name: say which
    shown = str(source.path) if clash else source.path.name
    for number, values in source.rows:
        place = f"{shown}:{number}"
        made = values if isinstance(values, BadRow) else _record(values, found, taken)
        if isinstance(made, Record) and found.id is not None:
            content = content_id([made.input, made.target])
            if taken.inputs.setdefault(made.id, content) != content:
                made = BadRow("id_twice", f"id {made.id!r} was given to another record before")
        if isinstance(made, BadRow):
            taken.bad[made.rule].append((place, made.why))
        else:
            taken.records.append(made)
            taken.rows.append(place)


def _record(values: Mapping[str, Any], columns: ColumnOptions, taken: _Taken) -> Record | BadRow:
    text = values.get(columns.input or "")
    if (wrong := _bad_text(text)) is not None:
        return wrong
    try:
        target = label_text(values.get(columns.target)) if columns.target else None
    except ValueError as error:
        return BadRow("bad_label", str(error))
    if target is None and taken.labelled:
        return BadRow("no_label", "the label is missing, blank or NaN")
    try:
        at = (moment(values.get(columns.at)) if columns.at else None) or taken.now
    except (ValueError, OverflowError) as error:
        return BadRow("bad_time", str(error))
    name = _scalar(values.get(columns.id)) if columns.id else ""
    tags = {tag: said for tag in columns.tags if (said := _scalar(values.get(tag)))}
    return Record(name or content_id(text), at, text, target=target, tags=tags)


def _bad_text(text: Any) -> BadRow | None:
    if text is None or (isinstance(text, float) and math.isnan(text)):
        return BadRow("empty_input", "there is no text")
    if not isinstance(text, str):
        return BadRow("not_text", f"the input is a {type(text).__name__}: {str(text)[:60]}")
    if not text.strip():
        return BadRow("empty_input", "the text is blank")
    if fault := broken(text):
        return BadRow("broken_text", f"{fault} stands in the text")
    return BadRow("huge_row", f"the text has {len(text):,} characters") if len(text) > LONGEST else None


def _scalar(value: Any) -> str:
    """An id or a tag as text; "" when there is none."""
    if value is None or isinstance(value, list | dict) or (isinstance(value, float) and math.isnan(value)):
        return ""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()


def split(
    records: Sequence[Record], options: SplitOptions | None = None, *, test: Sequence[Record] | None = None
) -> Split:
    """Train, validation and test by a hash of each record's normalised input with the salt.

    A record never changes sides when others come or go. Records whose texts differ only in case, white space or
    Unicode form fall on one side, whatever their ids: otherwise the test would hold what was trained on. With a
    `test` set of its own, train and validation share all of `records` in their proportion.

    Raises DataError when a side that should hold records stays empty.
    """
    options = options or SplitOptions()
    train = options.train if test is None else options.train / (options.train + options.validation)
    rest = train + options.validation if test is None else 1.0
    sides: tuple[list[Record], list[Record], list[Record]] = ([], [], [])
    for record in records:
        place = _place(record.input, options.salt)  # uniform in [0, 1)
        sides[0 if place < train else 1 if place < rest or options.test == 0 else 2].append(record)
    asked = {"train": sides[0], "validation": sides[1]}
    if test is None and options.test > 0:
        asked["test"] = sides[2]
    for name, side in asked.items():
        if not side:
            raise DataError(
                f"the split of {len(records)} records leaves {name} empty; add records, give {name} a bigger share "
                f"under `data: split:`, or choose another `salt`"
            )
    return Split(tuple(sides[0]), tuple(sides[1]), tuple(sides[2] if test is None else test))


def _place(value: Any, salt: str) -> float:
    digest = hashlib.sha256(f"{salt}\0{normalised(value)}".encode("utf-8", "surrogatepass")).digest()
    return (int.from_bytes(digest[:8], "big") >> 11) / 2**53  # 53 bits: exact as a float, and below 1


def fingerprint(records: Sequence[Record]) -> str:
    """`sha256:…` over inputs and targets as a multiset: the order, ids and times of the records do not matter.

    >>> fingerprint([])
    'sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'
    """
    each = sorted(content_id([record.input, record.target]) for record in records)
    return "sha256:" + hashlib.sha256("".join(each).encode()).hexdigest()
