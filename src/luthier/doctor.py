"""What a doctor looks at: versions, disk, threads, bf16, and the project's store."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from luthier.errors import LuthierError
from luthier.models import hardware

__all__ = ["Item", "examine"]

_NEEDED = {
    "numpy": "core", "pydantic": "core", "pyarrow": "core", "torch": "fit", "transformers": "fit", "accelerate": "fit",
    "peft": "fit", "safetensors": "fit", "scikit-learn": "fit", "fastapi": "serve", "uvicorn": "serve", "plotly": "report",
}  # fmt: skip
_ROOM = 2 * 2**30  # bytes: a base model, its checkpoints and a few versions


@dataclass(frozen=True, slots=True)
class Item:
    """One thing looked at: what was found, whether that is fine, and the remedy if not."""

    name: str
    found: str
    fine: bool = True
    remedy: str = ""


def examine(file: Path) -> list[Item]:
    """Everything worth knowing before a first run; the project of `file` too, where there is one."""
    return [_python(), *_packages(), _threads(), _bf16(), _disk(file.resolve().parent), *_project(file)]


def _python() -> Item:
    fine = sys.version_info >= (3, 11)
    return Item("python", f"{platform.python_version()} on {platform.platform()}", fine, "install Python 3.11 or newer")


def _packages() -> list[Item]:
    items = []
    for name, extra in _NEEDED.items():
        try:
            items.append(Item(name, version(name)))
        except PackageNotFoundError:
            wanted = "luthier" if extra == "core" else f"luthier[{extra}]"
            items.append(Item(name, "not installed", extra != "core", f"pip install '{wanted}'"))
    return items


def _threads() -> Item:
    free = hardware.cpu_limit()
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    return Item("processors", f"{free} usable of {os.cpu_count()}, load {load:.1f}")


def _bf16() -> Item:
    yes = "yes: training and answers use it"
    return Item("bf16", yes if hardware.has_bf16() else "no: fp32 is used (a product takes about four times as long)")


def _disk(folder: Path) -> Item:
    free = shutil.disk_usage(folder).free
    return Item(
        "free disk", f"{free / 2**30:.1f} GiB at {folder}", free >= _ROOM, "free at least 2 GiB, or move the project"
    )


def _project(file: Path) -> list[Item]:
    if not (file / "luthier.yaml" if file.is_dir() else file).exists():
        return [Item("project", f"none at {file}; make one with: luthier init data.csv")]
    import luthier

    try:
        project = luthier.open(file)
        broken = project.store.audit()
        found = f"{project.config.name}, {len(project.versions())} versions"
        project.close()
    except LuthierError as error:
        return [Item("project", str(error), False, "mend what it says")]
    return [Item("project", found if not broken else broken[0], not broken, "restore the store from a backup")]
