"""Verbs that make and prove versions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from luthier.cli.base import HERE, File, Json, Number, app, bar_for, emit, number, opened, show, tell, tell_verdict
from luthier.errors import UsageError


@app.command()
def init(
    data: Annotated[Path, typer.Argument(help="A file of labelled examples: CSV, TSV, JSON Lines, Parquet, text.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Where to write it.")] = HERE,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
    as_json: Json = False,
) -> None:
    """Look at a data file and write a commented luthier.yaml.

    Example: `luthier init reviews.csv`
    """
    from luthier.stages import draft

    if out.exists() and not force:
        raise UsageError(f"{out} exists. Give another name with --out, or replace it with --force")
    text = draft.draft(data, base=out.parent)
    out.write_text(text, encoding="utf-8")
    tell(as_json, {"written": str(out)}, f"wrote {out}; look through it, then run: luthier check -f {out}")


@app.command()
def check(file: File = HERE, as_json: Json = False) -> None:
    """Check data and configuration before any training. Exit code 1 when something must be mended.

    Example: `luthier check`
    """
    with opened(file) as project, bar_for(as_json) as bar:
        issues = project.check(bar)
    errors = sum(issue.severity == "error" for issue in issues)
    if as_json:
        emit({"errors": errors, "issues": issues})
    else:
        for issue in issues:
            rows = f"  [{', '.join(map(str, issue.rows))}]" if issue.rows else ""
            print(f"{issue.severity:7}  {issue.rule}: {issue.message}{rows}")
        print(f"{errors} errors, {len(issues) - errors} warnings" if issues else "nothing to mend")
    raise typer.Exit(1 if errors else 0)


@app.command()
def fit(
    file: File = HERE,
    promote: Annotated[bool, typer.Option("--promote", help="Promote the version when its gate passes.")] = False,
    as_json: Json = False,
) -> None:
    """Fine-tune until `require:` is met and register the version. Exit code 1 when it is not met.

    Interrupted, it resumes when called again. Example: `luthier fit --promote`
    """
    with opened(file) as project, bar_for(as_json) as bar:
        fitted = project.fit(bar)
        passed = fitted.run.met and fitted.verdict.outcome == "pass"
        if passed and promote:
            project.promote(fitted.version.number)
    if as_json:
        emit(
            {
                "version": fitted.version.name,
                "run": fitted.run,
                "verdict": fitted.verdict,
                "promoted": passed and promote,
            }
        )
    else:
        for rung in fitted.run.rungs:
            print(f"{rung['recipe']:8} {'' if rung['met'] else 'not met: '}{rung['why']}")
        tell_verdict(fitted.version.name, fitted.verdict)
        if passed:
            print(f"{fitted.version.name} is champion" if promote else f"next: luthier promote {fitted.version.name}")
        else:
            print(
                f"not met: {fitted.run.why}"
                if not fitted.run.met
                else "met on validation, not shown on the test split yet"
            )
    raise typer.Exit(0 if passed else 1)


@app.command()
def evaluate(
    data: Annotated[Path | None, typer.Argument(help="A labelled file. Default: the test split.")] = None,
    version: Number = None,
    file: File = HERE,
    as_json: Json = False,
) -> None:
    """Measure a version on labelled data, every metric with its interval.

    Example: `luthier evaluate fresh.csv --version v1`
    """
    from luthier.terminal import estimate as shown

    with opened(file) as project:
        held = project.evaluate(number(version), data)
    if as_json:
        emit({"metrics": held.estimates, "seconds": held.seconds})
        return
    for name, value in held.estimates.items():
        print(f"{name:24} {shown(value)}")


@app.command()
def gate(
    version: Annotated[str, typer.Argument(help="The version to judge, such as v2.")],
    data: Annotated[Path | None, typer.Argument(help="A labelled file. Default: the test split.")] = None,
    file: File = HERE,
    as_json: Json = False,
) -> None:
    """Judge a version against `require:` and, paired, against the champion. Exit code 1 unless it passes.

    Example: `luthier gate v2`
    """
    with opened(file) as project:
        verdict = project.gate(number(version) or 0, data)
    if as_json:
        emit({"version": version, "verdict": verdict})
    else:
        tell_verdict(version, verdict)
    raise typer.Exit(0 if verdict.outcome == "pass" else 1)


@app.command()
def versions(file: File = HERE, as_json: Json = False) -> None:
    """List the versions, with their metrics and the verdict of their gate.

    Example: `luthier versions`
    """
    with opened(file) as project:
        found, champion = project.versions(), project.champion()
        story = {"versions": project.story()["versions"]} if found and not as_json else {}
    if as_json:
        emit({"champion": champion.name if champion else None, "versions": found})
    elif not found:
        print("no versions yet: luthier fit")
    else:
        from luthier import terminal

        show(terminal.versions_table(story))
        print(f"champion: {champion.name if champion else 'none, promote one with: luthier promote ' + found[-1].name}")


@app.command()
def promote(
    version: Annotated[str | None, typer.Argument(help="Default: the newest.")] = None,
    anyway: Annotated[
        str, typer.Option("--anyway", help="Promote although the gate did not pass, for this reason.")
    ] = "",
    file: File = HERE,
    as_json: Json = False,
) -> None:
    """Make a version the champion; a running server swaps it in. Exit code 1 when its gate did not pass.

    Example: `luthier promote v2`
    """
    with opened(file) as project:
        done = project.promote(number(version), anyway=anyway)
    tell(as_json, done, f"v{done.number} is champion: {done.why}")


@app.command()
def rollback(
    why: Annotated[str, typer.Option("--why", help="The reason, kept in the history.")] = "asked for",
    file: File = HERE,
    as_json: Json = False,
) -> None:
    """Make the champion before the present one champion again.

    Example: `luthier rollback --why "wrong on refunds"`
    """
    with opened(file) as project:
        done = project.rollback(why)
    tell(as_json, done, f"v{done.number} is champion again: {done.why}")
