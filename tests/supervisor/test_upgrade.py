"""What predecessor and successor say to each other, over a socketpair; tests/system/ has two real ones."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest
import trio

from muxproxy.budget import Order, Report
from muxproxy.config.limits import CLIENTS, PLACES
from muxproxy.messages import Holds, Lend, MessageReader, Ready, Succeed, encode
from muxproxy.supervisor.admin.live import Live
from muxproxy.supervisor.ledger import Ledger
from muxproxy.supervisor.listening.adopting import Estate
from muxproxy.supervisor.listening.sockets import Listener, Listeners
from muxproxy.supervisor.log import Log
from muxproxy.supervisor.upgrade import SUCCESSOR, Predecessor, Successor, UpgradeError

# A successor that says what it was given, and then what its second argument tells it to.
CHILD = """
import socket, sys
channel = socket.socket(fileno=int(sys.argv[sys.argv.index("--succeed-fd") + 1]))
sys.stdout.close()
data = channel.recv(65536)
channel.sendall(bytes.fromhex(WORDS))
channel.recv(1)
"""


def log() -> Log:
    return Log(lambda level, line: None)


def listeners() -> Listeners:
    mine = Listeners()
    sock = socket.create_server(("127.0.0.1", 0))
    mine.backends["web"] = [Listener("127.0.0.1:0", f"127.0.0.1:{sock.getsockname()[1]}", sock)]
    return mine


def child(*words: object) -> list[str]:
    said = b"".join(encode(word) for word in words).hex()
    return [sys.executable, "-c", CHILD.replace("WORDS", repr(said))]


async def test_a_successor_that_is_ready_is_heard_and_lent_to() -> None:
    ledger = Ledger()
    ledger.set_bounds("web", {PLACES: 4, CLIENTS: 9})
    holder, lent = ledger.open("web", SUCCESSOR)
    order = lent[PLACES]
    with listeners() as mine, trio.fail_after(30):
        held = Holds(holder, Report(order.serial, 1, 0)), Holds(holder, Report(1, 2, 0), CLIENTS)
        words = (Ready(takes_all=True), *held)
        successor = Successor(Path("/etc/muxproxy"), mine, Live(), log(), child(*words))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(successor.channel.write)
            heard = trio.Event()
            nursery.start_soon(successor.listen, ledger, heard.set)
            await successor.comes_up()
            await heard.wait()
            # What it does not hold is lent to it again.
            told = {number: (key, order) for _, key, number, order in ledger.news()}
            assert told == {PLACES: (holder, Order(2, 4, 0)), CLIENTS: (holder, Order(2, 9, 0))}
            assert successor.takes_all
            await successor.end()
            nursery.cancel_scope.cancel()


def stat(pid: int) -> list[str]:
    """Its state, its parent and so on (proc_pid_stat(5)); none if there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def is_over(pid: int) -> bool:
    """It has ended; whether process 1 has reaped it yet is not ours."""
    return not stat(pid) or stat(pid)[0] in "ZX"


async def test_it_is_nobodys_child_but_process_1s() -> None:
    """Whoever adopts orphans here: not we, who end soon."""
    with listeners() as mine, trio.fail_after(30):
        successor = Successor(Path("/etc/muxproxy"), mine, Live(), log(), [sys.executable, "-c", CHILD])
        assert int(stat(successor.pid)[1]) != os.getpid()
        await successor.end()
    assert is_over(successor.pid)


async def test_one_that_ends_is_told_and_gone() -> None:
    with listeners() as mine, trio.fail_after(30):
        successor = Successor(Path("/etc/muxproxy"), mine, Live(), log(), [sys.executable, "-c", "pass"])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(successor.channel.write)
            nursery.start_soon(successor.listen, Ledger(), lambda: None)
            with pytest.raises(UpgradeError, match="ended"):
                await successor.comes_up()
            await successor.end()
            nursery.cancel_scope.cancel()
    assert is_over(successor.pid)


