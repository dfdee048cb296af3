"""luthier.yaml as a typed model: every mistake at once, each with file, line, value, rule and way out."""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator

from luthier.errors import ConfigError
from luthier.options import (
    DataOptions,
    FitOptions,
    GateOptions,
    MonitorOptions,
    Requirement,
    ServeOptions,
    UpdateOptions,
)

__all__ = ["Config", "read"]


def _bound(value: Any) -> Any:
    """`accuracy: 0.9` is short for `accuracy: {at_least: 0.9}`."""
    return {"at_least": value} if isinstance(value, int | float) and not isinstance(value, bool) else value


class Config(BaseModel):
    """One project: what to fine-tune on what, until when, and how to watch and repair it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = "model"
    task: str = "text_classification"
    model: str = Field(default="sentence-transformers/all-MiniLM-L6-v2", min_length=1)
    labels: tuple[str, ...] = ()
    data: DataOptions = DataOptions()
    require: dict[str, Annotated[Requirement, BeforeValidator(_bound)]] = {}
    fit: FitOptions = FitOptions()
    gate: GateOptions = GateOptions()
    monitor: MonitorOptions = MonitorOptions()
    update: UpdateOptions = UpdateOptions()
    serve: ServeOptions = ServeOptions()
    store: str = ".luthier"

    @field_validator("name")
    @classmethod
    def _plain_name(cls, value: str) -> str:
        if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,63}", value):
            raise ValueError("a name starts with a lower-case letter or digit; then a-z 0-9 . _ -, 64 at most")
        return value

    @field_validator("labels")
    @classmethod
    def _distinct(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) != len(value):
            raise ValueError(f"a label stands twice in {list(value)}")
        return value


def read(path: str | Path) -> Config:
    """Read and validate `path`.

    Raises ConfigError listing all mistakes, each as `file:line: key: rule (got value)`.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path}: there is no such file. Make one from your data with: luthier init data.csv") from None
    except (UnicodeDecodeError, OSError) as error:
        raise ConfigError(f"{path}: cannot be read as UTF-8 text: {error}") from error
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        raw = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from error
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: the file must hold settings as `key: value`, not {type(raw).__name__}")
    try:
        return Config.model_validate(raw)
    except ValidationError as error:
        raise ConfigError("\n".join(_sentence(path, node, mistake) for mistake in error.errors())) from None


def _sentence(path: Path, node: yaml.Node | None, mistake: Any) -> str:
    keys = [key for key in mistake["loc"] if key != "[key]"]
    line = _line(node, keys)
    got = mistake.get("input")
    if mistake["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        return f"{path}:{line}: {'.'.join(map(str, keys))}: there is no such setting.{_nearest(keys)}"
    rule = mistake["msg"].removeprefix("Value error, ")
    shown = repr(got) if not isinstance(got, dict) else "{" + ", ".join(map(str, got)) + "}"
    return f"{path}:{line}: {'.'.join(map(str, keys))}: {rule} (got {shown[:80]})"


def _line(node: yaml.Node | None, keys: list[Any]) -> int:
    """Line (from 1) of the deepest key that is in the file."""
    line = node.start_mark.line + 1 if node else 1
    for key in keys:
        if isinstance(node, yaml.MappingNode):
            found = [(k, v) for k, v in node.value if k.value == str(key)]
            if not found:
                break
            line, node = found[0][0].start_mark.line + 1, found[0][1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
            node = node.value[key]
            line = node.start_mark.line + 1
        else:
            break
    return line


def _nearest(keys: list[Any]) -> str:
    options: Any = Config
    for key in keys[:-1]:
        annotation = options.model_fields[key].annotation if options is Config else _nested(options, key)
        options = annotation if hasattr(annotation, "__dataclass_fields__") else None
        if options is None:
            return ""
    known = list(Config.model_fields) if options is Config else list(options.__dataclass_fields__)
    near = difflib.get_close_matches(str(keys[-1]), known, n=1)
    return f" Did you mean `{near[0]}`?" if near else f" Known: {', '.join(known)}."


def _nested(options: Any, key: str) -> Any:
    field = options.__dataclass_fields__.get(key)
    return type(field.default_factory()) if field and callable(field.default_factory) else None
