"""Verbs that show what is and what was."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from luthier.cli.base import (
    HERE,
    File,
    Json,
    app,
    bar_for,
    columns,
    emit,
    opened,
    refuse_unread,
    scoring,
    show,
    tell,
    utc,
    windows,
)
from luthier.errors import UsageError


@app.command()
def status(file: File = HERE, as_json: Json = False) -> None:
    """Where things stand: champion, rows, findings, the last decision.

    Example: `luthier status`
    """
    with opened(file) as project:
        found = project.status()
    if as_json:
        emit(found)
        return
    from luthier import terminal

    rows = ", ".join(f"{count:,} {kind}s" for kind, count in found["rows"].items())
    print(f"{found['project']}: champion {found['champion'] or 'none'}, {found['versions']} versions, {rows}")
    if found["findings"]:
        show(terminal.findings_table(found["findings"]))
    if few := found.get("few_labels"):
        risk = few["risk"]["estimate"]
        print(
            f"plan {few['plan']} ({few['decision']}), {few['came']} of {few['asked']} labels: mean loss "
            f"{risk['value']:.3f} ({risk['low']:.3f} to {risk['high']:.3f}), {few['risk']['why']}"
        )
    for one in found.get("pages", {}).get("open", ()):
        print(f"page {one['id']} open since {one['opened'][:16]}: {one['check']} {one['slice']}".rstrip())
    if (share := found.get("pages", {}).get("precision", {})).get("n"):
        print(f"pages that were right in hindsight: {share['value']:.0%} of {share['n']}")
    if found["decision"]:
        print(f"last decision: {found['decision']['action']}: {found['decision']['why']}")
    for broken in found["broken"]:
        print(f"the history was changed: {broken}")


@app.command()
def history(file: File = HERE, as_json: Json = False) -> None:
    """Who was champion when and why, and every decision with the findings it rests on.

    Example: `luthier history`
    """
    with opened(file) as project:
        promotions, story = project.history(), project.story()
    if as_json:
        emit({"promotions": promotions, "decisions": story["decisions"]})
        return
    from luthier import terminal

    for one in promotions:
        print(f"{one.at:%Y-%m-%d %H:%M}  v{one.number} {one.action}d: {one.why}")
    show(terminal.decisions_table(story))


_CUT = "every chunk alpha strict"
_REPORTS = {  # form of `report` → the options it reads
    "": "file",
    "--compare": "projects compare strict file",
    "--kind drift": f"kind since until relevant file {_CUT}",
    "--kind performance": f"kind since until file {_CUT}",
    "--kind quality": f"kind since until file {_CUT}",
    "--kind drift --reference GOOD --current NEW": f"kind reference current at category relevant {_CUT}",
    "--kind performance --reference GOOD --current NEW": f"kind reference current at column task labels {_CUT}",
    "--kind quality --reference GOOD --current NEW": f"kind reference current at category {_CUT}",
}


@app.command()
def report(
    context: typer.Context,
    projects: Annotated[
        list[Path] | None, typer.Argument(help="With --compare: the projects, each a luthier.yaml or its folder.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="A folder. Default: report, beside luthier.yaml if there is one.")
    ] = None,
    kind: Annotated[
        str | None, typer.Option("--kind", help="drift, performance or quality, of files or of the champion's answers.")
    ] = None,
    reference: Annotated[
        Path | None, typer.Option("--reference", help="Parquet, CSV or JSON Lines: good days.")
    ] = None,
    current: Annotated[Path | None, typer.Option("--current", help="The same columns, to hold against it.")] = None,
    at: Annotated[str | None, typer.Option("--at", help="The column of event times.")] = None,
    every: Annotated[
        str | None, typer.Option("--every", help="Windows: hour, day, week, month, or a number of minutes.")
    ] = None,
    chunk: Annotated[int | None, typer.Option("--chunk", help="Windows of so many rows.")] = None,
    since: Annotated[datetime | None, typer.Option("--since", help="Answers from this time on (UTC).")] = None,
    until: Annotated[datetime | None, typer.Option("--until", help="Answers before this time (UTC).")] = None,
    category: Annotated[
        list[str] | None, typer.Option("--category", help="A column of numbers that are names; may be given again.")
    ] = None,
    column: Annotated[
        list[str] | None, typer.Option("--column", help="Our name to yours: target=churned; may be given again.")
    ] = None,
    task: Annotated[str | None, typer.Option("--task", help="binary, regression …: see the monitor's tasks.")] = None,
    labels: Annotated[
        str | None, typer.Option("--labels", help="All labels, by commas; the last of two is the positive one.")
    ] = None,
    alpha: Annotated[float, typer.Option("--alpha", help="The share of wrong findings that is allowed.")] = 0.05,
    relevant: Annotated[
        float, typer.Option("--relevant", help="The smallest Jensen–Shannon distance that matters.")
    ] = 0.0,
    compare: Annotated[bool, typer.Option("--compare", help="Many models, or one's versions, on one page.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit code 1 when the report has an alarm.")] = False,
    file: File = HERE,
    as_json: Json = False,
) -> None:
    """Write a report: one HTML file that works offline, Markdown and JSON beside it. Without --kind, the project's story.

    Example: `luthier report -o report`

    Example: `luthier report --kind drift --reference good.parquet --current new.parquet --at time --every day`

    Example: `luthier report --kind performance --since 2026-03-01 --every day`

    Example: `luthier report --compare shop/luthier.yaml mail/luthier.yaml`
    """
    from luthier import reports

    of_files = bool(reference or current)
    if projects and not compare:
        raise UsageError(f"{projects[0]} is no option: to compare projects say --compare {projects[0]} …")
    form = "--compare" if compare else f"--kind {kind or 'drift'}" if kind or of_files else ""
    form += " --reference GOOD --current NEW" if of_files and not compare else ""
    if form in _REPORTS:  # another kind is refused below, with the kinds there are
        refuse_unread(context, form, _REPORTS)
    if not form:
        with opened(file) as project:
            paths = project.report(out)
        tell(as_json, paths, f"wrote {paths.html}")
        return
    options: dict[str, Any] = {"every": windows(every), "chunk": chunk, "alpha": alpha}
    with ExitStack() as stack:
        bar = stack.enter_context(bar_for(as_json))
        if compare:
            made = reports.compare_projects([stack.enter_context(opened(one)) for one in projects or [file]], bar)
        elif reference and current:
            options |= {"at": at, "relevant": relevant, "categories": category or ()}
            options |= {"task": scoring(task, labels), "columns": columns(column)}
            made = reports.of_files(kind or "drift", reference, current, bar, **options)
        elif of_files:
            raise UsageError("a report on files needs both: --reference and --current")
        else:
            made = reports.of_project(kind, stack.enter_context(opened(file)), utc(since), utc(until), relevant=relevant, **options)  # fmt: skip
    beside = file.parent if file.is_file() else file if file.is_dir() else Path()
    paths = made.save(out or (Path() if reference else beside) / "report")
    tell(as_json, {"kind": made.kind, "headline": made.sheet.headline, "alarms": made.alarms, "files": paths}, f"{made}\nwrote {paths.html}")  # fmt: skip
    raise typer.Exit(1 if strict and made.alarms else 0)


@app.command()
def demo(
    folder: Annotated[Path, typer.Option("--folder", help="Where the demo's project is made, anew.")] = Path(
        "luthier-demo"
    ),
    quick: Annotated[bool, typer.Option("--quick", help="The short form, under 90 seconds.")] = False,
    as_json: Json = False,
) -> None:
    """The whole loop on a real model, real sentences and real HTTP. Exit code 1 when one of its claims does not hold.

    Example: `luthier demo --quick`
    """
    from luthier.demo import run

    outcome = run.run(
        folder,
        plan=run.QUICK if quick else run.FULL,
        say=lambda line: print(line, file=sys.stderr if as_json else sys.stdout, flush=True),
    )
    if as_json:
        emit({"claims": outcome.claims, "report": str(outcome.report)})
    raise typer.Exit(0 if all(claim["holds"] for claim in outcome.claims) else 1)


@app.command()
def doctor(file: File = HERE, as_json: Json = False) -> None:
    """Look at the environment: versions, free disk, threads, bf16, the project if there is one. Exit code 3 if ill.

    Example: `luthier doctor`
    """
    from luthier import doctor as examination

    found = examination.examine(file)
    if as_json:
        emit(found)
    else:
        for item in found:
            print(
                f"{'ok ' if item.fine else 'ILL'}  {item.name:14} {item.found}{'' if item.fine else '  → ' + item.remedy}"
            )
    raise typer.Exit(0 if all(item.fine for item in found) else 3)
