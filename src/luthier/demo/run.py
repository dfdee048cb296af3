"""The demo: a real model, real people's sentences, real HTTP, the product's own commands, and claims that are checked."""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import luthier
from luthier.demo import assets
from luthier.demo.claims import claim, tell
from luthier.demo.traffic import Traffic
from luthier.errors import LuthierError, UsageError
from luthier.progress import Bar
from luthier.types import Record, utc_now

__all__ = ["FULL", "QUICK", "Outcome", "Plan", "run"]

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """How much of everything: the numbers of sentences are those of real people, so they are bounded."""

    tweets: int = 2700  # given to `luthier fit`, which splits them
    calm: int = 600  # tweets replayed as live traffic before the shift
    after: int = 600  # film reviews replayed after the promotion
    unseen: int = 1200  # film reviews that only the demo's own before/after measurement sees
    train: float = 0.45  # share of the tweets that is trained on; 0.15 validate, the rest tests
    epochs: int = 2
    update_epochs: int = 2
    accuracy: float = 0.88
    min_labels: int = 1000
    holdout: float = 0.4
    replay: float = 0.5
    margin: float = 0.03
    rungs: tuple[str, ...] = ("head", "full")


FULL = Plan()
QUICK = Plan(
    tweets=1900, calm=300, after=300, unseen=1000, train=0.36, accuracy=0.82, margin=0.04, min_labels=560, holdout=0.2,
    replay=0.35, update_epochs=2, rungs=("full",),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the demo claims, whether each claim holds, and where the report is."""

    claims: Sequence[dict[str, Any]] = field(default_factory=tuple)
    report: Path = Path()


def run(folder: Path, *, plan: Plan = FULL, say: Say = print) -> Outcome:
    """Run the whole loop in `folder` (made anew) and check what came of it."""
    begun = time.monotonic()
    plain, say = say, lambda line: plain(f"{time.monotonic() - begun:4.0f} s  {line}")
    _fresh(folder)
    say("1  getting the model and the sentences")
    tweets, films = _sentences(plan, say)
    port = _free_port()
    _write_project(folder, tweets["fit"], assets.minilm(say), plan, port)
    project = luthier.open(folder)
    say(f"2  fine-tuning MiniLM on {len(tweets['fit'])} tweets until accuracy is at least {plan.accuracy} (95 % sure)")
    with Bar() as bar:
        fitted = project.fit(bar)
    for rung in fitted.run.rungs:
        say(f"     {rung['recipe']}: {rung['why']}")
    say(f"3  gate: {fitted.verdict.outcome}: {fitted.verdict.why}")
    if fitted.verdict.outcome != "pass":
        return Outcome([claim("version 1 met its requirements", False, fitted.verdict.why)])
    project.promote(fitted.version.number)
    traffic = Traffic(f"http://127.0.0.1:{port}", _start(), timedelta(seconds=36), timedelta(hours=1))
    with _running(folder, "serve"), _running(folder, "loop", "--interval", "0.5") as loop:
        _wait_ready(traffic.address)
        shift = _live(project, plan, traffic, tweets["live"], films["live"], loop, say)
    say("6  measuring both versions on sentences that neither has seen")
    story, claims = tell(project, plan.calm, traffic, shift, films["unseen"])
    story["environment"] = _environment(begun, plan)
    paths = project.report(folder / "report", extra=story)
    _picture(project.story(story), claims, plain)
    plain(f"\nreport: {paths.html}   ({time.monotonic() - begun:.0f} s)")
    project.close()
    return Outcome(claims, Path(paths.html))


# the parts --------------------------------------------------------------------------------------------------------------


def _fresh(folder: Path) -> None:
    marker = folder / ".luthier-demo"
    if folder.exists() and any(folder.iterdir()) and not marker.exists():
        raise UsageError(f"{folder} holds something else than a demo: name another folder with --folder")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    marker.touch()


def _sentences(plan: Plan, say: Say) -> tuple[dict[str, list[Record]], dict[str, list[Record]]]:
    tweets, films = (_shuffled(assets.sentiment(name, say)) for name in ("tweets", "films"))
    return (
        {"fit": tweets[: plan.tweets], "live": tweets[plan.tweets : plan.tweets + plan.calm]},
        {"unseen": films[: plan.unseen], "live": films[plan.unseen :]},
    )


def _shuffled(records: list[Record]) -> list[Record]:
    """Without repeated sentences, in a fixed random order."""
    distinct = list({record.input: record for record in records}.values())
    random.Random(7).shuffle(distinct)
    return distinct


def _write_project(folder: Path, tweets: Sequence[Record], model: Path, plan: Plan, port: int) -> None:
    rows = [{"id": r.id, "text": r.input, "label": r.target, "domain": r.tags["domain"]} for r in tweets]
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (folder / "tweets.jsonl").write_text(lines, encoding="utf-8")
    (folder / "luthier.yaml").write_text(
        f"""\
# The demo's project. A project of your own looks the same: `luthier init data.csv` writes one.
name: sentiment
task: text_classification
model: {json.dumps(str(model.resolve()))}
labels: [negative, positive]
data:
  train: [tweets.jsonl]
  columns: {{input: text, target: label, id: id, tags: [domain]}}
  split: {{train: {plan.train}, validation: 0.15, test: {0.85 - plan.train:.2f}}}
require:                                # lower confidence bounds (95 %) must reach these
  accuracy: {{at_least: {plan.accuracy}}}
  f1_smallest: {{at_least: {plan.accuracy - 0.1:.2f}}}
  latency_ms: {{at_most: 1000}}
fit: {{recipe: auto, rungs: [{", ".join(plan.rungs)}], epochs: {plan.epochs}, max_length: 96}}
gate: {{margin: {plan.margin}, max_flips: 0.05}}
monitor: {{tolerance: 0.03, window_minutes: 180}}
update: {{mode: auto, min_labels: {plan.min_labels}, max_labels: {5 * plan.min_labels}, holdout: {plan.holdout}, replay: {plan.replay}, epochs: {plan.update_epochs}}}
serve: {{port: {port}}}
""",
        encoding="utf-8",
    )


def _start() -> datetime:
    """Event time begins five days ago, where a bucket of the report begins, so that the shift begins one too."""
    moment = utc_now() - timedelta(days=5)
    return moment.replace(hour=moment.hour // 3 * 3, minute=0, second=0, microsecond=0)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def _running(folder: Path, verb: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A verb as a process of its own, its output in `<verb>.log`, stopped politely in the end."""
    with (folder / f"{verb}.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "luthier", verb, "-f", str(folder), *arguments], stdout=log, stderr=subprocess.STDOUT
        )
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_ready(address: str, seconds: float = 120) -> None:
    import httpx

    until = time.monotonic() + seconds
    while time.monotonic() < until:
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(f"{address}/readyz", timeout=5).status_code == 200:
                return
        time.sleep(0.2)
    raise LuthierError(f"the server did not get ready within {seconds:.0f} s: see serve.log in the demo's folder")


def _live(
    project: Any, plan: Plan, traffic: Traffic, tweets: Sequence[Record], films: Sequence[Record],
    loop: subprocess.Popen[bytes], say: Say,
) -> datetime:  # fmt: skip
    """The traffic, before and after the shift, until the repair is live or was refused; the event time of the shift."""
    say(f"4  {len(tweets)} held-out tweets as live traffic; a fifth get their label back an hour later")
    traffic.send(tweets)
    _caught_up(project, loop)
    say(f"     {_last(project)}")
    shift, promotions = traffic.now, project.registry.champion_since()
    say("5  the traffic shifts to film reviews; nobody tells the model")
    heard = _Decisions(project, say)
    rest = list(films)
    while len(rest) > plan.after and not heard.training() and loop.poll() is None:
        rest = rest[traffic.send(rest[:640], until=heard.training) :]
    say(f"     without labels: {_without_labels(project)}")
    while (
        len(rest) > plan.after and not heard.concluded() and loop.poll() is None
    ):  # while it trains life goes on slowly
        rest = rest[traffic.send(rest[:32], until=heard.concluded, pause=0.0 if heard.waiting() else 0.8) :]
    traffic.flush()
    patience = time.monotonic() + 180  # the sentences are used up: what is under way may end, nothing waits for ever
    while not heard.concluded() and loop.poll() is None and time.monotonic() < patience:
        time.sleep(0.2)
    if project.registry.champion_since() > promotions:
        _swapped(traffic.address, project.champion().number)
    traffic.send(rest[: plan.after])
    traffic.flush()
    _caught_up(project, loop)
    return shift


class _Decisions:
    """Says every new decision of the loop once, and knows how far it is."""

    def __init__(self, project: Any, say: Say) -> None:
        self._project, self._say = project, say
        self._seen = project.store.last("decision")
        self._actions: list[str] = []

    def _look(self) -> None:
        for row in self._project.store.scan("decision", since=self._seen):
            self._seen = row.seq
            self._actions.append(row.body["action"])
            self._say(f"     {row.at:%a %H:%M}  {row.body['action']}: {row.body['why']}")

    def training(self) -> bool:
        self._look()
        return "retrain" in self._actions or self.concluded()

    def concluded(self) -> bool:
        self._look()
        return not {"promote", "reject"}.isdisjoint(self._actions)

    def waiting(self) -> bool:
        """Whether a trained candidate waits for more labels to be judged by."""
        self._look()
        return "retrain" in self._actions and self._actions[-1] == "label"


def _caught_up(project: Any, loop: subprocess.Popen[bytes], seconds: float = 30) -> None:
    """Wait until the loop has read what is there, or is busy with an update."""
    until = time.monotonic() + seconds
    while time.monotonic() < until and loop.poll() is None:
        last = next(iter(project.store.scan("decision", newest_first=True, limit=1)), None)
        if (last and last.body["action"] == "retrain") or not any(project.unread().values()):
            return
        time.sleep(0.1)


def _swapped(address: str, number: int, seconds: float = 60) -> None:
    import httpx

    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if str(number) in httpx.get(f"{address}/readyz", timeout=5).text:
            return
        time.sleep(0.1)


def _last(project: Any) -> str:
    found = project.status()
    alarms = [finding["check"] for finding in found["findings"] if finding["alarm"]]
    return f"{found['rows']['answer']} answers, {found['rows']['label']} labels, alarms: {', '.join(alarms) or 'none'}"


def _without_labels(project: Any) -> str:
    """What the label-free side saw, and whether its estimate is valid."""
    findings = [
        finding
        for finding in project.status()["findings"]
        if finding["check"] in ("label_free.v1", "embedding_shift.v1")
    ]
    return "; ".join(
        f"{finding['check']}{' alarms' if finding['alarm'] else ''}: {finding['why']}" for finding in findings
    )


def _environment(begun: float, plan: Plan) -> dict[str, str]:
    from luthier.stages.version import packages

    return packages() | {"seconds": f"{time.monotonic() - begun:.0f}", "form": "quick" if plan is QUICK else "full"}


def _picture(story: dict[str, Any], claims: Sequence[dict[str, Any]], say: Say) -> None:
    from rich.console import Console

    from luthier import terminal

    console = Console(width=min(Console().width, 120))
    with console.capture() as captured:
        console.print(terminal.timeline(story, console.width))
    say(captured.get())
    for one in claims:
        say(f"{'✓' if one['holds'] else '✗'} {one['claim']}: {one['numbers']}")
