"""A version's folder: what transformers loads, the model card, and what Luthier must know to watch and repeat it."""

from __future__ import annotations

import json
import platform
import shutil
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from luthier.errors import ModelError
from luthier.types import Columns

__all__ = ["assemble", "packages", "read_about", "read_reference"]

_ROWS = 5000  # rows of the reference kept with a version
_KEPT = ("torch", "transformers", "tokenizers", "safetensors", "peft", "accelerate", "numpy", "luthier")


def assemble(candidate: Path, home: Path, *, about: Mapping[str, Any], reference: Columns, card: str) -> Path:
    """Copy the model in `candidate` to `home` and add `luthier/version.json`, `luthier/reference.npz` and the card.

    `reference`: columns of the held-out records that the version was accepted on, at most 5,000 rows.
    """
    shutil.rmtree(home, ignore_errors=True)
    shutil.copytree(candidate, home, ignore=shutil.ignore_patterns("*.bin", "*.pt", "*.pth", "checkpoint-*"))
    notes = home / "luthier"
    notes.mkdir(exist_ok=True)
    (notes / "version.json").write_text(json.dumps(about, indent=2, sort_keys=True, allow_nan=True), encoding="utf-8")
    small = {name: _smaller(np.asarray(array)[:_ROWS]) for name, array in reference.items()}
    np.savez_compressed(notes / "reference.npz", allow_pickle=False, **small)
    (home / "README.md").write_text(card, encoding="utf-8")
    return home


def read_reference(folder: Path) -> dict[str, np.ndarray]:
    """The reference columns of a version.

    Raises ModelError when the folder has none.
    """
    path = folder / "luthier" / "reference.npz"
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: the reference of this version cannot be read: {error}. Register it anew") from error


def read_about(folder: Path) -> dict[str, Any]:
    """What `version.json` says of a version."""
    about: dict[str, Any] = json.loads((folder / "luthier" / "version.json").read_text(encoding="utf-8"))
    return about


def packages() -> dict[str, str]:
    """Versions of the packages that shape a model, and of Python."""
    found = {"python": platform.python_version()}
    for name in _KEPT:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _smaller(array: np.ndarray) -> np.ndarray:
    """Embeddings are kept as float16: half the bytes, and the recorded answers have no more digits either."""
    return array.astype(np.float16) if array.ndim == 2 and array.dtype.kind == "f" else array
