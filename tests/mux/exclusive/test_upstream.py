"""One connection by turn: what it owes, and what becomes of that when it ends (P1, P2, P9)."""

from __future__ import annotations

import pytest

from muxproxy.protocols.contract import Sharing
from tests.fakes import Peer, Stage

EXCLUSIVE = Sharing.EXCLUSIVE


def closed(stage: Stage) -> dict[str, int]:
    return stage.statistics()["closed"]


def test_bytes_left_over_behind_a_reply_reach_nobody_and_the_connection_is_not_used_again() -> None:
    stage = Stage(EXCLUSIVE, max_connections=1)
    ann, bob = stage.asks(b"ann\n"), stage.asks(b"bob\n")
    server = stage.connects()
    server.sends(b"ann\nextra\n")
    assert ann.got() == b"ann\n"
    assert bob.got() == b""
    assert not server.is_open
    assert closed(stage) == {"unsolicited bytes": 1}
    assert stage.connects().got() == b"bob\n"


def test_a_server_that_says_close_is_obeyed_and_its_reason_counted() -> None:
    stage = Stage(EXCLUSIVE)
    ann = stage.asks(b"ann\n")
    server = stage.connects()
    server.sends(b"ann close +2\nhi")
    assert ann.got() == b"ann close +2\nhi"
    assert not server.is_open
    assert ann.is_open
    assert closed(stage) == {"server says close": 1}


def test_a_reply_that_ends_with_the_connection_is_whole_when_it_ends() -> None:
    stage = Stage(EXCLUSIVE)
    ann = stage.asks(b"ann\n")
    server = stage.connects()
    server.sends(b"ann ~\nsome")
    server.sends(b"thing")
    assert ann.got() == b"ann ~\nsomething"
    assert ann.is_open
    server.closes()
    assert not ann.is_open
    assert not ann.wire.was_reset
    assert stage.outcomes() == {"ok": 1}


def test_a_reply_that_ends_with_the_connection_and_is_cut_ends_in_an_error_that_can_be_seen() -> None:
    stage = Stage(EXCLUSIVE)
    ann = stage.asks(b"ann\n")
    server = stage.connects()
    server.sends(b"ann ~\nsome")
    server.breaks_off()
    assert ann.wire.was_reset
    assert stage.outcomes() == {"server_closed": 1}


def test_a_server_that_breaks_the_protocol_is_left_and_the_client_told() -> None:
    stage = Stage(EXCLUSIVE)
    ann = stage.asks(b"ann\n")
    server = stage.connects()
    server.sends(b"!oops\n")
    assert ann.got() == b"no server_broke | toys: one:1: malformed !oops\n"
    assert ann.is_open
    assert not server.is_open
    assert stage.outcomes() == {"server_broke": 1}


def test_an_interim_reply_is_passed_on_and_is_not_the_end() -> None:
    stage = Stage(EXCLUSIVE)
    ann = stage.asks(b"ann\n")
    server = stage.connects()
    server.sends(b"ann 100\nann 100\n")
    assert ann.got() == b"ann 100\nann 100\n"
    assert stage.outcomes() == {}
    server.sends(b"ann\n")
    assert ann.got() == b"ann\n"


def test_its_client_has_taken_all_that_came_when_it_is_reset() -> None:
    stage = Stage(EXCLUSIVE, stall_timeout=3.0)
    ann, bob = stage.asks(b"ann\n"), stage.asks(b"bob\n")
    anns, bobs = stage.connects(), stage.connects()
    ann.stops_reading()
    bob.stops_reading()
    anns.sends(b"ann ~\nsomething")
    bobs.sends(b"bob ~\nsomething")
    anns.breaks_off()
    bobs.breaks_off()
    for _ in range(10):
        stage.passes(2.0)
        ann.reads(1)
    assert not ann.wire.was_reset
    assert bob.wire.was_reset  # for it took nothing
    ann.reads()
    stage.passes(1.0)
    assert ann.got() == b"ann ~\nsomething"
    assert ann.wire.was_reset
    assert stage.statistics()["clients"] == 0


