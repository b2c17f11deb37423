"""The report that /status and /metrics show: what the workers answered beside what the configuration says.

Pure. A backend whose worker does not answer is still listed, with its bounds and the reason in `state`:

    starting | serving | draining | stopped      as its worker
    worker restarting                             its worker died, the next one is on its way
    worker not answering                          it lives and said nothing within a second
    paused | drained | draining                   operators wanted it so (admin/live.py)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, TypedDict

from muxproxy.config.limits import named
from muxproxy.config.model import Backend
from muxproxy.metrics.merging import merged

_BACKEND_STATES = {"ready": "serving", "restarting": "worker restarting"}


class Differs(TypedDict):
    file: int
    now: int


class Changed(TypedDict):
    """What operators have changed of a backend."""

    paused: bool
    drained: bool
    drained_servers: list[str]
    differs: dict[str, Differs]  # by key of its file


class BackendEntry(Changed):
    """Beside these it has all of metrics/snapshot.py while its worker answers."""

    state: str
    listen: list[str]  # as the kernel says: port 0 has become a number
    protocol: str
    clients_max: int
    waiting_max: int
    queue_timeout: float
    upstream_max: int
    limits: dict[str, float]  # every number that it is held to


class WorkerEntry(TypedDict):
    index: int
    pid: int | None
    state: str  # starting | ready | restarting | draining | stopped
    answering: bool
    restarts: int
    backends: list[str]
    process: dict[str, Any]


class Status(TypedDict):
    version: str
    pid: int
    uptime: float  # seconds
    state: str  # starting | serving | draining
    reloads: int  # that were carried out
    workers: list[WorkerEntry]
    backends: dict[str, BackendEntry]


class WorkerLike(Protocol):
    index: int
    pid: int | None
    restarts: int
    backends: Sequence[Backend]

    @property
    def state(self) -> str: ...


Answer = Mapping[str, Any] | None


def worker_entry(worker: WorkerLike, answer: Answer) -> dict[str, Any]:
    """`process`: what the worker says of itself as a whole."""
    process = {key: value for key, value in (answer or {}).items() if key != "backends"}
    return {
        "index": worker.index,
        "pid": worker.pid,
        "state": str(worker.state),
        "answering": answer is not None,
        "restarts": worker.restarts,
        "backends": [backend.name for backend in worker.backends],
        "process": process,
    }


def backend_entries(
    workers: Iterable[tuple[WorkerLike, Answer]],
    bound: Mapping[str, Sequence[str]],
    backends: Iterable[Backend],
    changed: Mapping[str, dict[str, Any]] | None = None,
    gone: Iterable[tuple[Backend, str]] = (),
) -> dict[str, dict[str, Any]]:
    """By name. `bound`: the addresses that each backend listens on, as the kernel says. Shards are one.
    `changed`: what operators have changed of each. `gone`: those that they have drained, and the state that
    is shown."""
    told = changed or {}
    entries = {backend.name: {"state": state, "listen": []} | _configured(backend) for backend, state in gone}
    states, snapshots = _by_backend(workers)
    for backend in backends:
        name = backend.name
        state = _worst(states.get(name, []))
        if state == "serving" and told.get(name, {}).get("paused"):
            state = "paused"
        entries[name] = (
            {"state": state, "listen": list(bound.get(name, ()))}
            | _configured(backend)
            | (merged(snapshots[name]) if name in snapshots else {})
        )
    return {name: entry | _UNCHANGED | told.get(name, {}) for name, entry in sorted(entries.items())}


def _by_backend(
    workers: Iterable[tuple[WorkerLike, Answer]],
) -> tuple[dict[str, list[str]], dict[str, list[Mapping[str, Any]]]]:
    """Of each backend the state in each of its workers, and what those tell that answer."""
    states: dict[str, list[str]] = {}
    snapshots: dict[str, list[Mapping[str, Any]]] = {}
    for worker, answer in workers:
        told = {} if answer is None else answer["backends"]
        for name in (backend.name for backend in worker.backends):
            states.setdefault(name, []).append(_backend_state(str(worker.state), name in told))
            if name in told:
                snapshots.setdefault(name, []).append(told[name])
    return states, snapshots


def _worst(states: list[str]) -> str:
    """Of all shards: serving is what every one of them does."""
    return next((state for state in states if state != "serving"), "serving" if states else "starting")


_UNCHANGED: dict[str, Any] = {"paused": False, "drained": False, "drained_servers": [], "differs": {}}


def unready(report: Mapping[str, Any], only: str = "") -> dict[str, str]:
    """Which backends cannot serve, and why; `only`: of this one. {}: all can."""
    if report["state"] != "serving":
        return {"muxproxy": str(report["state"])}
    backends = report["backends"]
    cannot = {name: _why_not(backends[name]) for name in ([only] if only else backends)}
    return {name: why for name, why in cannot.items() if why}


def _why_not(entry: Mapping[str, Any]) -> str:
    if entry["state"] != "serving":
        return str(entry["state"])
    servers = entry.get("servers", [])
    if any(_may_serve(server) for server in servers):
        return ""
    troubles = [f"{server['address']}: {server['last_error'] or server['state']}" for server in servers]
    return f"no server can be reached: {', '.join(troubles)}" if troubles else "no server's name is resolved"


def _may_serve(server: Mapping[str, Any]) -> bool:
    """One that is backing off has connections still, perhaps; of one that is probed one is the probe."""
    least = {"backing_off": 1, "probing": 2}.get(server["state"], 0)
    return bool(server["connections"] >= least)


def _backend_state(worker_state: str, is_known: bool) -> str:
    if worker_state in ("ready", "draining") and not is_known:
        return "worker not answering"
    return _BACKEND_STATES.get(worker_state, worker_state)


_made: dict[str, tuple[Backend, dict[str, Any]]] = {}


def _configured(backend: Backend) -> dict[str, Any]:
    """Made once for each configuration: of a hundred backends it is a third of what a scrape costs."""
    made = _made.get(backend.name)
    if made is None or made[0] is not backend:
        made = _made[backend.name] = backend, _of_configuration(backend)
    return made[1]


def _of_configuration(backend: Backend) -> dict[str, Any]:
    return {
        "protocol": backend.protocol,
        "clients_max": backend.clients.max_connections,
        "waiting_max": backend.queue.max_waiting,
        "queue_timeout": backend.queue.timeout,
        "upstream_max": backend.upstream.max_connections,
        "limits": named(backend),
    }
