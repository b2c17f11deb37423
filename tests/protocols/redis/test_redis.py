"""Redis as the heart sees it: the verbs of the contract, and between the heart's fakes what clients see."""

from __future__ import annotations

from typing import Any

from muxproxy.config.model import Batch
from muxproxy.protocols.contract import Sharing
from tests.fakes import Peer, Stage
from tests.protocols.redis.talk import HELLO_REPLY, command, error, protocol

OK = b"+OK\r\n"
SETNAME = command("CLIENT SETNAME cache")


def say(*lines: str) -> bytes:
    return b"".join(command(line) for line in lines)


def test_many_in_flight_in_order_and_no_half_open_connections() -> None:
    redis = protocol(fence=100, subscriber_buffer=5, batch=Batch(commands=3, delay=0.005))
    assert redis.batch == (3, 0.005)
    assert protocol().batch == protocol(batch=Batch(commands=1)).batch == (0, 0.0)
    assert (redis.name, redis.sharing, redis.half_close) == ("redis", Sharing.ORDERED, False)
    assert (redis.fence, redis.subscriber_buffer) == (100, 5)
    assert redis.probe() == command("PING")


# -- with the heart ------------------------------------------------------------------------------------------


class House(Stage):
    """A stage whose servers have been greeted."""

    def __init__(self, options: dict[str, Any] | None = None, **keys: Any) -> None:
        super().__init__(protocol(**(options or {})), **keys)

    def opens(self) -> Peer:
        server = self.connects()
        assert server.got() == SETNAME
        server.sends(OK)
        return server


def test_commands_of_two_clients_share_a_connection_and_each_gets_its_own_reply() -> None:
    house = House(max_connections=1)
    ann, bob = house.asks(command("GET a")), house.asks(command("GET b"))
    server = house.opens()
    assert server.got() == say("GET a", "GET b")
    server.sends(b"$1\r\n1\r\n$1\r\n2\r\n")
    assert (ann.got(), bob.got()) == (b"$1\r\n1\r\n", b"$1\r\n2\r\n")


def test_a_command_never_runs_in_another_clients_db() -> None:
    house = House(max_connections=1)
    ann = house.asks(command("SELECT 1") + command("SET a 1"))
    server = house.opens()
    bob = house.asks(command("SET b 0"))
    assert server.got() == command("SELECT 1")
    server.sends(OK)
    assert ann.got() == OK
    db, seen = b"1", []
    while written := server.got():
        for line in written.split(b"*")[1:]:
            words = line.split(b"\r\n")[2::2]
            db = words[1] if words[0] == b"SELECT" else db
            seen.append((db, words[1]) if words[0] == b"SET" else words[0])
            server.sends(OK)
    assert seen == [(b"1", b"a"), b"SELECT", (b"0", b"b")]
    assert (ann.got(), bob.got()) == (OK, OK)


def test_a_whole_transaction_that_cannot_be_sent_leaves_its_client_in_step() -> None:
    house = House(max_connections=1, timeout=1.0)
    ann = house.asks(say("MULTI", "GET a", "EXEC") + say("PING"))
    house.passes(5.0)
    replies = ann.got().split(b"\r\n")
    assert replies[:2] == [b"+OK", b"+QUEUED"]
    assert [reply[:22] for reply in replies[2:4]] == [b"-OVERLOADED muxproxy: "] * 2
    assert replies[4:] == [b""]
    assert ann.is_open


def test_a_client_that_leaves_in_the_middle_of_a_transaction_leaves_nothing_behind() -> None:
    house = House(max_connections=1)
    ann = house.asks(command("MULTI"))
    server = house.opens()
    assert server.got() == command("MULTI")
    server.sends(OK)
    ann.closes()
    assert server.got() == command("RESET") + SETNAME
    bob = house.asks(command("GET b"))
    assert server.got() == b""  # not before the server has said that all is as it was
    server.sends(b"+RESET\r\n" + OK)
    assert server.got() == command("GET b")
    server.sends(b"$-1\r\n")
    assert bob.got() == b"$-1\r\n"


def test_a_subscriber_hears_of_the_channel_after_its_acknowledgement() -> None:
    house = House(max_connections=2)
    ann = house.asks(command("SUBSCRIBE a"))
    server = house.opens()
    assert server.got() == command("SUBSCRIBE a")
    ack = b"*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n"
    bob = house.asks(command("SUBSCRIBE a"))
    assert server.got() == b""
    message = b"*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$2\r\nhi\r\n"
    server.sends(ack + message)
    assert ann.got() == bob.got() == ack + message
    ann.sends(command("GET a"))
    assert ann.got().startswith(b"-ERR Can't execute 'get': ")


def test_what_comes_behind_a_request_that_its_feed_answers_at_once_is_not_forgotten() -> None:
    house = House(max_connections=2)
    house.asks(command("SUBSCRIBE a"))
    feed = house.opens()
    feed.sends(b"*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n")
    ann = house.asks(say("GET k", "SUBSCRIBE a", "RESET", "GET l", "SUBSCRIBE a"))
    server = house.opens()
    server.sends(b"$-1\r\n")
    assert server.got() == say("GET k", "GET l")
    server.sends(b"$-1\r\n")
    ack = b"*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n"
    assert ann.got() == b"$-1\r\n" + ack + b"+RESET\r\n$-1\r\n" + ack


def test_a_server_that_refuses_a_state_is_the_matter_of_who_needs_it() -> None:
    house = House({"auth": "passthrough"}, max_connections=1)
    ann = house.asks(command("AUTH ann pw"))
    server = house.opens()
    assert server.got() == command("AUTH ann pw")
    server.sends(OK)
    assert ann.got() == OK
    bob = house.asks(command("HELLO 3"))
    assert server.got() == command("RESET") + SETNAME
    no = error("ERR unknown command 'RESET'")
    server.sends(no + OK)
    said = bob.got()
    assert said.startswith(b"-ERR muxproxy: ")
    assert said.endswith(b": RESET was answered with ERR unknown command\r\n")
    ann.sends(command("GET a"))
    assert server.got() == command("GET a")
    server.sends(b"$-1\r\n")
    assert ann.got() == b"$-1\r\n"


def test_hello_is_the_servers_own_with_the_clients_id() -> None:
    house = House(max_connections=1)
    ann = house.asks(command("HELLO 3") + command("CLIENT ID"))
    server = house.opens()
    server.sends(HELLO_REPLY)
    hello, _, client_id = ann.got().rpartition(b":")
    assert hello == HELLO_REPLY.replace(b":4\r\n", b":" + client_id)


def test_quit_has_its_fin_with_its_answer_also_behind_replies_that_are_owed() -> None:
    house = House(max_connections=1)
    ann = house.asks(command("QUIT"))
    assert ann.got() == OK
    assert ann.wire.finished
    bob = house.asks(command("GET a") + command("QUIT"))
    server = house.opens()
    assert not bob.wire.finished
    server.sends(b"$-1\r\n")
    assert bob.got() == b"$-1\r\n" + OK
    assert bob.wire.finished
