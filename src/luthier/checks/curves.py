"""What training curves say: overfitting, divergence, plateau, unstable batches.

Windows hold one row a step: `train_loss`, `gradient_norm` (n,), `validation_loss` (n,), NaN but where epochs end.
They are statements about one finished curve, not tests: their promise is none and their evidence 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from luthier.checks.base import Memory, silent
from luthier.names import register
from luthier.types import Columns, Finding, Promise

__all__ = ["Divergence", "Overfitting", "Plateau", "Unstable"]

_NONE = Promise("none")
_SMOOTH = 0.1  # weight of the newest step in a running mean
_ENOUGH = 20  # steps before a curve says anything


@register("check", "overfitting.v1")
@dataclass(frozen=True)
class Overfitting:
    """Validation loss has risen by the share `rise` over its best while the training loss of the epochs fell."""

    rise: float = 0.1
    name = "overfitting.v1"
    when: Literal["curve"] = "curve"

    @property
    def promise(self) -> Promise:
        return _NONE

    def start(self, reference: Columns) -> Memory:
        return {"sum": 0.0, "n": 0, "epochs": 0, "best": [math.inf, 0.0], "last": [math.inf, 0.0]}

    def step(self, memory: Memory, window: Columns) -> tuple[Memory, Finding]:
        memory = _fold(memory, window, ("train_loss", "validation_loss"), self._row)
        if memory["epochs"] < 2:
            return memory, silent(self.name, _NONE, "fewer than two epochs were validated", limit=self.rise)
        (best, train_then), (last, train_now) = memory["best"], memory["last"]
        value = last / best - 1 if best > 0 else 0.0
        alarm = value > self.rise and train_now < train_then
        why = (
            f"the model overfits: validation loss rose from {best:.3g} to {last:.3g} while training loss fell from "
            f"{train_then:.3g} to {train_now:.3g}. Raise fit.dropout or fit.weight_decay, lower fit.epochs, or add "
            f"training records"
            if alarm
            else f"validation loss is {last:.3g}, at best {best:.3g}"
        )
        return memory, _finding(self.name, value, self.rise, alarm, memory["epochs"], why)

    def _row(self, memory: dict[str, Any], train: float, validation: float) -> None:
        if math.isfinite(train):
            memory["sum"], memory["n"] = memory["sum"] + train, memory["n"] + 1
        if math.isfinite(validation):
            memory["last"] = [validation, memory["sum"] / max(1, memory["n"])]
            memory["best"] = min(memory["best"], memory["last"])
            memory.update(sum=0.0, n=0, epochs=memory["epochs"] + 1)


@register("check", "divergence.v1")
@dataclass(frozen=True)
class Divergence:
    """The running mean of the training loss ends at more than `times` its lowest, and above where it began."""

    times: float = 1.5
    name = "divergence.v1"
    when: Literal["curve"] = "curve"

    @property
    def promise(self) -> Promise:
        return _NONE

    def start(self, reference: Columns) -> Memory:
        return dict(_UNSEEN)

    def step(self, memory: Memory, window: Columns) -> tuple[Memory, Finding]:
        memory = _fold(memory, window, ("train_loss",), _running)
        if memory["n"] < _ENOUGH:
            return memory, _few(self.name, self.times, memory["n"])
        value = memory["mean"] / memory["lowest"] if memory["lowest"] > 0 else 1.0
        alarm = value > self.times and memory["mean"] > memory["first"]
        why = f"training loss went from {memory['first']:.3g} over {memory['lowest']:.3g} to {memory['mean']:.3g}"
        why = f"training diverges: {why}. Lower fit.learning_rate" if alarm else why
        return memory, _finding(self.name, value, self.times, alarm, memory["n"], why)


@register("check", "plateau.v1")
@dataclass(frozen=True)
class Plateau:
    """The running mean of the training loss has fallen by less than the share `fall` since it began."""

    fall: float = 0.05
    name = "plateau.v1"
    when: Literal["curve"] = "curve"

    @property
    def promise(self) -> Promise:
        return _NONE

    def start(self, reference: Columns) -> Memory:
        return dict(_UNSEEN)

    def step(self, memory: Memory, window: Columns) -> tuple[Memory, Finding]:
        memory = _fold(memory, window, ("train_loss",), _running)
        if memory["n"] < _ENOUGH:
            return memory, _few(self.name, self.fall, memory["n"])
        value = 1 - memory["lowest"] / memory["first"] if memory["first"] > 0 else 1.0
        alarm = value < self.fall
        why = f"training loss fell by {value:.1%} in {memory['n']} steps"
        advice = (
            "Raise fit.learning_rate or fit.epochs; if that changes nothing, the labels do not follow from the inputs"
        )
        return memory, _finding(self.name, value, self.fall, alarm, memory["n"], f"{why}. {advice}" if alarm else why)


@register("check", "unstable.v1")
@dataclass(frozen=True)
class Unstable:
    """More than `share` of the steps have a gradient over `times` its running geometric mean."""

    share: float = 0.05
    times: float = 10.0
    name = "unstable.v1"
    when: Literal["curve"] = "curve"

    @property
    def promise(self) -> Promise:
        return _NONE

    def start(self, reference: Columns) -> Memory:
        return {"n": 0, "log": math.nan, "spikes": 0}

    def step(self, memory: Memory, window: Columns) -> tuple[Memory, Finding]:
        memory = _fold(memory, window, ("gradient_norm",), self._row)
        if memory["n"] < _ENOUGH:
            return memory, _few(self.name, self.share, memory["n"])
        value = memory["spikes"] / memory["n"]
        why = f"{memory['spikes']} of {memory['n']} steps had a gradient over {self.times:g} times the usual"
        advice = "Raise fit.batch_size or lower fit.learning_rate, and look for broken records"
        alarm = value > self.share
        return memory, _finding(self.name, value, self.share, alarm, memory["n"], f"{why}. {advice}" if alarm else why)

    def _row(self, memory: dict[str, Any], norm: float) -> None:
        if not math.isfinite(norm):
            return
        log = math.log(max(norm, 1e-30))
        memory["spikes"] += memory["n"] > 0 and log > memory["log"] + math.log(self.times)
        memory["log"] = log if memory["n"] == 0 else (1 - _SMOOTH) * memory["log"] + _SMOOTH * log
        memory["n"] += 1


_UNSEEN = {"n": 0, "first": math.nan, "mean": math.nan, "lowest": math.inf}  # what `_running` goes on from


def _few(name: str, limit: float, n: int) -> Finding:
    return silent(name, _NONE, f"fewer than {_ENOUGH} training steps", limit=limit, n=n)


def _running(memory: dict[str, Any], loss: float) -> None:
    """The mean of the steps until there are ten, then exponentially weighted; `first` is that of the first ten."""
    if not math.isfinite(loss):
        return
    memory["n"] += 1
    weight = max(_SMOOTH, 1 / memory["n"])
    memory["mean"] = loss if memory["n"] == 1 else (1 - weight) * memory["mean"] + weight * loss
    if memory["n"] <= 1 / _SMOOTH:
        memory["first"] = memory["mean"]
    else:
        memory["lowest"] = min(memory["lowest"], memory["mean"])


def _fold(memory: Memory, window: Columns, names: tuple[str, ...], row: Callable[..., None]) -> Mapping[str, Any]:
    """A new memory after every row of the named columns; a column that is absent is nothing seen."""
    length = max((len(window[name]) for name in names if name in window), default=0)
    columns = [np.asarray(window.get(name, np.full(length, np.nan)), np.float64).tolist() for name in names]
    found = dict(memory)
    for values in zip(*columns, strict=True):
        row(found, *values)
    return found


def _finding(name: str, value: float, limit: float, alarm: bool, n: int, why: str) -> Finding:
    return Finding(check=name, value=value, limit=limit, evidence=1.0, promise=_NONE, alarm=bool(alarm), n=n, why=why)
