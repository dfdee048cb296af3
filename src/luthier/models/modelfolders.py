"""Folders of text models: what is checked before one is opened, and errors that say what is wrong with it."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from luthier.errors import ModelError

__all__ = ["as_model_error", "checked", "is_fresh", "longest", "quiet", "saved_temperature"]

_FOREIGN = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.ckpt", "*.h5", "*.msgpack", "*.onnx")  # weights we never read
_VOCABULARIES = (
    "tokenizer.json", "vocab.txt", "vocab.json", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model",
)  # fmt: skip


def checked(source: str | Path) -> str | Path:
    """A checked local folder, or the name of a model on the hub."""
    path = Path(source).expanduser()
    if not path.exists():
        if isinstance(source, Path) or source.startswith((".", "/", "~")) or source.count("/") > 1:
            raise ModelError(
                f"model {str(source)!r}: there is no such folder. Give a folder, or a name like "
                f"sentence-transformers/all-MiniLM-L6-v2"
            )
        return source
    if not path.is_dir():
        raise ModelError(f"model {path}: is a file; give the folder that holds config.json and model.safetensors")
    if not (path / "config.json").is_file():
        raise ModelError(
            f"model folder {path}: has no config.json, so it is no model that transformers can load. Give the folder "
            f"that save_pretrained wrote"
        )
    if (path / "adapter_config.json").exists():
        raise ModelError(
            f"model folder {path}: has adapter_config.json, a LoRA without its base. Merge it first: "
            f"merge_and_unload() of peft, then save_pretrained"
        )
    if not any((path / name).is_file() for name in ("model.safetensors", "model.safetensors.index.json")):
        foreign = sorted(found.name for pattern in _FOREIGN for found in path.glob(pattern))
        if foreign:
            raise ModelError(
                f"model folder {path}: its weights are in {foreign[0]}, a format that can run code when it is read. "
                f"Luthier reads only safetensors: convert them with save_pretrained of a transformers you trust"
            )
        raise ModelError(f"model folder {path}: has no weights. Put model.safetensors beside config.json")
    if not any((path / name).is_file() for name in _VOCABULARIES):
        raise ModelError(
            f"model folder {path}: has no tokenizer ({', '.join(_VOCABULARIES)}), and transformers would make up an "
            f"empty one. Copy the base model's tokenizer files beside config.json"
        )
    return path


def is_fresh(config: Any, labels: Sequence[str]) -> bool:
    """Whether the model needs a new classifier for `labels`. The same labels in another order are the same labels."""
    trained = any("ForSequenceClassification" in name for name in config.architectures or ())
    return not trained or (bool(labels) and set(config.id2label.values()) != set(labels))


def longest(config: Any, tokenizer: Any) -> int:
    """Tokens a text is cut to: the tokenizer's limit and the model's positions."""
    limit = int(min(tokenizer.model_max_length, 131_072))
    positions = getattr(config, "max_position_embeddings", None)
    if isinstance(positions, int) and positions > 0:
        taken = (
            (config.pad_token_id or 0) + 1 if "roberta" in config.model_type or config.model_type == "camembert" else 0
        )
        limit = min(limit, positions - taken)
    return limit


def saved_temperature(where: str | Path) -> float:
    """The temperature that was saved with a model, 1 without one."""
    path = Path(where) / "luthier" / "calibration.json"
    if not isinstance(where, Path) or not path.exists():
        return 1.0
    try:
        value = float(json.loads(path.read_text("utf-8"))["temperature"])
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"temperature {value}")
        return value
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f'{path}: must hold {{"temperature": a number above 0}}: {error}') from error


@contextmanager
def as_model_error(source: str | Path) -> Iterator[None]:
    """Whatever goes wrong while a model is loaded is a ModelError that names it."""
    try:
        yield
    except ModelError:
        raise
    except Exception as error:  # every loader fails in its own way: OSError, ValueError, SafetensorError, RuntimeError
        reason = str(error).strip().split("\n")[0][:300]
        raise ModelError(
            f"model {str(source)!r}: cannot be loaded as a text classifier: {type(error).__name__}: {reason}"
        ) from error


@contextmanager
def quiet() -> Iterator[None]:
    """transformers' progress bars and load reports say nothing a user of Luthier can act on."""
    from transformers.utils import logging as hf

    level: Literal[10, 20, 30, 40, 50] = hf.get_verbosity()
    bars = hf.is_progress_bar_enabled()
    hf.set_verbosity(logging.ERROR)
    hf.disable_progress_bar()
    try:
        yield
    finally:
        hf.set_verbosity(level)
        if bars:
            hf.enable_progress_bar()
