"""Every page and every command, without a socket: what is asked, and what is answered."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio

from muxproxy.config.plan import plan, told
from muxproxy.errors import ConfigError, OperatorError, Problem
from muxproxy.supervisor.admin.connections import Peer, Reply, Request
from muxproxy.supervisor.admin.live import UnknownError
from muxproxy.supervisor.admin.openapi import DESCRIPTION, STATUS_SCHEMA
from muxproxy.supervisor.admin.pages import OPEN, SHOWN_FOR, Pages
from muxproxy.supervisor.listening.sockets import ListenError
from muxproxy.supervisor.log import Log
from tests.config.models import backend, config

SERVER = {
    "address": "10.0.0.5:80",
    "state": "up",
    "connections": 1,
    "in_flight": 0,
    "failures": 0,
    "last_error": "",
}
REPORT = {
    "version": "0.1.0",
    "state": "serving",
    "workers": [{"index": 0, "state": "ready", "restarts": 0, "answering": True}],
    "backends": {
        "web": {"state": "serving", "upstream_sockets": 3, "upstream_max": 8, "servers": [SERVER]},
        "cache": {"state": "paused", "servers": [SERVER]},
    },
}
ALL = told(plan(config(backend()), config(backend(queue__timeout=0.5))))


class FakeSource:
    """Answers, and does nothing but remember."""

    def __init__(self) -> None:
        self.state = "serving"
        self.told: dict[str, Any] = REPORT
        self.reports = 0
        self.delay = 0.0
        self.done: list[tuple[Any, ...]] = []
        self.trouble: Exception | None = None
        self.plan = ALL

    async def report(self) -> dict[str, Any]:
        self.reports += 1
        await trio.sleep(self.delay)
        return self.told

    async def _do(self, *what: Any) -> None:
        if self.trouble is not None:
            raise self.trouble
        self.done.append(what)

    async def reload(self, *, dry_run: bool = False) -> dict[str, Any]:
        await self._do("reload", dry_run)
        return self.plan

    async def pause(self, name: str) -> None:
        await self._do("pause", name)

    async def resume(self, name: str, server: str = "") -> None:
        await self._do("resume", name, server)

    async def reconnect(self, name: str, server: str = "") -> None:
        await self._do("reconnect", name, server)

    async def drain(self, name: str, server: str = "") -> None:
        await self._do("drain", name, server)

    async def set(self, name: str, numbers: Any) -> None:
        await self._do("set", name, numbers)


class Case:
    def __init__(self, *, only_reads: bool = False) -> None:
        self.source = FakeSource()
        self.lines: list[str] = []
        log = Log(lambda level, line: self.lines.append(f"{level} {line}"))
        self.pages = Pages(self.source, self.source, log, only_reads=only_reads)

    async def ask(self, method: str, target: str, body: bytes = b"", media: str = "") -> tuple[Reply, Any]:
        reply = await self.pages.answer(Request(method, target, media, body, Peer(1000, 42)))
        told = json.loads(reply.body) if "json" in reply.content_type else reply.body
        if reply.status >= 400:
            assert reply.content_type == "application/problem+json"
            assert told["status"] == reply.status
            assert told["title"]
            assert told["detail"]
        return reply, told


@pytest.mark.parametrize(
    ("bound", "host", "status"),
    [
        ("127.0.0.1:9180", "127.0.0.1:9180", 200),
        ("[::1]:9180", "[::1]:9180", 200),
        ("127.0.0.1:9180", "LocalHost:9180", 200),
        ("127.0.0.1:9180", "", 200),  # HTTP/1.0
        ("127.0.0.1:9180", "rebound.example:9180", 421),
        ("127.0.0.1:9180", "127.0.0.1.rebound.example", 421),
        ("127.0.0.1:9180", "10.0.0.1", 421),
        (
            "10.0.0.1:9180",
            "node7.example:9180",
            200,
        ),  # who may reach it from elsewhere may name it as he likes
    ],
)
async def test_a_page_in_a_browser_that_has_another_name_reads_nothing(bound, host, status):
    case = Case(only_reads=True)
    case.pages = Pages(case.source, case.source, case.pages.log, only_reads=True, bound=bound)
    reply = await case.pages.answer(Request("GET", "/healthz", host=host))
    assert reply.status == status


@pytest.fixture
def case():
    return Case()


# -- pages --------------------------------------------------------------------------------------------


async def test_status_is_the_report_and_a_backend_is_its_part(case):
    assert await case.ask("GET", "/status") == (
        Reply(200, "application/json", json.dumps(REPORT, indent=2).encode() + b"\n"),
        REPORT,
    )
    assert (await case.ask("GET", "/backends/web"))[1] == REPORT["backends"]["web"]
    assert (await case.ask("GET", "/backends/nobody"))[0].status == 404


async def test_metrics_are_the_same_numbers_for_prometheus(case):
    reply, body = await case.ask("GET", "/metrics?name=ignored")
    assert reply.content_type.startswith("text/plain; version=0.0.4")
    assert b'muxproxy_upstream_sockets{backend="web"} 3\n' in body


async def test_descriptions_are_served(case):
    assert (await case.ask("GET", "/openapi.json"))[1] == DESCRIPTION
    assert (await case.ask("GET", "/status/schema"))[1] == STATUS_SCHEMA


@pytest.mark.parametrize("state", ["starting", "serving", "draining"])
async def test_whoever_answers_lives(case, state):
    case.source.state = state
    assert (await case.ask("GET", "/healthz"))[1] == {"state": state}
    assert case.source.reports == 0, "nor is a worker asked"


async def test_ready_is_who_can_serve(case):
    reply, body = await case.ask("GET", "/readyz")
    assert (reply.status, body["cannot"], body["detail"]) == (503, {"cache": "paused"}, "cache: paused")
    assert (await case.ask("GET", "/readyz?backend=web"))[0].status == 200
    assert (await case.ask("GET", "/readyz?backend=cache"))[0].status == 503
    for nobody in ("nobody", ""):
        assert (await case.ask("GET", f"/readyz?backend={nobody}"))[0].status == 404
    case.source.told = REPORT | {"backends": {"web": REPORT["backends"]["web"]}}
    assert (await case.ask("GET", "/readyz"))[0].status == 200
    case.source.told = REPORT | {"state": "draining"}
    assert (await case.ask("GET", "/readyz"))[1]["cannot"] == {"muxproxy": "draining"}


async def test_head_is_taken_where_get_is(case):
    assert (await case.ask("HEAD", "/status"))[0].status == 200
    assert (await case.ask("HEAD", "/reload"))[0].status == 405


@pytest.mark.parametrize(
    ("method", "target", "status", "allow"),
    [
        ("GET", "/nothing", 404, ""),
        ("GET", "/backends/", 404, ""),
        ("GET", "/backends/a%2Fb", 404, ""),
        ("POST", "/backends/web/nonsense", 404, ""),
        ("POST", "/status", 405, "GET, HEAD"),
        ("GET", "/reload", 405, "POST"),
        ("DELETE", "/backends/web", 405, "GET, PATCH, HEAD"),
        ("GET", "/readyz?backend=web&backend=cache", 400, ""),
    ],
)
async def test_what_is_no_question_gets_its_status(case, method, target, status, allow):
    reply, _ = await case.ask(method, target)
    assert (reply.status, reply.allow) == (status, allow)


# -- commands -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "done", "logged"),
    [
        ("pause", ("pause", "web"), "pause backend=web"),
        ("resume", ("resume", "web", ""), "resume backend=web"),
        ("reconnect?server=a%3A1", ("reconnect", "web", "a:1"), "reconnect backend=web server=a:1"),
        ("drain?server=a:1", ("drain", "web", "a:1"), "drain backend=web server=a:1"),
        ("drain", ("drain", "web", ""), "drain backend=web"),
    ],
)
async def test_a_command_is_carried_out_and_logged_with_who_asked(case, target, done, logged):
    reply, body = await case.ask("POST", f"/backends/web/{target}")
    assert (reply.status, body) == (200, REPORT["backends"]["web"])
    assert case.source.done == [done]
    assert case.lines == [f"info admin change change={logged} uid=1000 pid=42"]


async def test_numbers_are_set(case):
    body = b'{"max_connections": 12, "max_waiting": 3}'
    assert (await case.ask("PATCH", "/backends/web", body, "application/json"))[0].status == 200
    assert case.source.done == [("set", "web", {"max_connections": 12, "max_waiting": 3})]
    assert case.lines == [
        'info admin change change=set backend=web numbers="max_connections=12 max_waiting=3" uid=1000 pid=42'
    ]


@pytest.mark.parametrize("body", [b"", b"{}", b'{"dry_run": false}'])
async def test_a_reload_tells_what_it_has_done(case, body):
    assert (await case.ask("POST", "/reload", body))[1] == ALL
    assert case.source.done == [("reload", False)]
    assert case.lines == ["info admin change change=reload uid=1000 pid=42"]


async def test_what_a_reload_would_do_is_no_change(case):
    assert (await case.ask("POST", "/reload", b'{"dry_run": true}'))[1] == ALL
    assert (case.source.done, case.lines) == ([("reload", True)], [])


async def test_a_reload_that_is_refused_in_part_is_a_conflict(case):
    case.source.plan = told(plan(config(backend(), user="a"), config(backend(), user="b")))
    reply, body = await case.ask("POST", "/reload")
    assert (reply.status, [each["key"] for each in body["refused"]]) == (409, ["user"])


@pytest.mark.parametrize(
    ("trouble", "status", "member", "value"),
    [
        (UnknownError("there is no such thing"), 404, "detail", "there is no such thing"),
        (OperatorError("the last one"), 409, "detail", "the last one"),
        (ListenError("a: taken\nb: taken"), 409, "cannot_listen", ["a: taken", "b: taken"]),
        (
            ConfigError([Problem("a.toml", "k", "1", "r")]),
            422,
            "problems",
            [{"file": "a.toml", "key": "k", "value": "1", "rule": "r"}],
        ),
    ],
)
async def test_what_cannot_be_done_is_told_and_logged(case, trouble, status, member, value):
    case.source.trouble = trouble
    for method, target, body in (("POST", "/reload", b""), ("PATCH", "/backends/web", b'{"max_waiting": 1}')):
        reply, answer = await case.ask(method, target, body)
        assert (reply.status, answer[member]) == (status, value)
    assert [line.partition(" change=")[0] for line in case.lines] == ["warning admin change refused"] * 2


@pytest.mark.parametrize(
    ("method", "target", "body", "media", "status"),
    [
        ("POST", "/backends/web/drain?sever=a:1", b"", "", 400),  # else all of it would be drained
        ("POST", "/backends/web/drain?server=", b"", "", 400),
        ("POST", "/backends/web/drain", b'{"server": "a:1"}', "application/json", 400),
        ("POST", "/backends/web/pause?server=a:1", b"", "", 400),
        ("POST", "/backends/web/pause", b"{}", "application/json", 400),
        ("POST", "/reload?dry_run=true", b"", "", 400),
        ("POST", "/reload", b'{"dryrun": true}', "", 400),
        ("POST", "/reload", b'{"dry_run": 1}', "", 400),
        ("POST", "/reload", b"dry_run=true", "application/x-www-form-urlencoded", 415),
        ("POST", "/reload", b"[" * 9999, "", 400),
        ("PATCH", "/backends/web", b"", "", 400),
        ("PATCH", "/backends/web", b"{}", "", 400),
        ("PATCH", "/backends/web", b"[]", "", 400),
        ("PATCH", "/backends/web", b'{"max_waiting": NaN}', "", 400),
        ("PATCH", "/backends/web", b"\xff", "", 400),
    ],
)
async def test_what_is_not_quite_a_command_does_nothing(case, method, target, body, media, status):
    assert (await case.ask(method, target, body, media))[0].status == status
    assert (case.source.done, case.lines) == ([], [])


# -- over TCP -----------------------------------------------------------------------------------------


async def test_over_tcp_nothing_can_be_changed_and_little_read():
    case = Case(only_reads=True)
    case.source.told = REPORT | {"backends": {"web": REPORT["backends"]["web"]}}
    for target in DESCRIPTION["paths"]:
        for method in ("GET", "HEAD", "POST", "PATCH", "PUT", "DELETE", "OPTIONS", "nonsense"):
            reply, _ = await case.ask(method, target.replace("{name}", "web"))
            if target not in OPEN:
                assert reply.status == 403
            elif method in ("GET", "HEAD"):
                assert reply.status == 200
            else:
                assert (reply.status, reply.allow) == (405, "GET, HEAD")
    assert (case.source.done, case.lines) == ([], [])


async def test_over_tcp_workers_are_not_asked_as_often_as_anybody_likes(autojump_clock):
    case = Case(only_reads=True)
    for _ in range(100):
        await case.ask("GET", "/metrics")
        await case.ask("GET", "/status")
    assert case.source.reports == 1
    await trio.sleep(SHOWN_FOR)
    await case.ask("GET", "/metrics")
    assert case.source.reports == 2
    case.source.told = REPORT | {"version": "2"}
    await trio.sleep(SHOWN_FOR)
    assert (await case.ask("GET", "/status"))[1]["version"] == "2"


async def test_over_tcp_a_worker_that_hangs_is_asked_once_whoever_waits(autojump_clock):
    case = Case(only_reads=True)
    case.source.delay = 1.0
    async with trio.open_nursery() as nursery:
        for target in ("/metrics", "/status", "/readyz") * 5:
            nursery.start_soon(case.ask, "GET", target)
    assert (case.source.reports, trio.current_time()) == (1, 1.0)


async def test_on_the_socket_each_question_is_asked(case):
    await case.ask("GET", "/status")
    await case.ask("GET", "/status")
    assert case.source.reports == 2
