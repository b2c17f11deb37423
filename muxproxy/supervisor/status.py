"""The report that /status and /metrics show: what the workers answered beside what the configuration says.

Pure. A backend whose worker does not answer is still listed, with its bounds and the reason in `state`:

    starting | serving | draining | stopped      as its worker
    worker restarting                             its worker died, the next one is on its way
    worker not answering                          it lives and said nothing within a second
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from muxproxy.config.limits import named
from muxproxy.config.model import Backend

_BACKEND_STATES = {"ready": "serving", "restarting": "worker restarting"}


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
    workers: Iterable[tuple[WorkerLike, Answer]], bound: Mapping[str, Sequence[str]]
) -> dict[str, dict[str, Any]]:
    """By name. `bound`: the addresses that each backend listens on, as the kernel says."""
    entries = {}
    for worker, answer in workers:
        snapshots = {} if answer is None else answer["backends"]
        for backend in worker.backends:
            state = _backend_state(str(worker.state), backend.name in snapshots)
            entries[backend.name] = (
                {"state": state, "listen": list(bound[backend.name])}
                | _configured(backend)
                | snapshots.get(backend.name, {})
            )
    return dict(sorted(entries.items()))


def _backend_state(worker_state: str, is_known: bool) -> str:
    if worker_state in ("ready", "draining") and not is_known:
        return "worker not answering"
    return _BACKEND_STATES.get(worker_state, worker_state)


def _configured(backend: Backend) -> dict[str, Any]:
    return {
        "protocol": backend.protocol,
        "clients_max": backend.clients.max_connections,
        "waiting_max": backend.queue.max_waiting,
        "queue_timeout": backend.queue.timeout,
        "upstream_max": backend.upstream.max_connections,
        "limits": named(backend),
    }
