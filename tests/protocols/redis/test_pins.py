"""Pins and resets in the heart, with Redis: no shared connection is left inside of somebody's MULTI (P2).

Each of these was seen first as another client's +QUEUED.
"""

from __future__ import annotations

from muxproxy.config.model import Redis
from muxproxy.protocols.redis import RedisProtocol
from tests.fakes import Peer, Stage
from tests.protocols.redis.talk import command

OK = b"+OK\r\n"
QUEUED = b"+QUEUED\r\n"


def one_connection(**keys: object) -> tuple[Stage, Peer]:
    """Greeted, and in db 0."""
    stage = Stage(RedisProtocol(Redis()), max_connections=1, **keys)
    ann = stage.asks(command("PING"))
    server = stage.connects()
    server.sends(OK)
    server.got()
    server.sends(b"+PONG\r\n")
    ann.closes()
    return stage, server


def test_a_multi_that_waits_for_its_db_is_not_written_behind_the_reset_when_its_client_leaves() -> None:
    stage, server = one_connection()
    ann = stage.asks(command("SELECT 5"))
    server.sends(OK)
    bob = stage.asks(command("GET a"))
    server.sends(OK)
    server.sends(b"$-1\r\n")
    server.got()
    ann.sends(command("MULTI"))
    assert server.got() == command("SELECT 5")
    ann.closes()
    assert server.got().startswith(command("RESET"))
    server.sends(OK + b"+RESET\r\n" + OK)
    assert server.got() == b""
    bob.sends(command("GET a"))
    assert server.got() == command("GET a")
    assert stage.statistics()["in_flight"] == 1


def test_a_reset_gives_the_connection_back_after_all_that_its_client_asked_for_before() -> None:
    stage, server = one_connection(max_in_flight=2)
    ann = stage.asks(command("MULTI"))
    ann.sends(command("GET a") + command("GET b") + command("GET c"))
    ann.sends(command("RESET"))
    assert server.got() == command("MULTI") + command("GET a")
    server.sends(OK + QUEUED)
    assert server.got() == command("GET b") + command("GET c")
    server.sends(QUEUED)
    server.sends(QUEUED)
    assert ann.got() == OK + QUEUED * 3 + b"+RESET\r\n"
    assert server.got().startswith(command("RESET"))
    assert stage.statistics()["pinned"] == {}


def test_a_transaction_that_lost_a_command_to_the_queue_ends_its_client_though_multi_was_not_written() -> (
    None
):
    stage, server = one_connection(max_in_flight=2, timeout=2.0)
    ann = stage.asks(command("SELECT 5"))
    server.sends(OK)
    bob = stage.asks(command("GET a"))
    server.sends(OK)
    server.sends(b"$-1\r\n")
    server.got()
    bob.closes()
    ann.sends(command("MULTI") + command("GET b"))
    ann.sends(command("GET c") + command("DISCARD") + command("SELECT 9") + command("MULTI"))
    assert server.got() == command("SELECT 5")  # its reply takes longer than the third of them may wait
    stage.passes(2.1)
    assert not ann.is_open
    server.sends(OK)
    assert server.got().endswith(command("RESET") + command("CLIENT SETNAME muxproxy"))
    assert stage.statistics()["pinned"] == {}


def test_who_gets_no_place_for_exec_is_closed_and_its_next_command_is_not_queued() -> None:
    stage, server = one_connection(max_in_flight=1, timeout=2.0)
    ann = stage.asks(command("MULTI"))
    server.sends(OK)
    ann.sends(command("SET a 1"))
    ann.sends(command("EXEC"))
    stage.passes(2.1)
    assert ann.got() == OK
    assert not ann.is_open
    server.sends(QUEUED)
    assert server.got().startswith(command("MULTI") + command("SET a 1") + command("RESET"))


def test_a_transaction_that_begins_elsewhere_is_lost_with_that_connection_and_not_ended_on_a_third() -> None:
    stage, server = one_connection(max_in_flight=1)
    server.wire.refuses = "Broken pipe"
    with stage.turn():
        ann = stage.asks(command("MULTI"))
        ann.sends(command("DISCARD"))
    second = stage.connects()
    second.sends(OK)
    assert second.got().endswith(command("MULTI"))
    second.wire.refuses = "Broken pipe"
    second.sends(OK)  # to MULTI
    assert ann.got().startswith(OK + b"-ERR muxproxy: ")
    assert stage.statistics()["waiting"] == 0


def test_a_blocking_command_that_gets_no_connection_alone_is_refused_and_no_more() -> None:
    stage, server = one_connection(timeout=2.0)
    stage.asks(command("MULTI"))
    server.sends(OK)
    ann = stage.asks(command("BLPOP q 1"))
    stage.passes(2.1)
    assert ann.got().startswith(b"-OVERLOADED")
    assert ann.is_open


def test_who_leaves_while_it_blocks_is_seen_though_a_large_request_behind_is_not_read() -> None:
    stage, _ = one_connection(stall_timeout=10.0)
    large = b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$900000\r\n" + b"x" * 300_000
    ann = stage.asks(command("BLPOP q 0") + large)
    ann.sends(b"x" * 100_000)
    assert ann.is_paused
    assert stage.statistics()["pinned"] == {"blocking": 1}
    ann.wire.has_left = True
    stage.passes(10.5)
    assert stage.statistics()["pinned"] == {}
    assert stage.outcomes()["client_left"] == 2
