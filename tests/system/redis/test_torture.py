"""P1, P2, P3 at once: 2,000 clients in 4 dbs and both RESP versions over 8 sockets, while everything breaks.

90,000 commands, at a full run (tests/sizes.py) 900,000; MUXPROXY_TORTURE says another number. A quarter of
them come in pipelines that are written before any of their replies is read. The first half runs while
connections are killed with CLIENT KILL, the server says nothing for a while, and while it restarts its place
is taken by one that accepts and closes; the second while the worker is killed. A second run (a twentieth of
that number) has users, wrong passwords and one that changes, before a server that does not answer each of
them.

What can be counted: no worker ends in the first half, so there every exchange that a client began stands in
exactly one of the proxy's outcomes, to the last one that it has read. A killed worker takes its counts with
it; the clients' own count of the exchanges on connections opened after its death must be the new worker's. On
a machine too busy for so many, clients are refused and come again all the time: which worker took those that
came just then is in doubt.
"""

from __future__ import annotations

import itertools
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict

import pytest

from tests.sizes import size
from tests.system.origins import accepting_and_closing
from tests.system.process import Child, wait_for
from tests.system.proxy import Proxy
from tests.system.redis.proxied import BOUND, proxied
from tests.system.redis.server import RedisServer, all_of
from tests.system.redis.steps import GUEST, PASSWORDS, USERS
from tests.system.redis.torture import CLOSED, ORPHANED, REFUSED, RIGHT, Plan, Results

COMMANDS = int(os.environ.get("MUXPROXY_TORTURE") or size(60_000, 900_000))
CLIENTS = 2000
PROCESSES = 2
PINNED = 4
JUST_THEN = 0.5  # seconds that a connection may stand in the backlog
MOST_COMMANDS = 3  # in one write, inside of MULTI or WATCH
USERS_CLIENTS = 200
USERS_COMMANDS = COMMANDS // 20  # each empties a connection first
MOST_AS_GUEST = 6  # in one write
SILENT = 0.3  # seconds for which the server says nothing
# Room for all to wait: what is refused is refused because something broke.
TABLES = {
    # Nobody is cut for being slow in the middle of MULTI: on a busy machine all these clients are.
    "clients": {"max_connections": 2 * CLIENTS, "backlog": 2 * CLIENTS, "hold_timeout": "60s"},
    "queue": {"max_waiting": 20 * CLIENTS, "timeout": "10s"},
    "upstream": {
        "max_connections": BOUND,
        "max_pinned": PINNED,
        "max_in_flight": 128,
        "suspect_after": "5ms",  # so that connections stand still again and again, one by one
    },
}


