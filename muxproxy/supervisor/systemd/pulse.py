"""Every two seconds: STATUS= with live numbers, and the watchdog is fed if all workers answer.

What it costs: no question. workers.py asks each worker every second whether it lives, and the answer has the
numbers. The order of things when a worker's loop stands still, each long before the next:

      2 s   a question has no answer: the watchdog is fed no more
     10 s   it hangs: killed and replaced by us, and the watchdog is fed again
    120 s   it works and answers nobody: the same
    180 s   WatchdogSec= of the unit: neither has helped, or it is the supervisor who hangs: systemd ends the
            service with SIGABRT and starts it anew
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from typing import Any, NoReturn, Protocol

import trio

from muxproxy.supervisor.systemd.notify import notify

PAUSE = 2.0  # seconds


class WorkerLike(Protocol):
    @property
    def index(self) -> int: ...
    @property
    def answers(self) -> bool: ...
    @property
    def latest(self) -> Mapping[str, Any] | None: ...  # its last answer


def watchdog(environ: MutableMapping[str, str], pid: int) -> float | None:
    """Seconds of WatchdogSec= (sd_watchdog_enabled(3)); None: nobody waits for us. WATCHDOG_PID is removed:
    who succeeds us in an upgrade is the next to be waited for."""
    if environ.pop("WATCHDOG_PID", str(pid)) != str(pid):
        return None
    text = environ.get("WATCHDOG_USEC", "")
    return int(text) / 1e6 if text.isdecimal() and int(text) > 0 else None


class Pulse:
    def __init__(
        self, workers: Sequence[WorkerLike], state: Callable[[], str], timeout: float | None
    ) -> None:
        """`workers`: all there are, also those that a reload adds. `timeout`: the watchdog's."""
        self._workers = workers
        self._state = state
        self._timeout = timeout
        self._said = ""
        self._replied = 0

    @property
    def pause(self) -> float:
        return PAUSE if self._timeout is None else min(PAUSE, self._timeout / 2)

    async def keep(self) -> NoReturn:
        last = trio.current_time()
        while True:
            await trio.sleep(self.pause)
            now = trio.current_time()
            if words := list(self.beat(now - last)):
                notify(*words, patience=0)
            last = now

    def beat(self, passed: float) -> Iterator[str]:
        """What is to be said after so many seconds."""
        if self._timeout is not None and all(worker.answers for worker in self._workers):
            yield "WATCHDOG=1"
        status = self._status(passed)
        if status != self._said:
            self._said = status
            yield f"STATUS={status}"

    def _status(self, passed: float) -> str:
        named = [pair for worker in self._workers for pair in _backends(worker)]
        backends = [each for _, each in named]
        bounds = {name: each["upstream_max"] for name, each in named}  # shards share one
        replied = sum(sum(each["outcomes"].get("replied", {}).values()) for each in backends)
        # A worker that was replaced begins anew: nothing rather than less than nothing.
        rate = max(0, replied - self._replied) / passed if passed > 0 else 0.0
        self._replied = replied
        silent = [str(worker.index) for worker in self._workers if not worker.answers]
        return (
            f"{self._state()}: {_sum(backends, 'clients')} clients, {_sum(backends, 'waiting')} waiting, "
            f"{_sum(backends, 'in_flight')} in flight, {_sum(backends, 'upstream_sockets')} of "
            f"{sum(bounds.values()):,} upstream sockets, {rate:,.0f} replies/s"
            + (f"; no answer from worker {', '.join(silent)}" if silent else "")
        )


def _backends(worker: WorkerLike) -> Sequence[tuple[str, Mapping[str, Any]]]:
    return [] if worker.latest is None else list(worker.latest["backends"].items())


def _sum(backends: Sequence[Mapping[str, Any]], key: str) -> str:
    return f"{sum(each[key] for each in backends):,}"
