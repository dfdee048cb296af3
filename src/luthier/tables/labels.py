"""Class labels, text or whole numbers, as indices; the same label has the same index in every window."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from luthier.errors import StateError
from luthier.tables import Judge, first_wrong, has_lists

__all__ = [
    "absent", "aligned", "as_labels", "codes", "distinct", "fractions", "is_text", "listed", "named", "no_amounts", "one_a_row", "plain",
    "sets",
]  # fmt: skip

_MOST = 65_536  # labels
_TEXT = 64  # characters of a label
_FEW = 30  # labels -1, and as many 1, without a 0 are another coding
_RECODE = "Write 0 for the negative label; a row without a label holds None or NaN"
_ADD = "Add it at the end of Scoring(labels=…), or leave these rows out"


def as_labels(name: str, values: np.ndarray, judge: Judge = first_wrong) -> np.ndarray:
    """Labels (n,) as text, "" where missing, or int64, -1 where missing.

    Raises StateError for fractions, and for text and numbers in one column.
    """
    if values.dtype.kind in "bi":
        return values.astype(np.int64)
    if values.dtype.kind == "U":
        return values.astype(f"U{_TEXT}") if values.dtype.itemsize > 4 * _TEXT else values
    if values.dtype.kind in "uf":
        values = values.astype(np.float64, copy=False)
        with np.errstate(invalid="ignore"):
            wrong = ~np.isnan(values) & ((values != np.trunc(values)) | (np.abs(values) >= 2.0**53))
        judge(
            name, wrong, values, "hold no label", "Labels are text or whole numbers; for amounts say task='regression'"
        )
        return np.where(np.isnan(values) | wrong, -1, np.nan_to_num(values)).astype(np.int64)
    return _of_objects(name, values, judge)


def absent(values: np.ndarray) -> np.ndarray:
    """Which labels (n,) are missing."""
    gone: np.ndarray = values == ("" if values.dtype.kind == "U" else -1)
    return gone


def codes(name: str, values: np.ndarray, labels: Sequence[Any] | None, judge: Judge = first_wrong) -> np.ndarray:
    """Indices (n,) int64 of labels, -1 where missing; whole numbers stay as they are where `labels` is None.

    Text that spells whole-number labels, as a CSV file does, is read as these, and the other way round. Raises StateError
    that counts the rows with a label that is none of them.
    """
    values = as_labels(name, one_a_row(name, values), judge)
    if labels is None:
        if values.dtype.kind == "U":
            raise StateError(
                f"column {name!r} holds text, but the reference has no labels: name them, Scoring(labels=…)"
            )
        return values
    known = as_labels("labels", np.array(list(labels), dtype=object))
    if known.dtype.kind != values.dtype.kind:
        if absent(values).all():
            return np.full(len(values), -1, np.int64)
        values = _respelled(values, labels)
    if known.dtype.kind != values.dtype.kind:
        held, wanted = ("text" if array.dtype.kind == "U" else "whole numbers" for array in (values, known))
        raise StateError(
            f"column {name!r} holds {held}, but the labels are {wanted}: {listed(labels)}. Give both in one type"
        )
    order = np.argsort(known, kind="stable")
    place = np.minimum(np.searchsorted(known[order], values), len(known) - 1)
    found = order[place].astype(np.int64)
    strange = known[found] != values
    wrong = strange & ~absent(values)
    judge(name, wrong, values, f"hold none of the {len(labels)} labels {listed(labels)}", _ADD)
    other = _other_coding(values, labels)
    judge(name, other, values, f"hold -1, which is no label, and none holds 0 of {listed(labels)}", _RECODE)
    found[strange] = -1
    return found


def _respelled(values: np.ndarray, labels: Sequence[Any]) -> np.ndarray:
    """Labels (n,) in the type of `labels`, where each is one of them in the other type; else as they are."""
    if values.dtype.kind == "U":
        known: dict[Any, Any] = {text: one for one in labels for text in (str(one), f"{one}.0")} | {"": -1}
    else:
        known = {int(one): one for one in labels if re.fullmatch(r"-?[0-9]{1,18}", one)} | {-1: ""}
    seen, place = np.unique(values, return_inverse=True)
    if not known.keys() >= set(seen.tolist()):
        return values
    return np.array([known[one] for one in seen.tolist()])[place]


def _other_coding(values: np.ndarray, labels: Sequence[Any]) -> np.ndarray:
    """Where the rows (n,) hold -1 while the labels are 0 and 1, and many rows hold -1 or 1 and none 0."""
    gone = absent(values)
    if values.dtype.kind == "U" or set(labels) != {0, 1} or (values == 0).any():
        return np.zeros(len(values), bool)
    return gone if min(int(gone.sum()), len(gone) - int(gone.sum())) >= _FEW else np.zeros(len(values), bool)


def distinct(name: str, *columns: Iterable[Any]) -> tuple[Any, ...]:
    """All labels in some columns (arrays or lists), sorted; -1 beside nothing but 1 is one of them, else it is missing.

    Raises StateError for more than 65,536 of them, and for text beside numbers.
    """
    seen: set[Any] = set()
    for part in columns:
        whole = isinstance(part, np.ndarray) and part.dtype.kind != "O"
        rows = [*map(plain, np.unique(as_labels(name, np.asarray(part))).tolist() if whole else part)]
        odd = np.array([not isinstance(one, str | int | None) for one in rows], bool)
        first_wrong(name, odd, rows, "hold no label", "Labels are text or whole numbers")
        seen |= set(rows)
    seen -= {None, ""} | (set() if seen - {None} == {-1, 1} else {-1})
    if len({isinstance(one, str) for one in seen}) > 1:
        raise StateError(
            f"column {name!r} mixes text and numbers as labels: {listed(sorted(seen, key=repr))}. Give all in one type"
        )
    if len(seen) > _MOST:
        raise StateError(
            f"column {name!r} holds {len(seen):,} different labels; {_MOST:,} are the most. If they are ids or free text, "
            f"give a column `loss` instead"
        )
    return tuple(sorted(seen))


def plain(value: Any) -> Any:
    """A label as Python's own str or int; a whole float is an int, NaN is None."""
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, str):
        return value[:_TEXT]
    if isinstance(value, float) and value != value:
        return None
    return int(value) if isinstance(value, float | bool) and value == int(value) else value


