"""The supervisor: binds, spawns, watches, answers operators, ends in order. It never touches request bytes.

    SIGTERM, SIGINT    drain: accept no more, finish what is owed within `drain_timeout`, exit 0
    a second one       stop at once: the workers are killed, exit 128 + its number (143, 130)
    SIGHUP             reload: what the files say now, in place (reload.py)
    SIGUSR2            upgrade: a successor of the code that is there now takes over (upgrade.py), exit 0

Exit status: 0 after a drain, 3 if an address cannot be listened on (EXIT_LISTEN), 6 if a worker cannot be
started (EXIT_NO_WORKER), 128 + signal after a second signal. Everything lives in one nursery: when it is
left, for whatever reason, every worker has been reaped.
"""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import trio

from muxproxy import __version__
from muxproxy.config.address import TLS, admin_socket, parse_listen
from muxproxy.config.identity import Identity, identity
from muxproxy.config.limits import assign_workers, numbers, shares
from muxproxy.config.model import Backend, Config, Node
from muxproxy.config.plan import Plan
from muxproxy.errors import OperatorError
from muxproxy.messages import Ready
from muxproxy.supervisor.admin import connections
from muxproxy.supervisor.admin.commands import Commands, Read
from muxproxy.supervisor.admin.live import Live
from muxproxy.supervisor.admin.pages import Pages, refuse
from muxproxy.supervisor.ledger import Ledger
from muxproxy.supervisor.listening.adopting import Estate
from muxproxy.supervisor.listening.sockets import Listeners, bind
from muxproxy.supervisor.log import Log, stderr_log
from muxproxy.supervisor.privileges import drop
from muxproxy.supervisor.process import WORKER_COMMAND, Spawn, spawner
from muxproxy.supervisor.reload import Draft, Reload
from muxproxy.supervisor.status import backend_entries, worker_entry
from muxproxy.supervisor.systemd.manager import Manager
from muxproxy.supervisor.systemd.notify import is_managed, notify
from muxproxy.supervisor.upgrade import PATIENCE as TAKES_OVER_IN
from muxproxy.supervisor.upgrade import SUCCESSOR, Predecessor, Successor
from muxproxy.supervisor.workers import PATIENCE, Patience, Worker

EXIT_LISTEN = 3
EXIT_NO_WORKER = 6
NOTHING = Live()  # changed


def run(
    config: Config,
    read: Read | None = None,
    *,
    files: Path | None = None,
    succeed: int | None = None,
    command: Sequence[str] = WORKER_COMMAND,
) -> int:
    """Until a signal. `config` has its effective numbers (config/limits.py), what `read` returns at a reload
    has not; `files`: where a successor finds its own. `succeed`: the channel to a predecessor. Returns the
    exit status."""
    log = stderr_log(config.node.log_level)
    return trio.run(_run, config, read or (lambda: config), files, succeed, command, log)


async def _run(
    config: Config, read: Read, files: Path | None, succeed: int | None, command: Sequence[str], log: Log
) -> int:
    env = os.environ
    path = admin_socket(config.node, os.geteuid(), env.get("XDG_RUNTIME_DIR"), env.get("RUNTIME_DIRECTORY"))
    # First of all: from here on no signal can end us without the ends below.
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        estate = Estate()
        manager = Manager(env, os.getpid(), [backend.name for backend in config.backends], log)
        try:
            predecessor = None if succeed is None else await Predecessor.of(succeed, estate)
            live = NOTHING if predecessor is None else predecessor.live.reloaded(config)
            running = live.over(config)
            listeners = bind(running, path, estate.take if predecessor else manager.handed.take)
        except OperatorError as error:
            for line in str(error).splitlines():
                log.error("cannot start", problem=line)
            return EXIT_LISTEN
        with listeners:
            tcp = {} if listeners.admin_tcp is None else {"admin_tcp": listeners.admin_tcp.bound}
            log.info("muxproxy", version=__version__, pid=os.getpid(), admin=path, **tcp)
            listeners.outlive_us = is_managed()
            if predecessor is None:
                manager.begin(listeners.all_backends())
            run_as = _run_as(config.node, log)
            try:
                drop(other_user=run_as is not None)
            except PermissionError as error:
                log.error("cannot start", problem=error.strerror)
                return EXIT_NO_WORKER
            supervisor = Supervisor(
                running, listeners, spawner(command, run_as), log, read=read, written=config, live=live
            )
            supervisor.manager = manager
            supervisor.files = files
            if predecessor is not None:
                supervisor.inherit_from(predecessor, estate)
            return await supervisor.supervise(signals)


