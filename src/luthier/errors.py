"""One tree of errors. Each names the thing, the value, the rule and the way out.

LuthierError
├── UsageError            exit 2   the call or the configuration is wrong
│   ├── OptionError                a setting given in Python (a ValueError too)
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
import re
from collections.abc import Iterable
from types import ModuleType

__all__ = [
    "ConfigError",
    "DataError",
    "LuthierError",
    "MissingPackage",
    "ModelError",
    "NotMet",
    "OptionError",
    "RecordError",
    "SetupError",
    "StateError",
    "StoreError",
    "StoreFull",
    "Tampered",
    "TargetError",
    "TrainingError",
    "UsageError",
    "among",
    "misspelt",
    "need",
]


class LuthierError(Exception):
    """Anything Luthier raises on purpose; `exit_code` is what a verb returns for it."""

    exit_code = 2


class UsageError(LuthierError):
    """The call or the configuration is wrong."""


class OptionError(UsageError, ValueError):
    """A setting that was given in Python breaks its rule."""


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


def misspelt(name: str, known: Iterable[str], cutoff: float = 0.75) -> str:
    """The known name that was probably meant, "" where none is near; `tag:` and case do not count, and names that are the
    same but for a number are different ones.

    >>> misspelt("langg", ["lang", "plan"]), misspelt("region_2", ["region_1"])
    ('lang', '')
    """
    from difflib import get_close_matches

    def bare(one: str) -> str:
        return one.removeprefix("tag:").casefold()

    there = {bare(one): one for one in known}
    near = get_close_matches(bare(name), there, n=3, cutoff=cutoff)
    number = re.compile(r"\d+")
    apart = number.sub("", bare(name))
    return next((there[one] for one in near if one == bare(name) or number.sub("", one) != apart), "")


def among(name: str, known: Iterable[str], most: int = 20) -> str:
    """What may have been meant by a name that is none of those known, as the end of a sentence.

    >>> among("langg", ["plan", "lang"])
    "did you mean 'lang'? There are lang, plan"
    """
    there = sorted(known)
    more = f", … {len(there) - most:,} more" if len(there) > most else ""
    near = misspelt(name, there[:10_000], 0.6)
    listed = f"{', '.join(there[:most])}{more}" if there else "none"
    return f"did you mean {near!r}? There are {listed}" if near else f"there are {listed}"
