"""What the processor can do, and how many threads to give it. Standard library; torch only when asked."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from pathlib import Path
from typing import Any, Literal

__all__ = ["autocast", "cpu_limit", "has_bf16", "one_thread", "use_bf16", "use_threads"]

_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}  # x86: the first two; Arm names its own "bf16"


@cache
def has_bf16() -> bool:
    """Whether the processor multiplies bfloat16 in hardware (AVX512-BF16, AMX-BF16 or Arm BF16).

    Without it bfloat16 is emulated and slower than float32. Unknown systems count as without.
    """
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").lower().splitlines()
    except OSError:
        return False
    flags = next((line for line in lines if line.startswith(("flags", "features"))), "")
    return not _FLAGS.isdisjoint(flags.partition(":")[2].split())


def use_bf16(setting: Literal["auto", "on", "off"]) -> bool:
    """What the setting `fit.bf16` means on this machine."""
    return has_bf16() if setting == "auto" else setting == "on"


def cpu_limit() -> int:
    """Processors this process may use: its affinity, bounded by a cgroup quota (v2). At least 1.

    More threads than this slow training down; torch counts the machine's cores, not the container's.
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        return max(1, min(affinity, int(quota) // int(period)))
    except (OSError, ValueError):
        return max(1, affinity)


def use_threads(threads: int | None) -> int:
    """Give torch that many threads (None: leave as it is), and say how many it has.

    The number belongs to a run's record: the same seed with another number of threads gives other weights.
    """
    import torch

    if threads is not None and threads != torch.get_num_threads():
        torch.set_num_threads(threads)
    return int(torch.get_num_threads())


@contextmanager
def one_thread() -> Iterator[None]:
    """Small matrices on one thread: sharing them costs more than it saves, far more on a busy machine."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def autocast(bf16: bool) -> AbstractContextManager[Any]:
    """bfloat16 autocast on the CPU, or nothing."""
    import torch

    return torch.autocast("cpu", dtype=torch.bfloat16) if bf16 else nullcontext()
