"""Answers as rows of a store and back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from luthier.errors import RecordError
from luthier.stores.base import Row
from luthier.types import Record

__all__ = ["at_random", "from_row", "is_number", "plain", "to_row", "with_label"]

_PICKED = "luthier.picked"  # a tag that only `with_label` gives


def to_row(record: Record) -> Row:
    """An answer as a row: scalar numbers of the output also as `numbers`, the embedding as float16 in `blob`.

    JSON has no NaN: a non-finite number is None in the body, and what it was in `numbers`.
    Raises RecordError naming the record when something in it is no plain data.
    """
    output, blob, numbers = record.output, b"", {}
    if isinstance(output, Mapping):
        numbers = {str(key): _float(value) for key, value in output.items() if is_number(value)}
        if output.get("embedding") is not None:
            blob = _half(record.id, output["embedding"])
        output = {key: value for key, value in output.items() if key != "embedding"}
    try:
        body = {"input": record.input, "output": output, "tags": dict(record.tags), "model": record.model}
        if record.target is not None:
            body["target"] = record.target
        return Row(record.id, record.at, plain(body), numbers, blob)
    except (TypeError, ValueError, RecursionError) as error:
        raise RecordError(f"record {record.id!r:.80} cannot be kept: {error}; hand over plain data") from None


def from_row(row: Row) -> Record:
    """The record that `to_row` was given; the embedding comes back as float16 (d,)."""
    body, output = row.body, row.body.get("output")
    if isinstance(output, dict):
        output = {key: row.numbers.get(key, value) if value is None else value for key, value in output.items()}
        if row.blob:
            output["embedding"] = np.frombuffer(row.blob, dtype="<f2")
    return Record(
        row.id, row.at, body.get("input"), output, body.get("target"), body.get("model", ""), body.get("tags", {})
    )


def with_label(answer: Row, label: Row) -> Record:
    """The answer with the label's target. Whether it was picked for labelling is known from the label alone."""
    made = from_row(answer)
    tags = {name: value for name, value in made.tags.items() if name != _PICKED}
    if not label.body.get("at_random", True):
        tags[_PICKED] = "yes"
    return replace(made, target=label.body["target"], tags=tags)


def at_random(record: Record) -> bool:
    """Whether a labelled record stands for the traffic; False when it was labelled because of what it is, so that one
    may learn from it but not measure by it."""
    return record.tags.get(_PICKED) != "yes"


def is_number(value: Any) -> bool:
    """An int or float, of Python or numpy, and no bool."""
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


def _half(id: str, embedding: Any) -> bytes:
    try:
        with np.errstate(over="ignore"):
            vector = np.asarray(embedding, dtype="<f2")
    except (TypeError, ValueError) as error:
        raise RecordError(f"record {id!r:.80}: the embedding is not an array of numbers: {error}") from None
    if vector.ndim != 1:
        raise RecordError(f"record {id!r:.80}: the embedding has shape {vector.shape}; it must be (d,)")
    return vector.tobytes()


def plain(value: Any) -> Any:
    """`value` as JSON data: numpy becomes lists and numbers, a non-finite number None. Else raises TypeError."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    if isinstance(value, np.generic | np.ndarray):
        return plain(value.tolist())
    raise TypeError(f"it holds a {type(value).__name__}")


def _float(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:  # an integer of 309 digits or more
        return math.inf if value > 0 else -math.inf
