"""Train only the last layer, on features that are computed once.

A BERT or RoBERTa without a trained classifier gets one more layer first, whose attention looks at all tokens alike:
the mean of the last hidden states, written in the weights of a stock architecture, so that `transformers.pipeline`
loads the result as it is. It tells sentences apart better than the first token (1,200 tweets: 0.897 against 0.838
right). Other architectures, and models that already have a classifier for these labels, keep their own way from
hidden states to the last layer.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from luthier.errors import ModelError, TrainingError
from luthier.models.hardware import one_thread
from luthier.models.training import Trained, optimizer, run_key
from luthier.names import register
from luthier.options import FitOptions
from luthier.recipes.base import Candidate, Progress, begin, finish, finished
from luthier.tasks.base import Task
from luthier.types import Record, Split

__all__ = ["Head"]

_RATE = 3e-3  # for standardised features
_PASSES = 20  # passes over the cached features an epoch of `fit.epochs` stands for: they cost next to nothing
_PATIENCE = 5  # likewise
_RIDGE = (100.0, 30.0, 10.0, 0.0)  # penalties on the squared weights, over n; the lowest validation loss decides
_CHUNK = 2048  # records whose features are written together
_LOGITS = 20_000_000  # held at once
_MODELS = 3  # models whose features are kept
_LOUD = 32.0  # the mean against the first token's own state, which a transformer layer always adds
_SOFT = 0.1  # keeps tanh of the pooled features nearly linear


@register("recipe", "head")
@dataclass(frozen=True)
class Head:
    """The backbone stays as it is, in eval mode; `epochs` and `patience` count 20 and 5 passes over the features.

    Up to four ridge penalties are tried, the strongest first, until validation loss rises; the lowest is kept.
    """

    name = "head"

    def run(
        self, task: Task, source: str | Path, split: Split, options: FitOptions, work: Path,
        *, deadline: float | None = None, progress: Progress | None = None,
    ) -> Candidate:  # fmt: skip
        """Train, and write work/model; features are cached in features/ beside `work`, for every later run.

        Raises ModelError when the model has no single last layer, TrainingError when the loss is not finite.
        """
        key = run_key(self.name, source, split, options)
        if done := finished(work, self.name, key):
            return done
        start = begin(task, source, split, options, work)
        pooling = add_mean_pooling(start.adapter) if start.adapter.fresh else "own"
        cache = _Cache(work.parent / "features", start.adapter, progress)
        train, validation = cache.features(split.train), cache.features(split.validation)
        rate = options.learning_rate or _RATE
        with one_thread():
            trained, weight, bias = _Linear(start.adapter, options, rate, deadline, progress).fit(
                split, train, validation
            )
        _set_head(start.adapter.head, weight, bias)
        about = {"learning_rate": rate, "pooling": pooling, "encoded": cache.encoded}
        return finish(start, trained, work, recipe=self.name, key=key, about=about)


def add_mean_pooling(adapter: Any) -> str:
    """Append the layer that averages, where the architecture allows; "mean" when the model pools so now, else "own".

    Attention with zero queries is uniform over the tokens that are not padding; with identity values it is their
    mean. The layer's residual adds the first token's state, 1/32 as loud; its feed-forward half is zero.
    """
    import torch

    model, config = adapter.model, adapter.model.config
    if getattr(config, "luthier_pooling", "") == "mean":
        return "mean"
    if config.model_type == "bert":
        dense = model.bert.pooler.dense
    elif config.model_type in ("roberta", "xlm-roberta", "camembert"):
        dense = model.classifier.dense
    else:
        return "own"
    layers = model.base_model.encoder.layer
    layer = type(layers[-1])(config, layer_idx=len(layers))
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            parameter.fill_(1.0 if name.endswith("LayerNorm.weight") else 0.0)
        layer.attention.self.value.weight.copy_(torch.eye(config.hidden_size))
        layer.attention.output.dense.weight.copy_(_LOUD * torch.eye(config.hidden_size))
        dense.weight.copy_(_SOFT * torch.eye(config.hidden_size))
        dense.bias.zero_()
    layers.append(layer.eval())
    config.num_hidden_layers += 1
    config.luthier_pooling = "mean"
    return "mean"


class _Cache:
    """Features by content: a folder for each model and reading length; files of digests (n, 16) and features (n, d)."""

    def __init__(self, home: Path, adapter: Any, progress: Progress | None) -> None:
        self.adapter, self.progress, self.encoded = adapter, progress, 0
        self.folder = home / _digest(adapter)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.touch()
        others = sorted((path for path in home.iterdir() if path.is_dir()), key=lambda path: path.stat().st_mtime)
        for old in others[:-_MODELS]:
            shutil.rmtree(old, ignore_errors=True)
        self.known: dict[bytes, Any] = {}
        for path in sorted(self.folder.glob("*.safetensors")):
            self._read(path)

    def features(self, records: Sequence[Record]) -> Any:
        """(n, d) float32. Only texts never seen are encoded; each chunk is stored before the next."""
        keys = [_text_key(record) for record in records]
        for start in range(0, len(records), _CHUNK):
            rows = range(start, min(start + _CHUNK, len(records)))
            missing = {keys[row]: records[row] for row in rows if keys[row] not in self.known}
            if missing:
                self._encode(missing)
            if self.progress:
                self.progress("encoding", rows[-1] / len(records), {})
        width = self.adapter.head.in_features
        return np.stack([self.known[key] for key in keys]) if keys else np.zeros((0, width), np.float32)

    def _encode(self, missing: Mapping[bytes, Record]) -> None:
        from safetensors.numpy import save_file

        found = self.adapter.features(list(missing.values()))
        self.encoded += len(found)
        names = np.frombuffer(b"".join(missing), np.uint8).reshape(-1, 16)
        path = self.folder / f"{hashlib.sha256(names.tobytes()).hexdigest()[:32]}.safetensors"
        save_file({"keys": names, "features": found}, path.with_suffix(".part"))
        path.with_suffix(".part").replace(path)
        self.known.update(zip(missing, found, strict=True))

    def _read(self, path: Path) -> None:
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            parts = load_file(path)
            keys = [row.tobytes() for row in parts["keys"]]
            self.known.update(zip(keys, parts["features"], strict=True))
        except (SafetensorError, OSError, KeyError, ValueError):
            path.unlink(missing_ok=True)  # cut short by a kill or a full disk: computed again


def _digest(adapter: Any) -> str:
    """What decides features: every weight but the last layer's, the tokenizer, the reading length and the precision."""
    head = {id(parameter) for parameter in adapter.head.parameters()}
    digest = hashlib.sha256(json.dumps([adapter.max_length, adapter.bf16, adapter.model.config.model_type]).encode())
    digest.update(adapter.tokenizer.backend_tokenizer.to_str().encode() if adapter.tokenizer.is_fast else b"")
    for name, parameter in sorted(adapter.model.named_parameters()):
        if id(parameter) not in head:
            digest.update(name.encode())
            digest.update(parameter.detach().contiguous().numpy().data)
    return digest.hexdigest()[:32]


