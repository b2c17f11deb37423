"""A backend of a worker that runs: it comes, changes and goes by reloads, and nobody's request is lost."""

from __future__ import annotations

import socket

import msgspec

from muxproxy.budget import Order
from muxproxy.config.limits import PLACES
from muxproxy.messages import Applied, Apply, Ask, Gone, Holds, Lend, Ready, Stats
from tests.worker.spawned import Place, Spawned, configuration, places, spawned

REPLY = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


def begins(worker: Spawned, place: Place, most: int = 4) -> None:
    start = configuration([place])
    worker.says(
        msgspec.structs.replace(start, holders={place.backend.name: (1, {PLACES: Order(1, most, 0)})})
    )
    assert worker.hears() == Ready()


def hears_holds(worker: Spawned) -> Holds:
    word = worker.hears()
    while not isinstance(word, Holds):
        word = worker.hears()
    return word


def reply_of(client: socket.socket) -> bytes:
    got = b""
    while len(got) < len(REPLY):
        got += client.recv(65536)
    return got


def test_a_backend_is_added_and_serves_on_the_socket_that_came_with_it() -> None:
    with places("web", "more") as (web, more), spawned(web.front.fileno()) as worker:
        begins(worker, web)
        worker.hands_over(more.front.fileno())
        worker.says(
            Apply(
                1,
                1 << 30,
                5.0,
                added=[more.backend],
                holders={"more": (2, {PLACES: Order(1, 1, 0)})},
                opened=[("more", "127.0.0.1:0")],
            )
        )
        assert worker.hears() == Applied(1)
        with more.asks() as client:
            more.serves().close()
            assert reply_of(client) == REPLY


def test_a_removed_backend_finishes_what_it_owes_accepts_nobody_and_says_when_it_is_gone() -> None:
    with places("web", "more") as (web, more), spawned(web.front.fileno(), more.front.fileno()) as worker:
        start = configuration([web, more])
        worker.says(
            msgspec.structs.replace(
                start, holders={"web": (1, {PLACES: Order(1, 4, 0)}), "more": (2, {PLACES: Order(1, 4, 0)})}
            )
        )
        assert worker.hears() == Ready()
        with more.asks() as client:
            server, _ = more.origin.accept()
            worker.says(Apply(1, 1 << 30, 5.0, removed=["more"]))
            assert worker.hears() == Applied(1)
            with more.client() as late:  # in the backlog, which is the supervisor's
                more.answers(server)
                reply = b""
                while data := client.recv(65536):
                    reply += data
                assert reply.startswith(b"HTTP/1.1 200 OK\r\n")
                assert reply.endswith(b"hello")
                word = worker.hears()
                while isinstance(word, Holds):
                    word = worker.hears()
                assert word == Gone(2)
                assert server.recv(1) == b""
                late.setblocking(False)
            server.close()
        worker.says(Ask(7))
        stats = worker.hears()
        assert isinstance(stats, Stats)
        assert list(stats.snapshot["backends"]) == ["web"]


def test_who_does_not_finish_in_time_is_told_and_cut_off() -> None:
    with places("web", "more") as (web, more), spawned(web.front.fileno(), more.front.fileno()) as worker:
        worker.says(configuration([web, more]))
        assert worker.hears() == Ready()
        with more.asks() as client:
            server, _ = more.origin.accept()
            worker.says(Apply(1, 1 << 30, 0.1, removed=["more"]))
            assert worker.hears() == Applied(1)
            assert client.recv(65536).startswith(b"HTTP/1.1 503 ")
            assert worker.hears() == Gone(0)
            server.close()


def test_a_pool_opens_what_it_was_lent_and_says_when_it_holds_less() -> None:
    with places("web", max_connections=2) as (web,), spawned(web.front.fileno()) as worker:
        begins(worker, web, most=0)
        with web.asks() as client:
            word = hears_holds(worker)  # somebody has waited for a moment
            assert word.report.wanted == 1
            worker.says(Lend(1, Order(2, 1, 0)))
            server = web.serves()
            assert reply_of(client) == REPLY
            worker.says(Lend(1, Order(3, 0, 0)))
            assert server.recv(1) == b""
            while word.report.serial != 3 or word.report.held:
                word = hears_holds(worker)
            server.close()


def test_a_change_that_is_a_bug_is_told() -> None:
    with places("web") as (web,), spawned(web.front.fileno()) as worker:
        begins(worker, web)
        worker.says(Apply(1, 1 << 30, 5.0, removed=["nobody"]))
        word = worker.hears()
        assert isinstance(word, Applied)
        assert "KeyError" in word.problem


def test_a_later_reload_gives_no_more_time_to_what_an_earlier_one_has_removed() -> None:
    with places("web", "more") as (web, more), spawned(web.front.fileno(), more.front.fileno()) as worker:
        worker.says(configuration([web, more]))
        assert worker.hears() == Ready()
        with more.asks() as client:
            server, _ = more.origin.accept()
            worker.says(Apply(1, 1 << 30, 0.2, removed=["more"]))
            assert worker.hears() == Applied(1)
            worker.says(Apply(2, 1 << 30, 3600.0))
            assert worker.hears() == Applied(2)
            assert client.recv(65536).startswith(b"HTTP/1.1 503 ")
            assert worker.hears() == Gone(0)
            server.close()
