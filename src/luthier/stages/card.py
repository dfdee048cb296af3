"""The model card of a version: README.md as the Hugging Face Hub reads it, with `model-index` results.

Format: huggingface/hub-docs, modelcard.md. The same version gives the same card, byte for byte: no dates, no paths.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from luthier.story import estimate_text, number, number_text, part, promise_text, rows, text
from luthier.types import Estimate

__all__ = ["card", "metadata"]

PIPELINES = {
    "causal_lm": "text-generation",
    "seq2seq": "text2text-generation",
    "segmentation": "image-segmentation",
    "tabular": "tabular-classification",
}
"""Tasks whose pipeline at Hugging Face has another name than the task's own with hyphens."""

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})?")
_SPECIAL = str.maketrans({char: "\\" + char for char in "\\`*_[]|#~"} | {"<": "&lt;", ">": "&gt;", "&": "&amp;"})


def card(about: Mapping[str, Any], estimates: Mapping[str, Estimate], *, name: str = "model") -> str:
    """README.md of a version. `about` is its version.json; what it does not say is left out or said to be unknown."""
    front = yaml.safe_dump(metadata(about, estimates, name=name), sort_keys=False, allow_unicode=True, width=1000)
    sections = (
        f"# {_said(name)}",
        _what(about),
        "## What was shown\n\n" + _shown(about, estimates),
        "## Gate\n\n" + _gate(about),
        "## Training data\n\n" + _data(about),
        "## How it was made\n\n" + _made(about),
        "## How to use it\n\n" + _use(about),
        "## Limits\n\n" + _limits(about),
    )
    return f"---\n{front}---\n\n" + "\n\n".join(section for section in sections if section) + "\n"


def metadata(about: Mapping[str, Any], estimates: Mapping[str, Estimate], *, name: str = "model") -> dict[str, Any]:
    """The YAML front matter as a dict: license and base_model only where known, metrics only where measured."""
    pipeline = _pipeline(about)
    found: dict[str, Any] = {}
    if about.get("license"):
        found["license"] = text(about["license"], 60)
    base = text(about.get("base_model"), 200)
    if _HUB_NAME.fullmatch(base) and not Path(base).is_dir():
        found["base_model"] = base
    found["pipeline_tag"] = pipeline
    found["library_name"] = "transformers"
    found["tags"] = ["luthier", "fine-tuned", *([text(about["recipe"], 40)] if about.get("recipe") else [])]
    metrics = [
        {"type": text(key, 60), "value": round(one.value, 6), "name": text(key, 60).replace("_", " "), **_interval(one)}
        for key, one in sorted(estimates.items())
        if math.isfinite(one.value)
    ]
    if metrics:
        dataset = {"type": _slug(name), "name": f"{text(name, 80)}, held-out test split", "split": "test"}
        revision = part(about, "data").get("test")
        if isinstance(revision, str):
            dataset["revision"] = revision
        found["model-index"] = [
            {
                "name": text(name, 80) or "model",
                "results": [{"task": {"type": pipeline}, "dataset": dataset, "metrics": metrics}],
            }
        ]
    return found


def _interval(one: Estimate) -> dict[str, Any]:
    known = {"low": one.low, "high": one.high, "n": float(one.n) if one.n else math.nan}
    args = {key: int(value) if key == "n" else round(value, 6) for key, value in known.items() if math.isfinite(value)}
    return {"args": args} if args else {}


def _pipeline(about: Mapping[str, Any]) -> str:
    task = text(about.get("task"), 60) or "text_classification"
    return PIPELINES.get(task, task.replace("_", "-"))


def _slug(name: Any) -> str:
    return re.sub(r"[^a-z0-9._-]+", "-", text(name, 60).lower()).strip("-._") or "model"


def _said(value: Any, limit: int = 300) -> str:
    return text(value, limit).translate(_SPECIAL)


def _code(value: Any, limit: int = 80) -> str:
    return "`" + (text(value, limit).replace("`", "'").replace("|", "¦") or " ") + "`"


def _table(heads: tuple[str, ...], lines: Sequence[tuple[str, ...]]) -> str:
    top = ["| " + " | ".join(heads) + " |", "|" + " --- |" * len(heads)]
    return "\n".join(top + ["| " + " | ".join(line) + " |" for line in lines])


def _what(about: Mapping[str, Any]) -> str:
    labels = list(about.get("labels") or ())
    base = _code(about["base_model"], 200) if about.get("base_model") else "a pretrained model"
    recipe = f" with the recipe {_code(about['recipe'])}" if about.get("recipe") else ""
    found = f"A model for {_said(_pipeline(about))}, fine-tuned from {base}{recipe}."
    if about.get("met") is not None and part(about, "require"):
        found += (
            " It meets its written requirements."
            if about["met"]
            else (f" **It does not meet its written requirements**: {_said(about.get('why') or 'no reason was kept')}.")
        )
    if labels:
        more = f" and {len(labels) - 20} more" if len(labels) > 20 else ""
        found += f" It answers with one of {len(labels)} labels: {', '.join(map(_code, labels[:20]))}{more}."
    return found


