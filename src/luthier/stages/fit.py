"""Fine-tune until the requirements are met: from the cheapest recipe to the dearest, until one is good enough."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from luthier.errors import DataError, RecordError, TrainingError, UsageError
from luthier.models import checkpoints
from luthier.models.training import run_key
from luthier.names import every, get
from luthier.options import FitOptions, Requirement
from luthier.recipes.base import Candidate, Progress
from luthier.tasks.base import Task, answered, latency_ms
from luthier.types import Estimate, Finding, Run, Split

__all__ = ["fit", "shortfall"]

_CURVES = ("overfitting.v1", "divergence.v1", "plateau.v1", "unstable.v1")


def fit(
    task: Task, source: str | Path, split: Split, *,
    require: Mapping[str, Requirement], options: FitOptions, work: Path, progress: Progress | None = None,
) -> Run:  # fmt: skip
    """Fine-tune `source`; `Run.folder` is the first candidate that meets `require` on validation, else the best.

    A requirement is met when the bound of its interval is; as each rung is looked at, the intervals are widened
    for their number (Bonferroni). A killed run goes on where it was when called again with the same arguments, and
    remembers finished rungs in work/rungs.json. Raises DataError before any training when the records cannot be
    learned from, UsageError for an unknown metric or recipe, TrainingError when no rung gave a candidate.
    """
    climb = _Climb(task, source, split, dict(require), options, work, progress)
    climb.check()
    return climb.run()


def shortfall(metric: str, estimate: Estimate, requirement: Requirement) -> str:
    """Why the estimate does not meet the requirement, with what would; "" when it does."""
    if _gap(estimate, requirement) <= 0:
        return ""
    least = requirement.at_least
    if not math.isfinite(estimate.value):
        return f"{metric} could not be measured on the validation records"
    bound, side = (estimate.low, "lower") if least is not None else (estimate.high, "upper")
    limit, rule = (least, "at least") if least is not None else (requirement.at_most, "at most")
    text = f"{metric} is {estimate.value:.4g}, its {side} bound {bound:.4g}; required is {rule} {limit:g}"
    beyond = estimate.value - limit if least is not None else limit - estimate.value  # type: ignore[operator]
    if beyond > 0:
        need = math.ceil(estimate.n * (abs(estimate.value - bound) / beyond) ** 2)
        return (
            f"{text}. The value itself is good enough: about {need} validation records (now {estimate.n}) would show it"
        )
    return f"{text}. The model itself is short by {-beyond:.3g}"


@dataclass
class _Climb:
    task: Task
    source: str | Path
    split: Split
    require: dict[str, Requirement]
    options: FitOptions
    work: Path
    progress: Progress | None

    def check(self) -> None:
        """Everything that can be known to be wrong before training."""
        known = {*self.task.metrics, "latency_ms"}
        if unknown := sorted(set(self.require) - known):
            raise UsageError(
                f"require: there is no metric {unknown[0]!r} of {self.task.name}; known are {', '.join(sorted(known))}"
            )
        if unknown := sorted(set(self._rungs()) - set(every("recipe"))):
            raise UsageError(f"fit: there is no recipe {unknown[0]!r}; known are auto, {', '.join(every('recipe'))}")
        _check_records(self.task, self.split)

    def run(self) -> Run:
        began = time.monotonic()
        self.work.mkdir(parents=True, exist_ok=True)
        key = self._key()
        rungs = _remembered(self.work / "rungs.json", key)
        spent = sum(rung["seconds"] for rung in rungs)
        budget = self.options.budget_minutes
        deadline = None if budget is None else began + max(0.0, budget * 60 - spent)
        for name in self._rungs()[len(rungs) :]:
            if any(rung["met"] for rung in rungs):
                break
            if rungs and deadline is not None and time.monotonic() >= deadline:
                break
            rungs.append(self._rung(name, deadline))
            checkpoints.write_text(self.work / "rungs.json", json.dumps({"key": key, "rungs": rungs}))
        return self._result(key, rungs)

    def _rungs(self) -> tuple[str, ...]:
        return self.options.rungs if self.options.recipe == "auto" else (self.options.recipe,)

    def _key(self) -> str:
        data = run_key("ladder", self.source, self.split, self.options)
        wanted = json.dumps({name: asdict(r) for name, r in sorted(self.require.items())})
        about = [data, self.task.name, list(self.task.labels), list(self._rungs()), wanted]
        return hashlib.sha256(json.dumps(about).encode()).hexdigest()

    def _rung(self, name: str, deadline: float | None) -> dict[str, Any]:
        """Train and judge one rung; a rung whose training broke is recorded with its reason."""
        began = time.monotonic()
        work = self.work / name
        try:
            candidate = get("recipe", name)().run(
                self.task, self.source, self.split, self.options, work, deadline=deadline, progress=self.progress
            )
        except TrainingError as error:
            return {
                "recipe": name,
                "seconds": time.monotonic() - began,
                "met": False,
                "why": str(error),
                "metrics": {},
                "folder": "",
            }
        estimates, missing, gap = self._judge(candidate)
        return {
            "recipe": name,
            "seconds": time.monotonic() - began,
            "met": not missing,
            "why": "; ".join(missing) or _met(self.require, estimates),
            "metrics": {metric: asdict(estimate) for metric, estimate in estimates.items()},
            "folder": str(candidate.folder),
            "stopped": candidate.stopped,
            "about": dict(candidate.about),
            "curves": {curve: list(points) for curve, points in candidate.curves.items()},
            "gap": gap,
        }

    def _judge(self, candidate: Candidate) -> tuple[dict[str, Estimate], list[str], float]:
        """Estimates on validation (95 %), what is missing, and the largest gap; the temperature is fitted first."""
        adapter: Any = self.task.adapter(candidate.folder)
        records = self.split.validation
        if hasattr(adapter, "calibrate"):
            temperature = adapter.calibrate(records)
            (candidate.folder / "luthier").mkdir(exist_ok=True)
            path = candidate.folder / "luthier" / "calibration.json"
            checkpoints.write_text(path, json.dumps({"temperature": temperature}) + "\n")
        columns = self.task.columns(answered(adapter, records))
        latency = {"latency_ms": latency_ms(adapter, records)} if "latency_ms" in self.require else {}
        estimates = {**self.task.estimates(columns), **latency}
        latency = {name: replace(one, low=one.value, high=one.value) for name, one in latency.items()}  # held as it is
        missing, gaps = [], []
        for metric, requirement in self.require.items():
            confidence = 1 - (1 - requirement.confidence) / len(self._rungs())
            seen = latency.get(metric) or self.task.estimates(columns, confidence)[metric]
            missing += [text for text in [shortfall(metric, seen, requirement)] if text]
            gaps.append(_gap(seen, requirement))
        return estimates, missing, max(gaps, default=-estimates[self.task.metrics[0]].value)

    def _result(self, key: str, rungs: Sequence[Mapping[str, Any]]) -> Run:
        usable = [rung for rung in rungs if rung["folder"]]
        if not usable:
            raise TrainingError("; ".join(f"{rung['recipe']}: {rung['why']}" for rung in rungs) or "no rung was tried")
        best = next((rung for rung in usable if rung["met"]), None) or min(usable, key=lambda rung: rung["gap"])
        findings = _findings(best["curves"])
        return Run(
            id=f"run-{key[:12]}",
            folder=best["folder"],
            recipe=best["recipe"],
            met=best["met"],
            why=best["why"] if best["met"] else self._advice(best, rungs, findings),
            estimates={metric: Estimate(**numbers) for metric, numbers in best["metrics"].items()},
            rungs=tuple(rungs),
            findings=findings,
            seconds=sum(rung["seconds"] for rung in rungs),
        )

    def _advice(self, best: Mapping[str, Any], rungs: Sequence[Mapping[str, Any]], findings: Sequence[Finding]) -> str:
        """What fell short, and what to try next, most promising first."""
        tried = [rung["recipe"] for rung in rungs]
        text = f"no recipe met the requirements ({', '.join(tried)} tried); best is {best['recipe']}: {best['why']}."
        left = [name for name in self._rungs() if name not in tried]
        if left:
            return f"{text} The time budget ended before {', '.join(left)}: raise fit.budget_minutes."
        if "budget" in best.get("stopped", ""):
            return f"{text} Training was cut by the time budget: raise fit.budget_minutes."
        alarms = [finding for finding in findings if finding.alarm]
        if alarms:
            return f"{text} {' '.join(finding.why for finding in alarms)}"
        if "full" not in tried:
            return f"{text} Try a larger rung: add full to fit.rungs."
        train, n = len(self.split.train), len(self.split.validation)
        return (
            f"{text} Next: look for wrong labels with `luthier check`; add training records (now {train}, validation "
            f"{n}); raise fit.epochs (now {self.options.epochs}); or take a larger base model."
        )


def _check_records(task: Task, split: Split) -> None:
    broken: list[RecordError] = []
    for record in (*split.train, *split.validation):
        try:
            task.check(record)
        except RecordError as error:
            broken.append(error)
    if broken:
        n = len(split.train) + len(split.validation)
        raise DataError(f"{len(broken)} of {n} records cannot be used. The first: {broken[0]}") from broken[0]
    targets = {record.target for record in split.train}
    if not split.train or None in targets:
        unlabelled = sum(record.target is None for record in split.train)
        raise DataError(
            f"{len(split.train)} training records, {unlabelled} without a target; fine-tuning needs labelled ones"
        )
    if len(targets) < 2:
        raise DataError(
            f"all {len(split.train)} training records have the target {targets.pop()!r}; a classifier needs two labels"
        )
    if not split.validation or any(record.target is None for record in split.validation):
        raise DataError(
            "fit needs labelled validation records: they decide when training stops and whether requirements are met"
        )


def _gap(estimate: Estimate, requirement: Requirement) -> float:
    """How far the bound misses the requirement; at most 0 when it is met, infinite when nothing was measured."""
    if requirement.at_least is not None:
        gap = requirement.at_least - estimate.low
    else:
        gap = estimate.high - requirement.at_most  # type: ignore[operator]
    return gap if math.isfinite(gap) else math.inf


def _met(require: Mapping[str, Requirement], estimates: Mapping[str, Estimate]) -> str:
    if not require:
        return "nothing is required; the cheapest recipe is kept"
    return "met: " + ", ".join(f"{name} {estimates[name].value:.4g}" for name in require)


def _remembered(path: Path, key: str) -> list[dict[str, Any]]:
    """Rungs an earlier call with the same arguments finished, as long as their candidates are still there."""
    try:
        known = json.loads(path.read_text("utf-8"))
        rungs: list[dict[str, Any]] = known["rungs"] if known["key"] == key else []
    except (OSError, ValueError, KeyError, TypeError):
        return []
    there = [not rung["folder"] or (Path(rung["folder"]) / "config.json").exists() for rung in rungs]
    return rungs[: there.index(False)] if False in there else rungs


def _findings(curves: Mapping[str, Sequence[Sequence[float]]]) -> tuple[Finding, ...]:
    """What the checks of training curves say about one rung."""
    window = _by_step(curves)
    checks = [get("check", name)() for name in _CURVES]
    return tuple(check.step(check.start({}), window)[1] for check in checks)


def _by_step(curves: Mapping[str, Sequence[Sequence[float]]]) -> dict[str, Any]:
    """Curves as columns with one row a step, NaN where a curve has no point."""
    steps = sorted({int(step) for points in curves.values() for step, _ in points})
    place = {step: row for row, step in enumerate(steps)}
    found = {name: np.full(len(steps), np.nan) for name in curves}
    for name, points in curves.items():
        for step, value in points:
            found[name][place[int(step)]] = value
    return found
