"""Fine-tune every weight."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from luthier.models.training import run_key, train
from luthier.names import register
from luthier.options import FitOptions
from luthier.recipes.base import Candidate, Progress, begin, finish, finished, rate_for
from luthier.tasks.base import Task
from luthier.types import Split

__all__ = ["Full"]


@register("recipe", "full")
@dataclass(frozen=True)
class Full:
    """All weights move. Learning rate by default 1e-4 up to 512 hidden units, 3e-5 above."""

    name = "full"

    def run(
        self, task: Task, source: str | Path, split: Split, options: FitOptions, work: Path,
        *, deadline: float | None = None, progress: Progress | None = None,
    ) -> Candidate:  # fmt: skip
        """Train, and write work/model. Raises TrainingError, ModelError, TargetError."""
        key = run_key(self.name, source, split, options)
        if done := finished(work, self.name, key):
            return done
        start = begin(task, source, split, options, work)
        rate = options.learning_rate or rate_for(start.adapter, small=1e-4, large=3e-5)
        trained = train(
            start.adapter, split, options, work, learning_rate=rate, key=key, deadline=deadline, say=progress
        )
        return finish(start, trained, work, recipe=self.name, key=key, about={"learning_rate": rate})
