"""Which column of a file is the input, which the target: as named by the user, else by their usual names."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import replace

from luthier.errors import DataError
from luthier.options import ColumnOptions

__all__ = ["INPUTS", "TARGETS", "roles", "yaml_text"]

INPUTS = (
    "text", "sentence", "content", "review", "input", "utterance", "query", "message", "tweet", "comment", "document",
    "body", "question",
)  # fmt: skip
"""Names under which the input is usually found (case does not matter)."""

TARGETS = ("label", "target", "class", "sentiment", "intent", "category", "topic", "labels", "label_text")
"""Names under which the target is usually found (case does not matter)."""


def roles(where: str, columns: Sequence[str], options: ColumnOptions, *, labelled: bool = True) -> ColumnOptions:
    """`options` with input and target filled in from the columns that are there.

    Raises DataError, with the columns found and the lines to write, when a named column is absent, or when none or
    several carry a usual name. Without `labelled` the target may be absent.
    """
    for role, name in [("input", options.input), ("target", options.target), ("id", options.id), ("at", options.at)]:
        if name is not None and name not in columns and (labelled or role != "target"):
            raise DataError(_absent(where, columns, f"data.columns.{role}", name))
    for tag in options.tags:
        if tag not in columns:
            raise DataError(_absent(where, columns, "data.columns.tags", tag))
    taken = {name for name in (options.input, options.target, options.id, options.at) if name}
    free = [name for name in columns if name not in taken]
    target = options.target if options.target in columns else None
    if target is None and (labelled or options.target is None):
        target = _usual(where, columns, free, "target", needed=labelled)
    chosen = options.input or _usual(where, columns, [name for name in free if name != target], "input", needed=True)
    return replace(options, input=chosen, target=target)


def _usual(where: str, columns: Sequence[str], free: Sequence[str], role: str, *, needed: bool) -> str | None:
    usual = INPUTS if role == "input" else TARGETS
    found = [name for name in free if name.strip().casefold() in usual]
    if len(found) == 1:
        return found[0]
    if not needed:
        return None
    what = f"{len(found)} columns may be the {role}" if found else f"no column has a usual name for the {role}"
    likely = found or [name for name in free if name.strip().casefold() not in INPUTS + TARGETS] or list(free)
    guess = (
        "   # or: ".join(filter(None, [yaml_text(likely[0]), ", ".join(map(yaml_text, likely[1:6]))]))
        if likely
        else "…"
    )
    there = ", ".join(map(repr, columns)) or "none"
    raise DataError(
        f"{where}: {what}. Its columns are: {there}. Say which one it is in luthier.yaml:\n"
        f"data:\n  columns:\n    {role}: {guess}"
    )


def _absent(where: str, columns: Sequence[str], key: str, name: str) -> str:
    near = difflib.get_close_matches(name.casefold(), [column.casefold() for column in columns], n=1)
    meant = next((column for column in columns if near and column.casefold() == near[0]), None)
    hint = f" Did you mean {meant!r}?" if meant else ""
    there = ", ".join(map(repr, columns)) or "none"
    return f"{where}: {key} names {name!r}, which is not among its columns: {there}.{hint}"


def yaml_text(value: str) -> str:
    """A text as YAML: bare when that is safe, quoted otherwise."""
    plain = re.fullmatch(r"(?:\.{0,2}/)?[A-Za-z_](?:[\w ./-]*[\w./-])?", value, re.ASCII)
    words = {"true", "false", "null", "yes", "no", "on", "off", "nan", "inf", "y", "n"}
    if plain and value.casefold() not in words:
        return value
    return '"' + "".join(map(_escaped, value)) + '"'


def _escaped(letter: str) -> str:
    if letter in '"\\':
        return "\\" + letter
    return letter if letter.isprintable() else f"\\U{ord(letter):08x}"
