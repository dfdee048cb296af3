"""What the processor can do, and how many threads to give it. Standard library; torch only when asked."""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import cache
from pathlib import Path
from typing import Any, Literal

__all__ = [
    "autocast",
    "cpu_limit",
    "has_bf16",
    "helpful_threads",
    "one_thread",
    "processors",
    "tune_process",
    "use_bf16",
    "use_threads",
]

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h of glibc
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


def tune_process() -> None:
    """Two settings of a process that trains or answers; to be called before torch is imported.

    OpenMP's threads sleep when they wait for each other, where by default they spin: with a server and a training on two
    processors, spinning made two threads half as fast as one (46 against 81 training texts a second), sleeping they were
    never slower than one (measured). The user's own OMP_WAIT_POLICY stays. And glibc keeps large blocks it has freed,
    where by default every step of a training gets its gradients as fresh pages (measured: 1.3 times the texts a second).
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    with suppress(OSError, AttributeError, TypeError):  # another C library: it does as it does
        tune = ctypes.CDLL(None).mallopt
        for parameter in (_M_MMAP_THRESHOLD, _M_TRIM_THRESHOLD):
            tune(parameter, 1 << 30)


@cache
def processors() -> int:
    """Threads torch had when this was first asked (OMP_NUM_THREADS counts), and this process may use."""
    import torch

    return int(max(1, min(torch.get_num_threads(), cpu_limit())))


def use_threads(threads: int | None) -> int:
    """Give torch that many threads in this thread (None: as many as are measured to help), and say how many.

    The number belongs to a run's record: the same seed with another number of threads gives other weights.
    """
    import torch

    if threads is None:
        rows, weight = torch.ones(512, 384), torch.ones(1536, 384)  # 16 texts of 32 tokens in MiniLM's widest layer
        threads = helpful_threads(lambda: torch.nn.functional.gelu(rows @ weight.T), gain=1.1)
    torch.set_num_threads(threads)
    return threads


def helpful_threads(work: Callable[[], object], *, gain: float) -> int:
    """1, 2, 4 … `processors()`: doubled for as long as that makes `work` at least `gain` times as fast."""
    import torch

    before = torch.get_num_threads()

    def seconds(threads: int) -> float:
        torch.set_num_threads(threads)
        work()
        times = []
        for _ in range(3):
            begun = time.perf_counter()
            work()
            times.append(time.perf_counter() - begun)
        return min(times)

    try:
        chosen, best = 1, seconds(1) if processors() > 1 else 0.0
        while chosen < processors() and gain * (found := seconds(min(2 * chosen, processors()))) <= best:
            chosen, best = min(2 * chosen, processors()), found
        return chosen
    finally:
        torch.set_num_threads(before)


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
