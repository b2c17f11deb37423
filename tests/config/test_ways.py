"""Every key of the model has its way into a running process, and every way is somebody's."""

from __future__ import annotations

import pytest

from muxproxy.config import ways
from muxproxy.config.model import Backend, Limit, Node
from muxproxy.config.plan import PROVENANCE
from muxproxy.config.ways import Rule, Way, way
from tests.config.models import READERS, all_keys

TABLES = pytest.mark.parametrize(("struct", "rules"), [(Node, ways.NODE), (Backend, ways.BACKEND)])


@TABLES
def test_every_key_of_the_model_has_its_way(struct: type[Node | Backend], rules: dict[str, Rule]) -> None:
    missing = set(all_keys(struct)) - rules.keys()
    assert not missing, "say in config/ways.py how a reload makes a new value of these take effect"
    assert not rules.keys() - set(all_keys(struct)), "there are no such keys"


def test_the_keys_of_the_model_are_those_of_the_files() -> None:
    """What PROVENANCE leaves out is no key, or a change of it would go unseen."""
    assert set(all_keys(Backend)) == set(READERS)
    assert not PROVENANCE & set(READERS)


def test_every_way_is_somebodys() -> None:
    rules = [*ways.NODE.values(), *ways.BACKEND.values()]
    assert {rule.more for rule in rules} | {rule.less for rule in rules} == set(Way)


def test_only_keys_of_the_node_are_refused() -> None:
    rules = ways.BACKEND.values()
    assert not ways.REFUSED & {each for rule in rules for each in (rule.more, rule.less, rule.none)}


@pytest.mark.parametrize(
    ("key", "old", "new", "expected"),
    [
        ("upstream.max_connections", 8, 12, Way.AT_ONCE),
        ("upstream.max_connections", 8, 7, Way.AS_FREE),
        ("upstream.servers", ("a:1",), ("b:1", "a:1"), Way.AT_ONCE),
        ("upstream.servers", ("a:1", "b:1"), ("b:1", "a:1"), Way.AT_ONCE),
        ("upstream.servers", ("a:1",), ("b:1",), Way.AS_FREE),
        ("upstream.servers", ("a:1", "b:1"), ("a:1",), Way.AS_FREE),
        ("upstream.max_lifetime", 60.0, 3600.0, Way.NEW_CONNECTIONS),
        ("upstream.max_lifetime", 60.0, 0.0, Way.NEW_CONNECTIONS),  # for ever
        ("upstream.max_lifetime", 0.0, 60.0, Way.AS_FREE),
        ("upstream.max_pinned", None, 3, Way.AT_ONCE),
        ("redis.password", "b", "a", Way.AS_FREE),
        ("queue.timeout", 1.0, 0.5, Way.AT_ONCE),
        ("tcp.reserve", 1, 2, Way.AT_ONCE),
        ("tcp.reserve", 0, 1, Way.AS_NEW),
        ("tcp.reserve", 1, 0, Way.AS_NEW),
        ("dubbo.limits", (Limit("s", 1),), (Limit("t", 1),), Way.AT_ONCE),
        ("dubbo.limits", (), (Limit("t", 1),), Way.AS_NEW),
        ("dubbo.limits", (Limit("s", 1),), (), Way.AS_NEW),
    ],
)
def test_less_may_go_another_way_than_more(key: str, old: object, new: object, expected: Way) -> None:
    assert way(ways.BACKEND[key], old, new) is expected