def test_a_silent_server_is_given_up_after_reply_timeout_and_each_byte_starts_it_anew() -> None:
    stage = Stage(EXCLUSIVE, reply_timeout=10.0)
    ann, bob = stage.asks(b"ann\n"), stage.asks(b"bob\n")
    anns, bobs = stage.connects(), stage.connects()
    stage.passes(9.0)
    bobs.sends(b"bob +9\n")
    stage.passes(1.02)
    assert ann.got() == b"no reply_timeout | toys: one:1: no reply for 10 s\n"
    assert not anns.is_open
    stage.passes(8.0)
    bobs.sends(b"x")
    stage.passes(9.9)
    assert bobs.is_open
    stage.passes(0.2)
    assert not bobs.is_open
    assert bob.got() == b"bob +9\nx"
    assert not bob.is_open
    assert stage.outcomes() == {"reply_timeout": 2}


def test_a_server_is_not_late_while_its_client_still_sends_or_takes_no_more() -> None:
    stage = Stage(EXCLUSIVE, reply_timeout=5.0, request_buffer=1, response_buffer=100)
    ann = stage.asks(b"up +9\nx")
    server = stage.connects()
    stage.passes(8.0)
    ann.sends(b"12345678")
    assert server.is_open
    ann.stops_reading()
    server.sends(b"up +1000\n" + b"a" * 500)
    stage.passes(8.0)
    ann.reads()
    server.sends(b"a" * 500)
    assert len(ann.got()) == 1009


# -- P9 ------------------------------------------------------------------------------------------------


def loses(stage: Stage, request: bytes, *, reply: bytes = b"", warm: bool = True) -> Peer:
    """The connection of a request ends under it."""
    server = stage.server(b"warm\n", b"warm\n") if warm else None
    ann = stage.asks(request)
    server = server or stage.connects()
    if reply:
        server.sends(reply)
    server.closes()
    return ann


def test_the_keep_alive_race_is_retried_once() -> None:
    stage = Stage(EXCLUSIVE)
    ann = loses(stage, b"get idem\n")
    server = stage.connects()
    assert server.got() == b"get idem\n"
    server.sends(b"get\n")
    assert ann.got() == b"get\n"
    assert stage.statistics()["retried"] == 1
    assert stage.outcomes() == {"ok": 2}


def test_a_retry_takes_a_connection_at_hand_and_stands_before_those_who_wait() -> None:
    stage = Stage(EXCLUSIVE, max_connections=1)
    server = stage.server(b"warm\n", b"warm\n")
    ann, bob = stage.asks(b"ann idem\n"), stage.asks(b"bob\n")
    server.closes()
    again = stage.connects()
    assert again.got() == b"ann idem\n"
    again.sends(b"ann\n")
    assert again.got() == b"bob\n"
    assert ann.got() == b"ann\n"
    assert bob.is_open


@pytest.mark.parametrize(
    "how",
    [
        {"request": b"post\n"},
        {"request": b"get idem\n", "warm": False},
        {"request": b"get idem\n", "reply": b"g"},
        {"request": b"get idem\n", "reply": b"get 100\n"},
    ],
    ids=["not idempotent", "on a new connection", "a reply byte was seen", "an interim reply was seen"],
)
def test_nothing_else_is_retried(how: dict[str, bytes | bool]) -> None:
    stage = Stage(EXCLUSIVE)
    ann = loses(stage, **how)
    assert stage.dials == []
    assert ann.got().endswith(
        b"no server_closed | toys: one:1: server closed the connection before its reply's end\n"
    )
    assert stage.statistics()["retried"] == 0


def test_a_request_whose_body_was_streamed_is_not_retried() -> None:
    stage = Stage(EXCLUSIVE, request_buffer=5)
    server = stage.server(b"warm\n", b"warm\n")
    ann = stage.asks(b"put idem +10\n12345")
    ann.sends(b"67890")
    assert server.got() == b"put idem +10\n1234567890"
    server.closes()
    assert ann.got().startswith(b"no server_closed")


def test_a_request_whose_body_was_held_is_retried_whole() -> None:
    stage = Stage(EXCLUSIVE)
    server = stage.server(b"warm\n", b"warm\n")
    ann = stage.client()
    ann.sends(b"put idem +10\n12345")
    ann.sends(b"67890")
    server.closes()
    assert stage.connects().got() == b"put idem +10\n1234567890"


def warm(stage: Stage, count: int) -> list[Peer]:
    """So many connections that have served one exchange each and are idle."""
    clients = [stage.asks(b"%d\n" % number) for number in range(count)]
    servers = [stage.connects() for _ in clients]
    for server in servers:
        server.sends(server.got())
    for client in clients:
        client.closes()
    stage.passes(1.0)
    return servers


