"""Who gets which connection where every session needs its own: spares, the queue, the bound (P1, P4)."""

from __future__ import annotations

from typing import Any

import pytest

from muxproxy.protocols.contract import Sharing
from tests.fakes import Peer, Stage


def sessions(**keys: Any) -> Stage:
    return Stage(Sharing.DEDICATED, **keys)


def sockets(stage: Stage) -> int:
    return len(stage.world.sockets)


def end(client: Peer, server: Peer) -> None:
    client.closes()
    server.closes()


def test_spares_are_connected_ahead_and_a_session_starts_without_a_handshake() -> None:
    stage = sessions(min_connections=2, max_connections=4)
    first, second = stage.connects(), stage.connects()
    assert stage.dials == []
    ann = stage.asks(b"hello")
    assert second.got() == b"hello"  # the one connected last
    assert first.got() == b""
    assert len(stage.dials) == 1  # another spare for the one that was taken
    assert ann.is_open


def test_spares_never_go_beyond_the_bound_and_never_stand_beside_who_waits() -> None:
    stage = sessions(min_connections=2, max_connections=3)
    stage.connects()
    stage.connects()
    clients = [stage.client() for _ in range(3)]
    assert sockets(stage) == 3
    servers = [stage.connects()]
    assert stage.statistics()["in_flight"] == 3
    waiting = stage.asks(b"waiting")
    assert sockets(stage) == 3  # P1
    end(clients[2], servers[0])
    assert stage.connects().got() == b"waiting"
    assert sockets(stage) == 3
    assert waiting.is_open


def test_without_a_queue_sessions_get_a_connect_and_nobody_beyond_the_bound_waits() -> None:
    stage = sessions(max_waiting=0, max_connections=2)
    ann, bob = stage.client(), stage.asks(b"bob")
    assert stage.client().got().startswith(b"no queue_full")
    stage.connects()
    assert stage.connects().got() == b"bob"
    assert stage.client().got().startswith(b"no queue_full")
    assert (ann.is_open, bob.is_open) == (True, True)
    assert stage.outcomes() == {"queue_full": 2}


def test_without_a_queue_nobody_waits_for_a_server_that_cannot_be_reached() -> None:
    stage = sessions(max_waiting=0, max_connections=2, timeout=5.0, backoff_min=0.5)
    ann = stage.client()
    stage.refuses()
    assert stage.client().got().startswith(b"no queue_full")
    assert ann.is_open  # it was promised a connect


def test_when_sessions_end_the_spares_are_back() -> None:
    stage = sessions(min_connections=1, max_connections=1)
    server = stage.connects()
    ann = stage.client()
    end(ann, server)
    assert len(stage.dials) == 1
    stage.connects()
    assert stage.statistics()["upstream"]["idle"] == 1


@pytest.mark.parametrize("keys", [{"max_lifetime": 0.0}, {"idle_timeout": 60.0, "max_lifetime": 30.0}])
def test_a_spare_that_grows_old_is_replaced(keys: dict[str, float]) -> None:
    stage = sessions(min_connections=1, max_connections=2, **{"idle_timeout": 30.0} | keys)
    spare = stage.connects()
    stage.passes(30.1)
    assert not spare.is_open
    assert len(stage.dials) == 1
    assert stage.statistics()["closed"] == {"idle_timeout": 1}


def test_a_server_that_closes_spares_at_once_is_not_dialled_again_and_again_for_them() -> None:
    stage = sessions(min_connections=2, max_connections=4, backoff_max=0.7)
    stage.connects().closes()
    assert len(stage.dials) == 1  # the second one of the beginning
    stage.connects().breaks_off()
    assert stage.dials == []
    stage.passes(0.6)
    assert stage.dials == []
    stage.passes(0.2)
    assert len(stage.dials) == 1


def test_nor_does_that_keep_a_client_waiting_longer_than_a_connect_that_failed() -> None:
    stage = sessions(min_connections=1, max_connections=4, backoff_max=0.7)
    stage.connects().closes()
    ann, now = stage.asks(b"hello"), stage.world.now
    assert stage.reconnects().got() == b"hello"
    assert stage.world.now - now < 0.2
    assert ann.is_open


