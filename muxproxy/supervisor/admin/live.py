"""What operators have changed of what runs, over what the files say: pauses, drains, numbers that were set.

A backend or a server that is drained is one that the configuration has not, for as long as that lasts: what
takes it away and brings it back is a reload (config/plan.py). Numbers last until the next reload of the
files; pauses and drains until somebody resumes, whatever is reloaded meanwhile.

Pure, and never changed: each change makes another one, which counts when it has been carried out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from muxproxy.config import consistency, keys
from muxproxy.config.address import parse_server
from muxproxy.config.model import Backend, Config
from muxproxy.errors import ConfigError, OperatorError, Problem

# What may be set live: the name in a request -> table and key of the file.
SETTABLE = {"max_connections": ("upstream", "max_connections"), "max_waiting": ("queue", "max_waiting")}


class UnknownError(OperatorError):
    """No such backend or server."""


class Live(msgspec.Struct, frozen=True):
    paused: frozenset[str] = frozenset()
    drained: frozenset[str] = frozenset()
    servers: Mapping[str, frozenset[str]] = {}  # backend -> servers of it that are drained, as in its file
    numbers: Mapping[str, Mapping[str, int]] = {}  # backend -> key of SETTABLE -> value

    # -- changes -----------------------------------------------------------------------------------

    def pause(self, files: Config, name: str) -> Live:
        """Raises OperatorError, as all of these do."""
        return self._replace(paused=self.paused | {backend_of(files, name).name})

    def resume(self, files: Config, name: str, server: str = "") -> Live:
        """All that was done to it; with a server, only its drain."""
        backend = backend_of(files, name)
        if server:
            back = _server_of(backend, server)
            return self._replace(servers=_with(self.servers, name, self._servers(name) - {back}))
        servers = _with(self.servers, name, frozenset())
        return self._replace(paused=self.paused - {name}, drained=self.drained - {name}, servers=servers)

    def drain(self, files: Config, name: str, server: str = "") -> Live:
        backend = backend_of(files, name)
        if not server:
            return self._replace(drained=self.drained | {name})
        gone = self._servers(name) | {_server_of(backend, server)}
        if gone >= set(backend.upstream.servers):
            raise OperatorError(f"{server} is the last server of {name}: pause or drain the backend")
        return self._replace(servers=_with(self.servers, name, gone))

    def set(self, files: Config, name: str, numbers: Mapping[str, object]) -> Live:
        backend = backend_of(files, name)
        problems = [
            *(_unknown(backend, key) for key in numbers if key not in SETTABLE),
            *(problem for key in numbers if (problem := _wrong(backend, key, numbers[key])) is not None),
        ]
        if not problems:
            changed = self._replace(numbers={**self.numbers, name: {**self.numbers.get(name, {}), **numbers}})
            problems = consistency.contradictions(changed._of(backend), set())
        if problems:
            raise ConfigError(problems)
        return changed

    def reloaded(self, files: Config) -> Live:
        """The files have been read again."""
        names = {backend.name for backend in files.backends}
        servers = {}
        for backend in files.backends:
            known = frozenset(backend.upstream.servers)
            gone = self._servers(backend.name) & known
            if gone and gone < known:  # files that leave none of its servers but drained ones want those
                servers[backend.name] = gone
        return Live(paused=self.paused & names, drained=self.drained & names, servers=servers)

    # -- what comes of it --------------------------------------------------------------------------

    def over(self, files: Config) -> Config:
        """What is to run."""
        kept = tuple(self._of(backend) for backend in files.backends if backend.name not in self.drained)
        return msgspec.structs.replace(files, backends=kept)

    def told(self, backend: Backend) -> dict[str, Any]:
        """For the status. `backend`: as its file says."""
        differs = {}
        for key, now in self.numbers.get(backend.name, {}).items():
            table, name = SETTABLE[key]
            written = getattr(getattr(backend, table), name)
            if written != now:
                differs[f"{table}.{name}"] = {"file": written, "now": now}
        return {
            "paused": backend.name in self.paused,
            "drained": backend.name in self.drained,
            "drained_servers": sorted(self._servers(backend.name)),
            "differs": differs,
        }

    def _servers(self, name: str) -> frozenset[str]:
        return self.servers.get(name, frozenset())

    def _of(self, backend: Backend) -> Backend:
        numbers = self.numbers.get(backend.name, {})
        upstream, queue = backend.upstream, backend.queue
        gone = self._servers(backend.name)
        upstream = msgspec.structs.replace(
            upstream,
            servers=tuple(server for server in upstream.servers if server not in gone),
            max_connections=numbers.get("max_connections", upstream.max_connections),
        )
        queue = msgspec.structs.replace(queue, max_waiting=numbers.get("max_waiting", queue.max_waiting))
        return msgspec.structs.replace(backend, upstream=upstream, queue=queue)

    def _replace(self, **changes: Any) -> Live:
        return msgspec.structs.replace(self, **changes)


def backend_of(files: Config, name: str) -> Backend:
    """Raises UnknownError."""
    for backend in files.backends:
        if backend.name == name:
            return backend
    has = ", ".join(backend.name for backend in files.backends)
    raise UnknownError(f"there is no backend {name!r}; there are {has}")


def _server_of(backend: Backend, text: str) -> str:
    """As its file has it."""
    servers = backend.upstream.servers
    try:
        wanted = parse_server(text)
    except ValueError:
        wanted = None
    for server in servers:
        if parse_server(server) == wanted:
            return server
    raise UnknownError(f"{backend.name} has no server {text!r} in its file; it has {', '.join(servers)}")


def _with(
    servers: Mapping[str, frozenset[str]], name: str, gone: frozenset[str]
) -> dict[str, frozenset[str]]:
    others = {other: its for other, its in servers.items() if other != name}
    return {**others, name: gone} if gone else others


def _unknown(backend: Backend, key: str) -> Problem:
    return Problem(backend.file, key, "", f"cannot be set live; these can: {', '.join(SETTABLE)}")


def _wrong(backend: Backend, key: str, value: object) -> Problem | None:
    if key not in SETTABLE:
        return None
    table, name = SETTABLE[key]
    reader = keys.TABLES[table][name]
    assert isinstance(reader, keys.Count)
    try:
        reader.read(value)
    except ValueError as error:
        return Problem(backend.file, f"{table}.{name}", str(value)[:40], str(error))
    return None