def _run_as(node: Node, log: Log) -> Identity | None:
    """None: as we are."""
    who = identity(node)
    if who is None or who.uid == os.geteuid() != 0:
        return None
    if os.geteuid() != 0:  # as nginx has it: the same configuration may be tried by hand
        log.warning("user ignored: only root can become another", user=node.user)
        return None
    return who


class Supervisor:
    def __init__(
        self,
        config: Config,
        listeners: Listeners,
        spawn: Spawn,
        log: Log,
        patience: Patience = PATIENCE,
        *,
        read: Read | None = None,
        written: Config | None = None,
        live: Live = NOTHING,
    ) -> None:
        """`written`: what the files say, and `live`: what operators have changed of that (admin/live.py)."""
        self.state = "starting"
        self._config = config
        self._spawn = spawn
        self._patience = patience
        self._listeners = listeners
        self._log = log
        self._started = trio.current_time()
        self._ledger = Ledger()
        for backend in config.backends:
            self._ledger.set_bounds(backend.name, numbers(backend))
        assigned = shares(config, assign_workers(config))
        self._workers = [self._worker(index, backends) for index, backends in enumerate(assigned)]
        self.changing = trio.Lock()
        self.commands = Commands(self, written or config, read or (lambda: config), log, live)
        self._ledger.pause(live.paused)
        self.files: Path | None = None
        self._predecessor: Predecessor | None = None
        self._successor: Successor | None = None
        self._handed_over = trio.Event()
        self._serves = trio.Event()
        self._admins: list[trio.CancelScope] = []  # of those that accept who asks
        self.manager = Manager({}, 0, (), log)
        self.reloads = 0  # that were carried out

    def _worker(self, index: int, backends: Sequence[Backend]) -> Worker:
        return Worker(
            index,
            backends,
            self._listeners,
            self._spawn,
            self._log,
            self._patience,
            memory=self._config.node.memory,
            ledger=self._ledger,
            on_news=self._lend,
        )

    def _lend(self) -> None:
        for worker, holder, number, order in self._ledger.news():
            if worker != SUCCESSOR:
                self._workers[worker].lend(holder, order, number)
            elif self._successor is not None:
                self._successor.lend(holder, order, number, self._ledger.backend(holder))
        if self._predecessor is not None:
            self._predecessor.tell(self._ledger)

    async def supervise(self, signals: AsyncIterator[int]) -> int:
        """Returns the exit status."""
        self._tell_backends()
        status = 0

        async def stop_at_once() -> None:
            nonlocal status
            number = await anext(signals)
            status = 128 + number
            self._log.warning("stopping at once", signal=signal.Signals(number).name)
            nursery.cancel_scope.cancel()

        async def give_up_with(worker: Worker) -> None:
            nonlocal status
            await worker.hopeless.wait()
            status = EXIT_NO_WORKER
            nursery.cancel_scope.cancel()

        def begin(worker: Worker) -> None:
            nursery.start_soon(worker.keep)
            nursery.start_soon(give_up_with, worker)

        async with trio.open_nursery() as nursery:
            self._begin = begin
            self._nursery = nursery
            nursery.start_soon(self._serve_admin)
            for worker in self._workers:
                begin(worker)
            nursery.start_soon(self._announce)
            nursery.start_soon(self._reload_at_hangups)
            nursery.start_soon(self._upgrade_at_signals)
            why = await self._reason_to_end(signals)
            nursery.start_soon(stop_at_once)
            await self._drain(why)
            nursery.cancel_scope.cancel()  # kills who did not stop in time
        self._log.info("stopped", status=status)
        return status

    async def _reason_to_end(self, signals: AsyncIterator[int]) -> str:
        why = "upgrade"

        async def hear_signal() -> None:
            nonlocal why
            why = signal.Signals(await anext(signals)).name
            nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(hear_signal)
            await self._handed_over.wait()
            nursery.cancel_scope.cancel()
        return why

    async def report(self) -> dict[str, Any]:
        """What /status shows: all workers are asked at once, and those that answer are shown."""
        answers: list[dict[str, Any] | None] = [None] * len(self._workers)

        async def ask(worker: Worker) -> None:
            answers[worker.index] = await worker.ask()

        async with trio.open_nursery() as nursery:
            for worker in self._workers:
                nursery.start_soon(ask, worker)
        both = list(zip(self._workers, answers, strict=True))
        return {
            "version": __version__,
            "pid": os.getpid(),
            "uptime": trio.current_time() - self._started,
            "state": self.state,
            "reloads": self.reloads,
            "workers": [worker_entry(worker, answer) for worker, answer in both],
            "backends": backend_entries(
                both, self._bound(), self._config.backends, self.commands.changed(), self._gone()
            ),
        }

    def _gone(self) -> list[tuple[Backend, str]]:
        """Backends that operators have drained, and whether their pools are gone, too."""
        return [
            (backend, "draining" if self._ledger.is_held(backend.name) else "drained")
            for backend in self.commands.gone()
        ]

    def _bound(self) -> dict[str, list[str]]:
        """The addresses of each backend, as the kernel says, and those by TLS as its file does."""
        return {
            name: [f"{TLS if parse_listen(each.address).tls else ''}{each.bound}" for each in mine]
            for name, mine in self._listeners.backends.items()
        }

    def _tell_backends(self) -> None:
        bound = self._bound()
        for worker in self._workers:
            for backend in worker.backends:
                self._log.info(
                    "backend",
                    name=backend.name,
                    worker=worker.index,
                    protocol=backend.protocol,
                    listen=",".join(bound[backend.name]),
                    servers=",".join(backend.upstream.servers),
                    max_connections=backend.upstream.max_connections,
                    max_waiting=backend.queue.max_waiting,
                    max_clients=backend.clients.max_connections,
                )

    async def _serve_admin(self) -> None:
        if self._predecessor is not None:  # which answers on the same sockets, and serves
            await self._serves.wait()
        async with trio.open_nursery() as nursery:
            for listener in self._listeners.admins():
                only_reads = listener is self._listeners.admin_tcp
                pages = Pages(self, self.commands, self._log, only_reads=only_reads, bound=listener.bound)
                sock = trio.socket.from_stdlib_socket(listener.socket)
                scope = trio.CancelScope()
                self._admins.append(scope)
                nursery.start_soon(connections.serve, sock, pages.answer, refuse, self._log, scope)

    async def _announce(self) -> None:
        """Tell the log and systemd once every worker accepts."""
        for worker in self._workers:
            await worker.was_ready.wait()
        if self.state == "starting":
            self.state = "serving"
            self._serves.set()
            self._log.info("serving", backends=len(self._config.backends), workers=len(self._workers))
            if self._predecessor is not None:
                self._nursery.start_soon(self._inherit, self._predecessor)
            else:
                notify("READY=1", f"STATUS={self._in_a_word()}")
            await self.manager.beat(self._workers, self._in_a_word)

    def _in_a_word(self) -> str:
        # Everybody may read it, and not everybody the files and the log: it says that, and not what.
        refusal = " (the last reload was refused: see the log)" if self.commands.is_refused else ""
        count = len(self._config.backends)
        return f"{self.state} {count} backend{'s' * (count != 1)}{refusal}"

    # -- reload ------------------------------------------------------------------------------------

    async def _reload_at_hangups(self) -> None:
        with trio.open_signal_receiver(signal.SIGHUP) as hangups:
            async for _ in hangups:
                try:
                    await self.commands.reload()
                except OperatorError:
                    pass  # it is in the log

    def why_not(self) -> str:
        """Nothing can be changed now; "": it can."""
        if self._predecessor is not None:
            return "an upgrade is under way: its predecessor has not gone yet"
        return "muxproxy is draining" if self.state == "draining" else ""

    def draft(self, wanted: Config) -> Draft:
        """Raises OperatorError."""
        return Draft(self._config, wanted, _nofile(), self._live())

    async def become(self, draft: Draft) -> None:
        """In place. Raises OperatorError, and nothing has changed."""
        await self._carry_out(Reload(draft, self.manager.handed))

    def pause(self, backends: frozenset[str]) -> None:
        self._ledger.pause(backends)
        self._lend()

    def tell_to_reconnect(self, backend: str, server: str) -> bool:
        heard = [worker.reconnect(backend, server) for worker in self._workers]
        return all(heard)

    def _live(self) -> list[list[str]]:
        return [[backend.name for backend in worker.backends] for worker in self._workers]

    async def _carry_out(self, reload: Reload) -> None:
        """Nothing here is cancelled half-way but by our end."""
        live = len(self._workers)
        gone = reload.relist(self._listeners)
        reload.settle(self._ledger)
        self._config = reload.config
        self._log.set_level(reload.config.node.log_level)
        self.reloads += 1
        for index in range(live, len(reload.told)):
            self._workers.append(self._worker(index, reload.told[index]))
            self._begin(self._workers[index])
        for worker in self._workers[:live]:
            worker.apply(*reload.part(self.reloads, worker.index, self._ledger.open))
        self._lend()
        for worker in self._workers[:live]:
            await worker.applied(self.reloads)
        self.manager.keep(self._listeners.all_backends(), gone)
        self._log.info("reloaded", **_counts(reload.plan))

    # -- upgrade -----------------------------------------------------------------------------------

    def inherit_from(self, predecessor: Predecessor, estate: Estate) -> None:
        """Before anything runs: what the predecessor has is not ours yet."""
        self._predecessor = predecessor
        self._estate = estate
        for backend in self._config.backends:
            for number in set(numbers(backend)) & set(predecessor.numbers.get(backend.name, ())):
                self._ledger.set_bound(backend.name, 0, number)
        for worker in self._workers:
            worker.lenient = TAKES_OVER_IN + self._config.node.drain_timeout

    async def _inherit(self, predecessor: Predecessor) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(predecessor.channel.write)
            predecessor.channel.say(Ready(takes_all=True))
            bounds = {backend.name: numbers(backend) for backend in self._config.backends}
            await predecessor.listen(bounds, self._ledger, self._lend)
            nursery.cancel_scope.cancel()
        for backend in self._config.backends:
            self._ledger.set_bounds(backend.name, numbers(backend))
        for worker in self._workers:
            worker.lenient = 0.0
        self._lend()
        self.manager.inherit(self._listeners.all_backends(), self._estate.close)
        self._predecessor = None
        self._log.info("taken over", pid=os.getpid())

    async def _upgrade_at_signals(self) -> None:
        with trio.open_signal_receiver(signal.SIGUSR2) as signals:
            async for _ in signals:
                try:
                    await self.upgrade()
                except OperatorError as error:
                    self._log.error("not upgraded", problem=str(error))

    async def upgrade(self) -> int:
        """A successor serves, with this pid, and we drain. Raises OperatorError: nothing has changed then."""
        async with self.changing:
            if self.files is None:
                raise OperatorError("where a successor would find its files is not known")
            if why := self.why_not() or ("" if self.state == "serving" else f"muxproxy is {self.state}"):
                raise OperatorError(why)
            try:
                spares = self.manager.handed.spares
                lent = {backend.name: list(numbers(backend)) for backend in self._config.backends}
                successor = Successor(
                    self.files, self._listeners, self.commands.live, self._log, spares=spares, numbers=lent
                )
            except OSError as error:
                raise OperatorError(f"no successor can be started: {error}") from None
            self._log.info("upgrading", successor=successor.pid)
            self._nursery.start_soon(successor.channel.write)
            self._nursery.start_soon(successor.listen, self._ledger, self._lend)
            try:
                await successor.comes_up()
            except BaseException:
                await successor.end()
                raise
            self._successor = successor
            for scope in self._admins:  # from here on it is the successor who is asked, and who tells
                scope.cancel()
            self.manager.quiet()
            notify(f"MAINPID={successor.pid}")
            self._handed_over.set()
            return successor.pid

    async def _drain(self, why: str) -> None:
        self.state = "draining"
        patience = self._config.node.drain_timeout + self._patience.goodbye
        self._log.info("draining", signal=why, timeout=self._config.node.drain_timeout)
        if self._successor is None:
            notify("STOPPING=1", "STATUS=draining", f"EXTEND_TIMEOUT_USEC={int(patience * 1e6)}")
        for worker in self._workers:
            worker.drain(self._config.node.drain_timeout, gently=self._successor is not None)
        if self._successor is not None:
            self._listeners.let_go()
            for backend in self._config.backends:
                only_places = not self._successor.takes_all
                holder, orders = self._ledger.open(backend.name, SUCCESSOR, only_places=only_places)
                for number, order in orders.items():
                    self._successor.lend(holder, order, number, backend.name)
            self._lend()
        else:
            self._listeners.close_backends()
        with trio.move_on_after(patience):
            for worker in self._workers:
                await worker.stopped.wait()
            return
        for worker in self._workers:
            if not worker.stopped.is_set():
                self._log.error("worker did not stop in time, killed", worker=worker.index, pid=worker.pid)


def _nofile() -> int:
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def _counts(plan: Plan) -> dict[str, int]:
    return {
        "added": len(plan.added),
        "removed": len(plan.removed),
        "changed": len(plan.changed),
        "listeners_opened": len(plan.opened),
        "listeners_closed": len(plan.closed),
    }
