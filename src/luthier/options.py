"""Every setting of luthier.yaml as a small frozen dataclass with its default and its rule. Standard library only.

`config.py` reads the file into these; Python callers make them directly. A value that breaks its rule raises
OptionError, a ValueError, in `__post_init__`, which `config.py` turns into an error with file and line.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from luthier.errors import OptionError, among

__all__ = [
    "CHOSEN",
    "ColumnOptions",
    "DataOptions",
    "FitOptions",
    "GateOptions",
    "MonitorOptions",
    "Requirement",
    "ServeOptions",
    "SplitOptions",
    "UpdateOptions",
]

CHOSEN = ("risk", "quality", "column_shift")
"""Names of checks without a version: `luthier.choice` takes the one that suits the reference. All others mean one for ever."""
_STRICT = {"extra": "forbid"}  # read by pydantic when config.py validates these dataclasses


def _within(options: Any, **bounds: tuple[float, float]) -> None:
    """Each named field is a number in [low, high], or None where its type has it; all that are not are named, one a line."""
    absent = {one.name for one in fields(options) if "None" in str(one.type)}
    given = {name: getattr(options, name) for name in bounds}
    wrong = [
        f"{name} is {value!r}; it must lie in [{bounds[name][0]:g}, {bounds[name][1]:g}]"
        for name, value in given.items()
        if not (value is None and name in absent) and not _inside(value, *bounds[name])
    ]
    if wrong:
        raise OptionError("\n".join(wrong))


def _inside(value: Any, low: float, high: float) -> bool:
    try:
        return bool(low <= value <= high)  # NaN is not
    except (TypeError, ValueError):  # text, None, an array
        return False


def _names(options: Any, *names: str) -> None:
    """Each named field is a tuple or list of texts; text alone would be read letter by letter."""
    for name in names:
        value = getattr(options, name)
        if not isinstance(value, tuple | list) or not all(isinstance(one, str) for one in value):
            such = value if isinstance(value, str) else "lang"
            raise OptionError(f"{name} is {value!r}; it must be a tuple of names, such as ({such!r},)")


@dataclass(frozen=True, slots=True)
class ColumnOptions:
    """Which column of a data file is what. `input` and `target` None: found by their usual names.

    `id` None: a hash of the input. `at` (ISO 8601 or Unix seconds) None: the time of reading. `tags` are carried
    along as slices.
    """

    __pydantic_config__ = _STRICT
    input: str | None = None
    target: str | None = None
    id: str | None = None
    at: str | None = None
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SplitOptions:
    """Shares of train, validation and test; the rest of 1 is an error. `salt` changes who lands where."""

    __pydantic_config__ = _STRICT
    train: float = 0.7
    validation: float = 0.15
    test: float = 0.15
    salt: str = "luthier"

    def __post_init__(self) -> None:
        _within(self, train=(0.01, 0.98), validation=(0.01, 0.98), test=(0.0, 0.98))
        if abs(self.train + self.validation + self.test - 1) > 1e-9:
            raise OptionError(
                f"train {self.train} + validation {self.validation} + test {self.test} must be 1, "
                f"not {self.train + self.validation + self.test:g}"
            )


@dataclass(frozen=True, slots=True)
class DataOptions:
    """Where labelled data is (`train`; `test` None: split off) and how it reads."""

    __pydantic_config__ = _STRICT
    train: tuple[str, ...] = ()
    test: tuple[str, ...] = ()
    columns: ColumnOptions = field(default_factory=ColumnOptions)
    split: SplitOptions = field(default_factory=SplitOptions)
    unknown_labels: Literal["error", "drop"] = "error"


@dataclass(frozen=True, slots=True)
class Requirement:
    """A metric's bound: its lower (upper) confidence bound must be at least (at most) this.

    `confidence` is that of the interval; latency is a plain percentile (p95 of single answers, in ms).
    """

    __pydantic_config__ = _STRICT
    at_least: float | None = None
    at_most: float | None = None
    confidence: float = 0.95

    def __post_init__(self) -> None:
        _within(self, at_least=(-1e12, 1e12), at_most=(-1e12, 1e12), confidence=(0.5, 0.999999))
        if (self.at_least is None) == (self.at_most is None):
            raise OptionError("give exactly one of at_least and at_most")


@dataclass(frozen=True, slots=True)
class FitOptions:
    """How to fine-tune. `recipe` auto climbs `rungs` until `require` is met or the budget is spent."""

    __pydantic_config__ = _STRICT
    recipe: str = "auto"
    rungs: tuple[str, ...] = ("head", "lora", "full")
    epochs: int = 3
    batch_size: int = 16
    learning_rate: float | None = None
    optimizer: Literal["adamw", "sgd"] = "adamw"
    weight_decay: float = 0.01
    l1: float = 0.0
    dropout: float | None = None
    label_smoothing: float = 0.0
    class_weights: Literal["none", "balanced"] = "none"
    patience: int = 2
    max_length: int = 128
    lora_rank: int = 8
    bf16: Literal["auto", "on", "off"] = "auto"
    threads: int | None = None
    seed: int = 0
    budget_minutes: float | None = None

    def __post_init__(self) -> None:
        _within(
            self, epochs=(1, 10_000), batch_size=(1, 65_536), learning_rate=(1e-9, 10), weight_decay=(0, 10),
            l1=(0, 10), dropout=(0, 0.95), label_smoothing=(0, 0.95), patience=(1, 10_000), max_length=(4, 131_072),
            lora_rank=(1, 1024), threads=(1, 4096), budget_minutes=(0.001, 1e7), seed=(0, 2**31 - 1),
        )  # fmt: skip
        if self.recipe == "auto" and not self.rungs:
            raise OptionError("recipe auto needs at least one recipe in rungs")


@dataclass(frozen=True, slots=True)
class GateOptions:
    """What a candidate must show against the champion, paired on the same records.

    `margin`: how much worse (mean loss) on what the champion was good at still counts as not worse. `alpha`: the
    chance of promoting a candidate that is worse by the margin. `max_flips`: share of records the champion had
    right and the candidate gets wrong.
    """

    __pydantic_config__ = _STRICT
    margin: float = 0.02
    alpha: float = 0.05
    max_flips: float = 0.1

    def __post_init__(self) -> None:
        _within(self, margin=(0.0001, 0.5), alpha=(1e-9, 0.5), max_flips=(0, 1))


@dataclass(frozen=True, slots=True)
class MonitorOptions:
    """What the watch looks for, and how often it may be wrong.

    `tolerance`: rise of the mean loss over the reference that is still acceptable; None: chosen by cross-validation.
    `relative_tolerance`: the same as a share of the reference's risk, and in place of it. `arl`: observations per false
    page on average. `alpha`: lifetime probability of a false automatic update. `delta`: chance that the reference's
    own risk is underestimated. `window_minutes`: width of a bucket of event time in reports. `group`: column whose values
    `fairness.v1` compares (`tag:<name>` of one of `slices`), `gap`: difference between groups that is still acceptable.
    `false_pages_per_month`: of all e-detectors together, from which each one's own threshold follows; None: `arl` alone.
    `checks`: "risk", "quality" and "column_shift" are chosen by the reference (see `luthier.choice`).
    """

    __pydantic_config__ = _STRICT
    checks: tuple[str, ...] = (
        "risk", "risk_lifetime.v1", "label_free.v1", "embedding_shift.v1", "confidence_shift.v1", "column_shift", "quality",
    )  # fmt: skip
    tolerance: float | None = 0.02
    relative_tolerance: float | None = None
    arl: float = 100_000
    alpha: float = 0.01
    delta: float = 0.025
    window_minutes: float = 60
    slices: tuple[str, ...] = ()
    group: str = "group"
    gap: float = 0.1
    false_pages_per_month: float | None = 1.0

    def __post_init__(self) -> None:
        _within(
            self, tolerance=(0, 1), relative_tolerance=(0, 1e6), arl=(10, 1e15), alpha=(1e-12, 0.5), delta=(1e-9, 0.5),
            window_minutes=(1e-3, 1e6), gap=(0, 0.99), false_pages_per_month=(1e-6, 1e6),
        )  # fmt: skip
        _names(self, "slices")
        if not isinstance(self.checks, str | tuple | list):
            raise OptionError(f"checks is {self.checks!r}; it must be a tuple of names, such as ('risk.v1',), or ()")
        if not isinstance(self.group, str):
            raise OptionError(f"group is {self.group!r}; it must be the name of a column")
        tag = self.group.removeprefix("tag:")
        if tag != self.group and tag not in self.slices:
            raise OptionError(
                f"group is {self.group!r}, but {tag!r} is not one of slices {list(self.slices)}: add it there"
            )

    @classmethod
    def of(cls, given: Any) -> MonitorOptions:
        """Options as they are, those of a mapping such as {"alpha": 0.05}, and the defaults where None.

        Raises OptionError for anything else, and for what is no setting.
        """
        if given is None or isinstance(given, cls):
            return given or cls()
        if not isinstance(given, Mapping):
            raise OptionError(
                f"options is a {type(given).__name__}; give MonitorOptions(alpha=0.05, …), or a mapping {{'alpha': 0.05, …}}"
            )
        known = [one.name for one in fields(cls)]
        for name in given:
            if name not in known:
                raise OptionError(f"options: there is no setting {name!r}; {among(str(name), known)}")
        return cls(**given)


@dataclass(frozen=True, slots=True)
class UpdateOptions:
    """When and how to repair. `mode` suggest only says so; auto retrains, gates and promotes unattended.

    `min_labels`: labelled records since the change before a candidate is trained; `holdout` of them are kept for the
    gate. `replay`: share of old records in the training mix. `cooldown_hours` (event time) between updates and
    `max_updates` per 30 days bound the loop; `max_labels` is the label budget per update.
    """

    __pydantic_config__ = _STRICT
    mode: Literal["suggest", "auto"] = "suggest"
    min_labels: int = 200
    max_labels: int = 1000
    holdout: float = 0.3
    replay: float = 0.5
    epochs: int | None = None
    cooldown_hours: float = 24
    max_updates: int = 4

    def __post_init__(self) -> None:
        _within(
            self, min_labels=(1, 10**9), max_labels=(1, 10**9), holdout=(0.05, 0.9), replay=(0, 0.99),
            epochs=(1, 10_000), cooldown_hours=(0, 1e6), max_updates=(0, 10**6),
        )  # fmt: skip
        if self.max_labels < self.min_labels:
            raise OptionError(f"max_labels {self.max_labels} is below min_labels {self.min_labels}")


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """Where the server listens and what it refuses."""

    __pydantic_config__ = _STRICT
    host: str = "127.0.0.1"
    port: int = 8080
    allowed_hosts: tuple[str, ...] = ()
    max_batch: int = 32
    max_wait_ms: float = 2.0
    max_queue: int = 1024
    max_body_bytes: int = 1_048_576
    max_records: int = 256
    timeout_s: float = 30.0
    rate_per_second: float | None = None
    record_inputs: bool = True

    def __post_init__(self) -> None:
        _within(
            self, port=(0, 65_535), max_batch=(1, 4096), max_wait_ms=(0, 10_000), max_queue=(1, 10**7),
            max_body_bytes=(256, 2**31), max_records=(1, 10**6), timeout_s=(0.01, 3600), rate_per_second=(0.001, 1e9),
        )  # fmt: skip
