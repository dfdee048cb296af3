"""The verb that asks for labels and takes them back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from luthier.cli.base import HERE, File, Json, app, emit, number, opened, refuse_unread, tell
from luthier.errors import UsageError

_FORMS = {"N": "budget decision pool seed", "--import FILE": "taken"}  # form of `labels` → the options it reads


@app.command()
def labels(
    context: typer.Context,
    budget: Annotated[int | None, typer.Argument(help="How many records to label.")] = None,
    decision: Annotated[
        str,
        typer.Option("--for", help="worse: is it worse? accuracy: how good is it? better: is the candidate? repair."),
    ] = "worse",
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Where to write them: .csv, .jsonl, or .json for Label Studio.")
    ] = None,
    taken: Annotated[
        Path | None, typer.Option("--import", help="A filled-in plan, or Label Studio's export, to take labels from.")
    ] = None,
    blind: Annotated[bool, typer.Option("--blind", help="Write them without what the model said.")] = False,
    pool: Annotated[int, typer.Option("--pool", help="Choose among so many of the newest answers.")] = 20_000,
    candidate: Annotated[
        str | None, typer.Option("--candidate", help="The version that `--for better` compares.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="The same answers and seed give the same plan.")] = 0,
    file: File = HERE,
    as_json: Json = False,
) -> None:
    """Plan which answers to label next, or take the labels back. Exit code 1 when some were rejected.

    Example: `luthier labels 200 --for accuracy --out plan.csv`, later `luthier labels --import plan.csv`
    """
    if (budget is None) == (taken is None):
        raise UsageError("give either the number of records to label, or --import FILE with labels that came back")
    refuse_unread(context, "N" if taken is None else "--import FILE", _FORMS)
    refuse_unread(context, "" if taken is not None or out is None else "N --out FILE", {"N --out FILE": "out blind"})
    refuse_unread(context, f"N --for {decision}" if taken is None else "", {"N --for better": "candidate"})
    with opened(file) as project:
        if taken is not None:
            _tell_taken(project.take_labels(taken), as_json)
            return
        plan = project.label_plan(budget or 0, decision, pool=pool, candidate=number(candidate), seed=seed)
        _tell_plan(plan, _written(plan, out, blind), out, as_json)


def _written(plan: Any, out: Path | None, blind: bool) -> int:
    from luthier.stages import labelfiles

    return labelfiles.write(plan, out, blind=blind) if out else 0


def _tell_plan(plan: Any, written: int, out: Path | None, as_json: bool) -> None:
    if as_json:
        emit({"plan": plan, "open": len(plan.open), "written": str(out) if out else None})
        return
    for one in () if out else plan.open:
        print(f"{one.id}\t{str(one.input)[:100]!r}")
    print(f"plan {plan.id} ({plan.decision}): {plan.buys.why}")
    if plan.known:
        print(f"{len(plan.known)} of them have a label already")
    if out:
        print(f"wrote {written} records to label into {out}; label them, then run: luthier labels --import {out}")


def _tell_taken(taken: Any, as_json: bool) -> None:
    done, read = taken.feedback, taken.file
    rejected = [f"rejected {place}: {rule}: {why}" for place, rule, why in read.rejected]
    rejected += [f"rejected {name}: {why}" for name, why in done.rejected]
    text = (
        f"{done.stored} stored, {done.duplicates + read.repeated} known before, {done.waiting} wait for their answer, "
        f"{read.open} not labelled yet, {len(rejected)} rejected"
    )
    tell(as_json, {"taken": done, "file": read, "rejected": read.counts}, "\n".join([text, *rejected]))
    raise typer.Exit(1 if rejected else 0)
