"""Which addresses the configured servers have: resolved at the start, and again when `name_ttl` is over.

A task per backend that has names, for as long as it has. What resolves to nothing, or not at all, changes
nothing for the addresses known: a name server's trouble is not the servers'. Likewise what was configured
before is used until something of what is configured now is known; then it is gone at once, while what a name
that stays does not give for now is kept for a while (mux/base/pool.py).
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from muxproxy.config.address import Address, parse_server
from muxproxy.mux.base.pool import Pool

_UNKNOWN = (socket.EAI_NONAME, socket.EAI_NODATA)  # not those that may pass, EAI_AGAIN
_RETRY = 1.0  # seconds after a failure, or name_ttl where that is shorter


class Resolver:
    def __init__(
        self,
        pool: Pool,
        time: Callable[[], float],
        order: Callable[[list[str]], list[str]] = list,
        on_unknown: Callable[[str], None] | None = None,
    ) -> None:
        """`order`: in which one name's addresses are told. `on_unknown`: told that there is no such name, and
        no address of before; then nothing is logged, for clients may make up such names."""
        self._order = order
        self._on_unknown = on_unknown
        self._is_unknown = False  # name servers have said so
        self._pool = pool
        self._time = time
        self._servers: list[Address] = []
        self._known: dict[Address, list[str]] = {}
        self._given: dict[str, set[Address]] = {}  # address -> those that have given it: of all in use
        self._ttl = 0.0
        self._task: asyncio.Task[None] | None = None

    def start(self) -> asyncio.Task[None] | None:
        """Returns the task, if names must be looked up."""
        self.configure()
        return self._task

    def configure(self) -> None:
        """The pool's servers or name_ttl may be others now."""
        config = self._pool.config
        servers, ttl = [parse_server(text) for text in config.servers], config.name_ttl
        if (servers, ttl) == (self._servers, self._ttl):
            return
        self.close()
        self._servers, self._ttl = servers, ttl
        known = self._known
        self._known = {
            server: known.get(server, []) if server.is_name else [str(server)] for server in self._servers
        }
        has_names = any(server.is_name for server in servers)
        if all(self._known.values()):
            self._tell(self._pool.resolve_error if has_names else "")
        if has_names:
            self._task = asyncio.get_running_loop().create_task(self._keep_resolving())

    def close(self) -> None:
        """Nothing more is looked up."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()

    async def _keep_resolving(self) -> None:
        while True:
            error = await self._resolve()
            self._tell(error)
            await asyncio.sleep(min(_RETRY, self._ttl) if error else self._ttl)

    def _tell(self, error: str) -> None:
        pool = self._pool
        if error and error != pool.resolve_error and self._on_unknown is None:
            pool.world.log("name cannot be resolved", level="warning", backend=pool.name, error=error)
        addresses = [text for server in self._servers for text in self._known[server]]
        if not addresses and pool.servers:
            pool.resolve_error = error
            return
        named = {text: server.host for server in reversed(self._servers) for text in self._known[server]}
        pool.names = named  # of two names for one address the first counts
        pool.set_servers(addresses, self._time(), error, self._removed(addresses))
        if self._is_unknown and not addresses and self._on_unknown is not None:
            self._on_unknown(error)

    def _removed(self, addresses: list[str]) -> set[str]:
        """Of those in use, what nothing that is configured has given. Called once for each `_tell`."""
        given = {server.address: self._given.get(server.address, set()) for server in self._pool.servers}
        for server in self._servers:
            for text in self._known[server]:
                given.setdefault(text, set()).add(server)
        self._given = given
        configured = set(self._servers)
        return {text for text, givers in given.items() if text not in addresses and not givers & configured}

    async def _resolve(self) -> str:
        error = ""
        self._is_unknown = False
        loop = asyncio.get_running_loop()
        for server in self._servers:
            if not server.is_name:
                continue
            try:
                found = await loop.getaddrinfo(server.host, server.port, type=socket.SOCK_STREAM)
            except OSError as failure:
                error = f"{server}: {failure.strerror or failure}"
                self._is_unknown = failure.errno in _UNKNOWN
                continue
            if not found:
                error = f"{server}: no address"
                continue
            self._known[server] = self._order(
                [str(Address("tcp", host=str(info[4][0]), port=server.port)) for info in found]
            )
        return error
