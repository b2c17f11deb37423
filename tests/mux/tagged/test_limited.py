"""Limits in a pool: a place is held until the server is done with it, whatever became of its client."""

from __future__ import annotations

from muxproxy.protocols.contract import Limit
from tests.fakes import Peer, Stage
from tests.tagged_toys import TaggedToy, tagged


def limited(places: int = 1, timeout: float = 5.0, **keys: float) -> Stage:
    return Stage(
        TaggedToy(limits=(Limit("create", places, timeout),)), max_connections=1, max_in_flight=10, **keys
    )


def call(tag: int, name: bytes = b"c") -> bytes:
    return tagged(tag, name + b" lim=0\n")


def active(stage: Stage) -> tuple[int, int]:
    of = stage.statistics()["limited"]["create"]
    return of["active"], of["waiting"]


def ready(stage: Stage) -> Peer:
    """A connection that is there, and owes nothing."""
    ann = stage.asks(tagged(1, b"hello\n"))
    server = stage.connects()
    server.got()
    server.sends(tagged(1, b"hello\n"))
    ann.closes()
    return server


def test_one_too_many_waits_its_turn_and_others_pass_it() -> None:
    stage = limited()
    server = ready(stage)
    ann = stage.asks(call(1) + call(2) + tagged(3, b"other\n"))
    assert server.got() == tagged(2, b"c lim=0\n") + tagged(3, b"other\n")
    assert active(stage) == (1, 1)
    assert stage.statistics()["waiting"] == 0
    server.sends(tagged(2, b"done\n"))
    assert ann.got() == tagged(1, b"done\n")
    assert server.got() == tagged(4, b"c lim=0\n")
    server.sends(tagged(4, b"done\n") + tagged(3, b"other\n"))
    assert ann.got() == tagged(2, b"done\n") + tagged(3, b"other\n")
    assert active(stage) == (0, 0)
    assert stage.outcomes() == {"ok": 4}


def test_whose_turn_does_not_come_in_time_is_refused_in_its_own_language() -> None:
    stage = limited(timeout=2.0)
    ready(stage)
    ann = stage.asks(call(1) + call(2))
    stage.passes(2.05)
    text = b"no limit_timeout | toys: create: waited 2 s for one of 1 places\n"
    assert ann.got() == tagged(2, text)
    assert active(stage) == (1, 0)


def test_a_client_that_leaves_keeps_its_place_until_the_server_is_done() -> None:
    stage = limited()
    server = ready(stage)
    ann = stage.asks(call(1))
    bob = stage.asks(call(1, b"b"))
    server.got()
    ann.closes()
    assert server.got() == b""
    server.sends(tagged(2, b"done\n"))
    assert server.got() == tagged(3, b"b lim=0\n")
    assert bob.got() == b""
    assert active(stage) == (1, 0)


def test_a_client_that_leaves_while_it_waits_is_passed_over() -> None:
    stage = limited()
    server = ready(stage)
    stage.asks(call(1))
    gone = stage.asks(call(1, b"gone"))
    stage.asks(call(1, b"b"))
    gone.closes()
    server.got()
    server.sends(tagged(2, b"done\n"))
    assert server.got() == tagged(3, b"b lim=0\n")
    assert stage.outcomes() == {"ok": 2, "client_left": 1}


def test_a_reply_that_is_late_holds_its_place_and_one_that_never_comes_frees_it() -> None:
    stage = limited(timeout=100.0, reply_timeout=3.0)
    server = ready(stage)
    ann = stage.asks(call(1))
    stage.asks(call(1, b"b"))
    server.got()
    stage.passes(3.05)
    assert ann.got().startswith(tagged(1, b"no reply_timeout"))
    assert active(stage) == (1, 1)
    server.sends(tagged(77, b"alive\n"))
    stage.passes(3.0)
    assert server.got() == tagged(3, b"b lim=0\n")
    assert not server.wire.closing
    events = {"unknown_tags": 1, "replies_that_never_came": 1, "suspected": 1}
    assert stage.statistics()["events"] == events


def test_a_connection_that_breaks_frees_all_its_places() -> None:
    stage = limited(places=2, reply_timeout=3.0)
    server = ready(stage)
    stage.asks(call(1) + call(2) + call(3))
    server.breaks_off()
    assert active(stage) == (1, 0)
    assert stage.connects().got() == tagged(1, b"c lim=0\n")


def test_a_request_that_waits_in_the_pool_holds_its_place_and_frees_it_when_it_is_refused() -> None:
    stage = limited(timeout=100.0)
    ann = stage.asks(call(1) + call(2))
    assert active(stage) == (1, 1)
    stage.passes(5.05)  # [queue] timeout
    assert ann.got().startswith(tagged(1, b"no no_server"))
    assert active(stage) == (1, 0)
    ann.closes()
    assert active(stage) == (0, 0)


def test_a_one_way_request_holds_a_place_until_it_is_written() -> None:
    stage = limited()
    server = ready(stage)
    stage.asks(tagged(1, b"c lim=0 oneway\n") + call(2))
    assert server.got() == tagged(2, b"c lim=0 oneway\n") + tagged(3, b"c lim=0\n")
    assert active(stage) == (1, 0)


def test_a_large_request_that_is_given_up_frees_its_place() -> None:
    stage = limited(request_buffer=10, stall_timeout=1.0, hold_timeout=1.0)
    ready(stage)
    ann = stage.asks(tagged(1, b"c lim=0 +40\n0123456789"))
    assert active(stage) == (1, 0)
    ann.closes()
    assert active(stage) == (0, 0)


def test_a_drain_that_is_cut_off_tells_those_who_wait_for_a_limit_too() -> None:
    stage = limited()
    server = ready(stage)
    ann = stage.asks(call(1) + call(2))
    stage.pool.drain(stage.world.now)
    stage.pool.cut_off(stage.world.now)
    assert ann.got().count(b"no draining") == 2
    assert active(stage) == (1, 0)  # its server is still at it
    server.sends(server.got()[:9] + b"c\n")
    assert active(stage) == (0, 0)
