"""One tree of errors. Each names the thing, the value, the rule and the way out.

LuthierError
├── UsageError            exit 2   the call or the configuration is wrong
│   ├── ConfigError                luthier.yaml: file, line, value, rule
│   ├── DataError                  a data file or set as a whole
│   │   └── RecordError            one record
│   │       └── TargetError        its target
│   ├── StateError                 an argument array, window or stored state of the wrong form
│   └── ModelError                 a model folder or name that cannot be used
├── NotMet                exit 1   a requirement or gate said no
│   └── TrainingError              training stopped: non-finite loss, no usable candidate
└── SetupError            exit 3   the environment: packages, permissions, disk
    ├── MissingPackage             `need()` did not find it
    └── StoreError                 the store cannot be read or written
        ├── StoreFull              no space left
        └── Tampered               content does not match its digest
"""

from __future__ import annotations

import importlib
from types import ModuleType

__all__ = [
    "ConfigError",
    "DataError",
    "LuthierError",
    "MissingPackage",
    "ModelError",
    "NotMet",
    "RecordError",
    "SetupError",
    "StateError",
    "StoreError",
    "StoreFull",
    "Tampered",
    "TargetError",
    "TrainingError",
    "UsageError",
    "need",
]


class LuthierError(Exception):
    """Anything Luthier raises on purpose; `exit_code` is what a verb returns for it."""

    exit_code = 2


class UsageError(LuthierError):
    """The call or the configuration is wrong."""


class ConfigError(UsageError):
    """luthier.yaml is wrong; the text lists every mistake with its line."""


class DataError(UsageError):
    """A data file or a whole set cannot be used."""


class RecordError(DataError):
    """One record cannot be used."""


class TargetError(RecordError):
    """One record's target cannot be used."""


class StateError(UsageError):
    """An array, window or stored state has the wrong form."""


class ModelError(UsageError):
    """A model folder or name cannot be used."""


class NotMet(LuthierError):
    """A requirement or a gate said no."""

    exit_code = 1


class TrainingError(NotMet):
    """Training stopped before it gave a usable candidate."""


class SetupError(LuthierError):
    """The environment lacks something: a package, a permission, disk space."""

    exit_code = 3


class MissingPackage(SetupError):
    """An optional package is not installed."""


class StoreError(SetupError):
    """The store cannot be read or written."""


class StoreFull(StoreError):
    """No space is left for the store; nothing acknowledged is lost."""


class Tampered(StoreError):
    """Stored content does not match its digest."""


def need(package: str, *, extra: str) -> ModuleType:
    """Import `package` now, or say which extra brings it.

    >>> need("json", extra="fit").__name__
    'json'
    """
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != package.split(".")[0]:
            raise
        raise MissingPackage(
            f"this needs the package {package!r}, which is not installed. Install it with: pip install 'luthier[{extra}]'"
        ) from error
