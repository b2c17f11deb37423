"""What operators may have done, one at a time, whether a signal or a request asks for it.

    reload      the files are read again: numbers that were set are gone, what is paused or drained stays so
    pause       the ledger lends nothing: what is in flight finishes, idle connections close, none is opened,
                requests wait as the queue allows
    drain       it is taken away as a reload would, a backend or one server of it
    resume      takes both back
    set         numbers, until the next reload
    reconnect   each connection is replaced as it comes free
    upgrade     another muxproxy takes over (supervisor/upgrade.py)

All of it or nothing: what raises has changed nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Protocol

import trio

from muxproxy.config.address import parse_server
from muxproxy.config.model import Backend, Config
from muxproxy.config.plan import told
from muxproxy.errors import ConfigError, OperatorError
from muxproxy.supervisor.admin.live import Live, UnknownError, backend_of
from muxproxy.supervisor.log import Log
from muxproxy.supervisor.reload import Draft
from muxproxy.supervisor.systemd.notify import reloading

Read = Callable[[], Config]  # the files again; raises ConfigError


class Running(Protocol):
    """What runs, as commands change it."""

    state: str
    changing: trio.Lock  # one thing at a time, an upgrade among them

    def why_not(self) -> str:
        """Nothing can be changed now; "": it can."""
        ...

    def draft(self, wanted: Config) -> Draft:
        """Raises OperatorError."""
        ...

    async def become(self, draft: Draft) -> None:
        """In place. Raises OperatorError, and nothing has changed."""
        ...

    def pause(self, backends: frozenset[str]) -> None:
        """These and no others."""
        ...

    def tell_to_reconnect(self, backend: str, server: str) -> bool:
        """False: a worker does not listen."""
        ...

    async def upgrade(self) -> int:
        """The successor's pid. Raises OperatorError, and nothing has changed."""
        ...

    async def report(self) -> dict[str, Any]: ...


class Commands:
    def __init__(self, running: Running, files: Config, read: Read, log: Log, live: Live) -> None:
        self._running = running
        self.files = files  # as they were read last, and carried out
        self.live = live
        self.is_refused = False  # the last reload
        self._read = read
        self._log = log

    async def reload(self, *, dry_run: bool = False) -> dict[str, Any]:
        """What is done, or would be (config/plan.py, told). Where that refuses something nothing has changed,
        nor where OperatorError is raised."""
        is_told = self._running.state == "serving" and not dry_run
        async with self._running.changing, reloading(is_told):
            try:
                self._refuse_now()
                files = await trio.to_thread.run_sync(self._read)
                live = self.live.reloaded(files)
                draft = self._running.draft(live.over(files))
                if not dry_run and not draft.plan.refused:
                    await self._running.become(draft)
                    self._settle(files, live)
                    self.is_refused = False
            except OperatorError as error:
                self._tell(error)
                raise
            if draft.plan.refused and not dry_run:
                self._tell(ConfigError(list(draft.plan.refused)))
            return told(draft.plan)

    async def upgrade(self) -> int:
        return await self._running.upgrade()

    async def pause(self, name: str) -> None:
        await self._change(partial(Live.pause, name=name))

    async def resume(self, name: str, server: str = "") -> None:
        await self._change(partial(Live.resume, name=name, server=server))

    async def drain(self, name: str, server: str = "") -> None:
        await self._change(partial(Live.drain, name=name, server=server))

    async def set(self, name: str, numbers: Mapping[str, object]) -> None:
        await self._change(partial(Live.set, name=name, numbers=numbers))

    async def reconnect(self, name: str, server: str = "") -> None:
        """`server`: an address as the status shows it; or, where requests have destinations, any."""
        backend = backend_of(self.files, name)
        self._refuse_now()
        if name in self.live.drained:
            raise OperatorError(f"{name} is drained: it has no connections")
        if server and backend.upstream.to != "servers":  # of these the status names a few
            try:
                server = str(parse_server(server))
            except ValueError as error:
                raise UnknownError(f"--server {server!r}: {error}") from None
        elif server:
            entry = (await self._running.report())["backends"].get(name, {})
            known = [each["address"] for each in entry.get("servers", [])]
            if server not in known:
                raise UnknownError(f"{name} has no server at {server!r}; it has {', '.join(known) or 'none'}")
        if not self._running.tell_to_reconnect(name, server):
            raise OperatorError("its worker does not listen")

    def gone(self) -> Iterator[Backend]:
        """Drained, as their files have them."""
        return (backend for backend in self.files.backends if backend.name in self.live.drained)

    def changed(self) -> dict[str, dict[str, Any]]:
        """For the status."""
        return {backend.name: self.live.told(backend) for backend in self.files.backends}

    async def _change(self, change: Callable[..., Live]) -> None:
        async with self._running.changing:
            self._refuse_now()
            live = change(self.live, self.files)
            wanted = live.over(self.files)
            if wanted != self.live.over(self.files):
                await self._running.become(self._running.draft(wanted))
            self._settle(self.files, live)

    def _settle(self, files: Config, live: Live) -> None:
        self.files, self.live = files, live
        self._running.pause(live.paused)

    def _refuse_now(self) -> None:
        why = self._running.why_not()
        if why:
            raise OperatorError(why)

    def _tell(self, error: OperatorError) -> None:
        self.is_refused = True
        for line in str(error).splitlines():
            self._log.error("not reloaded", problem=line)