def test_a_request_on_whose_reading_a_server_closes_runs_twice_however_many_connections_there_are() -> None:
    stage = Stage(EXCLUSIVE, max_connections=32)
    servers = warm(stage, 32)
    ann = stage.asks(b"get idem\n")
    ran = 0
    while ann.got() == b"":
        servers += [stage.connects() for _ in tuple(stage.dials)]
        stage.passes(0.001)
        for server in servers:
            if server.got():
                ran += 1
                server.closes()
    assert ran == 2
    assert stage.outcomes()["server_closed"] == 1
    assert stage.statistics()["retried"] == 1


def test_the_second_time_is_on_a_connection_dialled_after_the_first_loss() -> None:
    stage = Stage(EXCLUSIVE, max_connections=3)
    one, two = warm(stage, 2)
    bob = stage.asks(b"bob\n") and stage.asks(b"get idem\n") and stage.asks(b"cyd\n")
    early = stage.dials[0]  # for cyd, and begun before the loss
    lost = one if one.got().endswith(b"get idem\n") else two
    lost.closes()
    other = stage.connects(early)
    assert other.got() == b"cyd\n"
    other.sends(b"cyd\n")
    assert other.got() == b""
    fresh = stage.connects()
    assert fresh.got() == b"get idem\n"
    assert bob.got() == b"cyd\n"


def test_connections_that_a_reload_has_ended_are_not_used_once_one_has_told_of_it() -> None:
    stage = Stage(EXCLUSIVE, max_connections=3)
    servers = warm(stage, 3)
    for server in servers:
        server.wire.has_left = True  # the kernel has their FINs, and we have read none
    servers[0].closes()
    ann = stage.asks(b"post\n")
    assert [server.got() for server in servers] == [b"", b"", b""]
    fresh = stage.connects()
    assert fresh.got() == b"post\n"
    fresh.sends(b"post\n")
    assert ann.got() == b"post\n"
    assert stage.statistics()["closed"] == {"server closed": 3}


def test_nobody_looks_at_idle_connections_when_nothing_is_wrong() -> None:
    stage = Stage(EXCLUSIVE)
    server = stage.server(b"warm\n", b"warm\n")
    stage.world.has_left = lambda wire: 1 // 0
    stage.asks(b"get idem\n")
    assert server.got() == b"get idem\n"


# -- clients that left -----------------------------------------------------------------------------------


def test_a_reply_that_nobody_waits_for_is_swallowed_and_the_connection_goes_on() -> None:
    stage = Stage(EXCLUSIVE, max_connections=1, abandoned_bytes=1000)
    ann, bob = stage.asks(b"ann\n"), stage.asks(b"bob\n")
    server = stage.connects()
    ann.closes()
    server.sends(b"ann +900\n" + b"x" * 400)
    assert server.got() == b"ann\n"
    server.sends(b"x" * 500)
    assert server.got() == b"bob\n"
    server.sends(b"bob\n")
    assert bob.got() == b"bob\n"
    assert stage.outcomes() == {"client_left": 1, "ok": 1}
    assert closed(stage) == {}


def test_a_reply_that_nobody_waits_for_and_that_is_too_long_costs_the_connection() -> None:
    stage = Stage(EXCLUSIVE, abandoned_bytes=1000)
    ann = stage.asks(b"ann\n")
    server = stage.connects()
    ann.closes()
    server.sends(b"ann +9000\n" + b"x" * 1001)
    assert not server.is_open
    assert closed(stage) == {"abandoned reply too long": 1}


def test_a_reply_that_nobody_waits_for_and_that_is_too_slow_costs_the_connection() -> None:
    stage = Stage(EXCLUSIVE, abandoned_timeout=2.0)
    ann = stage.asks(b"ann\n")
    server = stage.connects()
    ann.closes()
    stage.passes(1.9)
    server.sends(b"ann +9000\n")
    assert server.is_open
    stage.passes(0.2)
    assert not server.is_open
    assert closed(stage) == {"abandoned reply too slow": 1}
    assert stage.outcomes() == {"client_left": 1}


