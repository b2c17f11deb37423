"""Who we are towards servers, and what clients must say, changes while they are connected."""

from __future__ import annotations

from typing import Any

import msgspec

from muxproxy.config.model import Redis
from muxproxy.protocols.redis import RedisProtocol
from tests.fakes import Peer, Stage
from tests.protocols.redis.talk import command

NAME = command("CLIENT SETNAME cache")


class Scene:
    """A pool of Redis connections whose server answers as the test says."""

    def __init__(self, *, redis: dict[str, Any], **keys: Any) -> None:
        keys = {"max_connections": 1, "max_in_flight": 16, **keys}
        self.redis = Redis(**redis)
        protocol = RedisProtocol(self.redis, "cache", max_in_flight=keys["max_in_flight"])
        self.stage = Stage(protocol, **keys)

    def reloads(self, **redis: Any) -> None:
        self.redis = msgspec.structs.replace(self.redis, **redis)
        stage = self.stage
        stage.config = msgspec.structs.replace(stage.config, redis=self.redis)
        with stage.turn():
            stage.pool.configure(stage.config, stage.world.now)

    def connects(self, login: str) -> Peer:
        server = self.stage.connects()
        greeting = (command(f"AUTH {login}") if login else b"") + NAME
        assert server.got() == greeting
        server.sends(b"+OK\r\n" * (2 if login else 1))
        return server


def asks(client: Peer, server: Peer, line: str, reply: bytes = b"+OK\r\n") -> None:
    client.sends(command(line))
    assert server.got() == command(line)
    server.sends(reply)
    assert client.got() == reply


def test_a_new_password_is_said_on_new_connections_and_no_client_sees_it() -> None:
    scene = Scene(redis={"password": "old"})
    ann, bob = scene.stage.client(), scene.stage.client()
    ann.sends(command("SELECT 3"))
    old = scene.connects("old")
    assert old.got() == command("SELECT 3")
    bob.sends(command("GET b"))  # behind it
    before = scene.stage.pool.protocol.states.base
    scene.reloads(password="new")
    assert scene.stage.pool.protocol.states.base is before
    old.sends(b"+OK\r\n")
    assert ann.got() == b"+OK\r\n"
    assert not old.is_open, "it owes nothing any more"
    new = scene.connects("new")
    assert new.got() == command("GET b")
    new.sends(b"$1\r\nb\r\n")
    assert bob.got() == b"$1\r\nb\r\n"
    ann.sends(command("GET a"))
    assert new.got() == command("SELECT 3")
    new.sends(b"+OK\r\n")
    assert new.got() == command("GET a")
    new.sends(b"$1\r\na\r\n")
    assert ann.got() == b"$1\r\na\r\n"
    carl = scene.stage.client()
    carl.sends(command("SELECT 3"))
    assert carl.got() == b"+OK\r\n", "it is known to work, whoever we are"
    assert scene.stage.pool.closed == {"logged in as before": 1}


def test_a_user_from_none_and_to_none() -> None:
    scene = Scene(redis={})
    ann = scene.stage.client()
    ann.sends(command("SET a 1"))
    old = scene.connects("")
    assert old.got() == command("SET a 1")
    old.sends(b"+OK\r\n")
    scene.reloads(username="mux", password="secret")
    assert not old.is_open
    ann.got()
    ann.sends(command("SET a 2"))
    mux = scene.connects("mux secret")
    assert mux.got() == command("SET a 2")
    mux.sends(b"+OK\r\n")
    assert ann.got() == b"+OK\r\n"
    scene.reloads(username="", password="")
    assert not mux.is_open
    ann.sends(command("SET a 3"))
    assert scene.connects("").got() == command("SET a 3")


def test_a_transaction_goes_on_as_who_it_began_and_is_cut_at_the_end_of_drain_timeout() -> None:
    scene = Scene(redis={"password": "old"}, max_connections=2)
    ann = scene.stage.client()
    ann.sends(command("WATCH a"))
    old = scene.connects("old")
    assert old.got() == command("WATCH a")
    old.sends(b"+OK\r\n")
    assert ann.got() == b"+OK\r\n"
    scene.reloads(password="new")
    asks(ann, old, "GET a", b"$1\r\n1\r\n")
    asks(ann, old, "WATCH b")
    with scene.stage.turn():
        assert scene.stage.pool.end_retiring(scene.stage.world.now) == 1
    assert not old.is_open
    assert not ann.is_open


