"""POST /v1/answer, POST /v1/feedback, GET /healthz, GET /readyz."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from luthier.errors import LuthierError, RecordError, StoreError
from luthier.rest.base import (
    Refusal,
    Site,
    answers,
    documented,
    known,
    moment,
    name,
    new_id,
    parse,
    plain,
    reply,
    shown,
    tags,
    text,
)
from luthier.stages.serve import Answer
from luthier.types import Record

__all__ = ["routes"]

_RECORD = ("id", "input", "at", "tags")
_LABEL = ("id", "target", "at", "correct")
_COUNTED = ("stored", "duplicates", "conflicts", "waiting")


def routes(site: Site) -> APIRouter:
    """The router of these four."""
    router = APIRouter(tags=["luthier"])

    @router.post("/v1/answer", summary="Answer records with the champion", **documented(_ANSWER_IN, _ANSWER_OUT))
    async def answer(request: Request) -> Response:
        return await _answer(site, parse(await request.body()))

    @router.post(
        "/v1/feedback", summary="Send true labels for answered records", **documented(_FEEDBACK_IN, _FEEDBACK_OUT)
    )
    async def feedback(request: Request) -> Response:
        return await _feedback(site, parse(await request.body()))

    @router.get("/healthz", summary="The process is alive", **documented(None, _HEALTH_OUT))
    async def healthz() -> Response:
        return reply({"status": "alive"})

    @router.get("/readyz", summary="A champion is loaded; 503 until then", **documented(None, _HEALTH_OUT))
    async def readyz() -> Response:
        now = site.server.status()
        if not now.ready or now.version is None:
            raise Refusal(503, now.error or "no model version is loaded yet", {"Retry-After": "1"})
        return reply({"status": "ready", "model": site.name, "version": now.version.number})

    return router


# ---- answers ----


async def _answer(site: Site, body: Any) -> Response:
    rows = _rows(body, "records", site.options.max_records, single=_RECORD)
    checked = [_record(site, row) for row in rows]
    good = [record for record in checked if isinstance(record, Record)]
    if not good:
        raise Refusal(400, f"no record can be answered; the first: {checked[0]}")
    made = iter(await answers(site, good))
    told: list[dict[str, Any]] = [
        _told(next(made)) if isinstance(one, Record) else {"id": _id_of(row), "error": one}
        for row, one in zip(rows, checked, strict=True)
    ]
    versions = [answer["version"] for answer in told if "output" in answer]
    if not versions:
        raise Refusal(500, next(answer["error"] for answer in told if "version" in answer))
    return reply({"model": site.name, "version": max(versions), "answers": told})


def _rows(body: Any, many: str, most: int, single: Sequence[str] = ()) -> list[Any]:
    """The rows of `{many: [...]}`, or of one row's own fields."""
    fields = known(body, (many, *single), "the body")
    if many not in fields:
        if not single or "input" not in fields:
            raise Refusal(400, f"the body has no field {many!r}")
        return [fields]
    if len(fields) > 1:
        raise Refusal(400, f"the body has {many!r} and other fields; give one of the two forms")
    rows = fields[many]
    if not isinstance(rows, list) or not rows:
        raise Refusal(400, f"{many} must be a list with at least one object, not {shown(rows)}")
    if len(rows) > most:
        raise Refusal(413, f"{len(rows):,} {many} in one request; at most {most:,} (`serve: max_records:`) are taken")
    return rows


def _record(site: Site, row: Any) -> Record | str:
    """One row as a checked record, or why it is none."""
    try:
        fields = known(row, _RECORD, "a record")
        if "input" not in fields:
            raise RecordError("a record has no field 'input'")
        id = new_id() if fields.get("id") is None else name(fields["id"])
        record = Record(id, moment(fields.get("at")), text(fields["input"], "input"), tags=tags(fields.get("tags")))
        site.server.task.check(record)
    except Refusal as refusal:
        return refusal.message
    except LuthierError as error:
        return str(error)
    return record


def _told(answer: Answer) -> dict[str, Any]:
    about: dict[str, Any] = {"id": answer.record.id, "version": answer.version}
    if answer.error:
        return about | {"error": answer.error}
    return about | {"output": plain(answer.record.output), "recorded": answer.recorded}


def _id_of(row: Any) -> str | None:
    """The id of a row that was refused, where it has a usable one."""
    try:
        return name(row["id"])
    except (RecordError, TypeError, KeyError):
        return None


# ---- labels ----