async def test_one_that_cannot_be_started_is_an_os_error_and_leaks_nothing() -> None:
    before = os.listdir("/proc/self/fd")
    with listeners() as mine, pytest.raises(FileNotFoundError):
        Successor(Path("/etc/muxproxy"), mine, Live(), log(), ["/nobody/installed/this"])
    assert os.listdir("/proc/self/fd") == before


class Heir:
    """A successor's end of the channel, and the predecessor by hand at the other."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        ours.settimeout(10)
        self.ours, self.descriptor = ours, theirs.detach()
        self.reader = MessageReader()

    def says(self, *words: object) -> None:
        self.ours.sendall(b"".join(encode(word) for word in words))

    async def hears(self, count: int = 1) -> list[object]:
        heard: list[object] = []
        while len(heard) < count:
            await trio.lowlevel.wait_readable(self.ours)
            heard += self.reader.feed(self.ours.recv(65536))
        return heard


async def test_what_is_handed_over_is_the_estates_and_bounds_come_with_what_is_lent() -> None:
    heir, estate, ledger = Heir(), Estate(), Ledger()
    with heir.ours, socket.create_server(("127.0.0.1", 0)) as sock, trio.fail_after(10):
        address = f"127.0.0.1:{sock.getsockname()[1]}"
        places: dict[str, list[tuple[str, int]]] = {"web": [(address, os.dup(sock.fileno()))], "gone": []}
        heir.says(Succeed(places, [], {"paused": ["web"]}, numbers={"web": [PLACES, CLIENTS]}))
        predecessor = await Predecessor.of(heir.descriptor, estate)
        assert predecessor.numbers == {"web": [PLACES, CLIENTS], "gone": [PLACES]}  # which is an older one
        assert predecessor.live.paused == {"web"}
        listener = estate.take("web", address)
        assert listener is not None
        listener.close()
        ledger.set_bounds("web", {PLACES: 0, CLIENTS: 0})
        mine, first = ledger.open("web", 0)
        assert first[PLACES].most == 0
        bounds = {"web": {PLACES: 6, CLIENTS: 20}}
        async with trio.open_nursery() as nursery:
            nursery.start_soon(predecessor.channel.write)
            nursery.start_soon(predecessor.listen, bounds, ledger, lambda: predecessor.tell(ledger))
            heir.says(Lend(9, Order(1, 2, 0), backend="web"), Lend(10, Order(1, 8, 0), backend="gone"))
            assert await heir.hears(2) == [Holds(9, Report(1, 2, 4)), Holds(10, Report(1, 0, 0))]
            assert ledger.news()[0].order.most == 2
            # Asked back: said once more when it has come back, and not before.
            heir.says(Lend(9, Order(2, 1, 0), backend="web"))
            assert await heir.hears() == [Holds(9, Report(2, 2, 5))]
            ledger.on_report(0, mine, Report(ledger.news()[0].order.serial, 1, 0))
            predecessor.tell(ledger)
            assert await heir.hears() == [Holds(9, Report(2, 1, 5))]
            # Of each number by itself.
            heir.says(Lend(9, Order(1, 7, 0), CLIENTS, "web"), Lend(9, Order(1, 3, 0), "waiting", "web"))
            assert await heir.hears(2) == [
                Holds(9, Report(1, 7, 13), CLIENTS),
                Holds(9, Report(1, 0, 0), "waiting"),
            ]
            assert {each.number: each.order.most for each in ledger.news()}[CLIENTS] == 7
            assert (ledger.lent("web"), ledger.lent("web", CLIENTS)) == (1, 7)
            nursery.cancel_scope.cancel()
        await predecessor.channel.aclose()


async def test_a_predecessor_that_hands_nothing_over_is_an_error() -> None:
    heir = Heir()
    heir.ours.close()
    with pytest.raises(UpgradeError, match="nothing"):
        await Predecessor.of(heir.descriptor, Estate())
