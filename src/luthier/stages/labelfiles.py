"""Label plans as files for people and labelling tools, and the labels back from them.

    .csv    one row a record; fill in the column `target`
    .jsonl  the same, one object a line
    .json   tasks for Label Studio (https://labelstud.io/guide/task_format), with the model's answer as prediction

A row that cannot be read is rejected by place, rule and reason; a row without a label is open. Nothing is lost silently.
"""

from __future__ import annotations

import csv
import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

from luthier.errors import DataError, UsageError
from luthier.fewlabels.labelplan import LabelPlan, Request
from luthier.reading import files
from luthier.rows import plain

__all__ = ["ENDINGS", "Returned", "interface", "read", "write"]

_ID = "luthier_id"  # under a name of its own: Label Studio numbers its tasks under `id`
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True, slots=True)
class Returned:
    """Labels that came back as {id, target}, how many rows are `open` (not labelled), how many told the same label
    twice (`repeated`), and what was rejected as (place, rule, why)."""

    labels: tuple[Mapping[str, str], ...] = ()
    open: int = 0
    repeated: int = 0
    rejected: tuple[tuple[str, str, str], ...] = ()

    @property
    def counts(self) -> dict[str, int]:
        """How many rows each rule rejected."""
        return dict(Counter(rule for _, rule, _ in self.rejected))


def write(plan: LabelPlan, path: str | Path, *, blind: bool = False) -> int:
    """The open requests of a plan as a file, by its ending; how many. `blind`: without what the model said.

    Text in a CSV that a spreadsheet would run as a formula gets an apostrophe in front; ids are never changed.
    Raises UsageError for an ending that is not known. The file appears whole or not at all.
    """
    path = Path(path)
    if blind:
        plan = replace(plan, requests=tuple(replace(one, predicted="", confidence=math.nan) for one in plan.requests))
    if path.suffix.lower() not in ENDINGS:
        raise UsageError(f"{path}: a plan is written as {', '.join(ENDINGS)}, not {path.suffix or 'without an ending'}")
    fresh = path.with_name(path.name + ".part")
    try:
        with fresh.open("w", encoding="utf-8", newline="") as out:
            ENDINGS[path.suffix.lower()](plan, out)
        fresh.replace(path)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror}. Name another file with --out") from error
    return len(plan.open)


def read(path: str | Path) -> Returned:
    """Labels from a filled-in plan, or from Label Studio's export (JSON or JSON-MIN).

    Raises DataError when the file cannot be read at all, or has no ids.
    """
    path = Path(path)
    found = files.table(path)
    named, labelled = {_ID, "id"} & set(found.columns), {"target", "label"} & set(found.columns)
    if "data" not in found.columns and not (named and labelled):
        raise DataError(
            f"{path}: labels need the columns id (or {_ID}) and target; columns are {', '.join(found.columns)}. Rename "
            f"them, or hand in Label Studio's export as JSON"
        )
    taken = _Taken()
    for number, values in found.rows:
        _take(taken, f"{path.name}:{number}", values)
    return taken.returned()


def interface(labels: Sequence[str]) -> str:
    """A Label Studio labeling interface that fits the tasks of a text classifier with these labels."""
    choices = "".join(f"\n    <Choice value={quoteattr(label)}/>" for label in labels)
    return (
        '<View>\n  <Text name="text" value="$text"/>\n  <Choices name="label" toName="text" choice="single">'
        f"{choices}\n  </Choices>\n</View>\n"
    )


def _flat(plan: LabelPlan, one: Request) -> dict[str, Any]:
    row = {"id": one.id, "input": one.input, "target": None, "predicted": one.predicted, "confidence": one.confidence}
    row |= {"chance": one.chance, "at_random": one.at_random, "cell": one.cell, "plan": plan.id}
    flat: dict[str, Any] = plain(row)
    return flat


def _csv(plan: LabelPlan, out: Any) -> None:
    rows = csv.writer(out)
    for number, one in enumerate(plan.open):
        flat = _flat(plan, one)
        if number == 0:
            rows.writerow(flat)
        rows.writerow([_cell(name, value) for name, value in flat.items()])
    if not plan.open:
        rows.writerow(["id", "input", "target"])


def _cell(name: str, value: Any) -> Any:
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False)
    formula = name in ("input", "predicted") and isinstance(value, str) and value.startswith(_FORMULA)
    return f"'{value}" if formula else value


def _jsonl(plan: LabelPlan, out: Any) -> None:
    for one in plan.open:
        out.write(json.dumps(_flat(plan, one), ensure_ascii=False) + "\n")


def _tasks(plan: LabelPlan, out: Any) -> None:
    json.dump([_task(plan, one) for one in plan.open], out, ensure_ascii=False, indent=1)


