"""Open Inference Protocol v2 over REST, with the binary tensor extension, for the same champion.

kserve/open-inference-protocol `inference_rest.md`; Triton `extension_binary_data`. Input `text` BYTES [-1]; outputs
`label` BYTES [-1], `confidence` FP32 [-1], `scores` FP32 [-1, k] in the order of the task's labels, `id` BYTES [-1],
the ids under which the answers are recorded and may be labelled.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from fastapi import APIRouter, Request
from starlette.responses import Response

import luthier
from luthier.errors import LuthierError
from luthier.rest.base import ID, Refusal, Site, answers, documented, new_id, parse, plain, reply, shown
from luthier.stages.serve import Answer
from luthier.types import Record, utc_now

__all__ = ["routes"]

_HEADER = "inference-header-content-length"
_OUTPUTS = ("label", "confidence", "scores", "id")
_DATATYPES = (
    "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32", "FP64", "BYTES",
)  # fmt: skip


def routes(site: Site) -> APIRouter:
    """The router of /v2."""
    router = APIRouter(tags=["open inference protocol v2"])
    named, versioned = "/v2/models/{model}", "/v2/models/{model}/versions/{version}"

    @router.get("/v2", summary="Server metadata", **documented(None, _OBJECT))
    @router.get("/v2/", include_in_schema=False)
    async def server_metadata() -> Response:
        return reply({"name": "luthier", "version": luthier.__version__, "extensions": ["binary_tensor_data"]})

    @router.get("/v2/health/live", summary="The server is alive", **documented(None, _OBJECT))
    async def live() -> Response:
        return reply({"live": True, "ready": site.server.status().ready})

    @router.get("/v2/health/ready", summary="The server is ready", **documented(None, _OBJECT))
    async def ready() -> Response:
        now = site.server.status()
        told = {"live": True, "ready": now.ready}
        return reply(told) if now.ready else reply(told | {"error": now.error or _UNREADY}, 503, {"Retry-After": "1"})

    @router.get(named, summary="Model metadata", **documented(None, _OBJECT))
    @router.get(versioned, summary="Model metadata", **documented(None, _OBJECT))
    async def model_metadata(model: str, version: str | None = None) -> Response:
        return reply(_metadata(site, _version(site, model, version)))

    @router.get(named + "/ready", summary="The model is ready", **documented(None, _OBJECT))
    @router.get(versioned + "/ready", summary="The model is ready", **documented(None, _OBJECT))
    async def model_ready(model: str, version: str | None = None) -> Response:
        _version(site, model, version)
        return reply({"name": site.name, "ready": True})

    @router.post(named + "/infer", summary="Infer", **documented(_INFER_IN, _OBJECT, media=_MEDIA))
    @router.post(versioned + "/infer", summary="Infer", **documented(_INFER_IN, _OBJECT, media=_MEDIA))
    async def infer(request: Request, model: str, version: str | None = None) -> Response:
        serving = _version(site, model, version)
        return await _infer(site, request, serving if version is not None else None)

    return router


def _version(site: Site, model: str, version: str | None) -> int:
    """The number of the serving version when it is what the path names.

    Raises Refusal 404 for another model or version, 503 before the first champion.
    """
    if model != site.name:
        raise Refusal(404, f"unknown model {shown(model)}; this server has {site.name!r}")
    now = site.server.status()
    if not now.ready or now.version is None:
        raise Refusal(503, now.error or _UNREADY, {"Retry-After": "1"})
    if version not in (None, str(now.version.number)):
        raise Refusal(404, f"version {shown(version)} of {model!r} is not served; version {now.version.number} is")
    return now.version.number


def _metadata(site: Site, version: int) -> dict[str, Any]:
    shapes = {"label": ("BYTES", [-1]), "confidence": ("FP32", [-1]), "id": ("BYTES", [-1])}
    shapes["scores"] = ("FP32", [-1, len(site.server.task.labels) or -1])
    return {
        "name": site.name,
        "versions": [str(version)],
        "platform": "pytorch_safetensors",
        "inputs": [{"name": "text", "datatype": "BYTES", "shape": [-1]}],
        "outputs": [{"name": name, "datatype": shapes[name][0], "shape": shapes[name][1]} for name in _OUTPUTS],
    }


# ---- the request ----


async def _infer(site: Site, request: Request, version: int | None) -> Response:
    head, tail = _parts(await request.body(), request.headers.get(_HEADER))
    wanted = _wanted(head)
    texts = _texts(head, tail, site.options.max_records)
    own = head.setdefault("id", new_id())  # the specification wants an id in every response
    records = _records(site, texts, own)
    made = await answers(site, records, version)
    if bad := [answer for answer in made if answer.error]:
        gone = version is not None and bad[0].version == 0
        raise Refusal(404 if gone else 500, bad[0].error)
    return _response(site, own, made, wanted)


def _parts(body: bytes, announced: str | None) -> tuple[dict[str, Any], bytes]:
    """The JSON head and the binary tail."""
    size = len(body)
    if announced is not None:
        if not announced.isdecimal() or len(announced) > 12 or int(announced) > size:
            raise Refusal(400, f"{_HEADER} is {shown(announced)}; the body has {size} bytes")
        size = int(announced)
    head = parse(body[:size])
    if not isinstance(head, dict):
        raise Refusal(400, f"the request must be a JSON object, not {shown(head)}")
    if not isinstance(head.get("id", ""), str):
        raise Refusal(400, f"id is {shown(head['id'])}; it must be a text")
    return head, body[size:]


def _parameters(holder: Mapping[str, Any]) -> dict[str, Any]:
    found = holder.get("parameters", {})
    if not isinstance(found, dict):
        raise Refusal(400, f"parameters is {shown(found)}; it must be an object")
    return found


def _wanted(head: Mapping[str, Any]) -> dict[str, bool]:
    """Output name to whether it goes out in binary, in the order asked for."""
    binary = _flag(_parameters(head), "binary_data_output", False)
    listed = head.get("outputs")
    if listed is None or listed == []:
        return dict.fromkeys(_OUTPUTS, binary)
    if not isinstance(listed, list):
        raise Refusal(400, f"outputs is {shown(listed)}; it must be a list")
    wanted = {}
    for output in listed:
        if not isinstance(output, dict) or output.get("name") not in _OUTPUTS:
            named = output.get("name") if isinstance(output, dict) else output
            raise Refusal(400, f"there is no output {shown(named)}; outputs are {', '.join(_OUTPUTS)}")
        wanted[output["name"]] = _flag(_parameters(output), "binary_data", binary)
    return wanted


def _flag(parameters: Mapping[str, Any], name: str, default: bool) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise Refusal(400, f"{name} is {shown(value)}; it must be true or false")
    return value


def _texts(head: Mapping[str, Any], tail: bytes, most: int) -> list[str]:
    """The elements of the one input tensor."""
    inputs = head.get("inputs")
    if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict):
        raise Refusal(400, f"inputs is {shown(inputs)}; it must be a list of one tensor, `text`")
    tensor = inputs[0]
    if tensor.get("name") != "text":
        raise Refusal(400, f"there is no input {shown(tensor.get('name'))}; the input is text")
    if tensor.get("datatype") != "BYTES":
        rule = "is not supported" if tensor.get("datatype") in _DATATYPES else "is no datatype"
        raise Refusal(400, f"datatype {shown(tensor.get('datatype'))} of text {rule}; it takes BYTES")
    n = _elements(tensor.get("shape"), most)
    size = _parameters(tensor).get("binary_data_size")
    if size is None:
        texts = list(_flat(tensor.get("data"), n))
    else:
        texts = list(_unpacked(size, tail, n))
        tail = b""
    if len(texts) != n or tail:
        raise Refusal(400, f"shape {tensor['shape']} has {n} elements, but the data has another size")
    return texts


def _elements(shape: Any, most: int) -> int:
    """The number of elements of a shape [n] or [n, 1], known before anything is read or allocated for it."""
    whole = isinstance(shape, list) and all(isinstance(side, int) and not isinstance(side, bool) for side in shape)
    if not whole or not 1 <= len(shape) <= 2 or min(shape) < 0 or shape[1:] not in ([], [1]):
        raise Refusal(400, f"shape of text is {str(shape)[:60]}; it must be [n]")
    n: int = shape[0]
    if n > most:
        raise Refusal(413, f"{n:,} texts in one request; at most {most:,} (`serve: max_records:`) are taken")
    if n == 0:
        raise Refusal(400, "text has shape [0]; a request needs at least one text")
    return n


def _flat(data: Any, n: int) -> Iterator[str]:
    """Row-major elements of flat or nested data, at most n + 1 of them."""
    if not isinstance(data, list):
        raise Refusal(400, f"data of text is {shown(data)}; it must be a list, or parameters.binary_data_size be given")
    for item in data:
        parts = item if isinstance(item, list) else [item]
        for element in parts:
            if not isinstance(element, str):
                raise Refusal(400, f"an element of text is {shown(element)}; BYTES holds texts")
            yield element
            n -= 1
            if n < 0:
                return


def _unpacked(size: Any, tail: bytes, n: int) -> Iterator[str]:
    """BYTES elements: each a length (u32, little-endian), then as many bytes."""
    if not isinstance(size, int) or isinstance(size, bool) or size != len(tail):
        raise Refusal(400, f"binary_data_size is {shown(size)}, but {len(tail)} bytes follow the JSON")
    start = 0
    for _ in range(n):
        if start + 4 > size:
            raise Refusal(400, f"the binary data of text ends before its {n} elements")
        (length,) = struct.unpack_from("<I", tail, start)
        start += 4 + length
        if start > size:
            raise Refusal(400, "an element of text is longer than the binary data")
        try:
            yield tail[start - length : start].decode("utf-8")
        except UnicodeDecodeError:
            raise Refusal(400, "an element of text is not UTF-8") from None
    if start != size:
        raise Refusal(400, f"the binary data of text holds more than {n} elements")


def _records(site: Site, texts: Sequence[str], id: str) -> list[Record]:
    """Records of one request: a usable request id names them (`id`, or `id.0`, `id.1`, … for several)."""
    now = utc_now()
    usable = id if ID.fullmatch(id) and len(id) <= 120 else None
    records = []
    for place, text in enumerate(texts):
        own = new_id() if usable is None else usable if len(texts) == 1 else f"{usable}.{place}"
        record = Record(own, now, text)
        try:
            text.encode()
            site.server.task.check(record)
        except UnicodeEncodeError:
            raise Refusal(400, f"element {place} of text holds half a surrogate pair, which is no text") from None
        except LuthierError as error:
            raise Refusal(400, f"element {place} of text: {error}") from None
        records.append(record)
    return records


# ---- the response ----


def _response(site: Site, id: str, made: Sequence[Answer], wanted: Mapping[str, bool]) -> Response:
    recorded = all(answer.recorded for answer in made)
    head: dict[str, Any] = {"model_name": site.name, "model_version": str(made[-1].version), "id": id}
    head |= {"parameters": {"recorded": recorded}, "outputs": []}
    tail = b""
    for name, binary in wanted.items():
        described, data = _output(name, made, list(site.server.task.labels))
        if binary:
            packed = _packed(data, described["datatype"])
            described["parameters"] = {**described.get("parameters", {}), "binary_data_size": len(packed)}
            tail += packed
        else:
            described["data"] = plain(np.asarray(data).ravel().tolist())
        head["outputs"].append(described)
    if not any(wanted.values()):
        return reply(head)
    start = json.dumps(head, separators=(",", ":")).encode()
    headers = {"Inference-Header-Content-Length": str(len(start))}
    return Response(start + tail, 200, headers, media_type="application/octet-stream")


def _output(name: str, made: Sequence[Answer], labels: list[str]) -> tuple[dict[str, Any], Any]:
    """One output tensor's head and its data."""
    n = len(made)
    if name == "id":
        return {"name": name, "datatype": "BYTES", "shape": [n]}, [answer.record.id for answer in made]
    outputs = [answer.record.output for answer in made]
    if name == "label":
        return {"name": name, "datatype": "BYTES", "shape": [n]}, [str(output["label"]) for output in outputs]
    if name == "confidence":
        return {"name": name, "datatype": "FP32", "shape": [n]}, np.array(
            [o["confidence"] for o in outputs], np.float32
        )
    # The answer keeps the best few scores; what it does not know is NaN (null in JSON), never 0.
    labels = labels or list(outputs[0]["scores"])
    rows = [[output["scores"].get(label, math.nan) for label in labels] for output in outputs]
    told = {"labels": json.dumps(labels, ensure_ascii=False)}
    shape = [n, len(labels)]
    return {"name": name, "datatype": "FP32", "shape": shape, "parameters": told}, np.array(rows, np.float32)


