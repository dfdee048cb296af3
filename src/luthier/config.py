"""luthier.yaml as a typed model: every mistake at once, each with file, line, value, rule and way out."""

from __future__ import annotations

import dataclasses
import difflib
import re
import types
import typing
from collections.abc import Iterator
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

__all__ = ["Config", "read", "settings"]

_LARGEST = 2**20  # bytes of a luthier.yaml
_DEEPEST = 20  # levels of nesting; PyYAML takes quadratic time in them


def _bound(value: Any) -> Any:
    """`accuracy: 0.9` is short for `accuracy: {at_least: 0.9}`."""
    return {"at_least": value} if isinstance(value, int | float) and not isinstance(value, bool) else value


def _one(value: Any) -> Any:
    """`train: data.csv` is short for `train: [data.csv]`."""
    if not isinstance(value, dict):
        return value
    return {key: [part] if key in ("train", "test") and isinstance(part, str) else part for key, part in value.items()}


class Config(BaseModel):
    """One project: what to fine-tune on what, until when, and how to watch and repair it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = "model"
    task: str = "text_classification"
    model: str = Field(default="sentence-transformers/all-MiniLM-L6-v2", min_length=1)
    labels: tuple[str, ...] = ()
    data: Annotated[DataOptions, BeforeValidator(_one)] = DataOptions()
    require: dict[str, Annotated[Requirement, BeforeValidator(_bound)]] = {}
    fit: FitOptions = FitOptions()
    gate: GateOptions = GateOptions()
    monitor: MonitorOptions = MonitorOptions()
    update: UpdateOptions = UpdateOptions()
    serve: ServeOptions = ServeOptions()
    store: str = Field(default=".luthier", min_length=1)

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
            twice = sorted({label for label in value if value.count(label) > 1})
            raise ValueError(f"these labels stand twice: {', '.join(map(repr, twice[:5]))}")
        if any(not label.strip() for label in value):
            raise ValueError("a label is blank")
        return value


def read(path: str | Path) -> Config:
    """Read and validate `path`.

    `yes`, `no`, `on` and `off` are text, as in YAML 1.2; labels are taken as they are written (`0` is "0"); anchors
    and aliases are refused. Paths in it start at the file's folder.

    Raises ConfigError listing all mistakes, each as `file:line: key: rule (got value)`.
    """
    path = Path(path)
    node = _composed(path, _text(path))
    if not isinstance(node, yaml.MappingNode):
        found = {yaml.SequenceNode: "a list", yaml.ScalarNode: "one value"}.get(type(node), "nothing")
        raise ConfigError(f"{path}: the file must hold settings as `key: value`, not {found}")
    mistakes: list[tuple[int, str]] = []
    raw = _plain(node, (), mistakes)
    mistakes += _flags(raw, Config, (), node)
    config, wrong = _validated(raw)
    mistakes += [said for mistake in wrong for said in _sentences(node, mistake)]
    if config is None or mistakes:
        raise ConfigError("\n".join(f"{path}:{line}: {said}" for line, said in sorted(set(mistakes))))
    return config


def _validated(raw: Any) -> tuple[Config | None, list[Any]]:
    """The model, or every mistake: those found first are taken out, so that they do not hide the next ones."""
    found: list[Any] = []
    while True:
        try:
            config = Config.model_validate(raw)
            return (None, found) if found else (config, [])
        except ValidationError as error:
            found += error.errors()
            pruned = raw
            for mistake in error.errors():
                pruned = _without(pruned, [key for key in mistake["loc"] if key != "[key]"])
            if pruned == raw:
                return None, found
            raw = pruned


def _without(raw: Any, keys: list[Any]) -> Any:
    """`raw` without the deepest part these keys lead to."""
    if isinstance(raw, dict) and keys and keys[0] in raw:
        rest = _without(raw[keys[0]], keys[1:]) if len(keys) > 1 else None
        if rest is None or rest == raw[keys[0]]:
            return {key: value for key, value in raw.items() if key != keys[0]}
        return {**raw, keys[0]: rest}
    return raw


def settings() -> dict[str, Any]:
    """Every setting as `section.key` with its default; a requirement's are under `require.<metric>`."""

    def walk(kind: Any, before: str) -> Iterator[tuple[str, Any]]:
        for name, (annotation, default) in _fields(kind).items():
            inner = _inner(annotation)
            if _fields(inner):
                yield from walk(inner, f"{before}{name}." + ("<metric>." if inner is Requirement else ""))
            else:
                yield before + name, default

    return dict(walk(Config, ""))


