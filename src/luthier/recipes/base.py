"""What a recipe is: a way to make a new version from an old one; and how each of them begins and ends."""

from __future__ import annotations

import json
import shutil
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from luthier.models import checkpoints
from luthier.models.hardware import use_bf16, use_threads
from luthier.models.training import Trained
from luthier.options import FitOptions
from luthier.tasks.base import Task
from luthier.types import Record, Split

__all__ = ["Candidate", "Progress", "Recipe", "Start", "begin", "finish", "finished", "rate_for"]

Progress = Callable[[str, float, Mapping[str, float]], None]
"""Called as progress(what, share done in [0, 1], latest numbers)."""

_DROPOUTS = (
    "hidden_dropout_prob", "attention_probs_dropout_prob", "classifier_dropout", "dropout", "attention_dropout",
    "seq_classif_dropout",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Candidate:
    """A trained model folder (loadable by transformers), with the curves of its training: name to (step, value)."""

    folder: Path
    recipe: str
    curves: Mapping[str, Sequence[tuple[int, float]]] = field(default_factory=dict)
    seconds: float = 0.0
    stopped: str = ""
    about: Mapping[str, Any] = field(default_factory=dict)


class Recipe(Protocol):
    """`run` is resumable: called again with the same work folder after a kill, it ends with the same weights."""

    name: str

    def run(
        self, task: Task, source: str | Path, split: Split, options: FitOptions, work: Path,
        *, deadline: float | None = None, progress: Progress | None = None,
    ) -> Candidate: ...  # fmt: skip


@dataclass(frozen=True, slots=True)
class Start:
    """A model ready to be trained, the threads it gets, and when the work began (time.monotonic)."""

    adapter: Any
    threads: int
    began: float


def begin(task: Task, source: str | Path, split: Split, options: FitOptions, work: Path) -> Start:
    """Load `source` with what `options` say about threads, seed, precision, dropout, length and the loss."""
    began = time.monotonic()
    threads = _threads(options, work)
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)  # a new classifier starts from random weights
        adapter: Any = task.adapter(source)
    adapter.bf16 = use_bf16(options.bf16)
    adapter.label_smoothing = options.label_smoothing
    adapter.max_length = adapter.tokenizer.model_max_length = min(adapter.max_length, options.max_length)
    adapter.temperature = 1.0
    if options.class_weights == "balanced":
        adapter.class_weights = torch.tensor(_balanced(adapter.labels, split.train))
    if options.dropout is not None:
        _set_dropout(adapter.model, options.dropout)
    return Start(adapter, threads, began)


def finish(start: Start, trained: Trained, work: Path, *, recipe: str, key: str, about: Mapping[str, Any]) -> Candidate:
    """Write work/model and, last, work/done.json; then drop the checkpoints. Durable on return."""
    start.adapter.fresh = False
    folder, fresh = work / "model", work / "model.part"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    start.adapter.save(fresh)
    checkpoints.sync_tree(fresh)
    shutil.rmtree(folder, ignore_errors=True)
    fresh.rename(folder)
    done = {
        "key": key,
        "seconds": time.monotonic() - start.began,
        "stopped": trained.stopped,
        "curves": trained.curves,
        "about": {**about, "threads": start.threads, "best_step": trained.best_step, "bf16": start.adapter.bf16},
    }
    checkpoints.write_text(work / "done.json", json.dumps(done))
    shutil.rmtree(work / "checkpoints", ignore_errors=True)
    return _candidate(work, recipe, done)


def finished(work: Path, recipe: str, key: str) -> Candidate | None:
    """What an earlier call with the same `key` ended with; None when it did not end."""
    try:
        done = json.loads((work / "done.json").read_text("utf-8"))
    except (OSError, ValueError):
        return None
    if done.get("key") != key or not (work / "model" / "config.json").exists():
        (work / "done.json").unlink()
        return None
    return _candidate(work, recipe, done)


def rate_for(adapter: Any, *, small: float, large: float) -> float:
    """A default learning rate: `small` for models of at most 512 hidden units; half of it where the classifier is
    trained already, as an update at the full rate forgets (measured: -2.7 points on the old domain against -0.4)."""
    rate = small if getattr(adapter.model.config, "hidden_size", 768) <= 512 else large
    return rate if adapter.fresh else rate / 2


def _candidate(work: Path, recipe: str, done: Mapping[str, Any]) -> Candidate:
    curves = {name: [(int(step), float(value)) for step, value in curve] for name, curve in done["curves"].items()}
    return Candidate(work / "model", recipe, curves, done["seconds"], done["stopped"], done["about"])


def _threads(options: FitOptions, work: Path) -> int:
    """As asked for, or as measured when the run began: a resume with another number would end with other weights."""
    path = work / "threads"
    try:
        return use_threads(options.threads or int(path.read_text("ascii")))
    except (OSError, ValueError):
        threads = use_threads(None)
        work.mkdir(parents=True, exist_ok=True)
        checkpoints.write_text(path, str(threads))
        return threads


def _balanced(labels: Sequence[str], records: Sequence[Record]) -> list[float]:
    """n / (k · count) each, so that every class weighs the same; 0 for a class without rows."""
    counts = Counter(record.target for record in records)
    present = sum(counts[label] > 0 for label in labels)
    return [len(records) / (present * counts[label]) if counts[label] else 0.0 for label in labels]


def _set_dropout(model: Any, share: float) -> None:
    from torch import nn

    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = share
    for name in _DROPOUTS:
        if isinstance(getattr(model.config, name, None), int | float):
            setattr(model.config, name, share)
