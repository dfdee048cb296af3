"""Verbs that answer, watch and repair."""

from __future__ import annotations

from contextlib import closing, nullcontext
from pathlib import Path
from typing import Annotated

import typer

from luthier.cli.base import (
    HERE,
    File,
    Json,
    Number,
    app,
    bar_for,
    emit,
    number,
    opened,
    refuse_unread,
    stopping,
    tell,
    tell_fleet,
    tell_pages,
    tell_verdict,
    tell_watched,
)
from luthier.errors import UsageError


@app.command()
def serve(
    file: File = HERE,
    host: Annotated[str | None, typer.Option(help="Default: serve.host of luthier.yaml.")] = None,
    port: Annotated[int | None, typer.Option(help="Default: serve.port of luthier.yaml.")] = None,
) -> None:
    """Answer over HTTP, record every answer, take late labels, swap in every new champion.

    Example: `luthier serve --port 8080`
    """
    with opened(file) as project:
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

    with opened(file) as project:
        token = rest.new_key(project.key_file, scope, name=name)
    tell(as_json, {"key": token, "scopes": scope}, token)


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
    with opened(file) as project, bar_for(as_json) as bar:
        count = project.answer(data, out, number=number(version), progress=bar)
    tell(as_json, {"answered": count, "written": str(out)}, f"answered {count} records into {out}")


@app.command()
def feedback(
    labels: Annotated[Path, typer.Argument(help="A file with the columns id and target (CSV or JSON Lines).")],
    file: File = HERE,
    as_json: Json = False,
) -> None:
    """Take late labels for recorded answers. Exit code 1 when some were rejected.

    Example: `luthier feedback labels.csv`
    """
    with opened(file) as project:
        taken = project.feedback(labels)
    text = f"{taken.stored} stored, {taken.duplicates} known before, {taken.waiting} wait for their answer"
    tell(as_json, taken, "\n".join([text, *(f"rejected {name}: {why}" for name, why in taken.rejected)]))
    raise typer.Exit(1 if taken.rejected else 0)


@app.command()
def watch(
    file: File = HERE,
    interval: Annotated[float | None, typer.Option(help="Look again every so many seconds. Default: once.")] = None,
    as_json: Json = False,
) -> None:
    """Read new answers and labels, and say what the evidence says. Exit code 1 when a page calls somebody.

    Example: `luthier watch --interval 60`
    """
    with opened(file) as project, stopping() as stop:
        while True:
            with bar_for(as_json) as bar:
                watched = project.watch(bar)
            tell_watched(watched, as_json)
            if interval is None or stop(interval):
                break
    raise typer.Exit(1 if watched.calling else 0)


@app.command()
def fleet(
    folders: Annotated[list[Path], typer.Argument(help="Folders: every luthier.yaml at or below them.")],
    pages: Annotated[float, typer.Option("--pages", help="False pages a month, of all projects together.")] = 1.0,
    interval: Annotated[float | None, typer.Option(help="Look again every so many seconds. Default: once.")] = None,
    repair: Annotated[bool, typer.Option("--repair", help="Update where update.mode is auto, as `loop` does.")] = False,
    as_json: Json = False,
) -> None:
    """Watch many projects together under one budget of false pages. Exit code 1 when a page calls or a project fails.

    Example: `luthier fleet models --interval 60 --repair`
    """
    from luthier.projects import Projects

    projects = Projects(folders, false_pages_per_month=pages)
    with closing(projects), stopping() as stop, projects.alone() if repair else nullcontext():
        while True:
            with bar_for(as_json) as bar:
                seen = projects.watch(bar)
                tell_fleet(seen, as_json)
                if repair:
                    projects.tend(seen, bar)
            if interval is None or stop(interval):
                break
    raise typer.Exit(1 if seen.calling or seen.unwatched else 0)


_ACTIONS = {"list": "", "ack p3": "name why", "snooze p3": "name hours why"}  # form of `page` → the options it reads


@app.command()
def page(
    context: typer.Context,
    action: Annotated[str, typer.Argument(help="list, ack or snooze.")] = "list",
    name: Annotated[str, typer.Argument(help="A page, such as p3.")] = "",
    hours: Annotated[float, typer.Option("--hours", help="How long a snoozed page calls nobody.")] = 24.0,
    why: Annotated[str, typer.Option("--why", help="A note, kept with the page.")] = "",
    file: File = HERE,
    as_json: Json = False,
) -> None:
    """List the pages, acknowledge one, or snooze it. Each is a row; nothing is changed or removed.

    Example: `luthier page snooze p3 --hours 8 --why "label vendor is back tomorrow"`
    """
    if action not in ("list", "ack", "snooze") or (action != "list") != bool(name):
        raise UsageError(
            f"cannot {action} {name!r}: say `luthier page list`, `page ack p3` or `page snooze p3 --hours 8`"
        )
    refuse_unread(context, action if action == "list" else f"{action} p3", _ACTIONS)
    with opened(file) as project:
        if action == "list":
            tell_pages(project.pages(), as_json)
            return
        done = project.acknowledge(name, why) if action == "ack" else project.snooze(name, hours, why)
    until = f" until {done.snoozed_until:%Y-%m-%d %H:%M} UTC" if done.snoozed_until and action == "snooze" else ""
    tell(
        as_json,
        done,
        f"{done.id} {'acknowledged' if action == 'ack' else 'snoozed'}{until}: {done.check} {done.slice}".rstrip(),
    )


@app.command()
def update(file: File = HERE, as_json: Json = False) -> None:
    """Repair now: train on the labels since the change with replay, gate, and promote if it passes. Exit code 1 if not.

    Example: `luthier update`
    """
    with opened(file) as project, bar_for(as_json) as bar:
        fitted = project.update(bar)
    if as_json:
        emit({"version": fitted.version.name, "run": fitted.run, "verdict": fitted.verdict})
    else:
        tell_verdict(fitted.version.name, fitted.verdict)
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
    with opened(file) as project, stopping() as stop, bar_for(as_json) as bar:
        project.loop(
            interval=interval,
            stop=lambda: stop(0),
            say=lambda watched: tell_watched(watched, as_json, brief=True),
            progress=bar,
        )
