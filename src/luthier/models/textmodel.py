"""The door to torch for texts: a classifier of transformers and its tokenizer. Imported when a model is wanted."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from luthier.errors import ModelError, TargetError, need
from luthier.models.hardware import autocast, has_bf16, helpful_threads, processors
from luthier.models.modelfolders import as_model_error, checked, is_fresh, longest, quiet, saved_temperature
from luthier.types import Record

__all__ = ["TextClassifier"]

_BEST = 5  # scores an answer carries
_BATCH = 32  # texts at once, at most; sorted by length, so more gains nothing on a CPU (measured)
_START = 32  # what a batch costs by itself, in tokens: the padding that one batch less may cost (MiniLM: 30 to 50)
_LOGITS = 20_000_000  # held at once, in a few float64 copies: 1 GB
_READ = threading.local()  # what the last layer of this thread's last forward pass read


@dataclass(frozen=True, slots=True)
class _Forward:
    """What the model gave for one batch: rows, logits (b, k), mean-pooled last hidden state (b, d), tokens of each
    text, and what the last layer read (b, d)."""

    rows: list[int]
    logits: Any
    embedding: Any
    lengths: list[int]
    read: Any


class TextClassifier:
    """A model, its tokenizer and its temperature.

    `labels` are in the order of the model's outputs. `fresh`: the classifier has random weights and gives no answers.
    `class_weights` (k,) and `label_smoothing` shape the training loss; `bf16` says how matrices are multiplied. The
    last layer always works in float32: bfloat16 would round confidences to three digits.
    """

    def __init__(self, model: Any, tokenizer: Any, *, fresh: bool = False, temperature: float = 1.0) -> None:
        self.model, self.tokenizer = model, tokenizer
        self.labels = tuple(model.config.id2label[index] for index in range(model.config.num_labels))
        self.fresh, self.temperature = fresh, temperature
        self.bf16 = has_bf16()
        self.class_weights: Any = None
        self.label_smoothing = 0.0
        self.max_length = longest(model.config, tokenizer)
        self._lanes: ThreadPoolExecutor | None = None
        self._places = {label: index for index, label in enumerate(self.labels)}
        self.head.register_forward_hook(_in_float32)
        model.eval()

    @classmethod
    def load(cls, folder: str | Path) -> TextClassifier:
        """A trained classifier from its folder. Raises ModelError when the folder holds none."""
        adapter = cls.open(folder, ())
        if adapter.fresh:
            raise ModelError(f"{folder}: holds a model without a trained classifier. Fine-tune it first: luthier fit")
        return adapter

    @classmethod
    def open(cls, source: str | Path, labels: Sequence[str]) -> TextClassifier:
        """The model of `source`: a folder, or a name of the Hugging Face hub.

        It gets a new, random classifier (`fresh`) when it has none for exactly these labels; () keeps what is there.
        Only safetensors are read, no code of the model's author runs, and a folder is never completed from the network.
        """
        transformers = need("transformers", extra="fit")
        where = checked(source)
        options = {"trust_remote_code": False, "local_files_only": isinstance(where, Path)}
        with quiet(), as_model_error(source):
            config = transformers.AutoConfig.from_pretrained(where, **options)
            tokenizer = transformers.AutoTokenizer.from_pretrained(where, **options)
            fresh = is_fresh(config, labels)
            if fresh and labels:
                config.id2label = dict(enumerate(labels))
                config.label2id = {label: index for index, label in enumerate(labels)}
            config.problem_type = "single_label_classification"
            model = transformers.AutoModelForSequenceClassification.from_pretrained(
                where, config=config, use_safetensors=True, ignore_mismatched_sizes=fresh, dtype="float32", **options
            )
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        if model.config.pad_token_id is None:
            model.config.pad_token_id = tokenizer.pad_token_id
        return cls(model, tokenizer, fresh=fresh, temperature=saved_temperature(where))

    @property
    def head(self) -> Any:
        """The last linear layer (k, d): what the recipe `head` trains."""
        from torch import nn

        layers = [m for m in self.model.modules() if isinstance(m, nn.Linear) and m.out_features == len(self.labels)]
        if not layers:
            raise ModelError(
                f"a {type(self.model).__name__} does not end in a linear layer for {len(self.labels)} labels"
            )
        return layers[-1]

    def sizes(self, records: Sequence[Record]) -> list[int]:
        """Tokens of each record, as the model reads them."""
        return [len(ids) for ids in self._tokens(records)["input_ids"]] if records else []

    def batch(self, records: Sequence[Record]) -> dict[str, Any]:
        """Padded tensors (n, longest), and `labels` (n,) where every record has a target.

        Raises TargetError for a target the model has no output for.
        """
        import torch

        found = dict(self._tokens(records, padding=True, return_tensors="pt"))
        if all(record.target is not None for record in records):
            found["labels"] = torch.tensor([self._place(record) for record in records])
        return found

    def loss(self, batch: Mapping[str, Any]) -> Any:
        """Mean cross-entropy of a batch (float32, scalar), with class weights and label smoothing as set."""
        from torch.nn import functional

        inputs = {name: value for name, value in batch.items() if name != "labels"}
        with autocast(self.bf16):
            logits = self.model(**inputs).logits
        return functional.cross_entropy(
            logits.float(), batch["labels"], weight=self.class_weights, label_smoothing=self.label_smoothing
        )

    def answer(self, records: Sequence[Record]) -> list[dict[str, Any]]:
        """One output a record, in their order; computed sorted by length.

        Raises ModelError when the classifier is not trained, or gives NaN.
        """
        if self.fresh:
            raise ModelError("the classifier of this model is not trained. Fine-tune it first: luthier fit")
        found: list[dict[str, Any]] = [{}] * len(records)
        for batch in self._forward(records):
            for row, output in zip(batch.rows, self._outputs(batch), strict=True):
                if not math.isfinite(output["confidence"]):
                    raise ModelError(
                        f"the model gives {output['confidence']} for record {records[row].id}: its weights are broken"
                    )
                found[row] = output
        return found

    def features(self, records: Sequence[Record]) -> np.ndarray:
        """(n, d) float32: what the last linear layer reads, in eval mode."""
        head = self.head
        found = np.zeros((len(records), head.in_features), np.float32)
        for batch in self._forward(records):
            if batch.read.ndim != 2:
                raise ModelError(f"a {type(self.model).__name__} classifies every token; use the recipe full or lora")
            found[batch.rows] = batch.read.numpy()
        return found

    def logits(self, records: Sequence[Record]) -> np.ndarray:
        """(n, k) float32, before the temperature."""
        found = np.zeros((len(records), len(self.labels)), np.float32)
        for batch in self._forward(records):
            found[batch.rows] = batch.logits.numpy()
        return found

    def calibrate(self, records: Sequence[Record]) -> float:
        """Set the temperature that makes the targets of `records` most likely (Guo et al., 2017), and give it.

        Fewer than 20 labelled records, or only right or only wrong answers, say too little: 1.0.
        """
        labelled = self._some([record for record in records if record.target in self._places])
        self.temperature = 1.0
        if len(labelled) >= 20:
            targets = np.array([self._place(record) for record in labelled])
            self.temperature = _best_temperature(self.logits(labelled).astype(np.float64), targets)
        return self.temperature

    def validation_loss(self, records: Sequence[Record]) -> float:
        """Mean cross-entropy (nats) of labelled records at the temperature that makes it least."""
        records = self._some(records)
        targets = np.array([self._place(record) for record in records])
        logits = self.logits(records).astype(np.float64)
        if not np.isfinite(logits).all():
            return math.nan if np.isnan(logits).any() else math.inf
        return _log_loss(logits / _best_temperature(logits, targets), targets)

    def _some(self, records: Sequence[Record]) -> Sequence[Record]:
        """All of them, or as many, evenly spaced, as have logits that fit in memory: 200 with 100,000 labels."""
        step = math.ceil(len(records) * len(self.labels) / _LOGITS)
        return records[:: max(1, step)]

    def save(self, folder: Path) -> None:
        """Write a folder that `transformers.pipeline` loads; the temperature lies in luthier/calibration.json."""
        with quiet():
            self.model.save_pretrained(folder)
            self.tokenizer.save_pretrained(folder)
        (folder / "luthier").mkdir(exist_ok=True)
        (folder / "luthier" / "calibration.json").write_text(
            json.dumps({"temperature": self.temperature}) + "\n", "utf-8"
        )

    def _forward(self, records: Sequence[Record]) -> Iterator[_Forward]:
        """The batches of `records`, shortest texts first, computed side by side in lanes."""
        sizes = self.sizes(records)
        self.model.eval()
        batches = _batches(sizes)

        def compute(rows: list[int]) -> _Forward:
            return self._compute(rows, [records[row] for row in rows], [sizes[row] for row in rows])

        if processors() == 1 or not batches:
            return map(compute, batches)
        if self._lanes is None:
            self._lanes = _lanes(lambda: compute(batches[0]))
        return self._lanes.map(compute, batches)

    def _compute(self, rows: list[int], records: Sequence[Record], lengths: list[int]) -> _Forward:
        import torch

        batch = dict(self._tokens(records, padding=True, return_tensors="pt"))
        with torch.inference_mode(), autocast(self.bf16):
            out = self.model(**batch, output_hidden_states=True)
            hidden = (out.get("hidden_states") or out.get("encoder_hidden_states"))[-1].float()  # (b, tokens, d)
            mask = batch["attention_mask"][..., None].float()  # (b, tokens, 1)
            embedding = (hidden * mask).sum(1) / mask.sum(1).clamp(min=1)
        return _Forward(rows, out.logits.float(), embedding, lengths, _READ.value)

    def _outputs(self, batch: _Forward) -> list[dict[str, Any]]:
        probability = (batch.logits.double() / self.temperature).softmax(-1)  # (b, k)
        best, place = probability.topk(min(_BEST, len(self.labels)))
        entropy = (-probability * probability.clamp(min=1e-300).log()).sum(-1)
        vectors = batch.embedding.clamp(-65504, 65504).half().numpy()
        rows = zip(best.tolist(), place.tolist(), entropy.tolist(), batch.lengths, vectors, strict=True)
        return [
            {
                "label": self.labels[where[0]],
                "confidence": scores[0],
                "margin": scores[0] - (scores[1] if len(scores) > 1 else 0.0),
                "entropy": uncertainty,
                "length": length,
                "scores": {self.labels[index]: score for index, score in zip(where, scores, strict=True)},
                "embedding": vector,
            }
            for scores, where, uncertainty, length, vector in rows
        ]

    def _tokens(self, records: Sequence[Record], **options: Any) -> Any:
        # a text is cut before it is tokenized: ten megabytes of it cost seconds, and only max_length tokens are read
        cut = max(10_000, 64 * self.max_length)
        texts = [str(record.input)[:cut].encode("utf-8", "replace").decode("utf-8") for record in records]
        return self.tokenizer(texts, truncation=True, max_length=self.max_length, **options)

    def _place(self, record: Record) -> int:
        try:
            return self._places[record.target]
        except (KeyError, TypeError):
            raise TargetError(
                f"record {record.id}: target {record.target!r} is no label of the model; it knows "
                f"{list(self.labels)[:20]}"
            ) from None


def _lanes(work: Callable[[], object]) -> ThreadPoolExecutor:
    """Threads that compute batches side by side, each with as many of torch's threads as make one batch faster.

    One small batch gains little from a second thread (MiniLM, a sentence: 15 to 13 ms), and on a busy machine the two
    wait for each other; two batches side by side need not.
    """
    import torch

    threads = helpful_threads(work, gain=1.5)
    return ThreadPoolExecutor(
        max(1, processors() // threads), "lane", initializer=torch.set_num_threads, initargs=(threads,)
    )


def _batches(sizes: Sequence[int]) -> list[list[int]]:
    """Rows in batches, shortest texts first, so that the tokens computed, padding included, are fewest.

    Texts of a live batch differ in length by a factor of ten: computed as one they are half padding (measured).
    """
    order = sorted(range(len(sizes)), key=lambda row: sizes[row])
    least, begin = [0], [0]  # tokens of the cheapest way to batch the first n rows, and where its last batch begins
    for end in range(1, len(order) + 1):
        longest = sizes[order[end - 1]]
        cost, start = min(
            (least[start] + _START + (end - start) * longest, start) for start in range(max(0, end - _BATCH), end)
        )
        least.append(cost)
        begin.append(start)
    batches, end = [], len(order)
    while end:
        batches.append(order[begin[end] : end])
        end = begin[end]
    return batches[::-1]


def _in_float32(layer: Any, inputs: tuple[Any, ...], _: Any) -> Any:
    """Forward hook of the last layer: float32 whatever the autocast, and what it read is kept for `_compute`.

    A plain function, as a copy of the layer (peft makes one) must not copy the adapter with it.
    """
    import torch

    with torch.autocast("cpu", enabled=False):
        _READ.value = inputs[0].detach().float()
        bias = layer.bias.float() if layer.bias is not None else None
        return torch.nn.functional.linear(inputs[0].float(), layer.weight.float(), bias)


def _log_loss(logits: np.ndarray, targets: np.ndarray) -> float:
    """Mean cross-entropy (nats) of logits (n, k)."""
    top = logits.max(1)
    return float((np.log(np.exp(logits - top[:, None]).sum(1)) + top - logits[np.arange(len(targets)), targets]).mean())


def _best_temperature(logits: np.ndarray, targets: np.ndarray) -> float:
    """Golden-section search on ln T in [ln 0.05, ln 20]: the mean log loss is unimodal there."""
    if len(set((logits.argmax(1) == targets).tolist())) < 2:
        return 1.0

    def cost(log_temperature: float) -> float:
        return _log_loss(logits / math.exp(log_temperature), targets)

    low, high, ratio = math.log(0.05), math.log(20.0), (math.sqrt(5) - 1) / 2
    while high - low > 1e-4:
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        low, high = (low, right) if cost(left) < cost(right) else (left, high)
    return math.exp((low + high) / 2)
