"""An upgrade: another muxproxy, of the code and the files that are there now, takes over while traffic flows.

    predecessor                                   successor: `muxproxy run` with a channel to it
        Succeed(listeners, admin ...) ->          adopts the sockets, starts workers: they may open nothing
                                      <-  Ready() every worker accepts
        accepts no more, drains; Lend(holder, order) as its own pools give places back
                                      <-  Holds(holder, report)
        (ends)                        ->          all that is configured is its own

For the predecessor the successor is one more holder of each backend's bounds (ledger.py), and for the
successor's own ledger what it has been lent is the bound: together they never hold more (P1), nor have more
clients, or a longer queue. A worker of the successor begins with nothing; whoever comes to it meanwhile is
not refused for that, but undecided for longer than elsewhere (Configure.lenient). Before Ready nothing has
changed: a successor that does not come up, or not in time, is killed and forgotten.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec
import trio

from muxproxy.budget import Order, Report, Share
from muxproxy.config.limits import PLACES
from muxproxy.errors import OperatorError
from muxproxy.messages import Holds, Lend, Message, Ready, Succeed
from muxproxy.supervisor.admin.live import Live
from muxproxy.supervisor.channel import Channel
from muxproxy.supervisor.interpreter import program
from muxproxy.supervisor.ledger import Ledger
from muxproxy.supervisor.listening.adopting import Estate
from muxproxy.supervisor.listening.sockets import Listener, Listeners
from muxproxy.supervisor.log import Log

SUCCESSOR = -1  # its number among the ledger's workers
PATIENCE = 30.0  # seconds until it is ready; a start takes one
GRACE = 1.0  # seconds between the end of a predecessor that said no goodbye and that of its workers
COMMAND = program("muxproxy")


class UpgradeError(OperatorError):
    """The successor did not come up; nothing has changed."""


class Successor:
    """As its predecessor sees it."""

    def __init__(
        self,
        path: Path,
        listeners: Listeners,
        live: Live,
        log: Log,
        command: Sequence[str] = COMMAND,
        spares: Sequence[Listener] = (),
        numbers: Mapping[str, list[str]] | None = None,
    ) -> None:
        """`spares`: that are no backend's; `numbers`: that will be lent of each. Raises OSError."""
        ours, theirs = socket.socketpair()
        everything = [*listeners.all_backends(), *listeners.admins(), *spares]
        descriptors = [listener.socket.fileno() for listener in everything]
        with theirs:
            try:
                self.pid = _spawn(
                    [*command, "run", "-c", str(path), "--succeed-fd", str(theirs.fileno())],
                    [theirs.fileno(), *descriptors],
                )
            except BaseException:
                ours.close()
                raise
        self._pidfd = _pidfd(self.pid)
        self._log = log
        self.channel = Channel(trio.SocketStream(trio.socket.from_stdlib_socket(ours)))
        self.ready = trio.Event()
        self.takes_all = False
        self.gone = trio.Event()
        places = {
            name: [(listener.address, listener.socket.fileno()) for listener in mine]
            for name, mine in listeners.backends.items()
        }
        admin = [(listener.address, listener.socket.fileno()) for listener in listeners.admins()]
        self.channel.say(
            Succeed(
                places,
                admin,
                msgspec.to_builtins(live),
                {each.socket.fileno(): each.unit for each in everything if each.unit},
                [(spare.address, spare.socket.fileno()) for spare in spares],
                dict(numbers or {}),
            )
        )

    async def listen(self, ledger: Ledger, on_news: Callable[[], None]) -> None:
        """Until it has gone, or we have."""
        try:
            while messages := await self.channel.receive():
                for message in messages:
                    self._on_message(message, ledger)
                on_news()
        except ValueError as error:
            self._log.error("successor talks nonsense", pid=self.pid, error=str(error))
        except trio.ClosedResourceError:
            pass  # by end()
        self.gone.set()

    def _on_message(self, message: Message, ledger: Ledger) -> None:
        match message:
            case Ready(takes_all):
                self.takes_all = takes_all
                self.ready.set()
            case Holds(holder, report, number):
                ledger.on_report(SUCCESSOR, holder, report, number)
            case _:
                raise ValueError(f"{type(message).__name__} is not a successor's word")

    def lend(self, holder: int, order: Order, number: str, backend: str) -> None:
        self.channel.say(Lend(holder, order, number, backend))

    async def comes_up(self) -> None:
        """Raises UpgradeError."""
        with trio.move_on_after(PATIENCE):
            async with trio.open_nursery() as nursery:
                for event in (self.ready, self.gone):
                    nursery.start_soon(_first, event, nursery.cancel_scope)
        if not self.ready.is_set() or self.gone.is_set():
            why = "ended" if self.gone.is_set() else f"is not ready after {PATIENCE:g} s"
            raise UpgradeError(f"the successor (pid {self.pid}) {why}; its log says more")

    async def end(self) -> None:
        """It did not come up: killed, and waited for."""
        with trio.CancelScope(shield=True):
            if self._pidfd is not None:
                signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
                await trio.lowlevel.wait_readable(self._pidfd)
                os.close(self._pidfd)
                self._pidfd = None
            await self.channel.aclose()


