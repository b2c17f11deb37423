"""What a pool of shared connections has, and what its connections may ask of it beside what all ask."""

from __future__ import annotations

from muxproxy.config.model import Backend
from muxproxy.mux.base.accounts import Parts
from muxproxy.mux.base.pool import Pool
from muxproxy.mux.base.server import Server
from muxproxy.mux.exchange import ClientRole, Exchange


class SharedAccounts(Pool):
    def __init__(self, parts: Parts) -> None:
        super().__init__(parts)
        self.suspects = 0  # connections that had not said anything when they were looked at

    def _set_up(self, backend: Backend) -> None:
        super()._set_up(backend)
        self.batch_commands, self.batch_delay = self.protocol.batch
        # when a connection that owes is looked at: has it said anything?
        self.first_look = min(backend.upstream.suspect_after, backend.upstream.reply_timeout)

    def has_other(self, now: float) -> bool:
        """Is there a connection that is not silent, though it may have no room now, or can there be one?"""
        raise NotImplementedError

    def take_back(
        self, owner: ClientRole | None, unwritten: list[Exchange], waiting: list[Exchange]
    ) -> list[Exchange]:
        """A connection is gone: SENT or WAITING for it => (WAITING with all others | NEW: held behind an
        earlier one of the same client). Returns those that mean nothing elsewhere: `owner`'s pin had begun
        (P2)."""
        raise NotImplementedError

    def retire_all(self, server: Server, why: str, now: float) -> None:
        """None of its connections gets more."""
        raise NotImplementedError
