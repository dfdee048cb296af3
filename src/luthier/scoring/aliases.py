"""Which columns of a table are the answers and the targets: those that are named, else those with a usual name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Any

import numpy as np

from luthier.errors import StateError
from luthier.tables import arrays
from luthier.tables.tabular import names_of, part_of

__all__ = ["ALIASES", "PREFIXES", "in_order_of", "recognised", "theirs"]

ALIASES: Mapping[str, tuple[str, ...]] = {
    "target": ("label", "y_true", "actual", "truth", "ground_truth"),
    "predicted": ("prediction", "y_pred", "predicted_label"),
    "probabilities": ("y_pred_proba", "predicted_probability", "probability", "y_prob", "y_score", "score"),
}
"""Our name to usual ones; a column under our own name goes first, whatever else there is."""
PREFIXES = ("probability_", "proba_", "y_prob_", "y_pred_proba_")
"""`probabilities`, one column a class: each of these and the name of the class."""
_NEEDED = (
    "target",
    "predicted",
    "probabilities",
    "loss",
    "gains",
    "confidence",
)  # the reference has those that are named
_VAGUE = ("score", "y_score")  # grades and rankings bear these names too: only values in [0, 1] are probabilities


def recognised(
    table: Any, given: Mapping[str, Any], labels: Sequence[Any] | None
) -> tuple[dict[str, Any], tuple[Any, ...] | None]:
    """Our column names to the table's, with those `given` and those with a usual name, and the labels with columns of their own.

    `probabilities` in one column a class are in the order of `labels`, else of their names. Raises StateError where two
    columns may be the same one of ours.
    """
    names, found = names_of(table), _mapped(given)
    _there(found, names)
    taken = {name for one in found.values() for name in theirs(one)}
    free = [name for name in names if name not in taken]
    for ours, usual in ALIASES.items():
        if ours in found or ours in names:
            continue
        candidates: list[Any] = [name for name in usual if name in free and _fits(table, name)]
        if ours == "probabilities":
            candidates += [wide for prefix in PREFIXES if len(wide := [n for n in free if n.startswith(prefix)]) > 1]
        if len(candidates) > 1:
            told = " or ".join(repr(one) for one in candidates)
            raise StateError(f"`{ours}` may be {told}: say which, columns={{{ours!r}: {candidates[0]!r}}}")
        if candidates:
            found[ours] = candidates[0]
    wide = found.get("probabilities", "")
    if isinstance(wide, str) or "probabilities" in given:  # under names of their own: see `Scoring.learn`
        return found, None if labels is None else tuple(labels)
    found["probabilities"], classes = _ordered(wide, labels, _text(table, found))
    return found, classes


def theirs(one: Any) -> tuple[str, ...]:
    """The column, or the several columns, of the table that stand for one of ours."""
    return tuple(map(str, one)) if isinstance(one, list | tuple) else (str(one),)  # a table's name may be a number


def in_order_of(named: Any, labels: tuple[Any, ...]) -> tuple[Any, ...]:
    """The labels in the order of the columns of their probabilities, where these are named after them."""
    if not isinstance(named, list) or len(named) != len(labels):
        return labels
    start = sum(1 for _ in takewhile(lambda signs: len({*signs}) == 1, zip(*named, strict=False)))
    by_name = {str(one): one for one in labels}
    order = next((names for names in (named, [one[start:] for one in named]) if {*names} == by_name.keys()), None)
    return labels if order is None else tuple(by_name[one] for one in order)


def _mapped(given: Any) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        raise StateError(
            f"columns is a {type(given).__name__}; give a dictionary of our names to your table's: "
            f"columns={{'target': 'churned', 'probabilities': 'p'}}"
        )
    usual = {
        alias: ours for ours, known in ALIASES.items() for alias in known if alias not in _VAGUE and ours not in given
    }
    return {
        usual.get(str(ours), str(ours)): [*theirs(one)] if isinstance(one, list | tuple) else str(one)
        for ours, one in given.items()
    }


def _there(given: Mapping[str, Any], names: list[str]) -> None:
    """Raise StateError where the reference lacks a column that was named for it; what only traffic has may be missing."""
    for ours, one in given.items():
        missing = [name for name in theirs(one) if name not in names]
        if not missing or (len(missing) == len(theirs(one)) and ours not in (*_NEEDED, *names)):
            continue
        turned = ours in names and missing[0] in (*_NEEDED, *ALIASES)
        way_out = f"the other way round, {{{missing[0]!r}: {ours!r}}}" if turned else f"{{{ours!r}: 'your column'}}"
        raise StateError(
            f"columns name {missing[0]!r} as {ours}, and there is no such column; there are {', '.join(names[:20])}. Our name "
            f"comes first, then yours: columns={way_out}"
        )


def _fits(table: Any, name: str) -> bool:
    if name not in _VAGUE:
        return True
    values = arrays(part_of(table, names=[name]))[name]
    with np.errstate(invalid="ignore"):
        return values.dtype.kind in "biuf" and not ((values < 0) | (values > 1)).any()


def _text(table: Any, found: Mapping[str, Any]) -> bool:
    """Whether the labels of the table's targets or answers are text."""
    names = [name for ours in ("target", "predicted") for name in (found.get(ours, ours),) if name in names_of(table)]
    values = [one for column in arrays(part_of(table, names=names)).values() for one in column[:1000].tolist()]
    return any(isinstance(one, str) for one in values)


def _ordered(wide: list[str], labels: Sequence[Any] | None, text: bool) -> tuple[list[str], tuple[Any, ...]]:
    """The columns of the classes in the order of their labels, and these."""
    prefix = next(one for one in PREFIXES if all(name.startswith(one) for name in wide))
    classes = {name.removeprefix(prefix): name for name in wide}
    if labels is None:
        whole = not text and all(name.isdecimal() for name in classes)
        labels = sorted(map(int, classes)) if whole else sorted(classes)
    if odd := sorted(classes.keys() ^ {str(one) for one in labels}):
        raise StateError(
            f"the columns {', '.join(wide)} are no probabilities of the labels {list(labels)}: {odd[0]!r} is in one alone. "
            f"Name the columns in the order of the labels: columns={{'probabilities': […]}}"
        )
    return [classes[str(one)] for one in labels], tuple(labels)
