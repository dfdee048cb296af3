"""What the verbs share: the application, its common options, and how results are shown."""

from __future__ import annotations

import dataclasses
import json
import math
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from luthier.errors import UsageError

if TYPE_CHECKING:
    from luthier.loop import Project

__all__ = [
    "HERE",
    "File",
    "Json",
    "Number",
    "app",
    "bar_for",
    "columns",
    "emit",
    "number",
    "opened",
    "plain",
    "refuse_unread",
    "scoring",
    "show",
    "stopping",
    "tell",
    "tell_fleet",
    "tell_pages",
    "tell_verdict",
    "tell_watched",
    "utc",
    "windows",
]

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


@contextmanager
def opened(file: Path) -> Iterator[Project]:
    import luthier

    project = luthier.open(file)
    try:
        yield project
    finally:
        project.close()


def bar_for(as_json: bool) -> Any:
    from luthier.progress import Bar

    return Bar(quiet=as_json)


@contextmanager
def stopping() -> Iterator[Any]:
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


def number(version: str | None) -> int | None:
    if version is None:
        return None
    if not version.removeprefix("v").isdigit():
        raise UsageError(f"{version!r} is not a version: give one such as v2; `luthier versions` lists them")
    return int(version.removeprefix("v"))


def refuse_unread(context: typer.Context, form: str, reads: Mapping[str, str]) -> None:
    """Refuse an option that was given and that this form of the verb would ignore.

    `reads`: every form, as it is written after the verb, and the options that it reads, by spaces. An option that stands in
    none of them is read by all. Raises UsageError.
    """
    verb = f"luthier {context.info_name}"  # not the whole path: that begins with how Python was started
    for parameter in context.command.params:
        forms = [
            f"`{verb} {one}`".replace(" `", "`") for one, names in reads.items() if parameter.name in names.split()
        ]
        mine = f"`{verb} {form}`".replace(" `", "`")
        source = context.get_parameter_source(parameter.name or "")
        if forms and mine not in forms and source is not None and source.name == "COMMANDLINE":
            raise UsageError(
                f"{parameter.opts[0]} was given, but {mine} does not read it: leave it out, or use {' or '.join(forms)}"
            )


def windows(every: str | None) -> str | float | None:
    """hour, day, week, month, or minutes as a number."""
    if every is None or not every.replace(".", "", 1).isdigit():
        return every
    return float(every)


def columns(given: list[str] | None) -> dict[str, str | list[str]]:
    """target=churned predicted=said as a dictionary; several columns for one of ours are separated by commas."""
    found: dict[str, str | list[str]] = {}
    for one in given or []:
        name, equals, theirs = one.partition("=")
        if not (equals and theirs):
            raise UsageError(f"--column {one}: say which column it is, such as --column target=churned")
        found[name] = theirs.split(",") if "," in theirs else theirs
    return found


def scoring(task: str | None, labels: str | None) -> Any:
    """How answers are scored; labels that are all whole numbers are numbers."""
    from luthier.scoring import Scoring

    names = tuple(labels.split(",")) if labels else None
    return Scoring(task or "", tuple(map(int, names)) if names and all(map(str.isdecimal, names)) else names)


def utc(moment: datetime | None) -> datetime | None:
    """A time without a zone is UTC."""
    return moment.replace(tzinfo=UTC) if moment is not None and moment.tzinfo is None else moment


def tell_watched(watched: Any, as_json: bool, brief: bool = False) -> None:
    if as_json:
        emit(watched, one_line=brief)
    elif not brief:
        from luthier import terminal

        print(f"{watched.answers} new answers, {watched.labels} new labels")
        if watched.findings:
            show(terminal.findings_table([plain(finding) for finding in watched.findings]))
        print(f"decision: {watched.decision.action}: {watched.decision.why}")
    elif watched.answers or watched.labels or watched.decision.action != "none":
        loud = ", ".join(sorted({finding.check for finding in watched.page.loud})) or "quiet"
        print(
            f"{watched.decision.at:%Y-%m-%d %H:%M}  +{watched.answers} answers +{watched.labels} labels  {loud}  "
            f"{watched.decision.action}: {watched.decision.why}",
            flush=True,
        )


def tell_fleet(seen: Any, as_json: bool) -> None:
    """A line a project, pages first; then what could not be watched."""
    if as_json:
        emit(seen)
        return
    for name, one in sorted(seen.watched.items(), key=lambda item: -len(item[1].calling)):
        quiet = [finding.check for finding in one.page.quiet]
        told = f"{', '.join(page.id for page in one.calling)} CALLS" if one.calling else "quiet"
        told += f" ({len(quiet)} alarms that do not page: {', '.join(sorted(set(quiet)))})" if quiet else ""
        print(f"{name}: +{one.answers} answers +{one.labels} labels  {told}  {one.decision.action}: {one.decision.why}")
        for page in one.calling:
            print(f"      {page.id} {page.check} {page.slice}: {page.why}".replace(" : ", ": "))
    for name, why in seen.unwatched.items():
        print(f"{name}: not watched: {why}")


def tell_pages(pages: Any, as_json: bool) -> None:
    from luthier.stages.pages import precision
    from luthier.terminal import estimate as shown

    share = precision(pages)
    if as_json:
        emit({"pages": pages, "precision": share})
        return
    for one in pages:
        state = "closed" if one.closed else "acknowledged" if one.acknowledged else "open"
        state += f", snoozed until {one.snoozed_until:%Y-%m-%d %H:%M}" if one.snoozed_until and not one.closed else ""
        print(
            f"{one.id:5} {one.opened:%Y-%m-%d %H:%M}  {state}  {one.model} {one.check} {one.slice}  in hindsight: {one.hindsight}"
        )
        print(f"      {one.why}")
    print(f"right in hindsight: {shown(share)} of {share.n} pages that labels can judge" if pages else "no page yet")


def tell_verdict(name: str, verdict: Any) -> None:
    from luthier import terminal

    show(terminal.findings_table([plain(finding) for finding in verdict.findings]))
    print(f"{name}: gate {verdict.outcome}: {verdict.why}")


def tell(as_json: bool, value: Any, text: str) -> None:
    if as_json:
        emit(value)
    else:
        print(text)


def show(renderable: Any) -> None:
    from rich.console import Console

    Console().print(renderable)


def emit(value: Any, *, one_line: bool = False) -> None:
    print(json.dumps(plain(value), indent=None if one_line else 2, ensure_ascii=False), flush=True)


def plain(value: Any) -> Any:
    """JSON as everybody reads it: NaN and infinities become null."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, datetime):
        return value.isoformat()
    if value is None or isinstance(value, str | int | bool):
        return value
    return plain(value.item()) if hasattr(value, "item") and getattr(value, "ndim", 1) == 0 else str(value)
