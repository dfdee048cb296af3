"""Names to things: a registry filled by a decorator, by the modules of a folder and by entry points.

A registered name is a promise: `"risk.v1"` never changes meaning; new behaviour is registered as `"risk.v2"`.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any, TypeVar

from luthier.errors import UsageError

__all__ = ["KINDS", "every", "get", "register"]

KINDS = {
    "statistic": "statistics",
    "check": "checks",
    "task": "tasks",
    "recipe": "recipes",
    "store": "stores",
}
"""Kind to the folder of `luthier` that holds the built-in ones; plug-ins use the entry-point group `luthier.<folder>`."""

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
Thing = TypeVar("Thing", bound=Callable[..., Any])
_found: dict[tuple[str, str], Callable[..., Any]] = {}
_loaded: set[str] = set()


def register(kind: str, name: str) -> Callable[[Thing], Thing]:
    """Class decorator: `@register("check", "risk.v1")`. Sets `name` on the class."""
    if kind not in KINDS:
        raise UsageError(f"cannot register {name!r}: {kind!r} is not a kind; kinds are {', '.join(KINDS)}")
    if not NAME.fullmatch(name):
        raise UsageError(f"cannot register {kind} {name!r}: a name matches {NAME.pattern}")

    def remember(thing: Thing) -> Thing:
        there = _found.get((kind, name))
        if there is not None and (there.__module__, there.__qualname__) != (thing.__module__, thing.__qualname__):
            raise UsageError(
                f"{kind} {name!r} is registered twice, by {there.__module__} and {thing.__module__}; "
                f"a name is a promise: give the new one a new version"
            )
        thing.name = name  # type: ignore[attr-defined]
        _found[kind, name] = thing
        return thing

    return remember


def get(kind: str, name: str) -> Callable[..., Any]:
    """The class registered as `name`.

    Raises UsageError with the known names when there is none.
    """
    _load(kind)
    try:
        return _found[kind, name]
    except KeyError:
        raise UsageError(f"there is no {kind} {name!r}; known are {', '.join(every(kind))}") from None


def every(kind: str) -> tuple[str, ...]:
    """The names of all registered things of a kind, sorted."""
    _load(kind)
    return tuple(sorted(name for found_kind, name in _found if found_kind == kind))


def _load(kind: str) -> None:
    if kind in _loaded:
        return
    folder = importlib.import_module(f"luthier.{KINDS[kind]}")
    for module in pkgutil.iter_modules(folder.__path__):
        if module.name not in ("base", "laws"):
            importlib.import_module(f"{folder.__name__}.{module.name}")
    for point in entry_points(group=f"luthier.{KINDS[kind]}"):
        point.load()
    _loaded.add(kind)
