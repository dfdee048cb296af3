"""Checkpoints that are whole or not there: safetensors and JSON, with a marker of digests written last."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from luthier.storage.folders import durable

__all__ = ["Checkpoint", "newest", "read_tensors", "sync_tree", "tidy", "write", "write_text"]

_MARKER = "complete.json"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A complete checkpoint: its folder and the plain state that was written with it."""

    folder: Path
    state: Mapping[str, Any]


def write(home: Path, step: int, state: Mapping[str, Any], tensors: Mapping[str, Mapping[str, Any]]) -> Checkpoint:
    """Write `home/step-<step>`: state.json and one <name>.safetensors each; durable on return.

    The marker holds the SHA-256 of every file and is written last: a folder cut short at any moment is known as such.
    """
    from safetensors.torch import save_file

    folder = home / f"step-{step:09d}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "state.json").write_text(json.dumps(state), "utf-8")
    for name, parts in tensors.items():
        save_file({key: value.detach().contiguous() for key, value in parts.items()}, folder / f"{name}.safetensors")
    files = sorted(folder.iterdir())
    sync_tree(folder)
    write_text(folder / _MARKER, json.dumps({file.name: _digest(file) for file in files}))
    durable(home)
    return Checkpoint(folder, state)


def newest(home: Path, key: str) -> Checkpoint | None:
    """The last complete checkpoint whose state has this `key`; incomplete ones and those of other keys are removed.

    A state may name in "best" a second step that it needs; without that one complete it counts as incomplete itself.
    """
    complete: dict[int, Checkpoint] = {}
    for folder in sorted(home.glob("step-*")):
        state = _verified(folder)
        if state is None or state.get("key") != key:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            complete[int(folder.name[5:])] = Checkpoint(folder, state)
    usable = [step for step, found in complete.items() if found.state.get("best", step) in complete]
    return complete[max(usable)] if usable else None


def tidy(home: Path, keep: set[int]) -> None:
    """Remove every checkpoint but those steps."""
    for folder in home.glob("step-*"):
        if int(folder.name[5:]) not in keep:
            shutil.rmtree(folder, ignore_errors=True)


def read_tensors(folder: Path, name: str) -> dict[str, Any]:
    """The tensors written under `name`."""
    from safetensors.torch import load_file

    found: dict[str, Any] = load_file(folder / f"{name}.safetensors")
    return found


def write_text(path: Path, text: str) -> None:
    """Replace a small file in one step, durable on return."""
    fresh = path.with_name(path.name + ".part")
    fresh.write_text(text, "utf-8")
    durable(fresh)
    fresh.replace(path)
    durable(path.parent)


def sync_tree(folder: Path) -> None:
    """Make a folder with all it holds durable."""
    for path in folder.rglob("*"):
        durable(path)
    durable(folder)


def _verified(folder: Path) -> Mapping[str, Any] | None:
    try:
        digests = json.loads((folder / _MARKER).read_text("utf-8"))
        if any(_digest(folder / name) != digest for name, digest in digests.items()):
            return None
        state: Mapping[str, Any] = json.loads((folder / "state.json").read_text("utf-8"))
        return state
    except (OSError, ValueError, AttributeError):
        return None


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
