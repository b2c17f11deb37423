"""What pages.py can be asked, as OpenAPI 3.1 and as the status's JSON schema: for who writes a client.

The schemas are made from the types that the answers have (status.py, metrics/snapshot.py).
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from muxproxy import __version__
from muxproxy.config.keys import BACKEND_NAME
from muxproxy.metrics.snapshot import BackendSnapshot
from muxproxy.supervisor.status import BackendEntry, Status

Json = dict[str, Any]


def _schemas(template: str) -> Json:
    _, found = msgspec.json.schema_components((Status, BackendEntry, BackendSnapshot), ref_template=template)
    snapshot = found.pop("BackendSnapshot")
    entry = found["BackendEntry"]
    # Its numbers are there only while its worker answers.
    entry["properties"] = {**snapshot["properties"], **entry["properties"]}
    return found


def _status_schema() -> Json:
    schemas = _schemas("#/$defs/{name}")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schemas.pop("Status"),
        "$defs": schemas,
    }


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _content(media: str, schema: Json) -> Json:
    return {media: {"schema": schema}}


def _reply(text: str, schema: Json, media: str = "application/json") -> Json:
    return {"description": text, "content": _content(media, schema)}


def _problems(**texts: str) -> Json:
    """`_400="..."`: replies that are problem+json."""
    return {
        status[1:]: _reply(text, _ref("Problem"), "application/problem+json")
        for status, text in texts.items()
    }


_ANY: Final[Json] = {"type": "object"}
_STATE: Final[Json] = {"type": "object", "required": ["state"], "properties": {"state": {"type": "string"}}}
_BACKEND: Final[Json] = {"200": _reply("How it is now.", _ref("BackendEntry"))}
_COMMON: Final = {
    "_400": "A parameter or a body that is not taken.",
    "_404": "There is no such backend, or server of it.",
}


def _get(text: str, reply: Json, **problems: str) -> Json:
    return {"summary": text, "responses": {"200": reply, **_problems(_400=_COMMON["_400"], **problems)}}


_NAME: Final[Json] = {
    "name": "name",
    "in": "path",
    "required": True,
    "description": "Of a backend.",
    "schema": {"type": "string", "pattern": f"^{BACKEND_NAME.pattern}$"},
}
_SERVER: Final[Json] = {
    "name": "server",
    "in": "query",
    "description": "Only this server of it: HOST:PORT.",
    "schema": {"type": "string", "minLength": 1},
}


def _command(text: str, *, of_server: bool, **problems: str) -> Json:
    operation: Json = {
        "summary": text,
        "responses": {**_BACKEND, **_problems(**_COMMON, **problems)},
    }
    if of_server:
        operation["parameters"] = [_SERVER]
    return {"parameters": [_NAME], "post": operation}


_PLAN_LISTS: Final = (
    "refused",
    "added",
    "removed",
    "replaced",
    "changed",
    "node",
    "opened",
    "closed",
    "handed_over",
)
_PLAN: Final[Json] = {
    "type": "object",
    "description": "What a reload does, thing by thing.",
    "required": ["nothing_to_do", *_PLAN_LISTS],
    "properties": {
        "nothing_to_do": {"type": "boolean"},
        **{name: {"type": "array", "items": {"type": "object"}} for name in _PLAN_LISTS},
    },
}
_PROBLEM: Final[Json] = {
    "type": "object",
    "description": "RFC 9457.",
    "required": ["title", "status", "detail"],
    "properties": {
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "problems": {"type": "array", "description": "What is wrong in the files.", "items": _ANY},
        "cannot": {"type": "object", "description": "Backends that cannot serve, and why."},
        "cannot_listen": {"type": "array", "items": {"type": "string"}},
    },
}
_NUMBERS: Final[Json] = {
    "type": "object",
    "minProperties": 1,
    "additionalProperties": False,
    "properties": {
        "max_connections": {"type": "integer", "minimum": 1, "maximum": 65535},
        "max_waiting": {"type": "integer", "minimum": 0, "maximum": 1000000},
    },
}

STATUS_SCHEMA: Final[Json] = _status_schema()
DESCRIPTION: Final[Json] = {
    "openapi": "3.1.0",
    "info": {
        "title": "muxproxy's admin API",
        "version": __version__,
        "description": "On a unix socket. /metrics, /status, /healthz and /readyz are also on admin_tcp, "
        "if that is configured. HEAD is taken where GET is; one request a connection.",
    },
    "servers": [{"url": "http://localhost"}],
    "paths": {
        "/healthz": {"get": _get("The process lives.", _reply("It does.", _STATE))},
        "/readyz": {
            "get": {
                "parameters": [
                    {
                        "name": "backend",
                        "in": "query",
                        "description": "Only this one.",
                        "schema": {"type": "string"},
                    }
                ],
                **_get(
                    "Every backend can serve.",
                    _reply("It can.", _STATE),
                    _404="There is no such backend.",
                    _503="Which cannot, and why.",
                ),
            }
        },
        "/status": {"get": _get("Everything.", _reply("As `muxproxy status --json`.", _ref("Status")))},
        "/status/schema": {
            "get": _get("JSON schema of /status.", _reply("It.", _ANY, "application/schema+json"))
        },
        "/metrics": {"get": _get("For Prometheus.", _reply("Text 0.0.4.", {"type": "string"}, "text/plain"))},
        "/openapi.json": {"get": _get("This.", _reply("It.", _ANY))},
        "/reload": {
            "post": {
                "summary": "Read all files again, and do what they say, all of it or nothing.",
                "requestBody": {
                    "required": False,
                    "content": _content(
                        "application/json",
                        {
                            "type": "object",
                            "additionalProperties": False,
                            "properties": {
                                "dry_run": {"type": "boolean", "description": "Only say what it would do."}
                            },
                        },
                    ),
                },
                "responses": {
                    "200": _reply("It is done, or would be.", _ref("Plan")),
                    **_problems(
                        _400=_COMMON["_400"],
                        _409="Nothing has been changed: it takes a restart, or an address cannot be had.",
                        _415="Another media type than JSON.",
                        _422="Nothing has been changed: the files are wrong.",
                    ),
                },
            }
        },
        "/upgrade": {
            "post": {
                "summary": "Have another muxproxy, of the code and the files that are there now, take over.",
                "responses": {
                    "200": _reply(
                        "It serves; who was asked drains.",
                        {
                            "type": "object",
                            "required": ["pid"],
                            "properties": {"pid": {"type": "integer", "description": "The successor's."}},
                        },
                    ),
                    **_problems(
                        _400=_COMMON["_400"],
                        _409="The successor did not come up, its log says why; nothing has changed.",
                    ),
                },
            }
        },
        "/backends/{name}": {
            "parameters": [_NAME],
            "get": _get(
                "One backend's part of the status.", _BACKEND["200"], _404="There is no such backend."
            ),
            "patch": {
                "summary": "Other numbers, until the next reload.",
                "requestBody": {"required": True, "content": _content("application/json", _NUMBERS)},
                "responses": {
                    **_BACKEND,
                    **_problems(
                        **_COMMON,
                        _409="Not now: muxproxy is about to end.",
                        _415="Another media type than JSON.",
                        _422="The numbers are wrong, or do not fit with others of the backend.",
                    ),
                },
            },
        },
        "/backends/{name}/pause": _command(
            "New requests wait in the queue; connections close as they come free.",
            of_server=False,
            _409="Not now: muxproxy is about to end.",
        ),
        "/backends/{name}/resume": _command(
            "Takes back a pause and drains, or the drain of one server.",
            of_server=True,
            _409="An address cannot be listened on any more.",
            _422="It does not fit any more.",
        ),
        "/backends/{name}/reconnect": _command(
            "Each connection is replaced as it comes free.",
            of_server=True,
            _409="Not now: it is drained, or its worker does not listen.",
        ),
        "/backends/{name}/drain": _command(
            "No new clients, what is owed is finished, until it is resumed; or nothing new for one server.",
            of_server=True,
            _409="It is the last server.",
        ),
    },
    "components": {
        "schemas": {
            **_schemas("#/components/schemas/{name}"),
            "Plan": _PLAN,
            "Problem": _PROBLEM,
        }
    },
}
