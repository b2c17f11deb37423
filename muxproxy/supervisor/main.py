"""The supervisor: binds, spawns, watches, answers operators, ends in order. It never touches request bytes.

    SIGTERM, SIGINT    drain: accept no more, finish what is owed within `drain_timeout`, exit 0
    a second one       stop at once: the workers are killed, exit 128 + its number (143, 130)
    SIGHUP             logged and otherwise ignored: a new configuration takes a restart

Exit status: 0 after a drain, 3 if an address cannot be listened on (EXIT_LISTEN), 6 if a worker cannot be
started (EXIT_NO_WORKER), 128 + signal after a second signal. Everything lives in one nursery: when it is
left, for whatever reason, every worker has been reaped.
"""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Sequence
from typing import Any

import trio

from muxproxy import __version__
from muxproxy.config.address import admin_socket
from muxproxy.config.identity import Identity, identity
from muxproxy.config.limits import assign_workers
from muxproxy.config.model import Config, Node
from muxproxy.supervisor import admin
from muxproxy.supervisor.log import Log, stderr_log
from muxproxy.supervisor.privileges import drop
from muxproxy.supervisor.process import WORKER_COMMAND, Spawn, spawner
from muxproxy.supervisor.sockets import ListenError, Listeners, bind
from muxproxy.supervisor.status import backend_entries, worker_entry
from muxproxy.supervisor.systemd import notify
from muxproxy.supervisor.workers import PATIENCE, Patience, Worker

EXIT_LISTEN = 3
EXIT_NO_WORKER = 6


def run(config: Config, *, command: Sequence[str] = WORKER_COMMAND) -> int:
    """Until a signal. `config` has its effective numbers (config/limits.py). Returns the exit status."""
    return trio.run(_run, config, command, stderr_log(config.node.log_level))


async def _run(config: Config, command: Sequence[str], log: Log) -> int:
    env = os.environ
    path = admin_socket(config.node, os.geteuid(), env.get("XDG_RUNTIME_DIR"), env.get("RUNTIME_DIRECTORY"))
    # First of all: from here on no signal can end us without the ends below.
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        try:
            listeners = bind(config, path)
        except ListenError as error:
            for line in str(error).splitlines():
                log.error("cannot start", problem=line)
            return EXIT_LISTEN
        with listeners:
            log.info("muxproxy", version=__version__, pid=os.getpid(), admin=path)
            run_as = _run_as(config.node, log)
            try:
                drop(other_user=run_as is not None)
            except PermissionError as error:
                log.error("cannot start", problem=error.strerror)
                return EXIT_NO_WORKER
            return await Supervisor(config, listeners, spawner(command, run_as), log).supervise(signals)


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
        self, config: Config, listeners: Listeners, spawn: Spawn, log: Log, patience: Patience = PATIENCE
    ) -> None:
        self.state = "starting"
        self._drain_timeout = config.node.drain_timeout
        self._patience = patience
        self._listeners = listeners
        self._log = log
        self._started = trio.current_time()
        self._workers = [
            Worker(index, backends, listeners.backends, spawn, log, patience, memory=config.node.memory)
            for index, backends in enumerate(assign_workers(config))
        ]
        self._bound = {
            name: [listener.bound for listener in mine] for name, mine in listeners.backends.items()
        }

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

        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._serve_admin)
            for worker in self._workers:
                nursery.start_soon(worker.keep)
                nursery.start_soon(give_up_with, worker)
            nursery.start_soon(self._announce)
            nursery.start_soon(self._ignore_hangups)
            number = await anext(signals)
            nursery.start_soon(stop_at_once)
            await self._drain(signal.Signals(number).name)
            nursery.cancel_scope.cancel()  # kills who did not stop in time
        self._log.info("stopped", status=status)
        return status

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
            "workers": [worker_entry(worker, answer) for worker, answer in both],
            "backends": backend_entries(both, self._bound),
        }

    def _tell_backends(self) -> None:
        for worker in self._workers:
            for backend in worker.backends:
                self._log.info(
                    "backend",
                    name=backend.name,
                    worker=worker.index,
                    protocol=backend.protocol,
                    listen=",".join(self._bound[backend.name]),
                    servers=",".join(backend.upstream.servers),
                    max_connections=backend.upstream.max_connections,
                    max_waiting=backend.queue.max_waiting,
                    max_clients=backend.clients.max_connections,
                )

    async def _serve_admin(self) -> None:
        assert self._listeners.admin is not None
        sock = trio.socket.from_stdlib_socket(self._listeners.admin.socket)
        await admin.serve(sock, self, self._log)

    async def _announce(self) -> None:
        """Tell the log and systemd once every worker accepts."""
        for worker in self._workers:
            await worker.was_ready.wait()
        if self.state == "starting":
            self.state = "serving"
            self._log.info("serving", backends=len(self._bound), workers=len(self._workers))
            notify("READY=1", f"STATUS=serving {len(self._bound)} backends with {len(self._workers)} workers")

    async def _ignore_hangups(self) -> None:
        # The kernel's default would end the service of an operator who expects a reload.
        with trio.open_signal_receiver(signal.SIGHUP) as hangups:
            async for _ in hangups:
                self._log.warning("SIGHUP ignored: restart muxproxy to change its configuration")

    async def _drain(self, why: str) -> None:
        self.state = "draining"
        patience = self._drain_timeout + self._patience.goodbye
        self._log.info("draining", signal=why, timeout=self._drain_timeout)
        notify("STOPPING=1", "STATUS=draining", f"EXTEND_TIMEOUT_USEC={int(patience * 1e6)}")
        for worker in self._workers:
            worker.drain(self._drain_timeout)
        self._listeners.close_backends()
        with trio.move_on_after(patience):
            for worker in self._workers:
                await worker.stopped.wait()
            return
        for worker in self._workers:
            if not worker.stopped.is_set():
                self._log.error("worker did not stop in time, killed", worker=worker.index, pid=worker.pid)
