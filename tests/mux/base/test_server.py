"""A server in doubt: left for a growing, jittered time, then probed by one connection at a time."""

from __future__ import annotations

import pytest

from muxproxy.protocols.contract import Sharing
from tests.fakes import Peer, Stage
from tests.tagged_toys import TaggedToy, tagged


def pauses(stage: Stage, count: int) -> list[float]:
    """How long the server is left alone after each of so many failures in a row."""
    found = []
    for _ in range(count):
        stage.refuses()
        failed_at = stage.world.now
        while not stage.dials:
            stage.passes(0.01)
            assert stage.world.now < failed_at + 10.0
        found.append(stage.world.now - failed_at)
    return found


@pytest.mark.parametrize(("random", "share"), [(0.0, 0.5), (0.5, 0.75), (0.999, 1.0)])
def test_the_time_it_is_left_doubles_up_to_its_bound_with_jitter(random: float, share: float) -> None:
    stage = Stage(Sharing.EXCLUSIVE, backoff_min=0.1, backoff_max=0.8, timeout=1000.0)
    stage.world.random = random
    stage.asks(b"x\n")
    whole = [0.1, 0.2, 0.4, 0.8, 0.8, 0.8]
    assert pauses(stage, 6) == pytest.approx([share * pause for pause in whole], abs=0.025)


def test_only_one_connection_at_a_time_knocks() -> None:
    stage = Stage(Sharing.EXCLUSIVE, max_connections=8, connect_timeout=100.0, timeout=1000.0)
    for _ in range(8):
        stage.asks(b"x\n")
    assert len(stage.dials) == 8
    while stage.dials:
        stage.refuses()
    stage.passes(10.0)
    assert len(stage.dials) == 1
    assert stage.statistics()["servers"][0]["state"] == "probing"
    stage.connects()
    assert len(stage.dials) == 7  # it is back: everybody may
    assert stage.statistics()["servers"][0]["state"] == "up"


def test_the_states_are_told() -> None:
    stage = Stage(Sharing.EXCLUSIVE)
    stage.asks(b"x\n")
    (server,) = stage.statistics()["servers"]
    assert server == {
        "address": "one:1",
        "state": "up",
        "connections": 1,
        "in_flight": 0,
        "failures": 0,
        "last_error": "",
    }
    stage.refuses(error="No route to host")
    (server,) = stage.statistics()["servers"]
    assert (server["state"], server["failures"]) == ("backing_off", 1)
    assert server["last_error"] == "No route to host"


def test_nobody_knocks_for_nobody() -> None:
    stage = Stage(Sharing.EXCLUSIVE)
    ann = stage.asks(b"x\n")
    stage.refuses()
    ann.closes()
    stage.passes(100.0)
    assert stage.dials == []


def test_a_server_that_fails_for_days_is_still_knocked_at_in_time() -> None:
    stage = Stage(Sharing.EXCLUSIVE, backoff_max=0.8, timeout=1e9)
    stage.asks(b"x\n")
    stage.pool.servers[0].failures = 100_000
    assert pauses(stage, 1) == pytest.approx([0.4], abs=0.025)


@pytest.mark.inside  # the pool's grow is replaced
def test_a_bug_at_a_servers_deadline_does_not_end_its_probing() -> None:
    stage = Stage(Sharing.EXCLUSIVE, backoff_max=0.7, timeout=60.0)
    stage.asks(b"ann\n")
    grow, stage.pool.grow = stage.pool.grow, lambda now: 1 // 0
    with pytest.raises(ZeroDivisionError):
        stage.refuses()  # on_closed looks for a place for who waits
    with pytest.raises(ZeroDivisionError):
        stage.passes(0.5)
    stage.world.alarm(stage.world.fine.next_deadline())  # as worker/engine.py does after a bug
    stage.pool.grow = grow
    stage.passes(1.0)
    assert len(stage.dials) == 1