def test_a_connection_that_may_not_stay_ends_with_the_session_that_had_it() -> None:
    scene = Scene(redis={"password": "old"}, max_connections=2)
    ann = scene.stage.client()
    ann.sends(command("WATCH a"))
    old = scene.connects("old")
    old.got()
    old.sends(b"+OK\r\n")
    scene.reloads(password="new")
    ann.sends(command("RESET"))
    assert ann.got().endswith(b"+RESET\r\n")
    assert not old.is_open
    ann.sends(command("GET a"))
    assert scene.connects("new").got() == command("GET a")


def test_listeners_stay_and_their_connection_is_another_at_the_end() -> None:
    scene = Scene(redis={"password": "old"}, max_connections=2)
    ann = scene.stage.client()
    ann.sends(command("SUBSCRIBE a"))
    old = scene.connects("old")
    assert old.got() == command("SUBSCRIBE a")
    old.sends(b"*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n")
    ann.got()
    scene.reloads(password="new")
    old.sends(b"*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nx\r\n")
    assert ann.got() == b"*3\r\n$7\r\nmessage\r\n$1\r\na\r\n$1\r\nx\r\n"
    with scene.stage.turn():
        assert scene.stage.pool.end_retiring(scene.stage.world.now) == 1
    scene.stage.passes(0.2)
    new = scene.connects("new")
    assert new.got() == command("SUBSCRIBE a")
    assert ann.is_open


def test_a_greeting_that_is_under_way_with_the_old_password_is_given_up_and_is_no_failure() -> None:
    scene = Scene(redis={"password": "old"})
    ann = scene.stage.client()
    ann.sends(command("GET a"))
    greeting = scene.stage.connects()
    scene.reloads(password="new")
    assert not greeting.is_open
    assert scene.stage.statistics()["servers"][0]["failures"] == 0
    assert scene.connects("new").got() == command("GET a")


def test_what_clients_must_say_is_what_it_was_when_they_connected() -> None:
    scene = Scene(redis={"client_password": "one"})
    ann, bob = scene.stage.client(), scene.stage.client()
    ann.sends(command("AUTH one"))
    assert ann.got() == b"+OK\r\n"
    scene.reloads(client_password="two")
    ann.sends(command("GET a"))
    server = scene.connects("")
    assert server.got() == command("GET a")
    bob.sends(command("AUTH one"))
    assert bob.got() == b"+OK\r\n"
    carl = scene.stage.client()
    carl.sends(command("AUTH one"))
    assert carl.got().startswith(b"-WRONGPASS")
    carl.sends(command("AUTH two"))
    assert carl.got() == b"+OK\r\n"
    scene.reloads(client_password="")
    assert scene.stage.pool.closed == {}
    dora, eve = scene.stage.client(), carl
    dora.sends(command("GET d"))
    eve.sends(command("GET e"))
    server.sends(b"$1\r\na\r\n")
    assert server.got() == command("GET d") + command("GET e")


def test_commands_that_wait_as_one_are_served_though_fewer_than_they_are_may_be_in_flight_now() -> None:
    scene = Scene(redis={}, max_in_flight=64)
    ann, bob = scene.stage.client(), scene.stage.client()
    ann.sends(command("GET x") * 60)
    server = scene.connects("")
    assert server.got() == command("GET x") * 60
    bob.sends(command("GET a") * 12)
    assert scene.stage.pool.gate.waiting == 1
    scene.stage.configure(max_in_flight=2)
    server.sends(b"$1\r\nx\r\n" * 59)
    assert server.got() == b""
    server.sends(b"$1\r\nx\r\n")
    assert server.got() == command("GET a") * 12
    server.sends(b"$1\r\na\r\n" * 12)
    assert (ann.got(), bob.got()) == (b"$1\r\nx\r\n" * 60, b"$1\r\na\r\n" * 12)
