"""Many projects watched together: every finding of every model in one e-BH and under one budget of false pages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from luthier.errors import LuthierError, UsageError
from luthier.loop import Project, Watched
from luthier.stages import detect
from luthier.workshop import Progress

__all__ = ["Projects", "Seen"]


@dataclass(frozen=True, slots=True)
class Seen:
    """One look at many projects, by name: what each one's watch found, and why others could not be watched."""

    watched: Mapping[str, Watched] = field(default_factory=dict)
    unwatched: Mapping[str, str] = field(default_factory=dict)

    @property
    def calling(self) -> int:
        """How many open pages nobody has acknowledged or snoozed."""
        return sum(len(one.calling) for one in self.watched.values())


class Projects:
    """The projects at and below some paths (`luthier.yaml` files or folders), named by where they lie.

    `false_pages_per_month`: of all of them together; it takes the place of `monitor.false_pages_per_month` of each.

    Raises UsageError when there is none, or the budget is not positive.
    """

    def __init__(self, paths: Iterable[Path], *, false_pages_per_month: float = 1.0) -> None:
        if not 0 < false_pages_per_month <= 1e6:
            raise UsageError(f"{false_pages_per_month:g} false pages a month: give more than 0 and at most 1e6")
        self.false_pages_per_month = false_pages_per_month
        self._files = found(paths)
        self._open: dict[str, Project] = {}

    def watch(self, progress: Progress | None = None) -> Seen:
        """Read what is new in every project, judge all findings together, decide and page for each.

        A project that cannot be read does not stop the others.
        """
        looked, unwatched = {}, {}
        for name, file in self._files.items():
            try:
                project = self._open.get(name) or self._open.setdefault(name, Project(file))
                if project.champion() is None:
                    unwatched[name] = "no champion yet: run `luthier promote`"
                else:
                    looked[name] = project.look(progress)
            except LuthierError as error:
                unwatched[name] = str(error)
        pages = detect.page_together({name: one.look for name, one in looked.items()}, self.false_pages_per_month)
        watched = {}
        for name, one in looked.items():
            try:
                watched[name] = self._open[name].conclude(one, pages[name])
            except LuthierError as error:
                unwatched[name] = str(error)
        return Seen(watched, unwatched)

    def tend(self, seen: Seen, progress: Progress | None = None) -> None:
        """Do what was decided, one project after the other: update where `update.mode` is auto, as each one's loop would."""
        for name, watched in seen.watched.items():
            self._open[name].tend(watched, progress)

    def alone(self) -> ExitStack:
        """Keep every project's own loop away as long as this context lasts.

        Raises StoreError when one of them runs.
        """
        with ExitStack() as held:
            for name, file in self._files.items():
                project = self._open.get(name) or self._open.setdefault(name, Project(file))
                held.enter_context(project.alone())
            return held.pop_all()

    def close(self) -> None:
        """Close every store."""
        for project in self._open.values():
            project.close()
        self._open.clear()


def found(paths: Iterable[Path]) -> dict[str, Path]:
    """Every luthier.yaml at or below `paths`, by its folder as it was given; hidden folders are not entered."""
    files: dict[str, Path] = {}
    for path in paths:
        below = [path] if path.is_file() else sorted(path.rglob("luthier.yaml"))
        for file in below:
            inner = file.parent.relative_to(path).parts if path.is_dir() else ()
            if not any(part.startswith(".") for part in inner):
                files.setdefault(str(file.parent), file)
    if not files:
        raise UsageError(f"no luthier.yaml at or below {', '.join(map(str, paths))}: name folders that hold projects")
    return files