def _shown(about: Mapping[str, Any], estimates: Mapping[str, Estimate]) -> str:
    """Every metric with its interval and, where one was written, its requirement."""
    required = part(about, "require")
    lines = []
    for name in sorted({*estimates, *map(str, required)}):
        bound = part(required, name)
        one = estimates.get(name, Estimate())
        lines.append((_said(name), estimate_text(one), _bound(bound), _met(one, bound)))
    if not lines:
        return "No metric was measured."
    return (
        "Measured on a held-out test split that was used for nothing else. A requirement counts as met when the whole "
        "interval meets it, not only the value.\n\n"
        + _table(("metric", "value (interval, n)", "required", "met"), lines)
    )


def _bound(bound: Mapping[str, Any]) -> str:
    for key, words in (("at_least", "at least"), ("at_most", "at most")):
        if math.isfinite(number(bound.get(key))):
            return f"{words} {number_text(bound[key])}"
    return "–"


def _met(one: Estimate, bound: Mapping[str, Any]) -> str:
    floor, ceiling = number(bound.get("at_least")), number(bound.get("at_most"))
    if not math.isfinite(one.value) or (math.isnan(floor) and math.isnan(ceiling)):
        return "–"
    low = one.low if math.isfinite(one.low) else one.value
    high = one.high if math.isfinite(one.high) else one.value
    return "yes" if (low >= floor if math.isfinite(floor) else high <= ceiling) else "no"


def _gate(about: Mapping[str, Any]) -> str:
    gate = part(about, "gate")
    if not gate:
        return "No gate was held."
    lines = [
        (
            _said(one.get("check")), _said(one.get("slice")) or "–", number_text(one.get("value")),
            number_text(one.get("limit")), number_text(one.get("evidence")), promise_text(part(one, "promise")),
            _said(one.get("why")),
        )
        for one in rows(gate, "findings")
    ]  # fmt: skip
    head = f"Outcome: **{_said(gate.get('outcome') or 'unknown')}**. {_said(gate.get('why'))}".rstrip()
    heads = ("check", "slice", "value", "limit", "evidence", "promise", "what it says")
    return head + ("\n\n" + _table(heads, lines) if lines else "")


def _data(about: Mapping[str, Any]) -> str:
    found = part(about, "data")
    if not found:
        return "Nothing was kept about the training data."
    lines = [
        (_said(key), f"{value:,}" if isinstance(value, int) else _code(value, 140))
        for key, value in sorted(found.items())
    ]
    return (
        "A fingerprint is a digest of all records of a set: the same fingerprint means the same data. Split by a hash "
        "of each record's id, so a record never changes sides.\n\n" + _table(("set", "records or fingerprint"), lines)
    )


def _made(about: Mapping[str, Any]) -> str:
    lines = [("parent", _code(about["parent"]) if about.get("parent") else "none: made from the base model")]
    lines += [
        (words, _code(about[key], 140))
        for key, words in (("base_model", "base model"), ("base_digest", "base digest"), ("recipe", "recipe"))
        if about.get(key)
    ]
    lines += [(f"option {_said(key)}", _code(value)) for key, value in sorted(part(about, "options").items())]
    lines += [(f"package {_said(key)}", _code(value)) for key, value in sorted(part(about, "packages").items())]
    return _table(("what", "value"), lines)


def _use(about: Mapping[str, Any]) -> str:
    call = 'model("It works, and I like it.")' if _pipeline(about).startswith("text") else "model(an_input)"
    return (
        "```python\nfrom transformers import pipeline\n\n"
        f'model = pipeline("{_slug(_pipeline(about))}", model="path/to/this/folder")\nprint({call})\n```\n\n'
        "Weights are safetensors; no code from this folder is executed. `luthier/version.json` holds everything on "
        "this card, `luthier/reference.npz` the answers on the test split that later answers are compared with."
    )


def _limits(about: Mapping[str, Any]) -> str:
    longest = number(part(about, "options").get("max_length"))
    found = [
        "- What was shown holds for data like the test split. On other data it may be wrong, and still sure of itself.",
        "- Intervals speak of chance in the choice of test records, not of mistakes in their labels.",
        "- No slice was looked at other than those named above; others may be worse.",
    ]
    if math.isfinite(longest):
        found.append(f"- Inputs longer than {longest:.0f} tokens are cut.")
    if _pipeline(about).endswith("classification"):
        found.append(
            "- It always answers with one of its labels, also for inputs that fit none. `luthier/calibration.json` has "
            "the temperature that makes its confidence match its accuracy on the validation split."
        )
    if not about.get("license"):
        found.append("- Its license is not known here: ask for that of the base model and of the data.")
    return "\n".join(found)
