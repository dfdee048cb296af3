"""The OpenAPI document is true: generated requests meet no server error, and every reply is one it describes."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings

Open = Callable[..., Any]


def test_the_document_names_every_route_its_fields_and_its_errors(open_site: Open) -> None:
    site = open_site()
    with site.client() as client:
        schema = client.get("/openapi.json").json()
        page = client.get("/docs")
    assert "http" not in page.text.replace("http_", "").split("<pre>")[0]  # it loads nothing from elsewhere
    for path, verbs in schema["paths"].items():
        assert path in page.text
        for verb, about in verbs.items():
            assert about["summary"], (path, verb)
            assert {"200", "400", "401", "403", "413", "429", "500", "503"} <= set(about["responses"]), (path, verb)
            assert ("requestBody" in about) == (verb == "post")
            errors = about["responses"]["400"]["content"]["application/json"]["schema"]
            assert errors["required"] == ["error"]
    answer = schema["paths"]["/v1/answer"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert answer["oneOf"][0]["properties"]["records"]["items"]["required"] == ["input"]


def test_generated_requests_meet_no_server_error(open_site: Open) -> None:
    schemathesis = pytest.importorskip("schemathesis")
    from schemathesis import checks

    site = open_site()
    schema = schemathesis.openapi.from_dict(site.app.openapi())
    wanted = [
        checks.not_a_server_error,
        schemathesis.specs.openapi.checks.status_code_conformance,
        schemathesis.specs.openapi.checks.content_type_conformance,
        schemathesis.specs.openapi.checks.response_schema_conformance,
    ]
    asked = 0
    for found in schema.get_all_operations():
        operation = found.ok()
        posts = operation.method.upper() == "POST"
        for mode in schemathesis.GenerationMode if posts else (schemathesis.GenerationMode.POSITIVE,):

            @settings(
                max_examples=12 if posts else 2, deadline=None, database=None, derandomize=True,
                phases=(Phase.generate,), suppress_health_check=list(HealthCheck),
            )  # fmt: skip
            @given(case=operation.as_strategy(generation_mode=mode))
            def probe(case: Any) -> None:
                nonlocal asked
                if "model" in case.path_parameters and asked % 3:
                    case.path_parameters["model"] = "reviews"
                asked += 1
                case.call_and_validate(base_url=site.url, checks=wanted, timeout=20)

            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                probe()
    assert asked > 90
    assert site.server.status().ready
