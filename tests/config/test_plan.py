"""A plan brings the old configuration to the new one, says the same to everybody, and tells no password."""

from __future__ import annotations

import json
from collections import Counter
from random import Random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from muxproxy.config.address import parse_listen
from muxproxy.config.model import Backend, Config, Limit, Node
from muxproxy.config.plan import Handed, Listening, Plan, plan, told, values
from muxproxy.config.ways import REFUSED, Way
from tests.config.models import backend, config, configs, with_keys

# -- laws ---------------------------------------------------------------------------------------------------


def bare(backends: tuple[Backend, ...]) -> dict[str, Backend]:
    """By name, without where they were read."""
    return {b.name: msgspec.structs.replace(b, file="", flexible=()) for b in backends}


def applied(old: Config, what: Plan) -> Config:
    """Step by step, as whoever carries it out does; the order of the files is nobody's business."""
    backends = {b.name: b for b in old.backends}
    for gone in what.removed:
        del backends[gone.name]
    for come in what.added:
        assert come.name not in backends
        backends[come.name] = come
    for each in what.changed:
        assert backends[each.old.name] == each.old
        new = with_keys(each.old, {change.key: change.new for change in each.changes})
        assert bare((new,)) == bare((each.new,))
        backends[each.old.name] = new
    node = with_keys(old.node, {change.key: change.new for change in what.node})
    return Config(node=node, backends=tuple(backends.values()))


def sockets(backends: tuple[Backend, ...]) -> Counter[tuple[str, str]]:
    return Counter((b.name, str(parse_listen(text))) for b in backends for text in b.clients.listen)


def listened(before: tuple[Backend, ...], what: Plan) -> Counter[tuple[str, str]]:
    """Where who listens after what is opened, closed and handed over; nothing else changes hands."""
    now = sockets(before)
    now.subtract((each.backend, str(parse_listen(each.address))) for each in what.closed)
    for each in what.handed:
        address = str(parse_listen(each.address))
        now.subtract([(each.old, address)])
        now.update([(each.new, address)])
    now.update((each.backend, str(parse_listen(each.address))) for each in what.opened)
    assert min(now.values()) >= 0
    return +now


@given(configs(), configs())
def test_a_plan_that_is_carried_out_makes_the_new_configuration(old: Config, new: Config) -> None:
    what = plan(old, new)
    after = applied(old, what)
    assert bare(after.backends) == bare(new.backends)
    left = {key for (key, x), (_, y) in zip(values(after.node), values(new.node), strict=True) if x != y}
    assert left == {problem.key for problem in what.refused}
    assert listened(old.backends, what) == sockets(new.backends)
    # Nothing is closed that somebody listens on afterwards.
    kept = {place for _, place in sockets(new.backends) if not place.endswith(":0")}
    assert not kept & {each.address for each in what.closed}


@given(configs(), st.randoms(use_true_random=False))
def test_there_is_nothing_to_do_for_what_runs_already(running: Config, random: Random) -> None:
    assert plan(running, running).is_empty
    elsewhere = [
        msgspec.structs.replace(b, file="/elsewhere", flexible=("backlog",)) for b in running.backends
    ]
    random.shuffle(elsewhere)
    node = msgspec.structs.replace(running.node, file="/elsewhere")
    what = plan(running, Config(node=node, backends=tuple(elsewhere)))
    assert what.is_empty
    assert told(what)["nothing_to_do"]
    assert not what.opened
    assert not what.closed


@given(configs(), configs(), st.randoms(use_true_random=False))
def test_a_plan_says_the_same_whatever_the_order_of_files_and_all_of_it_in_json(
    old: Config, new: Config, random: Random
) -> None:
    what = plan(old, new)
    shuffled = []
    for each in (old, new):
        backends = list(each.backends)
        random.shuffle(backends)
        shuffled.append(msgspec.structs.replace(each, backends=tuple(backends)))
    assert plan(*shuffled) == what
    answer = told(what)
    assert json.loads(json.dumps(answer)) == answer
    assert len(answer["changed"]) == sum(len(each.changes) for each in what.changed)
    assert {each["backend"] for each in answer["replaced"]} == what.replaced
    for change in [*answer["changed"], *answer["node"]]:
        assert change["how"]
        assert change["how"] not in {way.value for way in REFUSED}


# -- what is done -------------------------------------------------------------------------------------------

HUSH = "correct-horse"


@pytest.mark.parametrize("key", ["redis.password", "redis.client_password"])
def test_no_password_is_told_or_in_any_repr(key: str) -> None:
    old = with_keys(backend(protocol="redis"), {key: HUSH})
    new = with_keys(backend(protocol="redis"), {key: HUSH + "2"})
    what = plan(config(old), config(new, backend("beta", redis__password=HUSH)))
    (changed,) = what.changed
    assert (changed.changes[0].old, changed.changes[0].new) == (HUSH, HUSH + "2")
    assert HUSH not in repr(what)
    assert HUSH not in json.dumps(told(what))
    assert told(what)["changed"][0]["key"] == key


def test_backends_come_go_and_change() -> None:
    old = config(backend("gone"), backend("kept"), backend("same"))
    new = config(backend("same"), backend("new"), backend("kept", upstream__max_connections=12))
    what = plan(old, new)
    assert [b.name for b in what.added] == ["new"]
    assert [b.name for b in what.removed] == ["gone"]
    (changed,) = what.changed
    assert changed.new.upstream.max_connections == 12
    assert [(c.key, c.old, c.new, c.way) for c in changed.changes] == [
        ("upstream.max_connections", 8, 12, Way.AT_ONCE)
    ]
    assert not what.is_empty
    assert not what.replaced


