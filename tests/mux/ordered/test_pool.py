"""Where a client's requests go that must keep their order (P2, P4)."""

from __future__ import annotations

from muxproxy.protocols.contract import Sharing
from tests.fakes import Peer, Stage
from tests.toys import Toy

ORDERED = Sharing.ORDERED


def sessions(**keys: object) -> Stage:
    return Stage(Toy(ORDERED, sessions=True), **keys)


def both(stage: Stage) -> tuple[Peer, Peer]:
    return stage.connects(), stage.connects()


def test_who_is_owed_replies_stays_where_they_come_from() -> None:
    stage = Stage(ORDERED, min_connections=2, max_connections=2, max_in_flight=2)
    one, two = both(stage)
    ann = stage.asks(b"a1\n")
    first, other = (one, two) if one.got() else (two, one)
    ann.sends(b"a2\n")
    ann.sends(b"a3\n")
    assert first.got() in (b"a1\na2\n", b"a2\n")
    assert other.got() == b""
    assert stage.statistics()["waiting"] == 1  # beside a free place, which would not be in its order
    first.sends(b"a1\n")
    assert first.got() == b"a3\n"
    first.sends(b"a2\na3\n")
    assert ann.got() == b"a1\na2\na3\n"


def test_those_who_wait_for_their_own_connection_wait_with_all_others_when_it_is_gone() -> None:
    stage = Stage(ORDERED, max_connections=1, max_in_flight=1)
    ann = stage.asks(b"a1\n")
    server = stage.connects()
    ann.sends(b"a2\n")
    bob = stage.asks(b"b\n")
    server.breaks_off()
    assert ann.got().startswith(b"no server_closed")
    assert stage.statistics()["waiting"] == 2
    again = stage.reconnects()
    assert again.got() == b"a2\n"
    again.sends(b"a2\n")
    again.sends(b"b\n")
    assert (ann.got(), bob.got()) == (b"a2\n", b"b\n")


def test_who_must_stay_on_a_connection_that_is_emptied_waits_for_nobody_who_may_not_join_it() -> None:
    stage = sessions(max_connections=2, min_connections=2, max_in_flight=2, max_pinned=1)
    servers = both(stage)
    ann, bob = stage.asks(b"a1\n"), stage.asks(b"b1\n")
    stage.asks(b"multi pin\n")  # the first of both connections is emptied for it
    number = 0 if next(u for u in stage.pool.servers[0].open if u.reserved).wire is servers[0].wire else 1
    hers = ann if servers[number].got() == b"a1\n" else bob
    other = bob if hers is ann else ann
    other.sends(b"x\n")
    stage.asks(b"waits\n")
    hers.sends(b"more\n")
    assert servers[number].got() == b"more\n"
