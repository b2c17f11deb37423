"""What a pool of shared connections takes from its configuration."""

from __future__ import annotations

from muxproxy.protocols.contract import Sharing
from tests.fakes import Stage


def test_a_connection_that_owes_is_looked_at_before_its_reply_is_late() -> None:
    assert Stage(Sharing.ORDERED, suspect_after=0.5, reply_timeout=2.0).pool.first_look == 0.5
    assert Stage(Sharing.ORDERED, suspect_after=5.0, reply_timeout=2.0).pool.first_look == 2.0