def stopping(**keys: float) -> tuple[Stage, Peer, Peer, Peer]:
    """Two servers, each with a connection, and a client: the first server is about to stop."""
    toy = TaggedToy(stop_timeout=30.0)
    stage = Stage(
        toy,
        servers=("two:2", "one:1"),
        backoff_max=0.7,
        **{"max_connections": 4, "suspect_after": 60.0, **keys},
    )
    ann = stage.asks(tagged(1, b"a\n"))
    one = stage.connects()
    ann.sends(tagged(2, b"b\n"))
    two = stage.connects()
    assert (one.got() + two.got()).count(b"\n") == 2
    one.sends(tagged(0, b"stops\n"))
    return stage, ann, one, two


def states(stage: Stage) -> dict[str, str]:
    return {server["address"]: server["state"] for server in stage.statistics()["servers"]}


def looked_at(stage: Stage) -> list[str]:
    return [str(upstream.server) for upstream in stage.dials]


def test_a_server_that_is_about_to_stop_gets_nothing_while_another_serves() -> None:
    stage, ann, one, two = stopping()
    assert states(stage) == {"two:2": "up", "one:1": "stopping"}
    one.sends(tagged(1, b"a\n") + tagged(2, b"b\n"))
    assert one.wire.closing
    for n in range(3, 9):
        ann.sends(tagged(n, b"c\n"))
    assert two.got().count(b"c") == 6
    assert stage.dials == []
    assert stage.world.lines == [("server is about to stop", {"backend": "toys", "server": "one:1"})]


def test_all_its_connections_end_when_they_owe_nothing() -> None:
    stage = Stage(TaggedToy(), servers=("one:1", "two:2"), max_connections=4, min_connections=4)
    servers = [stage.connects() for _ in range(4)]
    first = [server for server in servers if str(server.wire.brain.server) == "one:1"]
    assert len(first) == 2
    first[0].sends(tagged(0, b"stops\n"))
    assert [server.wire.closing for server in first] == [True, True]
    assert set(looked_at(stage)) == {"two:2"}  # min_connections


def test_it_is_looked_at_and_when_it_was_gone_it_is_a_server_like_any_other() -> None:
    stage, ann, one, _ = stopping()
    one.sends(tagged(1, b"a\n") + tagged(2, b"b\n"))
    for _ in range(3):
        stage.passes(0.8)
        assert looked_at(stage) == ["one:1"]
        look = stage.connects()
        assert look.wire.closing
        assert look.got() == b""
    stage.passes(0.8)
    stage.refuses()
    assert states(stage)["one:1"] == "backing_off"
    stage.passes(0.8)
    ann.sends(tagged(3, b"c\n"))
    back = stage.connects()
    ann.sends(tagged(4, b"d\n") + tagged(5, b"e\n"))
    assert back.got().count(b"\n") == 2
    assert states(stage) == {"two:2": "up", "one:1": "up"}


def test_one_that_stays_gets_requests_again_after_its_time() -> None:
    stage, ann, one, _ = stopping()
    one.sends(tagged(1, b"a\n") + tagged(2, b"b\n"))
    while states(stage)["one:1"] == "stopping":
        stage.passes(0.1)
        while stage.dials and states(stage)["one:1"] == "stopping":
            stage.connects()
        ann.got()
    assert stage.world.lines[-1] == ("server did not stop", {"backend": "toys", "server": "one:1"})
    assert 1030.0 <= stage.world.now < 1030.5
    ann.sends(tagged(3, b"c\n") + tagged(4, b"d\n"))
    assert looked_at(stage) == ["one:1"]


def test_or_when_it_says_so() -> None:
    stage, _, one, _ = stopping()
    one.sends(tagged(0, b"stays\n"))
    assert states(stage) == {"two:2": "up", "one:1": "up"}
    assert stage.world.lines[-1][0] == "server goes on"


def test_or_when_no_other_can_serve() -> None:
    stage, ann, one, two = stopping()
    one.sends(tagged(1, b"a\n") + tagged(2, b"b\n"))
    two.closes()
    ann.sends(tagged(3, b"c\n"))
    while "two:2" in looked_at(stage):
        stage.refuses(next(upstream for upstream in stage.dials if str(upstream.server) == "two:2"))
    again = stage.connects()
    assert str(again.wire.brain.server) == "one:1"
    assert again.got() == tagged(1, b"c\n")
    stage.passes(1.0)
    ann.sends(tagged(4, b"d\n"))
    back = stage.reconnects()  # the other one, and now it can
    ann.sends(tagged(5, b"e\n"))
    assert back.got().count(b"\n") == 1
    again.sends(tagged(1, b"c\n") + tagged(2, b"d\n"))
    assert again.wire.closing