def _spawn(command: Sequence[str], descriptors: Sequence[int]) -> int:
    """Returns its pid. Raises OSError.

    It is nobody's child but process 1's, from the beginning: a main process that is somebody else's is killed
    by systemd instead of stopped, where SIGTERM is for the main process alone (KillMode=mixed), and it stays
    somebody else's for systemd when we have gone."""
    read, write = os.pipe()

    def orphan() -> None:
        pid = os.fork()
        if pid:
            os.write(write, str(pid).encode())
            os._exit(0)

    with open(read, "rb") as pipe:
        try:
            between = subprocess.Popen(
                command,
                pass_fds=descriptors,
                stdin=subprocess.DEVNULL,
                preexec_fn=orphan,  # noqa: PLW1509  # what is forked has one thread and does nothing else
            )
        finally:
            os.close(write)
        between.wait()
        return int(pipe.read())


def _pidfd(pid: int) -> int | None:
    """None if it has gone."""
    try:
        return os.pidfd_open(pid)
    except ProcessLookupError:
        return None


async def _first(event: trio.Event, scope: trio.CancelScope) -> None:
    await event.wait()
    scope.cancel()


class Predecessor:
    """As its successor sees it. Until it has gone the bounds of each backend are what it has lent."""

    def __init__(self, descriptor: int) -> None:
        sock = socket.socket(fileno=descriptor)
        os.set_inheritable(descriptor, False)
        self.channel = Channel(trio.SocketStream(trio.socket.from_stdlib_socket(sock)))
        self.live = Live()
        # Of each backend that it has: what of its bounds is not ours yet.
        self.numbers: dict[str, list[str]] = {}
        # By the holder in the predecessor's ledger, and of what: the backend, and what we have.
        self._shares: dict[tuple[int, str], tuple[str, Share]] = {}
        self._told: dict[tuple[int, str], Report] = {}

    @classmethod
    async def of(cls, descriptor: int, estate: Estate) -> Predecessor:
        """What it hands over is the estate's. Raises UpgradeError."""
        predecessor = cls(descriptor)
        with trio.move_on_after(PATIENCE):
            for message in await predecessor.channel.receive():
                if isinstance(message, Succeed):
                    predecessor.take(message, estate)
                    return predecessor
        await predecessor.channel.aclose()
        raise UpgradeError("the predecessor has handed nothing over")

    def take(self, message: Succeed, estate: Estate) -> None:
        self.numbers = {name: message.numbers.get(name, [PLACES]) for name in message.listeners}
        for name, places in message.listeners.items():
            for address, listener in places:
                estate.add(name, address, listener, message.units.get(listener, ""))
        for address, listener in message.admin:
            estate.add("", address, listener)
        for address, spare in message.spares:
            estate.add("", address, spare, message.units.get(spare, ""))
        self.live = msgspec.convert(message.live, Live)

    async def listen(
        self, bounds: Mapping[str, Mapping[str, int]], ledger: Ledger, on_news: Callable[[], None]
    ) -> None:
        """Until it has gone, and all that it had. `bounds`: of each backend, as it is configured here."""
        while messages := await self.channel.receive():
            for message in messages:
                if isinstance(message, Lend):
                    self._on_lend(message, bounds, ledger)
            on_news()
        await trio.sleep(GRACE)

    def _on_lend(self, message: Lend, bounds: Mapping[str, Mapping[str, int]], ledger: Ledger) -> None:
        name, number = message.backend, message.number
        most = bounds.get(name, {}).get(number)
        _, share = self._shares.setdefault((message.holder, number), (name, Share()))
        if not share.on_order(message.order):
            return
        if most is None:  # it is not configured any more
            share.give(share.most)
            return
        ledger.set_bound(name, min(most, share.most), number)
        share.wanted = max(0, most - share.most)

    def tell(self, ledger: Ledger) -> None:
        """What has been lent and what of it is held here, if that is news."""
        for (holder, number), (name, share) in self._shares.items():
            report = share.report(ledger.lent(name, number))
            if self._told.get((holder, number)) != report:
                self._told[holder, number] = report
                self.channel.say(Holds(holder, report, number))
