"""Luthier fine-tunes pretrained models until they meet written requirements, proves it, serves them, watches them,
notices when they degrade, repairs them safely, and reports every step with evidence."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from luthier.fleet import Fleet
    from luthier.loop import Project, open
    from luthier.reports import report
    from luthier.results import frame
    from luthier.stages.drift import drift
    from luthier.stages.monitor import Monitor
    from luthier.stages.stream import Stream
    from luthier.types import Decision, Estimate, Finding, Promise, Record, Run, Version

__version__ = "0.1.0"
__all__ = [
    "Decision",
    "Estimate",
    "Finding",
    "Fleet",
    "Monitor",
    "Project",
    "Promise",
    "Record",
    "Run",
    "Stream",
    "Version",
    "drift",
    "frame",
    "open",
    "report",
]

_HOMES = {
    "Fleet": "luthier.fleet",
    "Project": "luthier.loop",
    "open": "luthier.loop",
    "Monitor": "luthier.stages.monitor",
    "Stream": "luthier.stages.stream",
    "drift": "luthier.stages.drift",
    "frame": "luthier.results",
    "report": "luthier.reports",
} | dict.fromkeys(("Decision", "Estimate", "Finding", "Promise", "Record", "Run", "Version"), "luthier.types")


def __getattr__(name: str) -> Any:  # PEP 562: a public name is imported when it is first asked for
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'luthier' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
