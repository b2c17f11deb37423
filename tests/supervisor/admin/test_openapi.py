"""The descriptions are true: of what a real supervisor answers, whatever it is asked (schemathesis).

The supervisor is a process with a fake worker; requests that fit the description and such that do not are
made up from it, and each reply must be one that it tells of.
"""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import msgspec
import pytest
import requests
import requests.adapters
import schemathesis
import urllib3
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import positive_data_acceptance

from muxproxy.config.model import Config, Node
from muxproxy.supervisor.admin.openapi import DESCRIPTION, STATUS_SCHEMA
from muxproxy.supervisor.admin.pages import _ROUTES
from tests.cli.reports import REPORT
from tests.supervisor.test_main import SCRIPT, backend

# Numbers may be such as the description allows, and not fit in this machine's descriptors.
FITS = [positive_data_acceptance]
# By hand, and not by schemathesis' plugin of pytest, which would cost every run of any test most of a second.
OPERATIONS = [each.ok() for each in schemathesis.openapi.from_dict(DESCRIPTION).get_all_operations()]
SETTINGS = settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)


class _Connection(urllib3.connection.HTTPConnection):
    path = ""

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(20)
        self.sock.connect(self.path)


class _Adapter(requests.adapters.HTTPAdapter):
    """To a unix socket, whatever the URL says."""

    def __init__(self, path: Path) -> None:
        self._kind = type("Connection", (_Connection,), {"path": str(path)})
        super().__init__()

    def get_connection_with_tls_context(self, request: Any, *args: object, **kwargs: object) -> Any:
        pool = urllib3.HTTPConnectionPool("localhost")
        pool.ConnectionCls = self._kind
        return pool


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[requests.Session]:
    admin = tmp_path_factory.mktemp("run") / "admin.sock"
    config = Config(node=Node(admin=str(admin)), backends=(backend("web", "127.0.0.1:0"),))
    command = [sys.executable, SCRIPT, msgspec.json.encode(config).decode()]
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    try:
        assert process.stderr is not None
        while b" serving " not in (line := process.stderr.readline()):
            assert line, "it has ended"
        with requests.Session() as made:
            made.mount("http://", _Adapter(admin))
            yield made
        process.send_signal(signal.SIGTERM)
        log = process.stderr.read()
        assert process.wait() == 0
        assert b"admin page failed" not in log, log
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        process.stderr.close()


@pytest.mark.parametrize(
    "mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=lambda mode: mode.name
)
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: f"{each.method} {each.path}")
def test_every_reply_is_one_that_is_described(
    operation: Any, mode: GenerationMode, session: requests.Session
) -> None:
    unfair = [*FITS, *([not_a_server_error] if operation.path == "/readyz" else [])]  # 503: it is not

    @given(case=operation.as_strategy(generation_mode=mode))
    @SETTINGS
    def each(case: schemathesis.Case) -> None:
        if case.path_parameters and case.operation.method != "get":
            case.path_parameters["name"] = "web"  # most others are nobody, which is soon told
        case.call_and_validate(base_url="http://localhost", session=session, excluded_checks=unfair)

    try:
        each()
    except Unsatisfiable:  # nothing that could be asked there is wrong
        assert mode is GenerationMode.NEGATIVE


def test_the_status_of_a_real_one_is_as_its_schema_says(session: requests.Session) -> None:
    told = session.get("http://localhost/status").json()
    jsonschema_rs.validate(STATUS_SCHEMA, told)
    assert told["backends"]["web"]["state"] in ("serving", "paused", "drained", "draining")


def test_the_schema_has_every_number_of_a_backend_and_finds_what_is_wrong() -> None:
    entry = (
        REPORT["backends"]["orders"]
        if "orders" in REPORT["backends"]
        else next(iter(REPORT["backends"].values()))
    )
    known = STATUS_SCHEMA["$defs"]["BackendEntry"]["properties"]
    assert entry.keys() <= known.keys() | {"limits"}
    with pytest.raises(jsonschema_rs.ValidationError):
        jsonschema_rs.validate(STATUS_SCHEMA, {"version": "1"})
    jsonschema_rs.meta.validate(STATUS_SCHEMA)


def test_every_page_is_described_with_its_methods() -> None:
    told = {
        path: {method.upper() for method in item if method != "parameters"}
        for path, item in DESCRIPTION["paths"].items()
    }
    assert told == {path: set(methods) for path, methods in _ROUTES.items()}
    json.dumps(DESCRIPTION)
