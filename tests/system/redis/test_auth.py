"""Who a client is: by the proxy's own password, or as the server knows it, and never as somebody else."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from tests.system.process import wait_for
from tests.system.proxy import Proxy
from tests.system.redis.proxied import proxied, telling
from tests.system.redis.server import RedisServer
from tests.system.redis.wire import Wire, Word, command

WORDS: tuple[tuple[Word, ...], ...] = (
    ("GET", "a"),
    ("PING",),
    ("MULTI",),
    # Not an unknown command: Redis says so before it asks who the client is, muxproxy asks first.
    ("HELLO", 3),
    ("HELLO",),
    ("AUTH",),
    ("AUTH", "wrong"),
    ("AUTH", "nobody", "front-word"),
    ("AUTH", "default", "wrong"),
    ("HELLO", 3, "AUTH", "default", "wrong"),
    ("HELLO", 4, "AUTH", "default", "front-word"),
    ("SUBSCRIBE", "news"),
    ("AUTH", "front-word"),
    ("SET", "a", 1),
    ("GET", "a"),
    ("AUTH", "wrong"),
    ("GET", "a"),
    ("RESET",),
    ("GET", "a"),
    ("AUTH", "default", "front-word"),
    ("GET", "a"),
    ("QUIT",),
)

ON_ALL_SERVERS = True


@pytest.fixture(scope="module")
def locked(namespace: None, make: str) -> Iterator[RedisServer]:
    with RedisServer("--requirepass", "back-word", password="back-word") as server:
        yield server


def test_a_client_password_is_asked_for_in_the_words_of_a_server_that_has_it(locked: RedisServer) -> None:
    """The same conversation as with a server whose own password it is."""
    front = {"password": "back-word", "client_password": "front-word"}
    with (
        RedisServer("--requirepass", "front-word", password="front-word") as direct,
        proxied(locked, redis=front) as proxy,
        Wire(direct.address) as expected,
        Wire(proxy.address) as wire,
    ):
        for words in WORDS:
            told = expected.ask(*words).replace(b"HELLO <proto> AUTH", b"HELLO AUTH")  # since 7.2
            assert wire.ask(*words) == told, words
        assert "back-word" not in proxy.log()
        assert "front-word" not in proxy.log()


@pytest.mark.parametrize("data", [b"*11\r\n", b"*1\r\n$16385\r\n"])
def test_who_has_not_said_the_password_may_say_little(locked: RedisServer, data: bytes) -> None:
    front = {"password": "back-word", "client_password": "front-word"}
    with proxied(locked, redis=front) as proxy, Wire(proxy.address) as wire, Wire(locked.address) as expected:
        wire.send(data)
        expected.send(data)
        told = expected.rest()
        assert b"unauthenticated" in told
        assert wire.rest() == told
        with Wire(proxy.address) as good:  # so that the sampler sees a socket
            assert good.ask("AUTH", "front-word") == b"+OK\r\n"
            assert good.ask("PING", "x") == b"$1\r\nx\r\n"
            assert good.ask("DBSIZE").startswith(b":")


@pytest.fixture(scope="module")
def users(namespace: None, make: str) -> Iterator[RedisServer]:
    with RedisServer() as server:
        for name in ("alice", "bob"):
            rules = ("on", f">{name}-word", f"~{name}:*", f"&{name}:*", "+@all")
            assert server.ask("ACL", "SETUSER", name, *rules) == b"+OK\r\n"
        assert server.ask("ACL", "SETUSER", "default", "-@all", "+auth", "+hello", "+ping") == b"+OK\r\n"
        yield server


@pytest.fixture(scope="module")
def passing(users: RedisServer) -> Iterator[Proxy]:
    # Both users of both RESP versions, and blocking and transactions besides: room for all at once.
    with proxied(users, redis={"auth": "passthrough"}) as proxy:
        yield proxy


def test_a_client_is_who_it_says_it_is_to_the_server(users: RedisServer, passing: Proxy) -> None:
    words: tuple[tuple[Word, ...], ...] = (
        ("GET", "alice:1"),
        ("AUTH", "alice", "wrong"),
        ("AUTH", "alice", "alice-word"),
        ("ACL", "WHOAMI"),
        ("SET", "alice:1", "hers"),
        ("SET", "bob:1", "hers"),
        ("SUBSCRIBE", "bob:news"),
        ("AUTH", "nobody", "word"),
        ("ACL", "WHOAMI"),
        ("HELLO", 3, "AUTH", "bob", "bob-word", "SETNAME", "both"),
        ("ACL", "WHOAMI"),
        ("GET", "alice:1"),
        ("CLIENT", "GETNAME"),
        ("SELECT", 3),
        ("SET", "bob:1", "his"),
        ("MULTI",),
        ("GET", "bob:1"),
        ("EXEC",),
        ("RESET",),
        ("GET", "bob:1"),
        ("QUIT",),
    )
    with Wire(users.address) as expected, Wire(passing.address) as wire, telling(passing):
        for one in words:
            told = expected.ask(*one)
            got = wire.ask(*one)
            if one[0] == "HELLO":  # the id is of the connection
                got, told = (reply.partition(b"$2\r\nid")[0] for reply in (got, told))
            assert got == told, one


def test_users_at_the_same_time_never_act_as_each_other(passing: Proxy) -> None:
    def be(number: int) -> None:
        name = ("alice", "bob")[number % 2]
        other = ("bob", "alice")[number % 2]
        with Wire(passing.address) as wire:
            hello: tuple[Word, ...] = ("HELLO", 3, "AUTH", name, f"{name}-word")
            wire.ask(*(hello if number % 4 < 2 else ("AUTH", name, f"{name}-word")))
            whoami = b"$%d\r\n%b\r\n" % (len(name), name.encode())
            for turn in range(50):
                replies = wire.pipeline(
                    ("ACL", "WHOAMI"),
                    ("SET", f"{name}:{number}", turn),
                    ("GET", f"{name}:{number}"),
                    ("GET", f"{other}:{number}"),
                )
                assert replies[:2] == [whoami, b"+OK\r\n"], replies
                assert replies[2].endswith(b"\r\n%d\r\n" % turn), replies
                assert replies[3].startswith(b"-NOPERM"), replies

    with telling(passing), ThreadPoolExecutor(20) as threads:
        list(threads.map(be, range(20)))


def test_a_password_that_was_changed_is_not_good_any_more_though_it_once_was(namespace: None) -> None:
    """Nor for a client that is in: direct it would stay in, here its next connection may be another, where it
    is told so, and closed, so that its library connects and authenticates anew."""
    with (
        RedisServer() as server,
        proxied(server, redis={"auth": "passthrough"}) as proxy,
        Wire(proxy.address) as wire,
        Wire(proxy.address) as late,
    ):
        assert server.ask("ACL", "SETUSER", "carol", "on", ">old", "~*", "+@all") == b"+OK\r\n"
        assert wire.ask("AUTH", "carol", "old") == b"+OK\r\n"
        assert wire.ask("SET", "carol:1", 1) == b"+OK\r\n"
        assert server.ask("ACL", "SETUSER", "carol", "<old", ">new") == b"+OK\r\n"
        assert late.ask("AUTH", "carol", "old").startswith(b"-WRONGPASS")
        assert late.ask("AUTH", "carol", "new") == b"+OK\r\n"
        assert late.ask("GET", "carol:1") == b"$1\r\n1\r\n"
        told = wire.ask("GET", "carol:1")
        assert told.startswith(b"-ERR muxproxy: ")
        assert b"WRONGPASS" in told
        assert wire.rest() == b""


@pytest.mark.parametrize("was_right", [True, False], ids=["an old password", "one that never was right"])
@pytest.mark.parametrize("how", ["AUTH", "HELLO"])
def test_a_password_that_fails_while_others_wait_shifts_nobodys_reply(
    namespace: None, was_right: bool, how: str
) -> None:
    """Redis 7.2 to 8.x and Valkey 8 do not answer a failing AUTH while they owe other replies."""
    with (
        RedisServer() as server,
        proxied(server, redis={"auth": "passthrough"}, upstream={"max_connections": 1}) as proxy,
        ExitStack() as stack,
    ):
        late, *others = (stack.enter_context(Wire(proxy.address)) for _ in range(8))
        assert server.ask("ACL", "SETUSER", "alice", "on", ">old", "~*", "+@all") == b"+OK\r\n"
        for number in range(7):
            server.ask("SET", f"key{number}", f"value{number}")
        if was_right:
            assert others[0].ask("AUTH", "alice", "old") == b"+OK\r\n"
        assert server.ask("ACL", "SETUSER", "alice", "<old", ">new") == b"+OK\r\n"
        assert others[1].ask("GET", "key1") == b"$6\r\nvalue1\r\n"  # the connection is a stranger's again
        words = ("AUTH",) if how == "AUTH" else ("HELLO", 3, "AUTH")
        said = [(wire, command("GET", f"key{number}")) for number, wire in enumerate(others[1:], 1)]
        said.insert(1, (late, command(*words, "alice", "old")))
        server.signal(signal.SIGSTOP)  # it will read all in one go, and owe replies when it comes to the AUTH
        for number, (wire, data) in enumerate(said, 1):
            wire.send(data)
            wait_for(lambda: proxy.backend()["in_flight"] == number, within=10, what="it is sent")  # noqa: B023  # within the loop
        server.signal(signal.SIGCONT)
        assert late.reply() == b"-WRONGPASS invalid username-password pair or user is disabled.\r\n"
        for number, wire in enumerate(others[1:], 1):
            assert wire.reply() == b"$6\r\nvalue%d\r\n" % number
        assert proxy.backend()["connects"] == 1


def test_our_own_password_that_was_changed_is_told_so_after_a_reset_and_shifts_nobodys_reply(
    namespace: None,
) -> None:
    """An unknown command leaves the connection to be reset, and what follows authenticates anew."""
    with (
        RedisServer("--requirepass", "old", password="old") as server,
        proxied(server, redis={"password": "old"}, upstream={"max_connections": 1}) as proxy,
        server.direct() as direct,
        ExitStack() as stack,
    ):
        wires = [stack.enter_context(Wire(proxy.address)) for _ in range(4)]
        assert wires[0].ask("SET", "a", 1) == b"+OK\r\n"
        assert direct.ask("CONFIG", "SET", "requirepass", "new") == b"+OK\r\n"
        assert wires[0].ask("NOSUCH").startswith(b"-ERR unknown command")
        for wire in wires:
            wire.send(command("GET", "a"))
        assert [b"WRONGPASS" in wire.reply() for wire in wires] == [True] * 4
        assert direct.ask("CONFIG", "SET", "requirepass", "old") == b"+OK\r\n"
        with Wire(proxy.address) as wire:
            assert wire.ask("GET", "a") == b"$1\r\n1\r\n"


def test_an_old_password_is_refused_in_the_servers_words_though_no_connection_has_it(namespace: None) -> None:
    with (
        RedisServer() as server,
        proxied(server, redis={"auth": "passthrough"}) as proxy,
        Wire(proxy.address) as wire,
        Wire(proxy.address) as late,
    ):
        assert server.ask("ACL", "SETUSER", "finn", "on", ">old", "~*", "+@all") == b"+OK\r\n"
        assert wire.ask("AUTH", "finn", "old") == b"+OK\r\n"
        assert server.ask("ACL", "SETUSER", "finn", "<old", ">new") == b"+OK\r\n"
        assert server.ask("CLIENT", "KILL", "USER", "finn") == b":1\r\n"
        wait_for(lambda: proxy.backend()["upstream_sockets"] == 0, within=10, what="the connection is gone")
        no = b"-WRONGPASS invalid username-password pair or user is disabled.\r\n"
        assert late.ask("AUTH", "finn", "old") == no
        assert late.ask("HELLO", 3, "AUTH", "finn", "old") == no
        assert late.ask("AUTH", "finn", "new") == b"+OK\r\n"
        assert late.ask("ACL", "WHOAMI") == b"$4\r\nfinn\r\n"


def test_who_is_deleted_is_closed_with_all_he_listens_to(namespace: None) -> None:
    """As Redis closes the connections of such users; the others' stay."""
    with (
        RedisServer() as server,
        proxied(server, redis={"auth": "passthrough"}) as proxy,
        Wire(proxy.address) as wire,
        Wire(proxy.address) as listener,
        Wire(proxy.address) as other,
    ):
        for name in ("dan", "eve"):
            server.ask("ACL", "SETUSER", name, "on", ">word", "~*", "&*", "+@all")
        assert wire.ask("AUTH", "dan", "word") == b"+OK\r\n"
        assert listener.ask("HELLO", 3, "AUTH", "dan", "word").startswith(b"%7")
        assert listener.ask("SUBSCRIBE", "news").startswith(b">3")
        assert other.ask("AUTH", "eve", "word") == b"+OK\r\n"
        assert other.ask("SUBSCRIBE", "news").startswith(b"*3")
        assert server.ask("ACL", "DELUSER", "dan") == b":1\r\n"
        assert listener.rest() == b""
        assert b"WRONGPASS" in wire.ask("GET", "a")
        assert wire.rest() == b""
        assert server.ask("PUBLISH", "news", "x") == b":1\r\n"
        assert other.reply().endswith(b"$1\r\nx\r\n")
