"""The pool that each sharing gets."""

from __future__ import annotations

import pytest

from muxproxy.mux.base.pool import Pool
from muxproxy.mux.dedicated.pool import DedicatedPool
from muxproxy.mux.shared.pool import SharedPool
from muxproxy.mux.tagged.limited import LimitedPool
from muxproxy.protocols.contract import Limit, Protocol, Sharing
from tests.fakes import Stage
from tests.tagged_toys import TaggedToy
from tests.toys import Toy


@pytest.mark.parametrize(
    ("protocol", "kind"),
    [
        (Toy(Sharing.EXCLUSIVE), Pool),
        (Toy(Sharing.DEDICATED), DedicatedPool),
        (Toy(Sharing.ORDERED), SharedPool),
        (TaggedToy(), SharedPool),
        (TaggedToy(limits=(Limit("x", 1, 1.0),)), LimitedPool),
    ],
)
def test_a_pool_is_what_its_protocol_needs_and_no_more(protocol: Protocol, kind: type[Pool]) -> None:
    assert type(Stage(protocol).pool) is kind
