"""A worker process from its configuration to its drain, as its supervisor, a client and an origin see it."""

from __future__ import annotations

import socket
from types import SimpleNamespace
from typing import Any

from muxproxy.messages import Ask, Configure, Drain, Drained, Log, Ready, Reconnect, Stats
from muxproxy.mux.base.failures import INTERVAL, Failures
from muxproxy.protocols.contract import Sharing
from muxproxy.worker.process import EXIT_CANNOT_START, Worker
from tests.builds import TESTED
from tests.fakes import Stage
from tests.worker.spawned import configuration, descriptors, places, receives, spawned

REPLY = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


def test_it_is_ready_when_every_listener_accepts_and_serves_until_it_is_drained() -> None:
    with places("web", "api") as both, spawned(*descriptors(both)) as worker:
        worker.says(configuration(both))
        assert worker.hears() == Ready()
        for place in both:
            client = place.asks()
            server = place.serves()
            assert receives(client, len(REPLY)) == REPLY
            client.close()
            server.close()
        worker.says(Ask(7))
        stats = worker.hears()
        assert isinstance(stats, Stats)
        assert stats.serial == 7
        backends = stats.snapshot["backends"]
        assert {name: numbers["outcomes"]["replied"]["ok"] for name, numbers in backends.items()} == {
            "web": 1,
            "api": 1,
        }
        worker.says(Drain(5.0))
        assert worker.hears() == Drained(0)
        assert worker.exits() == 0


def test_it_connects_anew_when_it_is_told_to() -> None:
    with places("web") as (place,), spawned(*descriptors([place])) as worker:
        worker.says(configuration([place]))
        assert worker.hears() == Ready()
        client, server = place.asks(), place.serves()
        assert receives(client, len(REPLY)) == REPLY
        worker.says(Reconnect("nobody"))
        worker.says(Reconnect("web"))
        assert server.recv(1) == b""
        server.close()
        client.close()


def test_who_came_before_it_was_configured_is_served_too() -> None:
    with places("web") as (place,), spawned(*descriptors([place])) as worker:
        client = place.asks()
        worker.says(configuration([place]))
        place.serves().close()
        assert receives(client, len(REPLY)) == REPLY
        client.close()


def test_a_drain_finishes_what_is_owed_and_tells_its_clients_to_leave() -> None:
    with places("web") as (place,), spawned(*descriptors([place])) as worker:
        worker.says(configuration([place]))
        assert worker.hears() == Ready()
        idle, client = place.client(), place.asks()
        server, _ = place.origin.accept()
        server.settimeout(10)
        worker.says(Drain(10.0))
        assert receives(idle) == b""  # an idle client is closed at once
        place.answers(server)
        reply = receives(client)
        assert reply.endswith(b"\r\n\r\nhello")
        assert b"connection: close" in reply.lower()
        assert worker.hears() == Drained(0)
        assert worker.exits() == 0
        for sock in (idle, client, server):
            sock.close()


def test_a_worker_says_which_build_it_runs_and_serves_by_it() -> None:
    with places("web", max_connections=1) as (place,), spawned(*descriptors([place])) as worker:
        worker.says(configuration([place]))
        assert worker.hears() == Ready()
        worker.says(Ask(1))
        assert worker.hears().snapshot["build"] == TESTED
        with place.asks("/served") as client, place.origin.accept()[0] as server:
            place.answers(server)
            assert receives(client, 12).startswith(b"HTTP/1.1 200")


def test_a_drain_that_takes_too_long_is_cut_off_and_says_how_many_were() -> None:
    with places("web", max_connections=1) as (place,), spawned(*descriptors([place])) as worker:
        worker.says(configuration([place]))
        assert worker.hears() == Ready()
        served = place.asks("/served")
        server, _ = place.origin.accept()
        server.recv(65536)
        waiting = place.asks("/waiting")
        waits = False
        while not waits:
            worker.says(Ask(1))
            waits = worker.hears().snapshot["backends"]["web"]["waiting"] == 1
        worker.says(Drain(0.1))
        assert worker.hears() == Drained(2)
        (line,) = worker.logged
        assert (line.level, line.event) == ("warning", "requests failed")
        assert (line.fields["reason"], line.fields["count"]) == ("draining", 2)
        assert receives(waiting).startswith(b"HTTP/1.1 503 ")
        assert worker.exits() == 0
        for sock in (served, waiting, server):
            sock.close()


