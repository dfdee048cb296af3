"""The training loop: length-grouped batches, early stopping, and a resume that ends with the same weights, bit for bit.

Why not `transformers.Trainer`: at equal settings it is as fast (measured), but four of the files of its checkpoints are
pickles, it takes an incomplete checkpoint for a whole one, it logs a NaN loss as 0.0 and goes on, and importing it
costs 3.6 CPU seconds. Here every step draws its randomness from (seed, step), so a checkpoint holds weights,
optimizer moments and numbers, and no generator state at all.
"""

from __future__ import annotations

import hashlib
import json
import math
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from luthier.errors import TrainingError
from luthier.models import checkpoints
from luthier.options import FitOptions
from luthier.types import Record, Split

__all__ = ["Learner", "Trained", "optimizer", "run_key", "train"]

_GROUP = 20  # batches whose records are sorted by length together
_WARMUP = 0.1  # share of the steps
_CLIP = 1.0  # largest gradient norm
_EXPLODED = 100.0  # times the first loss (at least 1): a cross-entropy no data reaches
_SAVE_EVERY = 60.0  # seconds between checkpoints inside an epoch

Say = Callable[[str, float, Mapping[str, float]], None]
Curves = dict[str, list[tuple[int, float]]]


class Learner(Protocol):
    """What the loop trains: a torch module that knows how to batch records and what their loss is."""

    model: Any

    def sizes(self, records: Sequence[Record]) -> list[int]: ...
    def batch(self, records: Sequence[Record]) -> dict[str, Any]: ...
    def loss(self, batch: Mapping[str, Any]) -> Any: ...
    def validation_loss(self, records: Sequence[Record]) -> float: ...


@dataclass(frozen=True, slots=True)
class Trained:
    """Curves as (step, value), why training ended, and the step whose weights were kept."""

    curves: Mapping[str, Sequence[tuple[int, float]]]
    stopped: str
    best_step: int


@dataclass(slots=True)
class _Progress:
    """Where training stands; everything a checkpoint must hold beside tensors."""

    step: int = 0
    epoch: int = 0
    batch: int = 0
    best: int | None = None
    best_loss: float = math.inf
    waited: int = 0
    curves: Curves = field(default_factory=dict)

    def note(self, **values: float) -> None:
        for name, value in values.items():
            self.curves.setdefault(name, []).append((self.step, value))


def run_key(recipe: str, source: str | Path, split: Split, options: FitOptions) -> str:
    """What decides a run's weights, as a digest: other data, model or options never resume each other's work."""
    path = Path(source)
    files = sorted(path.glob("*")) if path.is_dir() else []
    known = {key: value for key, value in asdict(options).items() if key not in ("budget_minutes", "rungs", "recipe")}
    about = [
        recipe,
        str(source),
        [[f.name, f.stat().st_size, f.stat().st_mtime_ns] for f in files if f.is_file()],
        known,
    ]
    digest = hashlib.sha256(json.dumps(about, default=str).encode())
    for part in (split.train, split.validation):
        for record in part:
            row = json.dumps([record.id, record.input, record.target], default=str)
            digest.update(row.encode("utf-8", "surrogatepass"))
        digest.update(b"|")
    return digest.hexdigest()


def train(
    learner: Learner, split: Split, options: FitOptions, work: Path, *,
    learning_rate: float, key: str, deadline: float | None = None, say: Say | None = None,
) -> Trained:  # fmt: skip
    """Train `learner.model` and leave it with the weights of its best epoch (lowest validation loss; else the last).

    Only parameters with `requires_grad` move. Checkpoints lie in work/checkpoints, TensorBoard event files in
    work/tensorboard. `deadline` is a time.monotonic(). Raises TrainingError at once when loss or gradient is not
    finite, or the loss is beyond anything data can cause.
    """
    return _Loop(learner, split, options, work, learning_rate, key, deadline, say).run()