def test_where_there_is_no_other_only_the_connection_is_replaced() -> None:
    stage = Stage(TaggedToy(), max_connections=2)
    ann = stage.asks(tagged(1, b"a\n"))
    one = stage.connects()
    one.sends(tagged(0, b"stops\n") + tagged(1, b"a\n"))
    ann.sends(tagged(2, b"b\n"))
    assert stage.connects().got() == tagged(1, b"b\n")


def test_who_waits_does_not_wait_for_a_look() -> None:
    stage, ann, _, _ = stopping(max_in_flight=1)
    stage.passes(0.8)
    assert looked_at(stage) == ["one:1"]
    ann.sends(tagged(3, b"c\n"))
    assert looked_at(stage) == ["one:1", "two:2"]


def test_a_server_that_cannot_be_reached_and_then_says_that_it_stops_is_forgotten_in_its_time() -> None:
    stage, ann, one, _ = stopping(max_in_flight=1)
    ann.sends(tagged(3, b"c\n"))
    stage.connects()
    one.sends(tagged(0, b"stays\n"))
    ann.sends(tagged(4, b"d\n"))
    assert looked_at(stage) == ["one:1"]
    stage.refuses()
    one.sends(tagged(0, b"stops\n"))
    for _ in range(31):
        stage.passes(1.0)
        for upstream in list(stage.dials):
            stage.connects(upstream)
    assert states(stage)["one:1"] == "up"


def test_who_waits_for_one_that_stops_is_dialled_for_when_its_pause_is_over_if_no_other_serves() -> None:
    stage = Stage(TaggedToy(), max_connections=2, max_in_flight=1, suspect_after=60.0, timeout=20.0)
    ann = stage.asks(tagged(1, b"a\n"))
    one = stage.connects()
    ann.sends(tagged(2, b"b\n"))
    stage.refuses()
    one.sends(tagged(0, b"stops\n"))
    stage.passes(2.0)
    assert looked_at(stage) == ["one:1"]


# -- accepts, and closes ---------------------------------------------------------------------------------


SHARINGS = pytest.mark.parametrize("sharing", list(Sharing), ids=lambda sharing: sharing.name.lower())


def request(sharing: Sharing, name: bytes = b"x") -> bytes:
    return tagged(1, name + b"\n") if sharing is Sharing.TAGGED else name + b"\n"


def closes_all(stage: Stage, address: str, seconds: float) -> int:
    """For so long that server takes each connection and closes it at once. How many it took."""
    taken, end = 0, stage.world.now + seconds
    while stage.world.now < end:
        for upstream in [u for u in stage.dials if u.server.address == address]:
            taken += 1
            stage.connects(upstream).closes()
        stage.passes(0.005)
    return taken


def echoes(server: Peer) -> int:
    """It answers each request with itself. How many."""
    said = server.got()
    if said:
        server.sends(said)
    if server.wire.eof:
        server.closes()
    return said.count(b"x")


@SHARINGS
def test_a_server_that_accepts_and_closes_is_left_alone_as_one_that_refuses(sharing: Sharing) -> None:
    stage = Stage(sharing, max_connections=8)
    taken = 0
    for _ in range(20):
        stage.asks(request(sharing))
        taken += closes_all(stage, "one:1", 0.25)
    assert 8 <= taken <= 20  # 1,983 in five seconds without a pause
    sent = stage.outcomes()
    assert sent.get("server_closed", 0) + sent.get("ok", 0) <= 2  # the others wait, or waited in vain
    assert [event for event, _ in stage.world.lines] == ["server closes what it accepts"]
    (seen,) = stage.statistics()["servers"]
    assert (seen["state"], seen["last_error"]) == ("backing_off", "accepted, and closed without a word")


