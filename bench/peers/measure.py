"""Processor seconds and memory of one piece of work in a process of its own; needs nothing but Python on Linux."""

from __future__ import annotations

import ctypes
import gc
import json
import os
import resource
from collections.abc import Callable
from typing import Any


def processor_seconds() -> float:
    """Of this process and its children."""
    return sum(
        used.ru_utime + used.ru_stime
        for used in (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    )


def _status(key: str) -> float:
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith(key + ":"))


def cost(work: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
    """What `work()` returns, its processor seconds, and MB at its peak above those before it."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # or memory freed before would hide what is used now
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    before, start = _status("VmRSS"), processor_seconds()
    done = work()
    return done, {"cpu_s": round(processor_seconds() - start, 4), "mb": round(max(_status("VmHWM") - before, 0))}


def report(case: str, **found: Any) -> None:
    """One line that the process who started this one reads."""
    print(
        "RESULT " + json.dumps({"case": case, **found, "load": round(os.getloadavg()[0], 1)}, default=float), flush=True
    )
