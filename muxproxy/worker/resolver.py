"""Which addresses the configured servers have: resolved at the start, and again when `name_ttl` is over.

A task per backend that has names. What resolves to nothing, or not at all, changes nothing for the
addresses known: a name server's trouble is not the servers'.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from muxproxy.config.address import Address, parse_server
from muxproxy.mux.base.pool import Pool

_RETRY = 1.0  # seconds after a failure, or name_ttl where that is shorter


class Resolver:
    def __init__(self, pool: Pool, time: Callable[[], float]) -> None:
        self._pool = pool
        self._time = time
        self._servers = [parse_server(text) for text in pool.config.servers]
        self._known: dict[Address, list[str]] = {
            server: [str(server)] for server in self._servers if not server.is_name
        }

    def start(self) -> asyncio.Task[None] | None:
        """Returns the task to keep, if names must be looked up."""
        if all(server in self._known for server in self._servers):
            self._tell("")
            return None
        return asyncio.get_running_loop().create_task(self._keep_resolving())

    async def _keep_resolving(self) -> None:
        while True:
            error = await self._resolve()
            self._tell(error)
            ttl = self._pool.config.name_ttl
            await asyncio.sleep(min(_RETRY, ttl) if error else ttl)

    def _tell(self, error: str) -> None:
        addresses = [text for server in self._servers for text in self._known.get(server, ())]
        if error and error != self._pool.resolve_error:
            name = self._pool.name
            self._pool.world.log("name cannot be resolved", level="warning", backend=name, error=error)
        self._pool.set_servers(addresses, self._time(), error)

    async def _resolve(self) -> str:
        error = ""
        loop = asyncio.get_running_loop()
        for server in self._servers:
            if not server.is_name:
                continue
            try:
                found = await loop.getaddrinfo(server.host, server.port, type=socket.SOCK_STREAM)
            except OSError as failure:
                error = f"{server}: {failure.strerror or failure}"
                continue
            if not found:
                error = f"{server}: no address"
                continue
            self._known[server] = [
                str(Address("tcp", host=str(info[4][0]), port=server.port)) for info in found
            ]
        return error
