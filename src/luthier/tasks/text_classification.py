"""One text in, one of a few labels out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from luthier.errors import RecordError, TargetError
from luthier.models import classification
from luthier.names import register
from luthier.types import Columns, Estimate, Record

__all__ = ["TextClassification"]


@register("task", "text_classification")
@dataclass(frozen=True)
class TextClassification:
    """Input: a text. Target: one of `labels`. Loss: 0 where the answer is the target, 1 elsewhere.

    Output: `label`, `confidence` (its probability), `margin` (over the next), `entropy` (nats), `length` (tokens),
    `scores` (label to probability, the five best), `embedding` (mean-pooled last hidden state, float16).
    """

    labels: tuple[str, ...] = ()
    name = "text_classification"

    @cached_property
    def _places(self) -> Mapping[str, int]:
        return {label: index for index, label in enumerate(self.labels)}

    @property
    def metrics(self) -> tuple[str, ...]:
        """The names `estimates` gives."""
        columns = self.columns(())
        return tuple(self.estimates(columns))

    def check(self, record: Record) -> None:
        """Raises RecordError for an input that is no text with something in it, TargetError for an unknown target."""
        if not isinstance(record.input, str):
            raise RecordError(
                f"record {record.id}: input is {type(record.input).__name__} {repr(record.input)[:60]}, but "
                f"{self.name} reads text. Name the text column under `data: columns: input:` in luthier.yaml"
            )
        if not record.input.strip():
            raise RecordError(
                f"record {record.id}: input is {record.input[:20]!r}, a text with nothing in it. Remove the row, "
                f"or name the right column under `data: columns: input:` in luthier.yaml"
            )
        if record.target is not None and _index(self._places, record.target) < 0:
            raise TargetError(
                f"record {record.id}: target {record.target!r} is not a label of {self.name}; labels are "
                f"{_few(self.labels)}. Add it to `labels:` in luthier.yaml, or set `unknown_labels: drop`"
            )

    def columns(self, records: Sequence[Record]) -> Columns:
        """One row a record; `score` is the probability of the second of two labels, `target_score` the target's."""
        place = self._places
        outputs = [record.output if isinstance(record.output, Mapping) else {} for record in records]
        predicted = np.array([_index(place, output.get("label")) for output in outputs], np.int64)
        target = np.array([_index(place, record.target) for record in records], np.int64)
        answered = np.array(["label" in output for output in outputs], bool)
        columns: dict[str, Any] = {
            "loss": np.where(answered & (target >= 0), (predicted != target).astype(np.float64), np.nan),
            "predicted": predicted,
            "target": target,
        }
        for name in ("confidence", "margin", "entropy", "length"):
            columns[name] = np.array([_number(output.get(name)) for output in outputs], np.float64)
        binary = self.labels[1] if len(self.labels) == 2 else None
        columns["score"] = self._scores(outputs, [binary] * len(records))
        columns["target_score"] = self._scores(outputs, [record.target for record in records])
        columns.update(_embeddings(outputs))
        return columns

    def estimates(self, columns: Columns, confidence: float = 0.95) -> Mapping[str, Estimate]:
        """Accuracy, F1 of the smallest class, macro F1, log loss, AUROC (two labels), precision and recall by label."""
        return classification.estimates(columns, self.labels, confidence)

    def adapter(self, source: str | Path) -> Any:
        """The model of `source` with its tokenizer; a model without a classifier for these labels gets a new one.

        Raises ModelError when `source` cannot be used, MissingPackage without the extra "fit".
        """
        from luthier.models.textmodel import TextClassifier

        return TextClassifier.open(source, self.labels)

    def _scores(self, outputs: Sequence[Mapping[str, Any]], wanted: Sequence[Any]) -> Any:
        """(n,) probability of each wanted label; a label not among the five best shares what they leave over."""
        found = np.full(len(outputs), np.nan)
        for row, (output, label) in enumerate(zip(outputs, wanted, strict=True)):
            scores = output.get("scores")
            if not isinstance(scores, Mapping) or not scores or _index(self._places, label) < 0:
                continue
            rest = max(0.0, 1.0 - sum(map(_number, scores.values()))) / max(1, len(self.labels) - len(scores))
            found[row] = _number(scores.get(label, rest))
        return found


def _few(labels: Sequence[str]) -> str:
    return str(list(labels)) if len(labels) <= 20 else f"{list(labels[:20])} and {len(labels) - 20} more"


def _index(place: Mapping[str, int], label: Any) -> int:
    return place.get(label, -1) if isinstance(label, str) else -1


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float | np.number) else math.nan


def _embeddings(outputs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """`embedding` (n, d) float32 when any row has one; rows without, or of another width than the first, are NaN."""
    vectors = [output.get("embedding") for output in outputs]
    width = next((len(vector) for vector in vectors if vector is not None), None)
    if width is None:
        return {}
    matrix = np.full((len(vectors), width), np.nan, np.float32)
    for row, vector in enumerate(vectors):
        if vector is not None and len(vector) == width:
            matrix[row] = vector
    return {"embedding": matrix}