@dataclass
class _Loop:
    learner: Learner
    split: Split
    options: FitOptions
    work: Path
    rate: float
    key: str
    deadline: float | None
    say: Say | None

    def __post_init__(self) -> None:
        model = self.learner.model
        self.parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.optimizer = optimizer(self.parameters, self.options, self.rate)
        self.sizes = self.learner.sizes(self.split.train)
        self.per_epoch = math.ceil(len(self.sizes) / self.options.batch_size)
        self.total = self.per_epoch * self.options.epochs
        self.home = self.work / "checkpoints"
        self.now = self._resume()
        self.events = _Events(self.work / "tensorboard", self.now.curves)

    def run(self) -> Trained:
        import torch

        with torch.random.fork_rng(devices=[]):
            stopped = self._epochs()
        if self.now.best is not None and self.now.best != self.now.step:
            self._weights(self.home / f"step-{self.now.best:09d}")
        self.events.close()
        self.learner.model.eval()
        return Trained(self.now.curves, stopped, self.now.step if self.now.best is None else self.now.best)

    def _epochs(self) -> str:
        saved = time.monotonic()
        while self.now.epoch < self.options.epochs:
            if self.now.waited >= self.options.patience:
                return f"validation loss did not fall for {self.now.waited} epochs"
            for rows in self._batches()[self.now.batch :]:
                self._step(rows)
                self.now.batch += 1
                if self._out_of_time():
                    self._finish_epoch(last=True)
                    return "the time budget was spent"
                if time.monotonic() - saved > _SAVE_EVERY:
                    self._save()
                    saved = time.monotonic()
            self.now.epoch, self.now.batch = self.now.epoch + 1, 0
            self._finish_epoch(last=self.now.epoch == self.options.epochs)
            saved = time.monotonic()
        return f"all {self.options.epochs} epochs done"

    def _batches(self) -> list[list[int]]:
        """Rows of each batch of this epoch: near in length, in an order that (seed, epoch) alone decides."""
        draw = random.Random(f"{self.options.seed}/{self.now.epoch}")
        order, size = list(range(len(self.sizes))), self.options.batch_size
        draw.shuffle(order)
        groups = [order[i : i + size * _GROUP] for i in range(0, len(order), size * _GROUP)]
        grouped = [sorted(group, key=lambda row: self.sizes[row]) for group in groups]
        batches = [group[i : i + size] for group in grouped for i in range(0, len(group), size)]
        draw.shuffle(batches)
        return batches

    def _step(self, rows: list[int]) -> None:
        import torch

        torch.manual_seed(self.options.seed * 1_000_003 + self.now.step)
        rate = self.rate * self._schedule()
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.learner.model.train()
        records = [self.split.train[row] for row in rows]
        loss = self.learner.loss(self.learner.batch(records))
        value = float(loss.detach())
        self._refuse(value, "loss", rate, records)
        if self.options.l1:
            loss = loss + self.options.l1 * sum(p.abs().sum() for p in self.parameters.values() if p.ndim > 1)
        loss.backward()
        norm = float(torch.nn.utils.clip_grad_norm_(self.parameters.values(), _CLIP))
        self._refuse(norm, "gradient norm", rate, records)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.now.step += 1
        self._note(train_loss=value, gradient_norm=norm, learning_rate=rate)
        if self.say:
            self.say("training", self.now.step / self.total, {"loss": value})

    def _schedule(self) -> float:
        """Linear warm-up, then linear decay to 0."""
        warmup = max(1, round(_WARMUP * self.total))
        return min((self.now.step + 1) / warmup, (self.total - self.now.step) / max(1, self.total - warmup + 1), 1.0)

    def _refuse(self, value: float, what: str, rate: float, records: Sequence[Record]) -> None:
        losses = self.now.curves.get("train_loss", [])
        limit = _EXPLODED * max(1.0, losses[0][1]) if losses and what == "loss" else math.inf
        if math.isfinite(value) and value <= limit:
            return
        rule = "not finite" if not math.isfinite(value) else f"over {limit:g}, beyond what data can cause"
        last = f"{losses[-1][1]:.4g}" if losses else "none yet"
        self.events.close()
        raise TrainingError(
            f"training stopped at step {self.now.step + 1} of {self.total}: {what} {value:g} is {rule} (last loss "
            f"{last}, learning rate {rate:.3g}, records "
            f"{', '.join(record.id for record in records[:8])}{' …' if len(records) > 8 else ''}). "
            f"Lower fit.learning_rate (now {self.rate:g}); if it stops at the same records, look at them; if at step "
            f"1, the base model's weights are broken"
        )

    def _finish_epoch(self, *, last: bool) -> None:
        loss = self._validation_loss()
        better = loss < self.now.best_loss
        if math.isfinite(loss):
            self._note(validation_loss=loss)
            self.now.best_loss = min(loss, self.now.best_loss)
            self.now.waited = 0 if better else self.now.waited + 1
        if better:
            self.now.best = self.now.step
        if not last:  # the last weights are in memory; a kill before they are saved repeats the last epoch
            self._save()

    def _validation_loss(self) -> float:
        """Mean loss over the validation records at their best temperature; NaN without any.

        The temperature is fitted after training anyway. At temperature 1 the loss rises with confidence while accuracy
        still does too, and the best epoch would be one that is half trained.
        """
        if not self.split.validation:
            return math.nan
        loss = self.learner.validation_loss(self.split.validation)
        self._refuse(loss, "validation loss", self.rate * self._schedule(), ())
        return loss

    def _out_of_time(self) -> bool:
        return self.deadline is not None and time.monotonic() >= self.deadline

    def _note(self, **values: float) -> None:
        self.now.note(**values)
        self.events.write(self.now.step, values)

    def _save(self) -> None:
        state = {"key": self.key, **asdict(self.now)}
        if self.now.best is None:
            del state["best"]
        tensors = {"model": self.parameters, "optimizer": self._moments()}
        checkpoints.write(self.home, self.now.step, state, tensors)
        steps = sorted(int(folder.name[5:]) for folder in self.home.glob("step-*"))
        kept = {step for step in (*steps[-2:], self.now.best) if step is not None}
        checkpoints.tidy(self.home, kept | {self._needed(step) for step in steps[-2:]})

    def _needed(self, step: int) -> int:
        state = json.loads((self.home / f"step-{step:09d}" / "state.json").read_text("utf-8"))
        return int(state.get("best", step))

    def _moments(self) -> dict[str, Any]:
        state = self.optimizer.state_dict()["state"]
        return {
            f"{index}.{name}": value
            for index, parts in state.items()
            for name, value in parts.items()
            if value is not None
        }

    def _resume(self) -> _Progress:
        found = checkpoints.newest(self.home, self.key)
        if found is None:
            return _Progress()
        self._weights(found.folder)
        state: dict[int, dict[str, Any]] = {}
        for name, value in checkpoints.read_tensors(found.folder, "optimizer").items():
            index, _, part = name.partition(".")
            state.setdefault(int(index), {})[part] = value
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": state})
        plain = {name: value for name, value in found.state.items() if name != "key"}
        plain["curves"] = {name: [(int(s), float(v)) for s, v in curve] for name, curve in plain["curves"].items()}
        return _Progress(**plain)

    def _weights(self, folder: Path) -> None:
        import torch

        with torch.no_grad():
            for name, value in checkpoints.read_tensors(folder, "model").items():
                self.parameters[name].copy_(value)


