"""What fitting costs in CPU seconds, against transformers.Trainer on the same work, in one run.

    python bench/bench_fit.py [texts] [epochs]

Prints one JSON line a row. CPU seconds, as they hardly depend on what else the machine does; each side runs in its own process
with the same number of threads (1), and the seconds of importing and loading are given apart.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

LABELS = ("negative", "positive")
TEST = 600


def rows(n: int) -> tuple[list[Any], list[Any], list[Any]]:
    """The same shuffled tweets for everyone: train, validation (a fifth as many), test."""
    import random

    from luthier.demo import assets

    tweets = assets.sentiment("tweets")
    random.Random(0).shuffle(tweets)
    return tweets[:n], tweets[n : n + n // 5], tweets[-TEST:]


def luthier_side(recipe: str, n: int, epochs: int, work: Path, **options: Any) -> dict[str, float]:
    """CPU seconds of a recipe, from a loaded process to a model folder, and its test accuracy."""
    import torch
    import transformers

    from luthier.demo import assets
    from luthier.models.textmodel import TextClassifier
    from luthier.names import get
    from luthier.options import FitOptions
    from luthier.types import Split

    torch.set_num_threads(1)
    _ = transformers.AutoModelForSequenceClassification
    task, source = get("task", "text_classification")(labels=LABELS), assets.minilm()
    train, validation, test = rows(n)
    task.adapter(source)  # both sides find the files in the page cache
    began = time.process_time()
    done = get("recipe", recipe)().run(
        task,
        source,
        Split(train, validation, ()),
        FitOptions(epochs=epochs, threads=1, patience=epochs, **options),
        work / recipe,
    )
    seconds = time.process_time() - began
    answers = TextClassifier.load(done.folder).answer(test)
    right = sum(output["label"] == record.target for output, record in zip(answers, test, strict=True))
    return {"cpu_s": seconds, "accuracy": right / len(test)}


def trainer_side(frozen: bool, n: int, epochs: int, work: Path) -> dict[str, float]:
    """The same with Trainer: fp32 and no length grouping, as it comes; batch 32 and our learning rate."""
    import torch
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainingArguments,
    )  # fmt: skip

    from luthier.demo import assets

    torch.set_num_threads(1)
    source = str(assets.minilm())
    train, validation, test = rows(n)
    began = time.process_time()
    tokenizer = AutoTokenizer.from_pretrained(source)

    def encoded(part: list[Any]) -> list[dict[str, Any]]:
        return [{**tokenizer(r.input, truncation=True, max_length=128), "labels": LABELS.index(r.target)} for r in part]

    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(source, num_labels=2)
    if frozen:
        model.base_model.requires_grad_(False)
    arguments = TrainingArguments(
        str(work), num_train_epochs=epochs, per_device_train_batch_size=32, per_device_eval_batch_size=32, use_cpu=True,
        learning_rate=3e-3 if frozen else 1e-4, report_to=[], disable_tqdm=True, eval_strategy="epoch", save_strategy="no",
    )  # fmt: skip
    collator = DataCollatorWithPadding(tokenizer)
    trainer = Trainer(model, arguments, collator, encoded(train), encoded(validation))
    trainer.train()
    trainer.save_model(str(work / "model"))
    seconds = time.process_time() - began
    predicted = trainer.predict(encoded(test))  # type: ignore[arg-type]
    return {"cpu_s": seconds, "accuracy": float((predicted.predictions.argmax(1) == predicted.label_ids).mean())}


def main() -> None:
    n, epochs = (int(word) for word in (*sys.argv[1:3], *("500", "5")[len(sys.argv) - 1 :]))
    with tempfile.TemporaryDirectory() as folder:
        run = _Run(n, Path(folder))
        frozen = run("trainer, frozen backbone", "trainer_side(True", epochs)
        first = run("head, first run", "luthier_side('head'", epochs)
        (Path(folder) / "head" / "done.json").unlink()
        again = run("head, features known", "luthier_side('head'", epochs)
        run.ratio("head against Trainer", frozen, first)
        run.ratio("head again against Trainer", frozen, again)
        plain = run("trainer, all weights", "trainer_side(False", 2)
        full = run("full", "luthier_side('full'", 2)
        run.ratio("full against Trainer", plain, full)


class _Run:
    """Runs each side in a fresh process, and prints what it cost."""

    def __init__(self, n: int, folder: Path) -> None:
        self.n, self.folder = n, folder

    def __call__(self, name: str, call: str, epochs: int) -> dict[str, float]:
        code = f"import sys, json; sys.path.insert(0, {str(Path(__file__).parent)!r}); from bench_fit import *; "
        code += f"print(json.dumps({call}, {self.n}, {epochs}, Path({str(self.folder)!r}))))"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(done.stderr)
        found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
        print(
            json.dumps({"row": name, "texts": self.n, "epochs": epochs, **{k: round(v, 3) for k, v in found.items()}}),
            flush=True,
        )
        return found

    def ratio(self, name: str, slow: dict[str, float], quick: dict[str, float]) -> None:
        print(json.dumps({"row": name, "times_quicker": round(slow["cpu_s"] / quick["cpu_s"], 1)}), flush=True)


if __name__ == "__main__":
    main()
