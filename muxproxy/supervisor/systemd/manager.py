"""The three of this folder in the order of a muxproxy's life; main.py says when.

begin -> beat -> (reloads: take, keep) -> quiet        after an upgrade: inherit -> beat -> ...
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, MutableMapping, Sequence

import trio

from muxproxy.supervisor.listening.sockets import Listener
from muxproxy.supervisor.log import Log
from muxproxy.supervisor.systemd.handed import Handed, descriptors
from muxproxy.supervisor.systemd.notify import is_managed
from muxproxy.supervisor.systemd.pulse import Pulse, WorkerLike, watchdog
from muxproxy.supervisor.systemd.store import Store


class Manager:
    """systemd, or another that speaks its words, or nobody."""

    def __init__(
        self, environ: MutableMapping[str, str], pid: int, backends: Sequence[str], log: Log
    ) -> None:
        """`backends`: their names."""
        found = descriptors(environ, pid)
        self.handed = Handed(found, backends)
        self._store = Store(found)
        self._watchdog = watchdog(environ, pid)
        self._log = log
        self._pulse = trio.CancelScope()

    def begin(self, listeners: Iterable[Listener]) -> None:
        """These are what we listen on."""
        self._store.keep(listeners)
        self.handed.drop_kept()
        self._tell()

    def keep(self, listeners: Iterable[Listener], gone: Sequence[Listener] = ()) -> None:
        """A reload has made it these. Nobody accepts any more on what has `gone`: that is closed."""
        self._store.keep(listeners)
        for listener in gone:
            self.handed.put(listener)
        if any(listener.unit for listener in gone):
            self._tell()

    def inherit(
        self, listeners: Iterable[Listener], close_rest: Callable[[Callable[[Listener], None]], None]
    ) -> None:
        """From a predecessor, who has told systemd of us by now. `close_rest(end)`: of what it had, too."""

        def end(listener: Listener) -> None:
            self._store.forget(listener)
            self.handed.put(listener)

        close_rest(end)
        self.begin(listeners)

    async def beat(self, workers: Sequence[WorkerLike], state: Callable[[], str]) -> None:
        if is_managed():
            with self._pulse:
                await Pulse(workers, state, self._watchdog).keep()

    def quiet(self) -> None:
        """A successor is who speaks now."""
        self._pulse.cancel()

    def _tell(self) -> None:
        for problem in [*self.handed.problems, *self.handed.idle()]:
            self._log.error("socket of systemd is not used as it is meant", problem=problem)
        self.handed.problems.clear()
