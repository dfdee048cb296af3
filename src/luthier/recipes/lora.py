"""Train low-rank additions to every linear layer, and add them in at the end."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luthier.errors import need
from luthier.models.training import run_key, train
from luthier.names import register
from luthier.options import FitOptions
from luthier.recipes.base import Candidate, Progress, begin, finish, finished, rate_for
from luthier.tasks.base import Task
from luthier.types import Split

__all__ = ["Lora"]


@register("recipe", "lora")
@dataclass(frozen=True)
class Lora:
    """LoRA (Hu et al., ICLR 2022) of rank `fit.lora_rank`, scale 2, and the whole classifier; merged at the end.

    Learning rate by default 1e-3 up to 512 hidden units, 3e-4 above.
    """

    name = "lora"

    def run(
        self, task: Task, source: str | Path, split: Split, options: FitOptions, work: Path,
        *, deadline: float | None = None, progress: Progress | None = None,
    ) -> Candidate:  # fmt: skip
        """Train, and write work/model. Raises TrainingError, ModelError, TargetError, MissingPackage."""
        key = run_key(self.name, source, split, options)
        if done := finished(work, self.name, key):
            return done
        start = begin(task, source, split, options, work)
        plain, rate = (
            start.adapter.model,
            options.learning_rate or rate_for(start.adapter, small=1e-3, large=3e-4),
        )
        start.adapter.model = _with_additions(plain, options)
        trained = train(
            start.adapter, split, options, work, learning_rate=rate, key=key, deadline=deadline, say=progress
        )
        start.adapter.model = start.adapter.model.merge_and_unload()
        about = {"learning_rate": rate, "rank": options.lora_rank}
        return finish(start, trained, work, recipe=self.name, key=key, about=about)


def _with_additions(model: Any, options: FitOptions) -> Any:
    peft = need("peft", extra="fit")
    import torch

    config = peft.LoraConfig(
        task_type="SEQ_CLS", r=options.lora_rank, lora_alpha=2 * options.lora_rank, target_modules="all-linear",
        lora_dropout=options.dropout or 0.0,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft asks transformers by a name that is on its way out
        torch.manual_seed(options.seed)
        return peft.get_peft_model(model, config)
