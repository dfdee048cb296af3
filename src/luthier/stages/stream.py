"""Streams: a row a call for whoever has answers, labels or numbers one by one, and files of any number of rows."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, KeysView, Mapping
from types import TracebackType
from typing import Any, Protocol

import numpy as np

from luthier.errors import StateError
from luthier.statistics.base import State, Statistic
from luthier.types import Columns, Estimate, Finding

__all__ = ["Running", "Stream", "observe"]

EVERY = 1000  # rows that wait at most
_SINGLE = 20  # wrong rows that are told apart from those beside them; beyond, rows go in blocks


class Watch(Protocol):
    """What `Stream` needs of a `luthier.Monitor`."""

    def observe(self, when: str, columns: Columns, *, at: Any = None) -> list[Finding]: ...
    def findings(self, when: str | None = None) -> list[Finding]: ...
    def online(self, when: str) -> list[Any]: ...


class Stream:
    """Rows into a `Monitor`, one call each; `add` answers whether an alarm stands.

    Rows wait, and are folded as one window when findings are read, when `every` of them wait, or when an alarm comes:
    however a stream is cut, the findings are the same bit for bit, so nothing is lost by waiting. Meanwhile
    risk.v1, risk_lifetime.v1, disagreement.v1 and below.v1 (accuracy) of the whole traffic go on at every row in plain
    floats, so `add` is True at the very row at which their evidence reaches the threshold. Alarms of other checks, and of
    slices, are seen when the rows are folded. Give the monitor rows through this door only while it is open, and close it
    (or use `with`) before you save the monitor.

    >>> from luthier.stages.monitor import Monitor
    >>> monitor = Monitor({"loss": (np.arange(2000) % 10 == 0) * 1.0}, checks=("risk.v1",))
    >>> with Stream(monitor, "label") as stream:
    ...     alarms = [stream.add(loss=float(i % 10 == 0 or i > 1000)) for i in range(1100)]
    >>> alarms.index(True)
    1007
    """

    def __init__(self, monitor: Watch, when: str = "label", *, every: int = EVERY) -> None:
        if when not in ("answer", "label"):
            raise StateError(f"when is {when!r}; it must be 'answer' or 'label'")
        self._monitor, self._when = monitor, when
        self._waiting = _Waiting(self._take, every)
        self._moments: list[Any] = []
        self._settle()

    def add(self, at: Any = None, **row: Any) -> bool:
        """One row, a value a column; `at` is its event time (as in `Monitor.observe`), now where None.

        Raises StateError when a loss lies outside [0, 1]; such a row is not taken. What else is wrong with a row is seen,
        and raised, when rows are folded: it is left out then, and those beside it are taken.
        """
        shown = False
        if self._online and row.get("at_random", True):
            for online in self._online:
                value = row.get(online.column)
                if value is not None and online.add(value):
                    shown = True
        self._waiting.add(row)
        self._moments.append(time.time() if at is None else at)
        if shown or len(self._moments) >= self._waiting.every:
            self._waiting.fold()
        return self.alarm

    def fold(self) -> list[Finding]:
        """Hand on the rows that wait; the newest finding of every check and slice."""
        self._waiting.fold()
        return self._monitor.findings(self._when)

    def __enter__(self) -> Stream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._waiting.fold()

    def _take(self, columns: Columns) -> None:
        moments, self._moments = self._moments, []
        errors: list[StateError] = []
        refused = self._folded(columns, moments, errors)
        self._settle()
        if errors and len(moments) > 1:
            taken = ", the others were taken" if refused < len(moments) else ""
            said = f"{refused:,} of {len(moments):,} rows that waited cannot be read{taken}: {errors[0]}"
            raise StateError(said) from errors[0]
        if errors:
            raise errors[0]

    def _folded(self, columns: Columns, moments: list[Any], errors: list[StateError]) -> int:
        """Fold rows, and those beside a wrong one in halves; how many were refused."""
        try:
            self._monitor.observe(self._when, columns, at=moments)
            return 0
        except StateError as error:
            if len(moments) == 1 or len(errors) >= _SINGLE:
                errors.append(error)
                return len(moments)
        half = len(moments) // 2
        return sum(
            self._folded({name: values[part] for name, values in columns.items()}, moments[part], errors)
            for part in (slice(half), slice(half, None))
        )

    def _settle(self) -> None:
        self._online = [online for online in self._monitor.online(self._when) if not online.alarm]
        self.alarm = any(finding.alarm for finding in self._monitor.findings(self._when))


class Running:
    """Rows into a statistic, one call each; its state is what one pass over all of them gives, byte for byte.

    >>> from luthier.statistics.mean import Mean
    >>> running = Running(Mean(column="loss"))
    >>> for loss in (0.0, 1.0, 0.0, 0.0):
    ...     running.add(loss=loss)
    >>> running.read()["mean"].value
    0.25
    """

    def __init__(self, statistic: Statistic, state: State | None = None, *, every: int = EVERY) -> None:
        self._statistic, self._state = statistic, statistic.observe({}) if state is None else state
        self._waiting = _Waiting(self._take, every)

    def add(self, **row: Any) -> None:
        """One row, a value a column."""
        self._waiting.add(row)
        if len(self._waiting) >= self._waiting.every:
            self._waiting.fold()

    @property
    def state(self) -> State:
        """Of all rows so far: plain data, to be merged with others' and packed."""
        self._waiting.fold()
        return self._state

    def read(self) -> dict[str, Estimate]:
        """The statistic's estimates over all rows so far."""
        return dict(self._statistic.read(self.state))

    def _take(self, columns: Columns) -> None:
        self._state = self._statistic.merge(self._state, self._statistic.observe(columns))


def observe(statistics: Mapping[str, Statistic], windows: Iterable[Columns]) -> dict[str, State]:
    """The state of each statistic over a stream of windows, such as `luthier.tables.parquet.Parquet.windows()`, in one pass.

    Memory does not grow with their number.
    """
    states = {name: statistic.observe({}) for name, statistic in statistics.items()}
    for window in windows:
        for name, statistic in statistics.items():
            states[name] = statistic.merge(states[name], statistic.observe(window))
    return states


class _Waiting:
    """Rows of the same columns that wait to be one window."""

    __slots__ = ("_names", "_rows", "_take", "every")

    def __init__(self, take: Callable[[Columns], None], every: int) -> None:
        if every < 1:
            raise StateError(f"every is {every}; at least 1 row must wait before it is folded")
        self.every, self._take = every, take
        self._rows: list[dict[str, Any]] = []
        self._names: KeysView[str] = {}.keys()

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, row: dict[str, Any]) -> None:
        if row.keys() != self._names:
            self.fold()
            self._names = row.keys()
        self._rows.append(row)

    def fold(self) -> None:
        rows, self._rows = self._rows, []
        if rows:
            self._take({name: _column(name, [row[name] for row in rows]) for name in rows[0]})


def _column(name: str, values: list[Any]) -> np.ndarray:
    try:
        return np.array(values)
    except ValueError as error:
        raise StateError(f"{name} of {len(values)} rows that waited differs in shape from row to row") from error
