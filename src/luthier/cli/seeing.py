"""Verbs that show what is and what was."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from luthier.cli.base import HERE, File, Json, app, emit, opened, show, tell


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


@app.command()
def report(
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="A folder. Default: report beside luthier.yaml.")
    ] = None,
    file: File = HERE,
    as_json: Json = False,
) -> None:
    """Write the report: one HTML file that works offline, Markdown and JSON beside it.

    Example: `luthier report -o report`
    """
    with opened(file) as project:
        paths = project.report(out)
    tell(as_json, paths, f"wrote {paths.html}")


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