def _task(plan: LabelPlan, one: Request) -> dict[str, Any]:
    """`data` comes back in every export, so the id is there; `meta` is for people."""
    flat = _flat(plan, one)
    shown = flat["input"] if isinstance(flat["input"], dict) else {"text": flat["input"]}
    task: dict[str, Any] = {
        "data": {**shown, _ID: one.id},
        "meta": {name: flat[name] for name in ("chance", "at_random", "cell", "plan")},
    }
    if one.predicted:
        choice = {"from_name": "label", "to_name": "text", "type": "choices", "value": {"choices": [one.predicted]}}
        said: dict[str, Any] = {"model_version": plan.model, "result": [choice]}
        task["predictions"] = [said if flat["confidence"] is None else said | {"score": flat["confidence"]}]
    return task


ENDINGS = {".csv": _csv, ".jsonl": _jsonl, ".json": _tasks}


class _Bad(Exception):
    """Why one row gives no label: (rule, why)."""


@dataclass(slots=True)
class _Taken:
    """What was read so far; a name in `torn` has come with two labels, so neither counts."""

    labels: dict[str, tuple[str, str]] = field(default_factory=dict)  # id to (target, place)
    torn: set[str] = field(default_factory=set)
    rejected: list[tuple[str, str, str]] = field(default_factory=list)
    open: int = 0
    repeated: int = 0

    def add(self, name: str, target: str, place: str) -> None:
        if self.labels.setdefault(name, (target, place)) == (target, place) and name not in self.torn:
            return
        first, where = self.labels[name]
        if name not in self.torn and first == target:
            self.repeated += 1
            return
        if name not in self.torn:
            self.rejected.append(
                (where, "two_labels", f"{name!r:.80} is {first!r:.80} here and {target!r:.80} at {place}")
            )
            self.torn.add(name)
        raise _Bad("two_labels", f"{name!r:.80} is {target!r:.80} here and {first!r:.80} at {where}")

    def returned(self) -> Returned:
        kept = {name: target for name, (target, _) in self.labels.items() if name not in self.torn}
        labels = tuple({"id": name, "target": target} for name, target in kept.items())
        return Returned(labels, self.open, self.repeated, tuple(self.rejected))


def _take(taken: _Taken, place: str, values: Mapping[str, Any] | files.BadRow) -> None:
    try:
        if isinstance(values, files.BadRow):
            raise _Bad(values.rule, values.why)
        task = values if isinstance(values.get("data"), Mapping) else None
        name = _name(task["data"].get(_ID) if task else values.get(_ID, values.get("id")))
        target = _annotated(task) if task else _label(_chosen(values.get("target", values.get("label"))))
        if target is None:
            taken.open += 1
        else:
            taken.add(name, target, place)
    except _Bad as bad:
        taken.rejected.append((place, *bad.args))


def _name(value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, str) and value.strip():
        return value
    raise _Bad("no_id", f"there is no id of an answer (`{_ID}` in a task's data, else `id`)")


def _annotated(task: Mapping[str, Any]) -> str | None:
    """The one label that a task's annotators gave; None when nobody has looked at it."""
    given = task.get("annotations", task.get("completions")) or []  # a task as we exported it has none
    if not isinstance(given, list) or not all(isinstance(one, dict) for one in given):
        raise _Bad("malformed", "a task has a list of `annotations`")
    done = [one for one in given if not one.get("was_cancelled")]
    if given and not done:
        raise _Bad("skipped", "whoever annotated it skipped it")
    said = {target for one in done if (target := _label(_chosen(_results(one)))) is not None}
    if len(said) > 1:
        raise _Bad("annotators_disagree", f"it was called {', '.join(sorted(said)):.200}")
    if done and not said:
        raise _Bad("no_choice", "the annotation has no choice in it")
    return said.pop() if said else None


def _results(annotation: Mapping[str, Any]) -> list[Any]:
    """All choices of an annotation, of whatever controls."""
    found: list[Any] = []
    results = annotation.get("result")
    for result in results if isinstance(results, list) else []:
        value = result.get("value") if isinstance(result, dict) else None
        choices = value.get("choices") if isinstance(value, dict) else None
        found += choices if isinstance(choices, list) else []
    return found


def _chosen(value: Any) -> Any:
    """The one thing in a list, or in JSON-MIN's {choices: [...]}; anything else is itself."""
    if isinstance(value, dict):
        value = value.get("choices", [])
    if not isinstance(value, list):
        return value
    if len(value) > 1:
        raise _Bad("several_labels", f"{len(value)} labels were chosen; a record has one")
    return value[0] if value else None


def _label(value: Any) -> str | None:
    if isinstance(value, float) and math.isinf(value):
        raise _Bad("bad_label", f"a label is one text or number, not {value}")
    try:
        return files.label_text(value)
    except ValueError as error:
        raise _Bad("bad_label", str(error)) from None
