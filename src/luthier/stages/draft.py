"""Draft: look at a data file and write the luthier.yaml for it, every section explained."""

from __future__ import annotations

import math
import os
import re
from collections import Counter
from dataclasses import fields
from pathlib import Path
from statistics import NormalDist
from typing import Any

from luthier.errors import DataError
from luthier.options import (
    ColumnOptions,
    DataOptions,
    FitOptions,
    GateOptions,
    MonitorOptions,
    ServeOptions,
    SplitOptions,
    UpdateOptions,
)  # fmt: skip
from luthier.reading.files import BadRow, label_text, moment, table
from luthier.reading.roles import roles, yaml_text

__all__ = ["draft"]

_MOST_LABELS = 200  # listed one by one; beyond, they are taken from the data
_TIMES = ("at", "time", "timestamp", "date", "datetime", "created", "created_at")
_TAGS = 30  # different values at most for a column that is proposed as a slice


def draft(path: str | Path, *, base: Path | None = None) -> str:
    """The text of a luthier.yaml for this data file: its columns and labels, and requirements that fit its size.

    The path is written relative to `base`, the folder the file is for, when it lies below it. A `datasets` folder with
    several splits gives `train` and, if there is one, `test`.

    Raises DataError when the file cannot be read or has no column for the input or the target.
    """
    path = Path(path)
    parts = _parts(path)
    source = table(parts[0])
    columns = roles(str(parts[0]), source.columns, ColumnOptions())
    values = [(number, row) for number, row in source.rows]
    rows = [row for _, row in values if not isinstance(row, BadRow)]
    counts: Counter[str] = Counter()
    for row in rows:
        if (label := _label(row.get(columns.target or ""))) is not None and _is_text(row.get(columns.input or "")):
            counts[label] += 1
    if not counts:
        raise DataError(f"{parts[0]}: no row has both a text in {columns.input!r} and a label in {columns.target!r}")
    others = [name for name in source.columns if name not in (columns.input, columns.target)]
    return "\n".join([
        *_head(path, sum(counts.values()), len(values), counts),
        *_labels(counts),
        *_data(parts, base, columns, source.columns, _others(rows, others)),
        *_require(counts, sum(1 for _ in table(parts[1]).rows) if len(parts) > 1 else None),
        *_defaults(),
    ]) + "\n"  # fmt: skip


def _parts(path: Path) -> list[Path]:
    """The training file, and the test file where the path is a saved set of splits."""
    if not (path / "dataset_dict.json").is_file():
        return [path]
    there = [path / name for name in ("train", "test") if (path / name / "state.json").is_file()]
    if not there or there[0].name != "train":
        raise DataError(f"{path}: this `datasets` folder has no split called train; name one of its folders")
    return there