def _packed(data: Any, datatype: str) -> bytes:
    if datatype == "BYTES":
        return b"".join(struct.pack("<I", len(raw)) + raw for raw in (str(item).encode() for item in data))
    return np.asarray(data, "<f4").tobytes()


# ---- the OpenAPI document ----

_UNREADY = "no model version is loaded yet"
_OBJECT = {"type": "object"}
_MEDIA = ("application/json", "application/octet-stream")
_PARAMETERS = {"type": "object", "additionalProperties": {"type": ["string", "number", "boolean"]}}
_TENSOR = {
    "type": "object",
    "properties": {
        "name": {"const": "text"},
        "shape": {"type": "array", "items": {"type": "integer", "minimum": 1}, "minItems": 1, "maxItems": 1},
        "datatype": {"const": "BYTES"},
        "parameters": _PARAMETERS,
        "data": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["name", "shape", "datatype"],
}
_INFER_IN = {
    "type": "object",
    "properties": {
        "id": {"type": "string"},
        "parameters": _PARAMETERS,
        "inputs": {"type": "array", "items": _TENSOR, "minItems": 1, "maxItems": 1},
        "outputs": {
            "type": "array",
            "items": {"type": "object", "properties": {"name": {"enum": list(_OUTPUTS)}}, "required": ["name"]},
        },
    },
    "required": ["inputs"],
}