def test_every_key_that_differs_is_a_change_of_its_own() -> None:
    new = backend(
        clients__listen=("127.0.0.1:81",),
        clients__from=("anyone",),
        upstream__servers=("10.0.0.2:80",),
        redis__batch__delay=0.001,
        dubbo__limits=(Limit("S", 1),),
    )
    (changed,) = plan(config(backend(dubbo__limits=(Limit("T", 1),))), config(new)).changed
    assert [(c.key, c.way) for c in changed.changes] == [
        ("clients.listen", Way.LISTENERS),
        ("clients.from", Way.NEW_CLIENTS),
        ("upstream.servers", Way.AS_FREE),
        ("redis.batch.delay", Way.AT_ONCE),
        ("dubbo.limits", Way.AT_ONCE),
    ]


@pytest.mark.parametrize(
    "written",
    [
        {"protocol": "redis"},
        {"redis.auth": "passthrough"},
        {"tcp.reserve": 1},
        {"dubbo.limits": (Limit("S", 1),)},
    ],
)
def test_what_sessions_are_made_of_makes_a_new_backend(written: dict[str, object]) -> None:
    old = backend(clients__listen=("127.0.0.1:81", "127.0.0.1:0"))
    new = with_keys(old, {**written, "queue.timeout": 9.0})
    what = plan(config(old), config(new))
    assert (what.removed, what.added, what.changed) == ((old,), (new,), ())
    assert what.replaced == {"alpha"}
    assert what.handed == (Handed("127.0.0.1:81", "alpha", "alpha"),)  # no client is refused meanwhile
    answer = told(what)
    assert (answer["added"], answer["removed"]) == ([], [])
    assert [each["backend"] for each in answer["replaced"]] == ["alpha"]


def test_an_address_goes_from_a_backend_to_its_new_name() -> None:
    old = config(backend("old", clients__listen=("[::1]:81", "unix:/run/a.sock", "127.0.0.1:0")))
    new = config(backend("new", clients__listen=("unix:/run/a.sock", "[0::1]:81", "127.0.0.1:0")))
    what = plan(old, new)
    assert what.handed == (Handed("[0::1]:81", "old", "new"), Handed("unix:/run/a.sock", "old", "new"))
    assert what.opened == (Listening("new", "127.0.0.1:0"),)  # the kernel chooses another port
    assert what.closed == (Listening("old", "127.0.0.1:0"),)


def test_who_must_know_of_a_new_listener_elsewhere_is_told_though_no_key_of_its_own_has_changed() -> None:
    old, new = backend(listeners=("127.0.0.1:81",)), backend(listeners=("127.0.0.1:82",))
    what = plan(config(old), config(new))
    assert [(each.new.listeners, each.changes) for each in what.changed] == [(("127.0.0.1:82",), ())]
    assert told(what)["changed"] == []


def test_another_spelling_of_an_address_opens_nothing() -> None:
    old, new = backend(clients__listen=("[::1]:81",)), backend(clients__listen=("[0::1]:81",))
    what = plan(config(old), config(new))
    assert [c.key for each in what.changed for c in each.changes] == ["clients.listen"]
    assert (what.opened, what.closed, what.handed) == ((), (), ())


@pytest.mark.parametrize(
    ("key", "value", "way"),
    [("workers", 4, Way.UPGRADE), ("user", "nobody", Way.RESTART), ("admin", "/run/x.sock", Way.RESTART)],
)
def test_what_a_running_process_cannot_change_is_refused_and_says_what_it_takes(
    key: str, value: object, way: Way
) -> None:
    node = Node(file="/etc/muxproxy/muxproxy.toml", **{key: value})
    what = plan(config(backend()), Config(node, (backend(queue__timeout=9.0),)))
    (problem,) = what.refused
    assert (problem.file, problem.key) == ("/etc/muxproxy/muxproxy.toml", key)
    assert problem.rule.startswith("a running muxproxy cannot change this, which is ")
    assert problem.rule.endswith(way.value)
    assert not what.node
    assert not what.is_empty
    assert not plan(config(backend()), Config(node, (backend(),))).is_empty


def test_what_is_refused_names_the_file_that_would_hold_it() -> None:
    (problem,) = plan(config(backend(), workers=2), config(backend())).refused
    assert str(problem) == (
        "muxproxy.toml: workers = 1: a running muxproxy cannot change this, which is 2: "
        "it takes `muxproxy upgrade`"
    )


def test_the_rest_of_the_node_changes_at_once() -> None:
    what = plan(config(backend()), config(backend(), memory=2**21, drain_timeout=1.0, log_level="debug"))
    assert [(c.key, c.way) for c in what.node] == [
        (key, Way.AT_ONCE) for key in ("memory", "drain_timeout", "log_level")
    ]
    assert not what.refused


def test_an_address_that_the_kernel_has_no_place_for_yet_is_refused() -> None:
    old = config(backend("a", clients__listen=("127.0.0.1:81", "127.0.0.1:82")))
    new = config(
        backend("a", clients__listen=("127.0.0.1:82",)), backend("b", clients__listen=("0.0.0.0:81",))
    )
    (problem,) = plan(old, new).refused
    assert str(problem) == (
        'b.toml: clients.listen = "0.0.0.0:81": cannot be bound beside 127.0.0.1:81 of a, which this reload '
        "would close: reload without it first, or restart"
    )