def _label(value: Any) -> str | None:
    try:
        return label_text(value)
    except ValueError:
        return None


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _others(rows: list[Any], names: list[str]) -> dict[str, str]:
    """What the remaining columns could be: "id", "at" or "tag"."""
    found: dict[str, str] = {}
    for name in names:
        said = [row.get(name) for row in rows if not isinstance(row.get(name), list | dict)]
        texts = [str(value) for value in said if value is not None and str(value).strip()]
        lower = name.casefold()
        distinct = len(set(texts))
        if lower in ("id", "uuid", "guid") or lower.endswith("_id"):
            if distinct == len(rows) and "id" not in found.values():
                found[name] = "id"
        elif texts and all(map(_is_time, said)) and (lower in _TIMES or all("-" in text for text in texts)):
            if "at" not in found.values():
                found[name] = "at"
        elif texts and 2 <= distinct <= min(_TAGS, len(rows) // 5) and not any(isinstance(v, float) for v in said):
            found[name] = "tag"
    return found


def _is_time(value: Any) -> bool:
    try:
        moment(value)
    except (ValueError, OverflowError):
        return False
    return True


def _head(path: Path, usable: int, total: int, counts: Counter[str]) -> list[str]:
    name = re.sub(r"[^a-z0-9._-]+", "-", path.stem.lower()).strip("-._")[:64] or "model"
    top, most = counts.most_common(1)[0]
    return [
        f"# Drafted from {_comment(path.name)}: {total:,} rows, {usable:,} of them with a text and a label;",
        f"# {len(counts):,} labels; the largest, {_comment(top)}, holds {most / usable:.0%}. Next: luthier check",
        "# Every setting is explained in docs/configuration.md. Commented lines show the default.",
        "",
        f"name: {name}",
        "task: text_classification",
        "model: sentence-transformers/all-MiniLM-L6-v2   # a name on the hub, or a folder",
        "",
    ]


def _labels(counts: Counter[str]) -> list[str]:
    if len(counts) > _MOST_LABELS:
        return [f"# labels: {len(counts):,} were found; left out, they are taken from the training data.", ""]
    ordered = sorted(counts)
    width = max(len(yaml_text(label)) for label in ordered)
    rows = [f"  - {yaml_text(label):<{width}}   # {counts[label]:,}" for label in ordered]
    return ["labels:   # with the number of examples of each", *rows, ""]


def _data(
    parts: list[Path], base: Path | None, columns: ColumnOptions, names: tuple[str, ...], others: dict[str, str]
) -> list[str]:
    shown = [_relative(part, base) for part in parts]
    tags = [name for name, role in others.items() if role == "tag"]
    lines = ["data:", f"  train: [{yaml_text(shown[0])}]"]
    if len(shown) > 1:
        lines.append(f"  test: [{yaml_text(shown[1])}]")
    else:
        lines.append("  # test: [test.csv]           # a test set of your own; without it, one is split off")
    lines += [
        f"  columns:                     # found: {_comment(', '.join(names))}",
        f"    input: {yaml_text(columns.input or '')}",
        f"    target: {yaml_text(columns.target or '')}",
    ]
    for role, without in [("id", "a hash of the input"), ("at", "the time of reading; ISO 8601 or Unix seconds")]:
        name = next((name for name, found in others.items() if found == role), None)
        lines.append(f"    {role}: {yaml_text(name)}" if name else f"    # {role}: {role}   # without it: {without}")
    sliced = ", ".join(map(yaml_text, tags))
    lines.append(f"    tags: [{sliced}]   # sliced by these" if tags else "    # tags: []   # columns to slice by")
    split = SplitOptions()
    return [
        *lines,
        f"  # split: {{train: {split.train}, validation: {split.validation}, test: {split.test}}}",
        f"  # unknown_labels: {DataOptions().unknown_labels}          # or drop",
        "",
    ]


def _relative(path: Path, base: Path | None) -> str:
    if base is None:
        return path.as_posix()
    full, home = Path(os.path.abspath(path)), Path(os.path.abspath(base))
    return full.relative_to(home).as_posix() if full.is_relative_to(home) else full.as_posix()


def _require(counts: Counter[str], test: int | None) -> list[str]:
    """Three fifths of the way from always answering the largest class to what the test rows can prove.

    That is Wilson's lower bound of a perfect score, n / (n + z^2). Nothing is proposed where the way is short.
    """
    n = sum(counts.values())
    rows = test or max(1, round(n * SplitOptions().test))
    share = max(counts.values()) / n
    provable = rows / (rows + NormalDist().inv_cdf(0.975) ** 2)
    level = share + 0.6 * (provable - share)
    level = math.floor(20 * level) / 20 if math.floor(20 * level) / 20 > share else math.floor(100 * level) / 100
    off = "" if provable - share >= 0.05 and level > share else "# "
    lines = [
        "# always answering the largest class is right in "
        f"{share:.0%}; {'' if test else 'about '}{rows:,} test rows can prove {provable:.0%} at most",
        f"{off}require:   # each lower (or upper) 95 % confidence bound must reach this before a model is promoted",
        f"{off}  accuracy: {(level if not off else 0.8):.2f}{'   # more data first' if off else ''}",
        f"{off}  latency_ms: {{at_most: 250}}   # 95th percentile of single answers",
        "#   f1_smallest: 0.60            # F1 of the smallest class, which accuracy alone can hide",
    ]
    return [*lines, ""]


def _defaults() -> list[str]:
    sections: dict[str, tuple[Any, str]] = {
        "fit": (FitOptions(), "how to fine-tune; auto climbs the rungs until the requirements are met"),
        "gate": (GateOptions(), "what a new version must show against the champion"),
        "monitor": (MonitorOptions(), "what the watch looks for, and how often it may be wrong"),
        "update": (UpdateOptions(), "when and how to repair; mode auto does it unattended"),
        "serve": (ServeOptions(), "where the server listens and what it refuses"),
    }
    lines: list[str] = []
    for name, (options, why) in sections.items():
        lines.append(f"# {name}:   # {why}")
        lines += [f"#   {item.name}: {_value(getattr(options, item.name))}" for item in fields(options)]
        lines.append("")
    return [*lines, "# store: .luthier   # records, versions and decisions"]


def _value(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(value)}]"
    return f"{value:g}" if isinstance(value, float) and value < 1e5 else str(value)


def _comment(text: str) -> str:
    """One printable line: what a data file holds must not end a comment."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)[:200]
