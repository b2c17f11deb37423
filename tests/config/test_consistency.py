"""Rules between two keys or two backends, and warnings about what is seldom meant."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from muxproxy.config.consistency import collisions, contradictions, notes, warnings, with_listeners
from muxproxy.config.model import (
    AUTO,
    Backend,
    Batch,
    Clients,
    Config,
    Dubbo,
    Http,
    Limit,
    Node,
    Queue,
    Redis,
    Route,
    Tcp,
    Upstream,
)


def backend(
    name: str = "b",
    listen: tuple[str, ...] = ("127.0.0.1:80",),
    protocol: str = "http",
    **tables: dict[str, Any],
) -> Backend:
    return Backend(
        name=name,
        protocol=protocol,
        clients=Clients(**{"listen": listen, **tables.get("clients", {})}),
        upstream=Upstream(**{"servers": ("10.0.0.5:80",), **tables.get("upstream", {})}),
        queue=Queue(**tables.get("queue", {})),
        http=Http(**tables.get("http", {})),
        redis=Redis(**tables.get("redis", {})),
        dubbo=Dubbo(**tables.get("dubbo", {})),
        tcp=Tcp(**tables.get("tcp", {})),
        file=f"{name}.toml",
    )


CONTRADICTIONS: list[tuple[dict[str, dict[str, Any]], str]] = [
    ({"upstream": {"min_connections": 9}}, "upstream.min_connections = 9: at most upstream.max_connections"),
    ({"upstream": {"max_pinned": 9}}, "upstream.max_pinned = 9: at most upstream.max_connections, 8"),
    ({"http": {"max_upgraded": 9}}, "http.max_upgraded = 9: at most upstream.max_connections, 8"),
    ({"upstream": {"backoff_min": 2.0}}, 'upstream.backoff_min = "2s": at most upstream.backoff_max, "700m'),
    ({"http": {"max_head": 4096}}, 'http.max_target = "8KiB": at most http.max_head, "4KiB"'),
    ({"upstream": {"servers": ("a:1", "A:1")}}, 'upstream.servers = "a:1": each server once'),
    ({"upstream": {"servers": ("127.0.0.1:80",)}}, 'upstream.servers = "127.0.0.1:80": this backend listens'),
    ({"upstream": {"servers": ("localhost:80",)}}, 'upstream.servers = "localhost:80": this backend listens'),
]  # a table  # fmt: skip


PASSTHROUGH = {"auth": "passthrough"}
TWICE = (Limit("S", 1), Limit("S", 1, "m"), Limit("S", 2, "m"))

CONTRADICTIONS += [
    ({"redis": {**PASSTHROUGH, "client_password": "hush"}}, "redis.client_password: not with auth = "),
    ({"redis": {**PASSTHROUGH, "password": "hush"}}, "redis.password: not with auth = "),
    ({"redis": {**PASSTHROUGH, "password": "hush", "password_file": "/x"}}, "redis.password_file: not with"),
    ({"redis": {**PASSTHROUGH, "username": "x"}}, 'redis.username: not with auth = "passthrough": each'),
    ({"redis": {"username": "x"}}, 'redis.username = "x": needs password or password_file'),
    ({"redis": {"allow": ("MONITOR",)}}, 'redis.allow = "MONITOR": cannot be allowed: it shows the'),
    ({"redis": {"allow": ("client|tracking",)}}, 'redis.allow = "client|tracking": cannot be allowed: it'),
    ({"redis": {"allow": ("Debug",), "deny": ("debug",)}}, 'redis.allow = "Debug": is in deny too'),
    ({"dubbo": {"limits": TWICE}}, 'dubbo.limits[3].service = "S", method "m": the same as dubbo.limits[2]'),
]  # a table  # fmt: skip


HOST: dict[str, Any] = {"to": "host", "servers": ()}
LOOP = (Route("a", servers=("127.0.0.1:80",)),)
CONTRADICTIONS += [
    ({"upstream": {"to": "host"}}, 'upstream.servers = "10.0.0.5:80": not with to = "host"'),
    ({"upstream": {"allow": ("*",)}}, 'upstream.allow = "*": needs to = "original" or "host"'),
    ({"upstream": {"deny": ("a",)}}, 'upstream.deny = "a": needs to = "original" or "host"'),
    ({"http": {"routes": (Route("a"),)}}, 'http.routes[1].host = "a": needs to = "host"'),
    ({"http": {"max_tunnels": 2}}, 'http.max_tunnels = 2: needs to = "host"'),
    (
        {"upstream": HOST, "http": {"max_tunnels": 9}},
        "http.max_tunnels = 9: at most upstream.max_connections",
    ),
    ({"upstream": HOST, "http": {"routes": (Route("a"), Route("a"))}}, "http.routes[2].host"),
    ({"upstream": HOST, "http": {"routes": LOOP}}, 'http.routes[1].servers = "127.0.0.1:80": this backend'),
]


@pytest.mark.parametrize(("tables", "expected"), CONTRADICTIONS)
def test_two_keys_that_contradict_each_other_are_refused(tables: dict[str, Any], expected: str) -> None:
    (problem,) = contradictions(backend(**tables), bad=set())
    assert str(problem).startswith(f"b.toml: {expected}")


def test_only_requests_of_http_name_a_host_and_every_shard_needs_a_place_towards_a_destination() -> None:
    for protocol, expected in (("redis", ["upstream.to"]), ("http", [])):
        odd = backend(protocol=protocol, upstream=HOST)
        assert [problem.key for problem in contradictions(odd, bad=set())] == expected
    assert contradictions(backend(protocol="redis", upstream={**HOST, "to": "original"}), bad=set()) == []
    routes = (Route("a"), Route("b", max_connections=1))
    few = backend(upstream={**HOST, "max_connections_each": 1}, http={"routes": routes})
    found = contradictions(msgspec.structs.replace(few, shards=2), bad=set())
    assert [str(problem).partition(",")[0] for problem in found] == [
        "b.toml: upstream.max_connections_each = 1: at least shards",
        "b.toml: http.routes[2].max_connections = 1: at least shards",
    ]


def test_who_has_destinations_knows_where_muxproxy_itself_listens() -> None:
    one, two = backend("one", ("127.0.0.1:81", "unix:/x")), backend("two", ("[0::1]:80",), upstream=HOST)
    told = with_listeners(Node(admin_tcp="127.0.0.1:9180"), [one, two])
    assert told[0] is one
    assert told[1].listeners == ("127.0.0.1:81", "127.0.0.1:9180", "[::1]:80", "unix:/x")


def test_a_key_that_is_wrong_itself_is_not_compared() -> None:
    odd = backend(upstream={"min_connections": 9})
    assert contradictions(odd, bad={"upstream.max_connections"}) == []


@pytest.mark.parametrize(
    ("listen", "server", "loop"),
    [
        ("0.0.0.0:80", "127.0.0.1:80", True),
        ("0.0.0.0:80", "10.0.0.5:80", False),  # most likely another machine
        ("[::]:80", "[::1]:80", True),
        ("[::]:80", "localhost:80", True),
        ("[::]:80", "127.0.0.1:80", False),
        ("127.0.0.1:80", "127.0.0.1:81", False),
        ("127.0.0.1:80", "api:80", False),
        ("unix:/a", "unix:/a", True),
        ("unix:/a", "localhost:80", False),
    ],
)
def test_a_server_that_is_the_backends_own_listener_is_a_loop(listen: str, server: str, loop: bool) -> None:
    found = contradictions(backend(listen=(listen,), upstream={"servers": (server,)}), bad=set())
    assert bool(found) is loop


def test_one_address_has_one_listener_in_all_backends() -> None:
    one = backend("one", ("127.0.0.1:80", "127.0.0.1:80", "unix:/run/admin.sock"))
    two = backend("two", ("0.0.0.0:80", "127.0.0.1:81"))
    node = Node(admin="/run/admin.sock", admin_tcp="127.0.0.1:81", file="muxproxy.toml")
    found = collisions(node, [one, two])
    assert [str(problem) for problem in found] == [
        'one.toml: clients.listen = "127.0.0.1:80": already taken by "127.0.0.1:80" in one.toml',
        'one.toml: clients.listen = "unix:/run/admin.sock": already taken by admin in muxproxy.toml',
        'two.toml: clients.listen = "0.0.0.0:80": already taken by "127.0.0.1:80" in one.toml',
        'two.toml: clients.listen = "127.0.0.1:81": already taken by admin_tcp in muxproxy.toml',
    ]


EACH = "upstream.max_connections_each = 8: more than half of max_connections"
WARNINGS: list[tuple[dict[str, Any], str]] = [
    ({"upstream": {**HOST, "max_connections": 8}}, f"{EACH}, 8: one that hangs takes all"),
    ({"upstream": {**HOST, "max_connections": 15}}, f"{EACH}, 15: two that hang take all"),
    ({"upstream": {"max_destinations": 5}}, "no effect without to"),
    ({"upstream": {"max_connections_each": 5}}, "no effect without to"),
    ({"upstream": {**HOST, "max_connections": 16, "allow": ("localhost",)}}, "its addresses are loopback"),
    ({"listen": ("0.0.0.0:80",)}, "other machines can reach this, and are refused"),
    (
        {"listen": ("0.0.0.0:80",), "clients": {"from_": ("anyone",)}},
        "other machines can reach this, and muxproxy does not ask who they are",
    ),
    ({"clients": {"from_": ("10.0.0.0/8",)}}, 'clients.from = "10.0.0.0/8": no listener that'),
    ({"listen": ("127.0.0.1:0",)}, "the kernel chooses another port at every start"),
    ({"clients": {"max_connections": 8}}, "upstream.max_connections = 8: not below clients.max_connections"),
    ({"upstream": {"servers": tuple(f"s{n}:80" for n in range(9))}}, "fewer than the 9 servers"),
    ({"queue": {"timeout": 0.5}}, 'upstream.connect_timeout = "700ms": above queue.timeout, 500ms'),
    ({"upstream": {"max_lifetime": 10.0}}, 'upstream.idle_timeout = "30s": above max_lifetime'),
    ({"upstream": {"max_in_flight": 4}}, "upstream.max_in_flight = 4: no effect with http"),
    ({"upstream": {"max_pinned": 2}}, "upstream.max_pinned = 2: no effect with http"),
    ({"http": {"max_upgraded": 8}}, "http.max_upgraded = 8: upgraded sessions can take every connection"),
]  # a table  # fmt: skip


REDIS = {"protocol": "redis"}
DUBBO = {"protocol": "dubbo"}

WARNINGS += [
    ({**REDIS, "upstream": {"max_connections": 1}}, "upstream.max_connections = 1: one client that needs it"),
    ({**REDIS, "upstream": {"max_pinned": 0}}, "upstream.max_pinned = 0: BLPOP, WATCH, MULTI in pieces"),
    ({**REDIS, "redis": {"batch": Batch(delay=0.001)}}, "redis.batch.commands = 0: below 2 nothing is held"),
    ({**REDIS, "redis": {"allow": ("get",)}}, 'redis.allow = "get": no effect: it is not refused'),
    ({**DUBBO, "upstream": {"max_pinned": 2}}, "upstream.max_pinned = 2: no effect with dubbo"),
]  # a table  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [
        {**REDIS, "redis": {"batch": Batch(commands=3)}},
        {**REDIS, "redis": {"allow": ("debug|sleep", "CONFIG|GET"), "deny": ("config",)}},
        {**REDIS, "redis": {"deny": ("ft.search", "get")}},
        {**REDIS, "upstream": {"max_in_flight": 4, "max_pinned": 2}},
        {**DUBBO, "upstream": {"max_in_flight": 4}},
        {"listen": ("0.0.0.0:80",), "clients": {"from_": ("this machine",)}},
        {"listen": ("0.0.0.0:80", "127.0.0.1:80"), "clients": {"from_": ("10.0.0.0/8", "this machine")}},
    ],
)
def test_what_may_well_be_meant_gives_none(change: dict[str, Any]) -> None:
    assert warnings(Config(node=Node(), backends=(backend(**change),))) == []


@pytest.mark.parametrize(
    ("servers", "better"),
    [
        (("a:6379",), 'protocol = "redis" does, if that is what the servers speak, as their port suggests'),
        (("a:80",), 'protocol = "http" does'),
        (("a:8080", "b:5432"), 'protocol = "http" does'),
        (("a:20880",), 'protocol = "dubbo" does'),
        (("a:5432", "unix:/run/x"), "http, redis, dubbo do, if the servers speak one"),
    ],
)
def test_raw_tcp_is_told_what_it_does_not_do_and_what_would(servers: tuple[str, ...], better: str) -> None:
    raw = backend(protocol="tcp", upstream={"servers": servers})
    (warning,) = warnings(Config(node=Node(), backends=(raw,)))
    assert str(warning).startswith(
        f'b.toml: protocol = "tcp": bounds but does not multiplex: 8 clients at a time have a connection '
        f"each; {better}"
    )


@pytest.mark.parametrize(("port", "why"), [(3306, "max_connect_errors"), (5432, "authentication_timeout")])
def test_spares_are_not_for_servers_that_count_who_does_not_log_in(port: int, why: str) -> None:
    spares = {"servers": (f"db.internal:{port}",), "min_connections": 2}
    raw = backend(protocol="tcp", upstream=spares)
    _, warning = warnings(Config(node=Node(), backends=(raw,)))
    assert str(warning).startswith(f"b.toml: upstream.min_connections = 2: port {port} is usually ")
    assert why in str(warning)
    other = backend(protocol="tcp", upstream={"servers": ("db.internal:5433",), "min_connections": 2})
    without = backend(protocol="tcp", upstream=spares | {"min_connections": 0})
    assert len(warnings(Config(node=Node(), backends=(other,)))) == 1
    assert len(warnings(Config(node=Node(), backends=(without,)))) == 1


def test_not_all_places_can_be_reserved() -> None:
    raw = backend(protocol="tcp", upstream={"max_connections": 3}, tcp={"reserve": 3})
    (problem,) = contradictions(raw, set())
    assert str(problem).startswith("b.toml: tcp.reserve = 3: below upstream.max_connections, 3")
    assert contradictions(backend(protocol="tcp", tcp={"reserve": 2}), set()) == []


def test_raw_tcp_has_one_session_to_a_connection() -> None:
    raw = backend(protocol="tcp", upstream={"max_in_flight": 4, "max_pinned": 2})
    told = [str(warning) for warning in warnings(Config(node=Node(), backends=(raw,)))]
    assert [line for line in told if "no effect with tcp" in line] == [
        "b.toml: upstream.max_in_flight = 4: no effect with tcp: every session has a connection of its own",
        "b.toml: upstream.max_pinned = 2: no effect with tcp: every session has a connection of its own",
    ]


@pytest.mark.parametrize(("change", "expected"), WARNINGS)
def test_what_is_seldom_meant_gives_one_warning(change: dict[str, Any], expected: str) -> None:
    (warning,) = warnings(Config(node=Node(), backends=(backend(**change),)))
    assert expected in str(warning)


def test_defaults_give_no_warning() -> None:
    assert warnings(Config(node=Node(), backends=(backend(),))) == []


@pytest.mark.parametrize(
    ("node", "expected"),
    [
        (Node(admin_mode=0o666), 'admin_mode = "0666": every user of this machine may pause'),
        (Node(admin_tcp="0.0.0.0:9180"), 'admin_tcp = "0.0.0.0:9180": other machines can read'),
        (Node(admin_mode=0o664, admin_tcp="[::1]:9180"), ""),
    ],
)
def test_who_else_may_ask_and_change_is_told(node: Node, expected: str) -> None:
    assert [expected in str(each) for each in warnings(Config(node, (backend(),)))] == [True] * bool(expected)


@pytest.mark.parametrize(
    ("shards", "reserve", "expected"),
    [
        (9, 0, ["shards = 9: at most upstream.max_connections, 8"]),
        (9, 7, ["shards = 9: at most upstream.max_connections, 8"]),  # and nothing of what follows from it
        (8, 0, []),
        (2, 6, []),
        (2, 7, ["tcp.reserve = 7: at most 6: of upstream.max_connections, 8, each of 2 shards needs one"]),
        (2, 8, ["tcp.reserve = 8: below upstream.max_connections, 8, or no session but these has a place"]),
    ],
)
def test_every_shard_needs_a_place(shards: int, reserve: int, expected: list[str]) -> None:
    odd = msgspec.structs.replace(backend(protocol="tcp", tcp={"reserve": reserve}), shards=shards)
    assert [str(problem) for problem in contradictions(odd, bad=set())] == [f"b.toml: {e}" for e in expected]
    assert not [p for p in contradictions(odd, bad={"shards", "tcp.reserve"}) if p.key != "upstream.servers"]


def test_that_shards_start_workers_is_a_note_and_that_workers_have_none_a_warning() -> None:
    two = msgspec.structs.replace(backend(), shards=2)
    (note,) = notes(Config(node=Node(), backends=(two,)))
    assert str(note).startswith(
        "b.toml: shards = 2: more than workers, 1: as many are started, for each shard"
    )
    for workers in (AUTO, 2):
        assert notes(Config(node=Node(workers=workers), backends=(two,))) == []
    assert warnings(Config(node=Node(workers=2), backends=(two,))) == []
    (warning,) = warnings(Config(node=Node(workers=3), backends=(two,)))
    assert "only 2 of the workers will be started" in warning.rule


def test_more_workers_than_backends_gives_a_warning() -> None:
    (warning,) = warnings(Config(node=Node(workers=2, file="muxproxy.toml"), backends=(backend(),)))
    assert str(warning).startswith(
        "muxproxy.toml: workers = 2: a backend has one owner for each of its shards: only 1 of"
    )


@pytest.mark.parametrize(
    ("listen", "is_said"),
    [
        (("127.0.0.1:20881",), True),
        (("127.0.0.1:20881", "unix:/run/x.sock"), True),
        (("127.0.0.1:20881", "[::1]:20881"), False),
        (("0.0.0.0:20881",), False),
        (("unix:/run/x.sock",), False),
    ],
)
def test_where_java_consumers_would_not_find_a_backend_check_says_what_works(
    listen: tuple[str, ...], is_said: bool
) -> None:
    said = notes(Config(node=Node(), backends=(backend("one", listen, protocol="dubbo"),)))
    assert ["/etc/hosts" in str(note) and "[::1]" in str(note) for note in said] == [True] * is_said
    assert notes(Config(node=Node(), backends=(backend("one", listen),))) == []
