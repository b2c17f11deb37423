"""Backends and whole configurations of any values that an operator could write, key by key from the table.

A key that is new is among them without being named here.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
from hypothesis import strategies as st

from muxproxy.config import keys
from muxproxy.config.model import (
    Backend,
    Clients,
    ClientsTls,
    Config,
    Limit,
    Node,
    Route,
    Upstream,
    UpstreamTls,
)
from muxproxy.config.plan import PROVENANCE

S = TypeVar("S", bound=msgspec.Struct)
NAMES = ("alpha", "beta", "gamma")
# No two of them are in each other's way; port 0 is another place every time.
PLACES = ("127.0.0.1:81", "127.0.0.1:82", "[::1]:81", "unix:/run/a.sock", "unix:/run/b.sock")
_LISTS = {
    "upstream.servers": ("10.0.0.1:80", "10.0.0.2:80", "api.internal:80", "unix:/run/s.sock"),
    "upstream.allow": ("*.internal", "10.0.0.0/8", "*:8443"),
    "upstream.deny": ("secret.internal", "10.1.0.0/16"),
    "redis.allow": ("debug", "shutdown"),
    "redis.deny": ("flushall", "config|set"),
    "clients.from": ("this machine", "anyone", "10.0.0.0/8"),
    "clients.redirect": ("6379", "10.0.0.0/8:7000-7010"),
    "clients.redirect_users": ("app", "1000"),
    "clients.redirect_cgroups": ("system.slice/app.service",),
}


def backend(name: str = "alpha", protocol: str = "http", **written: object) -> Backend:
    """`written`: dotted keys, with `__` for the dot: `upstream__servers=("10.0.0.5:80",)`."""
    plain = Backend(
        name=name,
        protocol=protocol,
        clients=Clients(listen=("127.0.0.1:0",)),
        upstream=Upstream(servers=("10.0.0.1:80",)),
        file=f"{name}.toml",
    )
    return with_keys(plain, {key.replace("__", "."): value for key, value in written.items()})


def config(*backends: Backend, **node: Any) -> Config:
    return Config(node=Node(**node), backends=backends)


def with_keys(struct: S, written: Mapping[str, object]) -> S:
    for key, value in written.items():
        struct = _with(struct, key.split("."), value)
    return struct


def _with(struct: S, path: list[str], value: object) -> S:
    name = struct.__struct_fields__[struct.__struct_encode_fields__.index(path[0])]
    inner = value if len(path) == 1 else _with(getattr(struct, name), path[1:], value)
    return msgspec.structs.replace(struct, **{name: inner})


def all_keys(struct: type[msgspec.Struct], prefix: str = "") -> list[str]:
    """Dotted, from the types and not from any value: nobody can forget one."""
    found = []
    for field in msgspec.structs.fields(struct):
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct):
            found += all_keys(field.type, f"{prefix}{field.encode_name}.")
        elif prefix or field.name not in PROVENANCE:
            found.append(f"{prefix}{field.encode_name}")
    return found


def value_of(dotted: str, reader: keys.Reader) -> st.SearchStrategy[object]:
    if isinstance(reader, keys.Count | keys.Size):
        return st.integers(reader.low, reader.high)
    if isinstance(reader, keys.Mode):
        return st.integers(0o600, 0o777)
    if isinstance(reader, keys.CountOr):
        return st.integers(reader.low, reader.high) | st.just(reader.stands_as)
    if isinstance(reader, keys.Duration):
        return st.sampled_from([reader.low, 1.5, reader.high, *([0.0] if reader.zero else [])])
    if isinstance(reader, keys.OneOf):
        return st.sampled_from(reader.names)
    if isinstance(reader, keys.Section):
        made = [UpstreamTls(), UpstreamTls(verify=False)] if dotted == "upstream.tls" else [ClientsTls("/a")]
        return st.sampled_from([None, *made])
    if isinstance(reader, keys.Flag):
        return st.booleans()
    if isinstance(reader, keys.Each | keys.From):
        return st.lists(st.sampled_from(_LISTS[dotted]), min_size=1, unique=True).map(tuple)
    if dotted == "http.routes":
        routes = st.builds(Route, st.sampled_from(("a.internal", "*.internal")), tls=st.booleans())
        return st.lists(routes, max_size=2).map(tuple)
    if isinstance(reader, keys.Several):
        limits = st.builds(Limit, st.sampled_from("ST"), st.integers(1, 9), st.sampled_from(["", "m"]))
        return st.lists(limits, max_size=3).map(tuple)
    return st.sampled_from(["", "/run/one", "/run/two"])  # names, paths, passwords


def _written(readers: Mapping[str, keys.Reader]) -> st.SearchStrategy[dict[str, object]]:
    """A few keys of them."""
    some = [st.tuples(st.just(key), value_of(key, reader)) for key, reader in readers.items()]
    return st.lists(st.one_of(some), max_size=6).map(dict)


def _readers() -> dict[str, keys.Reader]:
    tables = {**keys.TABLES, **keys.PROTOCOL_TABLES}
    found: dict[str, keys.Reader] = {**keys.BACKEND}
    for name, table in tables.items():
        for key, reader in table.items():
            if isinstance(reader, keys.Inline):
                found |= {f"{name}.{key}.{inner}": each for inner, each in reader.table.items()}
            else:
                found[f"{name}.{key}"] = reader
    return found


READERS = _readers()


_NODE = _written(keys.NODE)
_BACKEND = _written({key: reader for key, reader in READERS.items() if key != "clients.listen"})
_ORDERS = st.sampled_from([order for n in (1, 2, 3) for order in itertools.permutations(NAMES, n)])


@st.composite
def configs(draw: st.DrawFn) -> Config:
    """Of any backends, in any order of files; addresses may go from one to another."""
    names = draw(_ORDERS)
    owners = [draw(st.sampled_from((*names, ""))) for _ in PLACES]
    backends = []
    for name in names:
        places = [place for place, owner in zip(PLACES, owners, strict=True) if owner == name]
        listen = (*places, *["127.0.0.1:0"] * draw(st.integers(0 if places else 1, 2)))
        backends.append(with_keys(backend(name), {**draw(_BACKEND), "clients.listen": listen}))
    return Config(node=Node(**draw(_NODE)), backends=tuple(backends))