class Torture:
    """The clients' processes."""

    def __init__(
        self, host: str, port: int, clients: int = CLIENTS, processes: int = PROCESSES, *, users: bool = False
    ) -> None:
        share = clients // processes
        self._children: list[Child] = []
        try:
            for number in range(processes):
                plan = Plan(host, port, share, first=number * share, seed=number, users=users)
                self._children.append(Child("tests.system.redis.torture", asdict(plan)))
        except BaseException:
            self.close()
            raise

    def go(self, commands: int) -> None:
        for child in self._children:
            child.tell(commands // len(self._children))

    def results(self, within: float) -> Results:
        """What has become of all commands since the beginning, when all clients rest."""
        total = Results()
        for child in self._children:
            total.add(Results(**child.answer(within)))
        print(f"{total.commands} commands: {total.outcomes}; refusals {total.refusals}; {total.examples}")
        assert sum(total.outcomes.values()) == total.commands  # P3, as the clients see it
        return total

    def close(self) -> None:
        for child in self._children:
            child.close()

    def __enter__(self) -> Torture:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def exchanges(results: Results, since: float = 0.0, until: float = float("inf")) -> int:
    return sum(begun for opened, begun in results.connections if since <= opened < until)


@contextmanager
def meanwhile(do: Callable[[], None], every: float) -> Iterator[None]:
    """Again and again, until the end of the block."""
    enough = threading.Event()

    def run() -> None:
        while not enough.wait(every):
            with suppress(OSError, EOFError):  # while the server restarts
                do()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        enough.set()
        thread.join()


@contextmanager
def connections_killed(server: RedisServer, every: float) -> Iterator[list[int]]:
    """CLIENT KILL, one connection after another, until the end of the block."""
    killed: list[int] = []

    def kill() -> None:
        clients = server.clients()
        client = clients[len(killed) % len(clients)]["id"] if clients else "0"
        if server.ask("CLIENT", "KILL", "ID", client) == b":1\r\n":
            killed.append(int(client))

    with meanwhile(kill, every):
        yield killed


def falls_silent(server: RedisServer, seconds: float) -> None:
    """What has come when it wakes it reads in one go."""
    server.signal(signal.SIGSTOP)
    time.sleep(seconds)
    server.signal(signal.SIGCONT)


def progress(proxy: Proxy, by: int) -> None:
    before = sum(proxy.outcomes().values())
    wait_for(lambda: sum(proxy.outcomes().values()) >= before + by, within=60, what=f"{by} more exchanges")


def test_no_client_ever_sees_anothers_value_or_db_whatever_is_killed(clean: RedisServer) -> None:
    server = clean
    within = 60 + COMMANDS / 1000
    with proxied(server, **TABLES) as proxy, Torture(proxy.host, proxy.port) as torture:
        torture.go(COMMANDS // 2)
        with connections_killed(server, every=0.05) as killed:
            progress(proxy, COMMANDS // 16)
            falls_silent(server, SILENT)
            progress(proxy, COMMANDS // 16)
            server.shut_down()
            with accepting_and_closing(server.host, server.port) as accepted:
                wait_for(lambda: len(accepted) >= 3, within=20, what="connects while the server is away")
            server.start()
            first = torture.results(within)
        assert killed, "no connection was killed"
        # Nobody's connection was closed but of those whose transaction was lost while they were silent.
        assert set(first.outcomes) <= {RIGHT, REFUSED, ORPHANED}, first.examples
        assert first.outcomes.get(ORPHANED, 0) <= MOST_COMMANDS * (len(killed) + PINNED)
        # What an orphan has sent when it is closed may not have been read.
        unread = exchanges(first) - sum(proxy.outcomes().values())
        assert 0 <= unread <= first.outcomes.get(ORPHANED, 0)

        (worker,) = proxy.workers()
        torture.go(COMMANDS // 2)
        progress(proxy, COMMANDS // 8)
        death = time.monotonic()  # before: who is told of it at once comes back at once
        os.kill(worker, signal.SIGKILL)
        second = torture.results(within)
        assert set(second.outcomes) <= {RIGHT, REFUSED, ORPHANED, CLOSED}, second.examples
        assert second.outcomes[CLOSED] >= 1
        unread = exchanges(second, death) - sum(proxy.outcomes().values())
        doubt = exchanges(second, death - JUST_THEN, death)
        print(f"{unread} not counted, {doubt} in doubt")
        assert -doubt <= unread <= doubt
        assert second.outcomes[RIGHT] > first.outcomes[RIGHT] + COMMANDS // 8


def test_no_client_is_ever_somebody_else_whatever_password_fails_or_changes() -> None:
    """Before a Redis 8, which does not answer a failing AUTH while it owes replies on that connection: it is
    stopped again and again, and finds many commands at once when it goes on. Nobody kills a connection here:
    one that waits for an answer that never comes would be saved by that."""
    with all_of("redis-8"), RedisServer() as server:
        for user in USERS:
            assert server.ask("ACL", "SETUSER", user, "on", b">" + user, "~*", "+@all") == b"+OK\r\n"
        assert server.ask("ACL", "SETUSER", GUEST, "on", "~*", "+@all") == b"+OK\r\n"
        mine = ("+auth", "+hello", "+ping", "+acl", "+client")  # of the connections of this test
        assert server.ask("ACL", "SETUSER", "default", "-@all", *mine) == b"+OK\r\n"
        passwords = itertools.cycle(PASSWORDS)
        few = TABLES["upstream"] | {
            "max_connections": 3,
            "max_pinned": 1,
        }  # each owes something most of the time

        def change() -> None:
            assert server.ask("ACL", "SETUSER", GUEST, "resetpass", b">" + next(passwords)) == b"+OK\r\n"
            falls_silent(server, 0.01)

        with (
            proxied(server, **(TABLES | {"upstream": few}), redis={"auth": "passthrough"}) as proxy,
            Torture(proxy.host, proxy.port, USERS_CLIENTS, users=True) as torture,
            meanwhile(change, every=0.02),
        ):
            torture.go(USERS_COMMANDS)
            results = torture.results(60 + USERS_COMMANDS / 100)
            assert set(results.outcomes) <= {RIGHT, REFUSED, ORPHANED}, results.examples
            assert results.outcomes[RIGHT] > USERS_COMMANDS // 2
            # Nobody's connection was closed but of such and of guests whose password had changed.
            gone = sum(number for text, number in results.refusals.items() if "WRONGPASS" in text)
            assert gone, "no guest was ever told that its password is not good any more"
            assert results.outcomes.get(ORPHANED, 0) <= MOST_AS_GUEST * gone
            unread = exchanges(results) - sum(proxy.outcomes().values())
            print(f"{unread} not counted")
            assert 0 <= unread <= results.outcomes.get(ORPHANED, 0)


SPOILT = {
    "another db's": b"0/1/%b/1",
    "another client's": b"8/0/%b/1",
    "another key's": b"0/0/s:9:2:0/1",
    "an acknowledged write is gone": None,
    "an older write is back": b"0/0/%b/0",
}


@pytest.mark.parametrize("what", SPOILT)
def test_the_judge_sees_a_value_that_should_not_be_there(clean: RedisServer, what: str) -> None:
    """Direct at the server, whose values of client 0 we spoil, pause by pause, all that it may read next."""
    value = SPOILT[what]
    with Torture(clean.host, clean.port, clients=8, processes=1) as torture, clean.direct() as wire:
        torture.go(4000)
        assert set(torture.results(30).outcomes) == {RIGHT}
        for _ in range(3):  # once in some hundred all eight are written again before one is read
            for number in range(8):
                key = b"s:0:2:%d" % number
                assert wire.ask("DEL", key) == b":1\r\n"
                if value is not None:
                    assert wire.ask("SET", key, value.replace(b"%b", key)) == b"+OK\r\n"
            torture.go(4000)
            if "wrong" in (outcomes := torture.results(30).outcomes):
                break
        assert outcomes["wrong"] >= 1