def test_a_client_that_leaves_while_its_server_is_paused_for_it_leaves_no_paused_connection() -> None:
    stage = Stage(EXCLUSIVE, response_buffer=100)
    ann = stage.asks(b"ann\n")
    server = stage.connects()
    ann.stops_reading()
    server.sends(b"ann +500\n" + b"a" * 200)
    assert server.is_paused
    ann.breaks_off()
    assert not server.is_paused
    server.sends(b"a" * 300)
    assert stage.statistics()["upstream"]["idle"] == 1


# -- ends --------------------------------------------------------------------------------------------------


def test_our_own_bug_on_a_connection_closes_it_and_tells_its_client() -> None:
    stage = Stage(EXCLUSIVE)
    ann = stage.asks(b"ann\n")
    server = stage.connects()
    with stage.turn():
        server.wire.brain.on_bug(stage.world.now)
    assert ann.got() == b"no internal | toys: one:1: internal error, see muxproxy's log\n"
    assert not server.is_open
    assert stage.outcomes() == {"internal": 1}


def test_an_upgrade_that_the_server_does_not_want_gives_the_connection_back() -> None:
    stage = Stage(EXCLUSIVE)
    ann = stage.asks(b"up pin\n")
    server = stage.connects()
    assert stage.statistics()["pinned"] == {"upgrade": 1}
    server.sends(b"up\n")
    assert ann.got() == b"up\n"
    assert stage.statistics()["pinned"] == {}
    assert stage.statistics()["upstream"]["idle"] == 1


def test_a_client_that_leaves_before_its_upgrade_is_answered_costs_the_connection() -> None:
    stage = Stage(EXCLUSIVE)
    ann = stage.asks(b"up pin\n")
    server = stage.connects()
    ann.closes()
    assert not server.is_open
    assert stage.statistics()["pinned"] == {}
    assert stage.outcomes() == {"client_left": 1}


def test_a_connection_whose_server_has_not_read_the_last_request_is_not_used_again() -> None:
    stage = Stage(EXCLUSIVE)
    stage.request_high = 100
    server = stage.server(b"eve\n", b"eve\n")
    server.stops_reading()
    ann = stage.asks(b"ann +200\n" + b"ann." * 50)
    server.sends(b"ann\n")
    assert ann.got() == b"ann\n"
    assert not server.is_open  # P7: what another would send behind it had no bound
    assert stage.statistics()["closed"] == {"reply before the request was read": 1}


def test_a_client_that_was_stopped_for_one_body_may_send_the_next() -> None:
    stage = Stage(EXCLUSIVE, request_buffer=100)
    stage.request_high = 50
    server = stage.server(b"eve\n", b"eve\n")
    server.stops_reading()
    ann = stage.asks(b"one +80\n" + b"one." * 20)
    server.sends(b"one\n")
    ann.sends(b"two +400\n" + b"two." * 50)
    again = stage.connects()
    assert not ann.is_paused
    ann.sends(b"two." * 50)
    assert again.got() == b"two +400\n" + b"two." * 100


def test_a_tunnel_that_was_paused_for_its_client_is_not_a_late_reply_afterwards() -> None:
    stage = Stage(EXCLUSIVE, response_buffer=100, reply_timeout=60.0, client_idle_timeout=300.0)
    ann = stage.asks(b"up pin\n")
    server = stage.connects()
    server.sends(b"up 101\n")
    ann.stops_reading()
    server.sends(b"x" * 500)
    assert server.is_paused
    ann.reads()
    assert not server.is_paused
    stage.passes(100.0)
    assert ann.is_open
    ann.sends(b"still here")
    assert server.got().endswith(b"still here")


def test_a_bug_while_a_connection_goes_to_the_next_leaves_nobody_waiting_for_ever() -> None:
    stage = Stage(EXCLUSIVE, max_connections=1)
    ann, bob = stage.asks(b"ann\n"), stage.asks(b"bob\n")
    server = stage.connects()
    brain = server.wire.brain

    def raises(note: object) -> None:
        raise ZeroDivisionError("a bug of ours")

    brain.replies.expect = raises
    with pytest.raises(ZeroDivisionError):
        server.sends(b"ann\n")
    with stage.turn():
        brain.on_bug(stage.world.now)  # as worker/upstream.py does
    assert not ann.is_open
    assert bob.got().startswith(b"no internal")
    assert stage.outcomes() == {"internal": 2}
    assert stage.statistics()["in_flight"] == 0
