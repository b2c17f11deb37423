"""The report: a backend is listed whatever has become of its worker."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from muxproxy.config.model import Backend, Clients, Upstream
from muxproxy.supervisor.status import backend_entries, unready, worker_entry

WEB = Backend(
    name="web",
    protocol="http",
    clients=Clients(listen=("127.0.0.1:0",), max_connections=100),
    upstream=Upstream(servers=("10.0.0.5:80",), max_connections=3),
)
BOUND = {"web": ["127.0.0.1:4711"]}


def worker(state: str) -> SimpleNamespace:
    return SimpleNamespace(index=0, pid=42, state=state, restarts=1, backends=[WEB])


def test_what_a_worker_answers_is_shown_beside_what_is_configured():
    answer = {"fds": 7, "backends": {"web": {"clients": 5, "upstream_max": 3}}}
    assert worker_entry(worker("ready"), answer) == {
        "index": 0,
        "pid": 42,
        "state": "ready",
        "answering": True,
        "restarts": 1,
        "backends": ["web"],
        "process": {"fds": 7},
    }
    web = backend_entries([(worker("ready"), answer)], BOUND, [WEB])["web"]
    assert (web["state"], web["clients"], web["clients_max"], web["upstream_max"]) == ("serving", 5, 100, 3)
    assert web["listen"] == ["127.0.0.1:4711"]


def test_what_operators_have_changed_is_shown():
    answer = {"backends": {"web": {"clients": 5}}}
    changed = {"paused": True, "drained": False, "drained_servers": ["a:1"], "differs": {}}
    web = backend_entries([(worker("ready"), answer)], BOUND, [WEB], {"web": changed})["web"]
    assert (web["state"], web["paused"], web["drained_servers"]) == ("paused", True, ["a:1"])
    web = backend_entries([(worker("restarting"), None)], BOUND, [WEB], {"web": changed})["web"]
    assert web["state"] == "worker restarting"
    web = backend_entries([], {}, [], {}, [(WEB, "drained")])["web"]
    assert (web["state"], web["listen"], web["upstream_max"], web["paused"]) == ("drained", [], 3, False)


def server(state: str, connections: int = 0, last_error: str = "") -> dict:
    return {"address": "a:1", "state": state, "connections": connections, "last_error": last_error}


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ({"state": "serving", "servers": [server("up")]}, ""),
        ({"state": "serving", "servers": [server("stopping")]}, ""),
        ({"state": "serving", "servers": [server("backing_off", 0, "refused"), server("up")]}, ""),
        ({"state": "serving", "servers": [server("backing_off", 1, "refused")]}, ""),
        ({"state": "serving", "servers": [server("backing_off", 0, "refused")]}, "a:1: refused"),
        ({"state": "serving", "servers": [server("probing", 1, "refused")]}, "a:1: refused"),
        ({"state": "serving", "servers": []}, "no server's name is resolved"),
        ({"state": "paused", "servers": [server("up")]}, "paused"),
        ({"state": "worker not answering"}, "worker not answering"),
    ],
)
def test_ready_is_a_backend_that_could_serve_a_request_now(entry, why):
    report = {
        "state": "serving",
        "backends": {"web": entry, "good": {"state": "serving", "servers": [server("up")]}},
    }
    cannot = unready(report)
    assert cannot.keys() == ({"web"} if why else set())
    assert why in cannot.get("web", "")
    assert unready(report, "good") == {}
    assert unready(report, "web") == cannot
    assert unready(report | {"state": "starting"}) == {"muxproxy": "starting"}


@pytest.mark.parametrize(
    ("state", "shown"),
    [
        ("starting", "starting"),
        ("ready", "worker not answering"),
        ("draining", "worker not answering"),
        ("restarting", "worker restarting"),
        ("stopped", "stopped"),
    ],
)
def test_a_backend_without_an_answer_is_listed_with_its_bounds_and_the_reason(state, shown):
    web = backend_entries([(worker(state), None)], BOUND, [WEB])["web"]
    assert (web["state"], web["upstream_max"]) == (shown, 3)
    assert "clients" not in web


def test_every_limit_is_shown_by_its_key_whether_the_worker_answers_or_not():
    web = backend_entries([(worker("restarting"), None)], BOUND, [WEB])["web"]
    assert web["limits"]["upstream.max_connections"] == 3
    assert web["limits"]["queue.max_waiting"] == web["waiting_max"]


def test_shards_are_one_backend_and_serve_when_all_of_them_do():
    answers = [{"backends": {"web": {"clients": count, "upstream_max": 3}}} for count in (5, 2)]
    both = [(worker("ready"), answer) for answer in answers]
    web = backend_entries(both, BOUND, [WEB])["web"]
    assert (web["state"], web["clients"], web["upstream_max"]) == ("serving", 7, 3)
    one = [both[0], (worker("restarting"), None)]
    web = backend_entries(one, BOUND, [WEB])["web"]
    assert (web["state"], web["clients"]) == ("worker restarting", 5)
