"""A leg, watched: the kernel's sockets are sampled, what clients told is added up, CPU is the servers'."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from muxproxy.incident.observe import Observer, cpu, peak_memory
from muxproxy.incident.record import Leg
from muxproxy.stage.hosts import Host, loopback
from muxproxy.stage.stage import Broken, Child, Stage


class Told(Stage):
    """A stage whose children say what the test says."""

    def __init__(self, words: list[tuple[Child, dict[str, Any]]]) -> None:
        super().__init__("test")
        self.words = words

    def turn(self, timeout: float = 0.0) -> list[tuple[Child, dict[str, Any]]]:
        super().turn(timeout)
        return [self.words.pop(0)] if self.words else []


def report(replies: int, errors: dict[str, int], took: float) -> dict[str, Any]:
    latency = {"p50": took, "max": 2 * took}
    return {"replies": replies, "errors": errors, "open": 3, "dialled": 4, "latency": latency, "ready": took}


def test_what_several_clients_told_is_added_up_and_the_slowest_counts() -> None:
    leg, shown = Leg("direct", "Direct", "", 0.1), []
    words: list[tuple[Child, dict[str, Any]]] = []
    with Told(words) as stage, loopback(1) as network, socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        server_child = stage.server(["sleep", "60"], "a server")
        one, two = (stage.program("muxproxy.cli.demo.load", name) for name in ("one", "two"))
        words += [
            (one, {"tick": report(1, {"a": 1}, 0.1)}),
            (one, {"done": report(5, {"a": 2}, 0.1)}),
            (two, {"done": report(7, {"a": 1, "b": 9}, 0.3)}),
        ]
        near = socket.create_connection(("127.0.0.1", port))
        with near, Observer(stage, network, port, leg, lambda: shown.append(leg.state)) as observer:
            observer.follow({one: {}, two: {}}, [server_child])
    assert (leg.requests, leg.dialled, leg.ready) == (12, 8, 0.3)
    assert leg.errors == {"b": 9, "a": 3}
    assert leg.latency == {"p50": 0.3, "max": 0.6}
    assert leg.samples[0].client == {"ESTABLISHED": 1}
    assert leg.samples[-1].errors == 12
    assert leg.state == shown[-1] == "done"
    assert leg.server_memory is not None
    assert leg.server_memory > 0


def test_cpu_and_memory_are_of_the_process_that_is_asked_about() -> None:
    with Stage("test") as stage:
        sleeper = stage.server(["sleep", "60"], "a sleeper").process.pid
        before = cpu(sleeper)
        sum(range(10**6))
        assert cpu(sleeper) - before < 0.02
        assert 0 < peak_memory(sleeper) < 2**24


def test_where_sockets_cannot_be_counted_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(self: Host) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Host, "census", refused)
    leg = Leg("direct", "Direct", "", 0.1)
    with (
        Stage("test") as stage,
        loopback(1) as network,
        pytest.raises(Broken, match=r"sock_diag.* not permitted"),
    ):
        Observer(stage, network, 1, leg, lambda: None)