async def _feedback(site: Site, body: Any) -> Response:
    rows = _rows(body, "labels", site.options.max_records)
    good, rejected = [], []
    for row in rows:
        label = _label(row)
        if isinstance(label, str):
            rejected.append({"id": _id_of(row), "why": label})
        else:
            good.append(label)
    if not good:
        site.labelled("rejected", len(rejected))
        raise Refusal(400, f"no label can be used; the first: {rejected[0]['why']}")
    try:
        done = await run_in_threadpool(site.feedback, good)
    except StoreError as error:
        raise Refusal(503, f"the labels were not stored: {error}", {"Retry-After": "5"}) from None
    except LuthierError as error:
        raise Refusal(400, str(error)) from None
    rejected += [{"id": id, "why": why} for id, why in done.rejected]
    site.labelled("stored", done.stored - done.waiting)
    site.labelled("waiting", done.waiting)
    site.labelled("duplicate", done.duplicates)
    site.labelled("conflict", done.conflicts)
    site.labelled("rejected", len(rejected) - done.conflicts)
    if not (done.stored or done.duplicates or done.conflicts):
        raise Refusal(400, f"no label can be used; the first: {rejected[0]['why']}")
    return reply({**{key: getattr(done, key) for key in _COUNTED}, "rejected": rejected})


def _label(row: Any) -> dict[str, Any] | str:
    """One row as a checked label, or why it is none."""
    try:
        fields = known(row, _LABEL, "a label")
        if "id" not in fields or "target" not in fields:
            raise RecordError(f"a label has no field {'id' if 'id' not in fields else 'target'!r}")
        correct = fields.get("correct", False)
        if not isinstance(correct, bool):
            raise RecordError(
                f"correct is {shown(correct)}; it must be true (this label replaces an earlier one) or false"
            )
        label = {"id": name(fields["id"]), "target": text(fields["target"], "target"), "correct": correct}
        label["at"] = moment(fields.get("at"))
    except Refusal as refusal:
        return refusal.message
    except LuthierError as error:
        return str(error)
    return label


# ---- the OpenAPI document ----


def _object(required: Sequence[str] = (), **fields: Any) -> dict[str, Any]:
    return {"type": "object", "properties": fields, "required": list(required), "additionalProperties": False}


_ID = {"type": "string", "pattern": r"^[A-Za-z0-9_.:@+=~-]{1,128}$", "description": "the caller's id; made when absent"}
_AT = {
    "anyOf": [{"type": "string", "format": "date-time"}, {"type": "number", "minimum": 0}],
    "description": "event time: ISO 8601 or Unix seconds; now when absent, at most a day ahead of now",
}
_TAGS = {"type": "object", "additionalProperties": {"type": "string", "maxLength": 256}, "maxProperties": 32}
_INPUT = {"type": "string", "minLength": 1, "description": "the text"}
_COUNT = {"type": "integer", "minimum": 0}
_FIELDS = {"id": _ID, "input": _INPUT, "at": _AT, "tags": _TAGS}
_ONE = _object(("input",), **_FIELDS)
_ANSWER_IN = {"oneOf": [_object(("records",), records={"type": "array", "items": _ONE, "minItems": 1}), _ONE]}
_OUTPUT = {
    "type": "object",
    "description": "label, confidence, margin, entropy (nats), length (tokens), scores (label: p)",
}
_TOLD = {
    "type": "object",
    "properties": {
        "id": {"type": ["string", "null"]},
        "version": {"type": "integer", "description": "the version that answered"},
        "output": _OUTPUT,
        "recorded": {"type": "boolean", "description": "false: answered, but not durably recorded"},
        "error": {"type": "string", "description": "instead of output: why this record has no answer"},
    },
    "required": ["id"],
}
_ANSWER_OUT = _object(
    ("model", "version", "answers"),
    model={"type": "string"}, version={"type": "integer"}, answers={"type": "array", "items": _TOLD},
)  # fmt: skip
_LABEL_IN = _object(
    ("id", "target"), id=_ID, target={"type": "string", "description": "the true label"}, at=_AT,
    correct={"type": "boolean", "description": "true: replaces an earlier, different label of this id"},
)  # fmt: skip
_FEEDBACK_IN = _object(("labels",), labels={"type": "array", "items": _LABEL_IN, "minItems": 1})
_REJECTED = _object(("id", "why"), id={"type": ["string", "null"]}, why={"type": "string"})
_FEEDBACK_OUT = _object(
    (*_COUNTED, "rejected"), **dict.fromkeys(_COUNTED, _COUNT), rejected={"type": "array", "items": _REJECTED}
)
_HEALTH_OUT = {"type": "object", "properties": {"status": {"type": "string"}}, "required": ["status"]}