def _text(path: Path) -> str:
    try:
        if path.is_file() and path.stat().st_size > _LARGEST:
            raise ConfigError(f"{path}: {path.stat().st_size:,} bytes; a configuration has {_LARGEST:,} at most")
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(
            f"{path}: there is no such file. Make one from your data with: luthier init data.csv"
        ) from None
    except (UnicodeDecodeError, OSError) as error:
        raise ConfigError(f"{path}: cannot be read as UTF-8 text: {error}") from error


class _Loader(yaml.SafeLoader):
    """Scalars as in the core schema of YAML 1.2: no yes/no/on/off, no dates, no base 60."""

    yaml_implicit_resolvers = {}  # noqa: RUF012


for _tag, _pattern, _starts in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]{1,18}(?:_[0-9]{3})*", list("-+0123456789")),
    ("float", r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", list("-+.0123456789")),
    ("float", r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)", list("-+.")),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), _starts)


def _composed(path: Path, text: str) -> yaml.Node | None:
    try:
        deep = 0
        for event in yaml.parse(text, Loader=_Loader):
            line = event.start_mark.line + 1 if event.start_mark else 1
            deep += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if deep > _DEEPEST:
                raise ConfigError(f"{path}:{line}: nested more than {_DEEPEST} levels deep")
            if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
                raise ConfigError(f"{path}:{line}: anchors and aliases (& and *) are not read; write the value out")
        return yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = mark.line + 1 if mark else 1
        written = text.splitlines()[line - 1] if mark and line <= len(text.splitlines()) else ""
        tab = " A tab stands there; YAML indents with spaces only." if "\t" in written else ""
        raise ConfigError(f"{path}:{line}: not valid YAML: {error.problem}.{tab}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from error


def _plain(node: yaml.Node, at: tuple[str, ...], mistakes: list[tuple[int, str]]) -> Any:
    """The node as dict, list, text, number, bool or None; a key that stands twice is a mistake."""
    if isinstance(node, yaml.SequenceNode):
        return [_plain(part, (*at, str(index)), mistakes) for index, part in enumerate(node.value)]
    if isinstance(node, yaml.MappingNode):
        found: dict[str, Any] = {}
        first: dict[str, int] = {}
        for key, value in node.value:
            name, here = str(key.value), key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                mistakes.append((here, f"{'.'.join(at) or 'the file'}: a key is one word"))
                continue
            if name in first:
                where = ".".join((*at, name))
                mistakes.append((here, f"{where}: stands twice, first in line {first[name]}; keep one"))
            first.setdefault(name, here)
            found[name] = _plain(value, (*at, name), mistakes)
        return found
    return node.value if at[:1] == ("labels",) and len(at) == 2 else _scalar(node)


def _scalar(node: yaml.Node) -> Any:
    kind, text = node.tag.removeprefix("tag:yaml.org,2002:"), str(node.value)
    if kind == "null":
        return None
    if kind == "bool":
        return text.lower() == "true"
    try:
        return int(text) if kind == "int" else float(_infinity(text)) if kind == "float" else text
    except ValueError:  # a tag of the user's own, such as !!int x
        return text


def _infinity(text: str) -> str:
    return text.replace(".inf", "inf").replace(".Inf", "inf").replace(".INF", "inf").replace(".nan", "nan")


def _flags(raw: Any, kind: Any, at: tuple[str, ...], node: yaml.Node) -> list[tuple[int, str]]:
    """true and false where a number or text belongs (they would pass as 1 and 0)."""
    found: list[tuple[int, str]] = []
    known = _fields(kind)
    for key, value in raw.items() if isinstance(raw, dict) else ():
        annotation = Requirement if kind is Requirement and not at else known.get(key, (None, None))[0]
        inner = _inner(annotation)
        if isinstance(value, bool) and annotation is not None and annotation is not bool:
            keys = [*at, key]
            found.append((_line(node, keys), f"{'.'.join(keys)}: true and false do not belong here (got {value})"))
        elif inner is Requirement:
            for metric, bound in value.items() if isinstance(value, dict) else ():
                found += _flags(bound, Requirement, (*at, key, metric), node)
        else:
            found += _flags(value, inner, (*at, key), node)
    return found


def _sentences(node: yaml.Node, mistake: Any) -> Iterator[tuple[int, str]]:
    keys = [key for key in mistake["loc"] if key != "[key]"]
    line, name, got = _line(node, keys), ".".join(map(str, keys)), mistake.get("input")
    if mistake["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        yield line, f"{name}: there is no such setting.{_nearest(keys)}"
        return
    rule = mistake["msg"].removeprefix("Value error, ").replace("a valid tuple", "a list, [a, b]")
    if isinstance(got, dict):  # a rule of a whole section; it names the settings itself
        for said in rule.split("\n"):
            yield _line(node, [*keys, said.split(" ")[0]]), f"{name}: {said}"
        return
    if mistake["type"].startswith("dataclass"):
        rule = f"this is a section; write `{keys[-1]}:` and its settings indented below"
    yield line, f"{name}: {rule} (got {repr(got)[:80]})"


def _line(node: yaml.Node | None, keys: list[Any]) -> int:
    """Line (from 1) of the deepest key that is in the file."""
    line = node.start_mark.line + 1 if node else 1
    for key in keys:
        if isinstance(node, yaml.MappingNode):
            found = [(k, v) for k, v in node.value if k.value == str(key)]
            if not found:
                break
            line, node = found[0][0].start_mark.line + 1, found[0][1]
        elif isinstance(node, yaml.SequenceNode) and str(key).isdigit() and int(key) < len(node.value):
            node = node.value[int(key)]
            line = node.start_mark.line + 1
        else:
            break
    return line


def _nearest(keys: list[Any]) -> str:
    """What was probably meant: a setting of this section with a like name, or the same name in another section."""
    kind: Any = Config
    for key in keys[:-1]:
        kind = _inner(_fields(kind).get(str(key), (kind if kind is Requirement else None, None))[0])
    known, wrong = list(_fields(kind)), str(keys[-1])
    near = difflib.get_close_matches(wrong, known, n=1)
    if near:
        return f" Did you mean `{near[0]}`?"
    places = {name: path for path in reversed(_everywhere()) for name in [path.rpartition(".")[2]]}
    if elsewhere := difflib.get_close_matches(wrong, places, n=1, cutoff=0.8):
        return f" Did you mean `{places[elsewhere[0]]}`?"
    return f" Known: {', '.join(known)}." if known else ""


def _everywhere() -> list[str]:
    """Paths of all settings and sections."""
    names = [name.split(".") for name in settings()]
    return list(dict.fromkeys(".".join(name[:depth]) for name in names for depth in range(2, len(name) + 1)))


def _fields(kind: Any) -> dict[str, tuple[Any, Any]]:
    """Setting to (annotation, default) of a section; {} for anything else."""
    if kind is Config:
        return {name: (field.annotation, field.default) for name, field in Config.model_fields.items()}
    if not dataclasses.is_dataclass(kind):
        return {}
    hints = typing.get_type_hints(kind)
    return {field.name: (hints[field.name], field.default) for field in dataclasses.fields(kind)}


def _inner(annotation: Any) -> Any:
    """The section an annotation leads to: of `dict[str, Annotated[Requirement, …]]` it is Requirement."""
    if typing.get_origin(annotation) is dict:
        annotation = typing.get_args(annotation)[1]
    if typing.get_origin(annotation) is Annotated:
        annotation = typing.get_args(annotation)[0]
    return annotation if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias) else None