@SHARINGS
def test_beside_a_healthy_one_it_costs_what_came_first_and_nothing_after(sharing: Sharing) -> None:
    stage = Stage(sharing, servers=("bad:1", "good:2"), max_connections=4)
    lost: list[int] = []
    good: list[Peer] = []
    for number in range(60):
        ann = stage.asks(request(sharing))
        for _ in range(20):
            closes_all(stage, "bad:1", 0.005)
            good += [stage.connects(u) for u in list(stage.dials) if u.server.address == "good:2"]
            for server in good:
                echoes(server)
        if b"x" not in ann.got():
            lost.append(number)
        ann.closes()
    assert len(lost) <= 1, lost
    assert stage.statistics()["connect_failures"] >= 3  # it was tried again


@SHARINGS
def test_it_is_up_again_when_it_has_said_a_word(sharing: Sharing) -> None:
    stage = Stage(sharing, max_connections=4)
    stage.asks(request(sharing))
    closes_all(stage, "one:1", 1.0)
    ann = stage.asks(request(sharing, b"ann"))
    server = stage.reconnects()
    assert stage.pool.servers[0].failures > 0
    server.sends(server.got())
    assert b"ann" in ann.got()
    assert stage.pool.servers[0].failures == 0
    assert [event for event, _ in stage.world.lines] == ["server closes what it accepts", "server is back"]


@SHARINGS
def test_at_its_first_word_who_waits_is_dialled_for_though_its_pause_is_not_over(sharing: Sharing) -> None:
    """P4: nobody comes to look when the pause is over, for it is up again."""
    stage = Stage(sharing, max_connections=2, max_in_flight=1)
    clients = [stage.client(), stage.client()]
    for client in clients:
        client.sends(request(sharing))
    busy, other = stage.connects(), stage.connects()
    other.breaks_off()
    clients.append(stage.asks(request(sharing)))
    assert stage.dials == []
    busy.sends(request(sharing)[:1])
    assert len(stage.dials) == 1


@SHARINGS
def test_when_it_can_be_reached_again_min_connections_are_there_again(sharing: Sharing) -> None:
    stage = Stage(sharing, max_connections=4, min_connections=3)
    for _ in range(3):
        stage.refuses()
    while not stage.dials:
        stage.passes(0.01)
    stage.connects()
    assert len(stage.dials) == 2


@SHARINGS
def test_one_that_takes_fewer_than_we_want_keeps_what_it_took_and_is_not_hammered(sharing: Sharing) -> None:
    """Java's `accepts` below max_connections."""
    stage = Stage(sharing, max_connections=4, max_in_flight=1)
    clients = [stage.client() for _ in range(6)]
    for client in clients:
        client.sends(request(sharing, b"x"))
    servers = [stage.connects(), stage.connects()]
    taken, served = 0, 0
    for _ in range(100):
        taken += closes_all(stage, "one:1", 0.05)
        served += sum(echoes(server) for server in servers)
    assert taken <= 25
    assert served >= (2 if sharing is Sharing.DEDICATED else 4)
    assert all(server.is_open for server in servers)


def test_where_no_other_can_serve_all_are_tried_as_soon_as_one_has_lasted_a_moment() -> None:
    """Or who sends what makes a server close could keep all others waiting for their turn to try it."""
    stage = Stage(Sharing.EXCLUSIVE, max_connections=4, backoff_min=0.05, backoff_max=0.7)
    stage.asks(b"x\n")
    closes_all(stage, "one:1", 1.0)
    for _ in range(4):
        stage.asks(b"y\n")
    one = stage.reconnects()
    assert one.got() == b"y\n"
    assert len(stage.dials) == 3


def test_a_server_that_ends_what_nobody_has_used_for_a_while_has_not_failed() -> None:
    stage = Stage(Sharing.EXCLUSIVE, min_connections=1, max_connections=4)
    server = stage.connects()
    stage.passes(5.0)
    server.closes()
    assert len(stage.dials) == 1
    assert stage.statistics()["connect_failures"] == 0


def test_nor_one_whose_session_was_ended_by_its_client() -> None:
    stage = Stage(Sharing.DEDICATED)
    ann = stage.asks(b"a line for the log")
    server = stage.connects()
    ann.closes()
    server.closes()
    assert stage.statistics()["connect_failures"] == 0
    assert stage.outcomes() == {"ok": 1}