def listed(labels: Sequence[Any]) -> str:
    """The first ten labels, for a message."""
    shown = ", ".join(repr(one) for one in labels[:10])
    return f"[{shown}{f', … {len(labels) - 10:,} more' if len(labels) > 10 else ''}]"


def one_a_row(name: str, values: np.ndarray) -> np.ndarray:
    """The column (n,), or (n, 1) as networks give it; raises StateError when its rows are lists or vectors."""
    if values.ndim == 2 and values.shape[1] == 1:
        return values[:, 0]
    if values.ndim != 1 or has_lists(values):
        raise StateError(f"column {name!r} has several values a row; this task has one. Say which task it is: task=…")
    return values


def fractions(values: np.ndarray) -> bool:
    """Whether a column holds a number that is not whole."""
    if values.dtype.kind != "f":
        return False
    seen = values[np.isfinite(values)]
    return bool((seen != np.trunc(seen)).any())


def no_amounts(name: str, values: np.ndarray, most: int) -> None:
    """Raise StateError where text spells numbers that may be amounts: fractions, or more than `most` different ones."""
    if values.dtype.kind not in "UO" or values.ndim != 1:
        return
    texts = {one for one in values.tolist() if isinstance(one, str) and one.strip()}
    spelt = [number for one in texts if (number := _number(one)) == number]
    whole = all(number.is_integer() for number in spelt)
    if len(spelt) < 0.99 * len(texts) or (whole and len(spelt) <= most):
        return
    raise StateError(
        f"column {name!r} holds {len(spelt):,} different numbers as text, such as {min(texts)!r}: amounts or labels? Convert it to "
        f"numbers, or say task='regression' (text with a decimal point is read) or task='multiclass'"
    )


def _number(text: str) -> float:
    """The finite number that a text spells, with a decimal point or comma; else NaN."""
    for spelling in (text, text.replace(",", ".") if text.count(",") == 1 else text.replace(",", "")):
        try:
            return number if math.isfinite(number := float(spelling)) else math.nan
        except ValueError:
            continue
    return math.nan


def sets(values: np.ndarray) -> bool:
    """Lists of labels, rather than rows of 0 and 1 that are all as long."""
    if not has_lists(values):
        return False
    rows = [row for row in values.tolist() if row is not None]
    return len({len(row) for row in rows}) > 1 or any(
        isinstance(one, str) or one not in (0, 1) for row in rows for one in row
    )


def named(values: np.ndarray, labels: tuple[Any, ...]) -> bool:
    """Whether the rows are lists of these labels; text labels may also be the names of columns of 0 and 1."""
    if not has_lists(values):
        return False
    first = next((one for row in values.tolist() if row is not None for one in row), "")
    return isinstance(first, str) or not isinstance(labels[0], str)


def aligned(pair: list[np.ndarray]) -> bool:
    """Whether answers and targets are lists of labels, as long as each other: tokens, not sets of labels."""
    if len(pair) < 2 or not all(map(has_lists, pair)) or not any(map(sets, pair)):
        return False
    both = zip(pair[0].tolist(), pair[1].tolist(), strict=True)
    return all(a is None or b is None or len(a) == len(b) for a, b in both)


def _of_objects(name: str, values: np.ndarray, judge: Judge) -> np.ndarray:
    rows = [plain(one) for one in values.tolist()]
    gone, text = (np.array([test(one) for one in rows], bool) for test in (_none, _is_text))
    whole = np.array([isinstance(one, int) for one in rows], bool)
    numbers = bool(whole.sum() > text.sum())
    wrong = ~gone & ~(whole if numbers else text)
    judge(name, wrong, values, f"hold no {'whole number' if numbers else 'text'}, as the others do", "Give one type")
    rows = [None if odd else one for one, odd in zip(rows, wrong.tolist(), strict=True)] if wrong.any() else rows
    if numbers or gone.all():
        return np.array([-1 if one is None else one for one in rows], np.int64)
    return np.array(["" if one is None else one for one in rows], dtype=str)


def _none(value: Any) -> bool:
    return value is None


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def is_text(values: np.ndarray) -> bool:
    """Whether a column holds any text."""
    return values.dtype.kind == "U" or (values.dtype.kind == "O" and any(map(_is_text, values.tolist())))
