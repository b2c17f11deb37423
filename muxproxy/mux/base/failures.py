"""Requests that failed, for the log: at most one line per backend, reason and interval, with the count.

One line per request would fill the disk of a node that is already in trouble (P7), and no line at all leaves
whoever reads the log at night with clients that see 503 and a proxy that says nothing. Clients that leave are
only counted in the metrics: nobody was refused anything.
"""

from __future__ import annotations

from typing import Any, Final

from muxproxy.config.limits import QUEUED
from muxproxy.mux.base.pool import Pool
from muxproxy.protocols.contract import Reason

INTERVAL: Final = 10.0  # seconds; the worker asks so often
_QUIET: Final = ("replied", "abandoned")  # outcomes, but for those that have words of their own


class Failures:
    """What has been told of one pool."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._told: dict[Reason, int] = {}
        self._remarks = 0  # that were told

    def remarks(self) -> list[dict[str, Any]]:
        """The fields of one log line for each remark of the protocol's that was not told yet: once each."""
        remarks = self._pool.protocol.remarks()
        known, self._remarks = self._remarks, len(remarks)
        return [{"backend": self._pool.name, "remark": text} for text in remarks[known:]]

    def news(self) -> list[dict[str, Any]]:
        """The fields of one log line for each reason with failures since the last time."""
        pool = self._pool
        told, self._told = self._told, dict(pool.ended)
        return [
            {
                "backend": pool.name,
                "reason": reason.label,
                "count": count - told.get(reason, 0),
                **({"last": pool.faults[reason]} if reason in pool.faults else {}),
                "waiting": f"{pool.gate.waiting}/{pool.bounds[QUEUED]}",
                "connections": f"{pool.sockets()}/{pool.config.max_connections}",
                "clients": f"{len(pool.clients)}/{pool.clients_config.max_connections or 0}",
            }
            for reason, count in pool.ended.items()
            if count > told.get(reason, 0) and (reason.outcome not in _QUIET or reason in pool.faults)
        ]