def optimizer(parameters: Mapping[str, Any], options: FitOptions, rate: float) -> Any:
    """Weight decay on matrices only: biases and normalisations keep their size."""
    import torch

    groups = [
        {"params": [p for p in parameters.values() if p.ndim > 1], "weight_decay": options.weight_decay},
        {"params": [p for p in parameters.values() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if options.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=rate, momentum=0.9)
    return torch.optim.AdamW(groups, lr=rate, fused=True)


class _Events:
    """TensorBoard event files of one run, written anew after a resume; nothing where tensorboard is not installed."""

    def __init__(self, folder: Path, curves: Curves) -> None:
        try:
            from tensorboard.compat.proto.event_pb2 import Event
            from tensorboard.compat.proto.summary_pb2 import Summary
            from tensorboard.summary.writer.event_file_writer import EventFileWriter
        except ModuleNotFoundError:
            self.writer = None
            return
        for old in folder.glob("events.out.tfevents.*"):
            old.unlink()
        self.event, self.summary = Event, Summary
        self.writer = EventFileWriter(str(folder))
        for name, curve in curves.items():
            for step, value in curve:
                self.write(step, {name: value})

    def write(self, step: int, values: Mapping[str, float]) -> None:
        if self.writer is not None:
            parts = [self.summary.Value(tag=name, simple_value=value) for name, value in values.items()]
            self.writer.add_event(self.event(wall_time=time.time(), step=step, summary=self.summary(value=parts)))

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()
