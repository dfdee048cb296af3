"""Open Inference Protocol v2: by hand against the specification, and through its strict public client."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

Open = Callable[..., Any]
INFER = "/v2/models/reviews/infer"


def tensor(*texts: str, **more: Any) -> dict[str, Any]:
    return {"name": "text", "shape": [len(texts)], "datatype": "BYTES", "data": list(texts)} | more


def test_metadata_and_health(open_site: Open) -> None:
    site = open_site()
    with site.client() as client:
        for path in ("/v2", "/v2/"):
            assert client.get(path).json() == {
                "name": "luthier", "version": "0.1.0", "extensions": ["binary_tensor_data"],
            }  # fmt: skip
        for path in ("/v2/health/live", "/v2/health/ready"):
            assert client.get(path).json() == {"live": True, "ready": True}
        for path in ("/v2/models/reviews", "/v2/models/reviews/versions/1"):
            assert client.get(path).json() == {
                "name": "reviews", "versions": ["1"], "platform": "pytorch_safetensors",
                "inputs": [{"name": "text", "datatype": "BYTES", "shape": [-1]}],
                "outputs": [
                    {"name": "label", "datatype": "BYTES", "shape": [-1]},
                    {"name": "confidence", "datatype": "FP32", "shape": [-1]},
                    {"name": "scores", "datatype": "FP32", "shape": [-1, 2]},
                    {"name": "id", "datatype": "BYTES", "shape": [-1]},
                ],
            }  # fmt: skip
            assert client.get(path + "/ready").json() == {"name": "reviews", "ready": True}
        for path in ("/v2/models/other", "/v2/models/other/ready", "/v2/models/reviews/versions/2/ready"):
            assert client.get(path).status_code == 404
            assert set(client.get(path).json()) == {"error"}


def test_before_the_first_champion_nothing_is_ready(open_site: Open) -> None:
    with open_site(ready=False).client() as client:
        assert client.get("/v2/health/live").json() == {"live": True, "ready": False}
        ready = client.get("/v2/health/ready")
        assert (ready.status_code, ready.json()["ready"], "error" in ready.json()) == (503, False, True)
        assert client.get("/v2/models/reviews/ready").status_code == 503
        assert client.post(INFER, json={"inputs": [tensor("x")]}).status_code == 503


def test_json_inference_returns_the_id_and_is_recorded(open_site: Open, classifier: Any) -> None:
    site = open_site({1: classifier})
    with site.client() as client:
        body = {"id": "q-7", "model_name": "reviews", "inputs": [tensor("a good film", "dull")]}
        reply = client.post(INFER, content=json.dumps(body)).json()  # without a Content-Type, as real clients send
        nested = {"id": "", "inputs": [tensor("dull", shape=[1, 1], data=[["dull"]])], "outputs": [{"name": "label"}]}
        other = client.post("/v2/models/reviews/versions/1/infer", json=nested).json()
        unnamed = client.post(INFER, json={"inputs": [tensor("dull")]}).json()
    assert (reply["model_name"], reply["model_version"], reply["id"]) == ("reviews", "1", "q-7")
    outputs = {output["name"]: output for output in reply["outputs"]}
    assert list(outputs) == ["label", "confidence", "scores", "id"]
    assert [outputs[name]["shape"] for name in outputs] == [[2], [2], [2, 2], [2]]
    scores = np.array(outputs["scores"]["data"]).reshape(2, 2)
    assert scores.sum(1) == pytest.approx([1, 1], abs=1e-5)
    assert scores.max(1) == pytest.approx(outputs["confidence"]["data"])
    order = json.loads(outputs["scores"]["parameters"]["labels"])
    assert [order[row] for row in scores.argmax(1)] == outputs["label"]["data"]
    assert outputs["id"]["data"] == ["q-7.0", "q-7.1"]
    assert (other["id"], [output["name"] for output in other["outputs"]]) == ("", ["label"])
    assert unnamed["outputs"][3]["data"] == [unnamed["id"]]
    assert [(row.id, row.input, row.model) for row in site.rows[:2]] == [
        ("q-7.0", "a good film", "v1"), ("q-7.1", "dull", "v1"),
    ]  # fmt: skip
    assert len(site.rows) == 4
    assert all("embedding" in row.output for row in site.rows)


def test_scores_an_answer_does_not_carry_are_absent_not_zero(open_site: Open) -> None:
    with open_site(labels=("negative", "neutral", "positive")).client() as client:
        reply = client.post(INFER, json={"inputs": [tensor("x")], "outputs": [{"name": "scores"}]}).json()
    assert reply["outputs"][0]["shape"] == [1, 3]
    assert reply["outputs"][0]["data"] == [0.25, None, 0.75]


def packed(*texts: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(text)) + text for text in texts)


def test_binary_tensors_in_and_out(open_site: Open) -> None:
    tail = packed("schön".encode(), b"")  # the second is empty: refused by the task, not by the parser
    good = packed("schön".encode(), b"dull")
    with open_site().client() as client:

        def infer(tail: bytes, size: Any = None, n: int = 2, **more: Any) -> Any:
            shape = tensor("", shape=[n], parameters={"binary_data_size": len(tail) if size is None else size})
            del shape["data"]
            head = json.dumps({"inputs": [shape], **more}).encode()
            return client.post(INFER, content=head + tail, headers={"Inference-Header-Content-Length": str(len(head))})

        reply = infer(good, parameters={"binary_data_output": True}, outputs=[{"name": "scores"}, {"name": "label"}])
        start = int(reply.headers["Inference-Header-Content-Length"])
        head = json.loads(reply.content[:start])
        assert [output["parameters"]["binary_data_size"] for output in head["outputs"]] == [16, 24]
        assert np.frombuffer(reply.content[start : start + 16], "<f4").reshape(2, 2).tolist() == [[0.25, 0.75]] * 2
        assert reply.content[start + 16 :] == packed(b"positive", b"positive")
        mixed = infer(good, outputs=[{"name": "label", "parameters": {"binary_data": False}}])
        assert mixed.json()["outputs"][0]["data"] == ["positive", "positive"]
        for reply, why in (
            (infer(tail), "nothing in it"),
            (infer(good, size=len(good) - 1), "bytes follow the JSON"),
            (infer(good, size=-1), "bytes follow the JSON"),
            (infer(good, size=True), "bytes follow the JSON"),
            (infer(good, n=3), "ends before its 3 elements"),
            (infer(good, n=1), "holds more than 1 elements"),
            (infer(struct.pack("<I", 2**32 - 1) + b"x", n=1), "longer than the binary data"),
            (infer(packed(b"\xff\xfe"), n=1), "not UTF-8"),
        ):
            assert (reply.status_code, why in reply.json()["error"]) == (400, True), reply.text
        wrong = client.post(INFER, content=b"{}", headers={"Inference-Header-Content-Length": "999"})
        assert (wrong.status_code, "the body has 2 bytes" in wrong.json()["error"]) == (400, True)


NOT_ALLOWED: list[tuple[Any, int, str]] = [
    ({}, 400, "a list of one tensor"),
    ([], 400, "must be a JSON object"),
    ({"inputs": []}, 400, "a list of one tensor"),
    ({"inputs": [tensor("x"), tensor("y")]}, 400, "a list of one tensor"),
    ({"inputs": [tensor("x", name="image")]}, 400, "there is no input 'image'"),
    ({"inputs": [tensor("x", datatype="FP32", data=[1.0])]}, 400, "'FP32' of text is not supported"),
    ({"inputs": [tensor("x", datatype="STRING")]}, 400, "'STRING' of text is no datatype"),
    ({"inputs": [tensor("x", shape=[2])]}, 400, "has 2 elements, but the data has another size"),
    ({"inputs": [tensor("x", shape=[])]}, 400, "must be [n]"),
    ({"inputs": [tensor("x", shape=[1, 2])]}, 400, "must be [n]"),
    ({"inputs": [tensor("x", shape=[-1])]}, 400, "must be [n]"),
    ({"inputs": [tensor("x", shape=[True])]}, 400, "must be [n]"),
    ({"inputs": [tensor("x", shape=["1"])]}, 400, "must be [n]"),
    ({"inputs": [tensor("x", shape=[0], data=[])]}, 400, "at least one text"),
    ({"inputs": [tensor("x", shape=[10**30])]}, 413, "at most 256"),
    ({"inputs": [tensor("x", data=[1])]}, 400, "BYTES holds texts"),
    ({"inputs": [tensor("x", data="x")]}, 400, "must be a list"),
    ({"inputs": [tensor(" ")]}, 400, "nothing in it"),
    ({"inputs": [tensor("\ud800")]}, 400, "half a surrogate pair"),
    ({"inputs": [tensor("x", parameters=[])]}, 400, "parameters is"),
    ({"inputs": [tensor("x")], "id": 7}, 400, "id is 7"),
    ({"inputs": [tensor("x")], "outputs": [{"name": "logits"}]}, 400, "there is no output 'logits'"),
    ({"inputs": [tensor("x")], "outputs": [{"name": ["label"]}]}, 400, "there is no output"),
    ({"inputs": [tensor("x")], "outputs": {}}, 400, "must be a list"),
    ({"inputs": [tensor("x")], "parameters": {"binary_data_output": 1}}, 400, "must be true or false"),
]


def test_what_the_protocol_does_not_allow_is_said(open_site: Open) -> None:
    with open_site().client() as client:
        for body, status, why in NOT_ALLOWED:
            reply = client.post(INFER, content=json.dumps(body))
            assert (reply.status_code, set(reply.json())) == (status, {"error"}), body
            assert why in reply.json()["error"]
        assert client.post(INFER, json={"inputs": [tensor("goes on")]}).status_code == 200


def test_the_public_client_works_with_its_defaults(open_site: Open, classifier: Any) -> None:
    triton = pytest.importorskip("tritonclient.http")
    site = open_site({1: classifier})
    client = triton.InferenceServerClient(site.url.removeprefix("http://"))
    try:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("reviews")
        assert client.is_model_ready("reviews", "1")
        assert not client.is_model_ready("other")
        assert client.get_server_metadata()["extensions"] == ["binary_tensor_data"]
        assert client.get_model_metadata("reviews")["inputs"][0]["datatype"] == "BYTES"
        told = []
        for binary in (True, False):
            texts = triton.InferInput("text", [3], "BYTES")
            texts.set_data_from_numpy(np.array(["a good film", "dull", "schön 🙂"], dtype=object), binary_data=binary)
            asked = [triton.InferRequestedOutput(name, binary_data=binary) for name in ("scores", "label")]
            for more in (
                {}, {"outputs": asked}, {"model_version": "1"}, {"request_compression_algorithm": "gzip"},
                {"request_compression_algorithm": "deflate"}, {"response_compression_algorithm": "gzip"},
            ):  # fmt: skip
                result = client.infer("reviews", [texts], request_id=f"q{len(told)}", **more)
                labels = [text.decode() if isinstance(text, bytes) else text for text in result.as_numpy("label")]
                told.append((labels, result.as_numpy("scores")))
                assert result.get_response()["id"] == f"q{len(told) - 1}"
        for labels, scores in told:
            assert labels == told[0][0]
            assert scores.shape == (3, 2)
            assert scores == pytest.approx(told[0][1], abs=1e-5)
        with pytest.raises(Exception, match="unknown model 'other'"):
            client.infer("other", [texts])
    finally:
        client.close()
    assert len(site.rows) == 3 * len(told)
