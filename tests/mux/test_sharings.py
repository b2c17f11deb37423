"""The pool that each sharing gets."""

from __future__ import annotations

import pytest

from muxproxy.mux.base.pool import Pool
from muxproxy.mux.dedicated.pool import DedicatedPool
from muxproxy.mux.exclusive.pool import ExclusivePool
from muxproxy.mux.ordered.pool import OrderedPool
from muxproxy.mux.tagged.limited import LimitedPool
from muxproxy.mux.tagged.pool import TaggedPool
from muxproxy.protocols.contract import Limit, Protocol, Sharing
from tests.fakes import Stage
from tests.tagged_toys import TaggedToy
from tests.toys import Toy


@pytest.mark.parametrize(
    ("protocol", "kind"),
    [
        (Toy(Sharing.EXCLUSIVE), ExclusivePool),
        (Toy(Sharing.DEDICATED), DedicatedPool),
        (Toy(Sharing.ORDERED), OrderedPool),
        (TaggedToy(), TaggedPool),
        (TaggedToy(limits=(Limit("x", 1, 1.0),)), LimitedPool),
    ],
)
def test_a_pool_is_what_its_protocol_needs_and_no_more(protocol: Protocol, kind: type[Pool]) -> None:
    assert type(Stage(protocol).pool) is kind