def test_who_is_cut_off_while_it_asks_on_has_what_it_is_told_and_no_reset() -> None:
    """What it has sent meanwhile is in our kernel; to exit over that would be an RST."""
    with places("web", max_connections=1) as (place,), spawned(*descriptors([place])) as worker:
        worker.says(configuration([place]))
        assert worker.hears() == Ready()
        asks_on = place.asks("/one")
        server, _ = place.origin.accept()
        for path in (b"/two", b"/three"):  # held, and then left unread
            for number in range(2):
                worker.says(Ask(number))
                worker.hears()
            asks_on.sendall(b"GET %b HTTP/1.1\r\nHost: web\r\n\r\n" % path)
        worker.says(Drain(0.1))
        assert receives(asks_on).startswith(b"HTTP/1.1 503 ")
        asks_on.sendall(b"GET /four HTTP/1.1\r\nHost: web\r\n\r\n")  # it may still be sending
        asks_on.close()
        assert worker.hears() == Drained(1)
        assert worker.exits() == 0
        server.close()


def test_a_configuration_that_it_cannot_serve_is_logged_and_ends_it() -> None:
    with places("web") as (place,), spawned() as worker:  # the listener's descriptor is not handed over
        worker.says(Configure([place.backend], {"web": [("127.0.0.1:0", 250)]}))
        assert worker.exits() == EXIT_CANNOT_START
        try:
            worker.hears()
        except EOFError:
            pass
        assert [line.level for line in worker.logged] == ["error"]
        assert "Bad file descriptor" in str(worker.logged[0].fields)


def test_its_listening_sockets_are_the_supervisors_and_stay_open_when_it_ends() -> None:
    with places("web") as (place,):
        for _ in range(2):
            with spawned(*descriptors([place])) as worker:
                client = place.asks()
                worker.says(configuration([place]))
                place.serves().close()
                assert receives(client, len(REPLY)) == REPLY
                client.close()
                worker.process.kill()
                worker.exits()
            with socket.create_connection(place.front.getsockname(), 5):
                pass  # the backlog takes who comes while nobody accepts


def test_failed_requests_are_logged_at_every_interval_and_only_what_is_new() -> None:
    loop = FakeLoop()
    worker = Worker(loop)
    sent: list[Log] = []
    worker._channel = Recorder(sent)
    stage = Stage(Sharing.EXCLUSIVE, max_waiting=0)
    service = SimpleNamespace(failures=Failures(stage.pool))
    worker._services["web"] = service
    worker._tell_failures()
    for refused in (3, 0, 2):
        for _ in range(refused):
            stage.asks(b"!\n")
        loop.ring()
    assert [(line.level, line.event, line.fields["count"]) for line in sent] == [
        ("warning", "requests failed", 3),
        ("warning", "requests failed", 2),
    ]


class FakeLoop:
    """Time passes when the test says so."""

    def __init__(self) -> None:
        self.later: list[tuple[float, Any]] = []

    def time(self) -> float:
        return 0.0

    def call_later(self, delay: float, callback: Any) -> None:
        self.later.append((delay, callback))

    def ring(self) -> None:
        ((delay, callback),) = self.later
        assert delay == INTERVAL
        self.later.clear()
        callback()


class Recorder:
    def __init__(self, sent: list[Log]) -> None:
        self.send = sent.append


def test_what_nobody_caught_is_logged_without_a_peers_bytes_and_not_printed_past_the_log() -> None:
    worker = Worker(FakeLoop())
    sent: list[Log] = []
    worker._channel = Recorder(sent)
    said = b"hunter" + b"2"  # or the line itself would show it
    try:
        int(said)
    except ValueError as error:
        worker._on_loop_trouble(None, {"message": "in a callback", "exception": error})
    worker._on_loop_trouble(None, {"message": "read", "exception": TimeoutError(110, "no answer")})
    (line,) = sent
    assert (line.event, line.fields["message"]) == ("bug", "in a callback")
    assert "ValueError" in line.fields["traceback"]
    assert "hunter2" not in line.fields["traceback"]
