"""The command line: every verb of a project, with help, `--json`, progress and exit codes. No logic of its own.

Exit codes: 0 fine, 1 a requirement or gate was not met, 2 usage or configuration, 3 environment, 130 interrupted.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from luthier.errors import LuthierError, UsageError

if TYPE_CHECKING:
    from luthier.loop import Project

__all__ = ["app", "main"]

app = typer.Typer(
    name="luthier",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Fine-tunes pretrained models until they meet written requirements, proves it, serves them, watches them in "
    "production, and repairs them safely, with evidence for every step.\n\n"
    "Start with `luthier demo`, or on your own data: `luthier init data.csv`, `luthier check`, `luthier fit`, "
    "`luthier promote`, `luthier serve`, `luthier loop`.\n\n"
    "Exit codes: 0 fine, 1 requirement or gate not met, 2 usage or configuration, 3 environment.",
)
File = Annotated[Path, typer.Option("--file", "-f", help="The project's luthier.yaml, or the folder that holds it.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]
Number = Annotated[str | None, typer.Option("--version", "-v", help="A version, such as v2. Default: the champion.")]
HERE = Path("luthier.yaml")


def main() -> None:
    """Run a verb; errors become one message and an exit code."""
    try:
        code = app(standalone_mode=False)
    except LuthierError as error:
        code = error.exit_code
        if "--json" in sys.argv:
            _emit({"error": str(error), "kind": type(error).__name__, "exit_code": code})
        print(f"luthier: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        print("luthier: interrupted; nothing acknowledged is lost. Call the same verb again to go on", file=sys.stderr)
        code = 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except Exception as error:
        if not hasattr(error, "show") or not hasattr(error, "exit_code"):
            raise
        error.show()  # the command line itself was wrong
        code = error.exit_code
    sys.exit(code if isinstance(code, int) else 0)


# data --------------------------------------------------------------------------------------------------------------


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
    _show(as_json, {"written": str(out)}, f"wrote {out}; look through it, then run: luthier check -f {out}")


@app.command()
def check(file: File = HERE, as_json: Json = False) -> None:
    """Check data and configuration before any training. Exit code 1 when something must be mended.

    Example: `luthier check`
    """
    with _project(file) as project, _bar(as_json) as bar:
        issues = project.check(bar)
    errors = sum(issue.severity == "error" for issue in issues)
    if as_json:
        _emit({"errors": errors, "issues": issues})
    else:
        for issue in issues:
            rows = f"  [{', '.join(map(str, issue.rows))}]" if issue.rows else ""
            print(f"{issue.severity:7}  {issue.rule}: {issue.message}{rows}")
        print(f"{errors} errors, {len(issues) - errors} warnings" if issues else "nothing to mend")
    raise typer.Exit(1 if errors else 0)


# versions ------------------------------------------------------------------------------------------------------------


@app.command()
def fit(
    file: File = HERE,
    promote: Annotated[bool, typer.Option("--promote", help="Promote the version when its gate passes.")] = False,
    as_json: Json = False,
) -> None:
    """Fine-tune until `require:` is met and register the version. Exit code 1 when it is not met.

    Interrupted, it resumes when called again. Example: `luthier fit --promote`
    """
    with _project(file) as project, _bar(as_json) as bar:
        fitted = project.fit(bar)
        passed = fitted.run.met and fitted.verdict.outcome == "pass"
        if passed and promote:
            project.promote(fitted.version.number)
    if as_json:
        _emit(
            {
                "version": fitted.version.name,
                "run": fitted.run,
                "verdict": fitted.verdict,
                "promoted": passed and promote,
            }
        )
    else:
        for rung in fitted.run.rungs:
            print(f"{rung['recipe']:8} {'met' if rung['met'] else 'not met'}: {rung['why']}")
        _verdict(fitted.version.name, fitted.verdict)
        if passed:
            print(f"{fitted.version.name} is champion" if promote else f"next: luthier promote {fitted.version.name}")
        else:
            print(f"not met: {fitted.run.why}")
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

    with _project(file) as project:
        held = project.evaluate(_number(version), data)
    if as_json:
        _emit({"metrics": held.estimates, "seconds": held.seconds})
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
    with _project(file) as project:
        verdict = project.gate(_number(version) or 0, data)
    if as_json:
        _emit({"version": version, "verdict": verdict})
    else:
        _verdict(version, verdict)
    raise typer.Exit(0 if verdict.outcome == "pass" else 1)


@app.command()
def versions(file: File = HERE, as_json: Json = False) -> None:
    """List the versions, with their metrics and the verdict of their gate.

    Example: `luthier versions`
    """
    with _project(file) as project:
        found, champion = project.versions(), project.champion()
        story = {"versions": project.story()["versions"]} if found and not as_json else {}
    if as_json:
        _emit({"champion": champion.name if champion else None, "versions": found})
    elif not found:
        print("no versions yet: luthier fit")
    else:
        from luthier import terminal

        _print(terminal.versions_table(story))
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
    with _project(file) as project:
        done = project.promote(_number(version), anyway=anyway)
    _show(as_json, done, f"v{done.number} is champion: {done.why}")


@app.command()
def rollback(
    why: Annotated[str, typer.Option("--why", help="The reason, kept in the history.")] = "asked for",
    file: File = HERE,
    as_json: Json = False,
) -> None:
    """Make the champion before the present one champion again.

    Example: `luthier rollback --why "wrong on refunds"`
    """
    with _project(file) as project:
        done = project.rollback(why)
    _show(as_json, done, f"v{done.number} is champion again: {done.why}")


# production ------------------------------------------------------------------------------------------------------------


@app.command()
def serve(
    file: File = HERE,
    host: Annotated[str | None, typer.Option(help="Default: serve.host of luthier.yaml.")] = None,
    port: Annotated[int | None, typer.Option(help="Default: serve.port of luthier.yaml.")] = None,
) -> None:
    """Answer over HTTP, record every answer, take late labels, swap in every new champion.

    Example: `luthier serve --port 8080`
    """
    with _project(file) as project:
        project.serve(
            host=host, port=port, announce=lambda url: print(f"answering at {url}, stop with Ctrl-C", flush=True)
        )


@app.command()
def key(
    scope: Annotated[
        list[str], typer.Option("--scope", help="predict, feedback, operate; may be given several times.")
    ],
    name: Annotated[str, typer.Option(help="Whose key it is.")] = "",
    file: File = HERE,
    as_json: Json = False,
) -> None:
    """Make an API key for the server; it is shown once, only its hash is kept.

    Example: `luthier key --scope predict --scope feedback --name shop`
    """
    from luthier import rest

    with _project(file) as project:
        token = rest.new_key(project.key_file, scope, name=name)
    _show(as_json, {"key": token, "scopes": scope}, token)


@app.command()
def answer(
    data: Annotated[Path, typer.Argument(help="A file of inputs.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Where to write the answers, as JSON Lines.")] = Path(
        "answers.jsonl"
    ),
    version: Number = None,
    file: File = HERE,
    as_json: Json = False,
) -> None:
    """Answer every record of a file.

    Example: `luthier answer tickets.csv -o answers.jsonl`
    """
    with _project(file) as project, _bar(as_json) as bar:
        count = project.answer(data, out, number=_number(version), progress=bar)
    _show(as_json, {"answered": count, "written": str(out)}, f"answered {count} records into {out}")


@app.command()
def feedback(
    labels: Annotated[Path, typer.Argument(help="A file with the columns id and target (CSV or JSON Lines).")],
    file: File = HERE,
    as_json: Json = False,
) -> None:
    """Take late labels for recorded answers. Exit code 1 when some were rejected.

    Example: `luthier feedback labels.csv`
    """
    with _project(file) as project:
        taken = project.feedback(labels)
    text = f"{taken.stored} stored, {taken.duplicates} known before, {taken.waiting} wait for their answer"
    _show(as_json, taken, "\n".join([text, *(f"rejected {name}: {why}" for name, why in taken.rejected)]))
    raise typer.Exit(1 if taken.rejected else 0)


@app.command()
def watch(
    file: File = HERE,
    interval: Annotated[float | None, typer.Option(help="Look again every so many seconds. Default: once.")] = None,
    as_json: Json = False,
) -> None:
    """Read new answers and labels, and say what the evidence says. Exit code 1 when an alarm pages.

    Example: `luthier watch --interval 60`
    """
    with _project(file) as project, _stopping() as stop:
        while True:
            with _bar(as_json) as bar:
                watched = project.watch(bar)
            _watched(watched, as_json)
            if interval is None or stop(interval):
                break
    raise typer.Exit(1 if watched.page.loud else 0)


@app.command()
def update(file: File = HERE, as_json: Json = False) -> None:
    """Repair now: train on the labels since the change with replay, gate, and promote if it passes. Exit code 1 if not.

    Example: `luthier update`
    """
    with _project(file) as project, _bar(as_json) as bar:
        fitted = project.update(bar)
    if as_json:
        _emit({"version": fitted.version.name, "run": fitted.run, "verdict": fitted.verdict})
    else:
        _verdict(fitted.version.name, fitted.verdict)
    raise typer.Exit(0 if fitted.verdict.outcome == "pass" else 1)


@app.command()
def loop(
    file: File = HERE,
    interval: Annotated[float, typer.Option(help="Seconds between looks.")] = 10.0,
    as_json: Json = False,
) -> None:
    """Watch and, with `update.mode: auto`, repair, unattended, until stopped.

    Example: `luthier loop --interval 30`
    """
    with _project(file) as project, _stopping() as stop, _bar(as_json) as bar:
        project.loop(
            interval=interval,
            stop=lambda: stop(0),
            say=lambda watched: _watched(watched, as_json, brief=True),
            progress=bar,
        )


# seeing ---------------------------------------------------------------------------------------------------------------


@app.command()
def status(file: File = HERE, as_json: Json = False) -> None:
    """Where things stand: champion, rows, findings, the last decision.

    Example: `luthier status`
    """
    with _project(file) as project:
        found = project.status()
    if as_json:
        _emit(found)
        return
    from luthier import terminal

    rows = ", ".join(f"{count:,} {kind}s" for kind, count in found["rows"].items())
    print(f"{found['project']}: champion {found['champion'] or 'none'}, {found['versions']} versions, {rows}")
    if found["findings"]:
        _print(terminal.findings_table(found["findings"]))
    if found["decision"]:
        print(f"last decision: {found['decision']['action']}: {found['decision']['why']}")
    for broken in found["broken"]:
        print(f"the history was changed: {broken}")


@app.command()
def history(file: File = HERE, as_json: Json = False) -> None:
    """Who was champion when and why, and every decision with the findings it rests on.

    Example: `luthier history`
    """
    with _project(file) as project:
        promotions, story = project.history(), project.story()
    if as_json:
        _emit({"promotions": promotions, "decisions": story["decisions"]})
        return
    from luthier import terminal

    for one in promotions:
        print(f"{one.at:%Y-%m-%d %H:%M}  v{one.number} {one.action}d: {one.why}")
    _print(terminal.decisions_table(story))


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
    with _project(file) as project:
        paths = project.report(out)
    _show(as_json, paths, f"wrote {paths.html}")


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
        folder, plan=run.QUICK if quick else run.FULL, say=lambda line: print(line, file=sys.stderr if as_json else sys.stdout, flush=True)
    )
    if as_json:
        _emit({"claims": outcome.claims, "report": str(outcome.report)})
    raise typer.Exit(0 if all(claim["holds"] for claim in outcome.claims) else 1)


@app.command()
def doctor(file: File = HERE, as_json: Json = False) -> None:
    """Look at the environment: versions, free disk, threads, bf16, the project if there is one. Exit code 3 if ill.

    Example: `luthier doctor`
    """
    from luthier import doctor as examination

    found = examination.examine(file)
    if as_json:
        _emit(found)
    else:
        for item in found:
            print(
                f"{'ok ' if item.fine else 'ILL'}  {item.name:14} {item.found}{'' if item.fine else '  → ' + item.remedy}"
            )
    raise typer.Exit(0 if all(item.fine for item in found) else 3)


# shared ---------------------------------------------------------------------------------------------------------------


@contextmanager
def _project(file: Path) -> Iterator[Project]:
    import luthier

    project = luthier.open(file)
    try:
        yield project
    finally:
        project.close()


def _bar(as_json: bool) -> Any:
    from luthier.progress import Bar

    return Bar(quiet=as_json)


@contextmanager
def _stopping() -> Iterator[Any]:
    """`stop(seconds)` waits and tells whether SIGINT or SIGTERM came; a second signal ends at once."""
    import threading

    asked = threading.Event()

    def ask(number: int, frame: Any) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda seconds: asked.wait(seconds)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _number(version: str | None) -> int | None:
    if version is None:
        return None
    if not version.removeprefix("v").isdigit():
        raise UsageError(f"{version!r} is not a version: give one such as v2; `luthier versions` lists them")
    return int(version.removeprefix("v"))


def _watched(watched: Any, as_json: bool, brief: bool = False) -> None:
    if as_json:
        _emit(watched, one_line=brief)
    elif not brief:
        from luthier import terminal

        print(f"{watched.answers} new answers, {watched.labels} new labels")
        if watched.findings:
            _print(terminal.findings_table([_plain(finding) for finding in watched.findings]))
        print(f"decision: {watched.decision.action}: {watched.decision.why}")
    elif watched.answers or watched.labels or watched.decision.action != "none":
        loud = ", ".join(sorted({finding.check for finding in watched.page.loud})) or "quiet"
        print(
            f"{watched.decision.at:%Y-%m-%d %H:%M}  +{watched.answers} answers +{watched.labels} labels  {loud}  "
            f"{watched.decision.action}: {watched.decision.why}",
            flush=True,
        )


def _verdict(name: str, verdict: Any) -> None:
    from luthier import terminal

    _print(terminal.findings_table([_plain(finding) for finding in verdict.findings]))
    print(f"{name}: gate {verdict.outcome}: {verdict.why}")


def _show(as_json: bool, value: Any, text: str) -> None:
    if as_json:
        _emit(value)
    else:
        print(text)


def _print(renderable: Any) -> None:
    from rich.console import Console

    Console().print(renderable)


def _emit(value: Any, *, one_line: bool = False) -> None:
    print(json.dumps(_plain(value), indent=None if one_line else 2, ensure_ascii=False), flush=True)


def _plain(value: Any) -> Any:
    """JSON as everybody reads it: NaN and infinities become null."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, datetime):
        return value.isoformat()
    if value is None or isinstance(value, str | int | bool):
        return value
    return _plain(value.item()) if hasattr(value, "item") and getattr(value, "ndim", 1) == 0 else str(value)