def _text_key(record: Record) -> bytes:
    return hashlib.sha256(str(record.input).encode("utf-8", "surrogatepass")).digest()[:16]


@dataclass
class _Linear:
    """Multinomial logistic regression from zero, on standardised features."""

    adapter: Any
    options: FitOptions
    rate: float
    deadline: float | None
    progress: Progress | None

    def fit(self, split: Split, train: Any, validation: Any) -> tuple[Trained, Any, Any]:
        """Curves, and weight (k, d) and bias (k,) for features (n, d) as they are; those of the best pass."""
        import torch

        center, scale = train.mean(0), train.std(0) + 1e-6
        self.x, self.x_validation = (torch.from_numpy((part - center) / scale) for part in (train, validation))
        place = {label: index for index, label in enumerate(self.adapter.labels)}
        self.y, self.y_validation = (
            torch.tensor([place[record.target] for record in part], dtype=torch.long)
            for part in (split.train, split.validation)
        )
        tried: list[tuple[float, Trained, Any, Any]] = []
        for share in _RIDGE if len(self.y_validation) else _RIDGE[1:2]:
            tried.append(self._passes(share / len(self.y)))
            if (len(tried) > 1 and tried[-1][0] > tried[-2][0]) or self._out_of_time():
                break  # the loss has one valley along the penalties
        _, trained, weight, bias = min(tried, key=lambda one: one[0])
        weight = weight / torch.from_numpy(scale)
        return trained, weight, bias - weight @ torch.from_numpy(center)

    def _passes(self, ridge: float) -> tuple[float, Trained, Any, Any]:
        """Lowest validation loss with that penalty, how it went, and the weights of that pass."""
        import torch

        self.weight = torch.zeros(len(self.adapter.labels), self.x.shape[1], requires_grad=True)
        self.bias = torch.zeros(len(self.adapter.labels), requires_grad=True)
        self.optimizer = optimizer({"weight": self.weight, "bias": self.bias}, self.options, self.rate)
        curves: dict[str, list[tuple[int, float]]] = {"train_loss": [], "validation_loss": []}
        best, kept, best_step, step, waited = math.inf, self._weights(), 0, 0, 0
        passes, patience = self.options.epochs * _PASSES, self.options.patience * _PATIENCE
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.options.seed)
            for number in range(passes):
                if self.progress:
                    self.progress("training", number / passes, {"validation_loss": best} if number else {})
                loss, steps = self._one_pass(ridge)
                step, value = step + steps, self._validation_loss()
                curves["train_loss"].append((step, loss))
                if math.isfinite(value):
                    curves["validation_loss"].append((step, value))
                waited = waited + 1 if value >= best else 0
                if waited >= patience:
                    return best, Trained(curves, f"validation loss did not fall for {waited} passes", best_step), *kept
                if waited == 0:
                    best, kept, best_step = (best if math.isnan(value) else value), self._weights(), step
                if self._out_of_time():
                    return best, Trained(curves, "the time budget was spent", best_step), *kept
        return best, Trained(curves, f"all {passes} passes done", best_step), *kept

    def _out_of_time(self) -> bool:
        return self.deadline is not None and time.monotonic() >= self.deadline

    def _weights(self) -> tuple[Any, Any]:
        return self.weight.detach().clone(), self.bias.detach().clone()

    def _one_pass(self, ridge: float) -> tuple[float, int]:
        """Mean training loss, and the steps made; ends early when time is up."""
        import torch

        total, seen, steps = 0.0, 0, 0
        for rows in torch.randperm(len(self.y)).split(self.options.batch_size):
            x = torch.nn.functional.dropout(self.x[rows], self.options.dropout or 0.0)
            loss = self._loss(x, self.y[rows])
            if not math.isfinite(float(loss.detach())):
                raise TrainingError(
                    f"training of the head stopped: loss {float(loss.detach())} is not finite, at learning rate "
                    f"{self.rate:g}. Lower fit.learning_rate; if that changes nothing, the base model is broken"
                )
            self.optimizer.zero_grad()
            (loss + ridge * self.weight.square().sum() + self.options.l1 * self.weight.abs().sum()).backward()
            self.optimizer.step()
            total, seen, steps = total + float(loss.detach()) * len(rows), seen + len(rows), steps + 1
            if self._out_of_time():
                break
        return total / seen, steps

    def _validation_loss(self) -> float:
        import torch

        n, rows = len(self.y_validation), max(1, _LOGITS // len(self.adapter.labels))
        with torch.no_grad():
            parts = zip(self.x_validation.split(rows), self.y_validation.split(rows), strict=True)
            return sum(float(self._loss(x, y)) * len(y) for x, y in parts) / n if n else math.nan

    def _loss(self, x: Any, y: Any) -> Any:
        from torch.nn import functional

        return functional.cross_entropy(
            x @ self.weight.T + self.bias,
            y,
            weight=self.adapter.class_weights,
            label_smoothing=self.options.label_smoothing,
        )


def _set_head(layer: Any, weight: Any, bias: Any) -> None:
    import torch

    if layer.bias is None:
        raise ModelError("the model's last layer has no bias; use the recipe full or lora")
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