def test_spares_that_their_server_ends_after_a_while_are_tried_again_ever_more_rarely() -> None:
    """MySQL with its connect_timeout: each counts, and after max_connect_errors our host is blocked."""
    stage = sessions(min_connections=4, max_connections=8, backoff_max=0.7)
    ended = 0
    for _ in range(36_000):
        peers = [stage.connects() for _ in tuple(stage.dials)]
        if peers:
            stage.passes(9.5)
            for peer in peers:
                peer.sends(b"greetings")
                peer.closes()
                ended += 1
        stage.passes(0.5)
    assert stage.world.now > 18_000.0
    assert ended <= 4 + 15
    lines = [fields for event, fields in stage.world.lines if event == "server ends spare connections"]
    assert lines == [{"backend": "toys", "server": "one:1", "age": 9.5}]
    stage.asks(b"login")
    stage.passes(0.1)
    assert stage.statistics()["upstream_sockets"] == 1  # it got its connection when it came


def test_when_a_session_has_had_a_spare_all_are_back() -> None:
    stage = sessions(min_connections=2, max_connections=8, backoff_max=0.7)
    spares = [stage.connects(), stage.connects()]
    stage.passes(5.0)
    for spare in spares:
        spare.closes()
    assert stage.dials == []
    stage.passes(1.0)
    to_see = stage.connects()
    assert stage.dials == []
    assert stage.asks(b"login").is_open
    assert to_see.got() == b"login"
    assert len(stage.dials) == 2


def test_a_spare_that_its_server_has_just_closed_is_not_handed_over() -> None:
    stage = sessions(min_connections=2, max_connections=2)
    first, second = stage.connects(), stage.connects()
    second.wire.has_left = True  # the kernel has its FIN or RST, and we have not read it
    ann = stage.asks(b"hello")
    assert (first.got(), second.got()) == (b"hello", b"")
    assert not second.is_open
    assert ann.is_open
    assert stage.statistics()["closed"] == {"server closed": 1}


def test_a_lost_spare_of_a_server_that_cannot_be_reached_waits_for_it_like_everybody() -> None:
    stage = sessions(min_connections=1, max_connections=4, backoff_min=0.1, backoff_max=0.5)
    stage.refuses()
    assert stage.dials == []
    stage.passes(0.2)
    assert len(stage.dials) == 1
    spare = stage.connects()
    assert spare.is_open


def test_no_spare_is_dialled_in_a_drain() -> None:
    stage = sessions(min_connections=1, max_connections=2)
    spare = stage.connects()
    with stage.turn():
        stage.pool.drain(stage.world.now)
    spare.closes()
    stage.passes(2.0)
    assert stage.dials == []


def test_sessions_go_to_the_server_with_the_fewest_connections() -> None:
    stage = sessions(servers=("one:1", "two:2"), max_connections=4)
    for _ in range(4):
        stage.client()
    assert sorted(str(upstream.server) for upstream in stage.dials) == ["one:1", "one:1", "two:2", "two:2"]


def test_a_session_goes_on_when_its_server_is_removed() -> None:
    stage = sessions(servers=("one:1",), max_connections=2)
    ann = stage.client()
    server = stage.connects()
    with stage.turn():
        stage.pool.set_servers(["two:2"], stage.world.now)
    ann.sends(b"still here")
    assert server.got() == b"still here"
    end(ann, server)
    assert stage.outcomes() == {"ok": 1}


def test_thousands_of_sessions_one_after_another_leave_nothing_behind() -> None:
    stage = sessions(min_connections=1, max_connections=2)
    server = stage.connects()
    for number in range(2000):
        ann = stage.asks(b"%d" % number)
        assert server.got() == b"%d" % number
        end(ann, server)
        server = stage.connects()
        assert sockets(stage) <= 2
    assert stage.outcomes() == {"ok": 2000}
    assert stage.statistics()["clients"] == 0
