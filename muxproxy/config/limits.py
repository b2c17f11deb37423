"""Who owns which backend, and whether a worker's share fits in its descriptors. Pure: the limit is given.

A worker at its fullest holds, besides what its process needs (RESERVE), for each of its backends

    listening                     two each: the one inherited from the supervisor, and the event loop's copy
    upstream.max_connections      P1
    clients.max_connections
    clients.backlog x addresses   what one turn of the event loop may accept before it can refuse or pause

and so does each worker of a backend that has shards: places and clients go where they are wanted, and all may
be wanted in one.

What somebody wrote is a promise: if it does not fit it is refused, with this sum. What nobody wrote is a
default (model.py: 10,000 clients and a backlog of 1024): these are lowered in proportion until they fit. So
three dozen backends start under a limit of 20,000, and one backend gets its 10,000 clients (HAProxy derives
its maxconn from the limit likewise).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import msgspec

from muxproxy.config.model import AUTO, Backend, Config
from muxproxy.errors import ConfigError, Problem

# Standard streams, epoll, the loop's self-pipe, the control channel, name resolution: about 20.
RESERVE = 64
# A default lowered below this would be an outage, not a limit: `run` refuses to start instead.
LEAST_CLIENTS = 16
MOST_WORKERS = 256  # as many as one may write
_LONGEST_SUM = 8  # backends that the arithmetic names


def assign_workers(config: Config, live: Sequence[Sequence[str]] = ()) -> list[list[Backend]]:
    """The backends of each worker: by name, each to the one that has the fewest, so that they go in turn at
    the start; before them those that have shards, each in another worker. No worker begins without one: what
    would it do? (for_cpus() has been asked before.)

    `live`: the names of those that each worker has already. A live backend stays where its connections and
    its clients are, whatever comes and goes beside it; a worker whose last one went has an empty list, and
    is the first to get a new one. More shards leave those that there are alone, fewer the first of them.
    """
    backends = sorted(config.backends, key=lambda backend: backend.name)
    wanted = max(
        min(config.node.workers, sum(backend.shards for backend in backends)),
        max((backend.shards for backend in backends), default=0),  # each is a process of its own
    )
    loads = [0] * max(len(live), wanted)
    homes: dict[str, list[int]] = {}
    for backend in backends:
        mine = [number for number, names in enumerate(live) if backend.name in names]
        homes[backend.name] = mine[: backend.shards]
        for number in homes[backend.name]:
            loads[number] += 1
    for backend in sorted(backends, key=lambda backend: -backend.shards):
        mine = homes[backend.name]
        while len(mine) < backend.shards:
            others = [number for number in range(len(loads)) if number not in mine]
            mine.append(min(others, key=loads.__getitem__))  # of equals the first
            loads[mine[-1]] += 1
    return [[each for each in backends if number in homes[each.name]] for number in range(len(loads))]


def shares(config: Config, assigned: Sequence[Sequence[Backend]]) -> list[list[Backend]]:
    """What each worker is told of its backends: of one that has shards its part of min_connections, so that
    all together keep so many warm, and of what one destination may have. What is the whole backend's
    (numbers()) stays whole: the supervisor's ledger lends it to where it is wanted."""
    seen: dict[str, int] = {}
    told: list[list[Backend]] = []
    for owned in assigned:
        mine = []
        for backend in owned:
            number = seen.get(backend.name, 0)
            seen[backend.name] = number + 1
            mine.append(_shard(backend, number) if backend.shards > 1 else backend)
        told.append(mine)
    return told


def _shard(backend: Backend, number: int) -> Backend:
    """The numbered part."""

    def part(whole: int, least: int = 0) -> int:
        return max(least, whole // backend.shards + (number < whole % backend.shards))

    upstream, http = backend.upstream, backend.http
    replace = msgspec.structs.replace
    if upstream.to == "servers":
        warm = part(upstream.min_connections)
        return replace(backend, upstream=replace(upstream, min_connections=warm))
    # What is one destination's. To lend that by need, too, the ledger would have a budget for each: of a name
    # that a client chose, made with its first request, and a round trip before its first connect. As it is a
    # destination has its part in each shard at once, and all parts together are what is written.
    # max_upgraded, which is of all destinations, is not lent yet: it has its part likewise.
    pinned, upgraded = upstream.max_pinned, http.max_upgraded
    return replace(
        backend,
        upstream=replace(
            upstream,
            max_pinned=None if pinned is None else part(pinned),
            max_connections_each=part(upstream.max_connections_each, 1),
        ),
        http=replace(
            http,
            max_upgraded=None if upgraded is None else part(upgraded),
            routes=tuple(
                replace(route, max_connections=route.max_connections and part(route.max_connections, 1))
                for route in http.routes
            ),
        ),
    )


PLACES = ""  # of upstream.max_connections, among numbers()
CLIENTS, QUEUED, PINNED, COMMON, LIMITED = "clients", "waiting", "pinned", "common", "limited"
TUNNELS = "tunnels"


def numbers(backend: Backend) -> dict[str, int]:
    """What is bounded of a backend as a whole, however many workers share it."""
    most = backend.upstream.max_connections
    bounds = {PLACES: most, CLIENTS: backend.clients.max_connections, QUEUED: backend.queue.max_waiting}
    if backend.upstream.to != "servers":  # the others are one destination's
        return bounds | ({TUNNELS: tunnels_limit(backend)} if backend.upstream.to == "host" else {})
    if backend.protocol == "http":
        bounds[PINNED] = upgraded_limit(backend)
    elif backend.protocol == "redis":
        bounds[PINNED] = pinned_limit(backend)
    elif backend.protocol == "dubbo" and backend.dubbo.limits:
        bounds[LIMITED] = backend.queue.max_waiting
        bounds |= {f"{LIMITED} {limit.name}": limit.actives for limit in backend.dubbo.limits}
    elif backend.protocol == "tcp" and backend.tcp.reserve:
        bounds[COMMON] = most - backend.tcp.reserve
    return bounds


def pinned_limit(backend: Backend) -> int:
    """One connection at least stays with the many, where there are many."""
    return min(backend.upstream.pinned_limit, max(1, backend.upstream.max_connections - 1))


def upgraded_limit(backend: Backend) -> int:
    """So that a half at least stays with requests, unless somebody wrote otherwise."""
    written = backend.http.max_upgraded
    return max(1, backend.upstream.max_connections // 2) if written is None else written


def tunnels_limit(backend: Backend) -> int:
    """Of all destinations together: a half at least stays with requests, likewise."""
    written = backend.http.max_tunnels
    return max(1, backend.upstream.max_connections // 2) if written is None else written


def for_cpus(config: Config, cpus: int) -> Config:
    """With a number of workers instead of "auto". `cpus`: how many the process may use; of a reload, as many
    as at the start, or a machine that has more of them now would ask for an upgrade."""
    if config.node.workers != AUTO:
        return config
    workers = min(max(1, cpus), MOST_WORKERS)
    return msgspec.structs.replace(config, node=msgspec.structs.replace(config.node, workers=workers))


def effective(config: Config, nofile: int, live: Sequence[Sequence[str]] = ()) -> Config:
    """The configuration with every default lowered to what `nofile` descriptors per worker leave.

    `live`: as in assign_workers(). Raises ConfigError with the arithmetic where that cannot be. What comes
    out goes in again unchanged.
    """
    fitted: dict[str, Backend] = {}
    problems: list[Problem] = []
    for owned in assign_workers(config, live):
        if owned and _total(owned, "least") > nofile:
            problems.append(_too_many(config, owned, nofile))
        else:
            for backend in _fit(owned, nofile):
                other = fitted.get(backend.name, backend)  # as it fits beside a shard's other neighbours
                fitted[backend.name] = _lesser(backend, other)
    if problems:
        raise ConfigError(problems)
    return msgspec.structs.replace(config, backends=tuple(fitted[b.name] for b in config.backends))


def _lesser(one: Backend, other: Backend) -> Backend:
    """One backend, of two lowerings of what nobody wrote."""
    clients = msgspec.structs.replace(
        one.clients,
        max_connections=min(one.clients.max_connections, other.clients.max_connections),
        backlog=min(one.clients.backlog, other.clients.backlog),
    )
    return msgspec.structs.replace(one, clients=clients)


def descriptors(owned: list[Backend]) -> int:
    """What a worker with these backends holds at its fullest."""
    return _total(owned, "full")


def client_sockets(owned: list[Backend], nofile: int) -> int:
    """Where a worker stops accepting: beyond it, one more turn of the loop might find no descriptor."""
    costs = [cost for backend in owned for cost in _costs(backend)]
    return max(1, nofile - RESERVE - sum(cost.full for cost in costs if cost.what != "clients"))


def named(backend: Backend) -> dict[str, float]:
    """Every number the backend is held to, by its key in the file: seconds, bytes or a count (P7).

    Numbers and nothing else: a secret is a string."""
    limits: dict[str, float] = {"shards": backend.shards}
    for table in ("clients", "queue", "upstream", backend.protocol):
        limits.update(_numbers(table, getattr(backend, table)))
    return limits


def _numbers(place: str, value: object) -> Iterator[tuple[str, float]]:
    if isinstance(value, bool):  # no limit
        return
    if isinstance(value, int | float):
        yield place, value
    elif isinstance(value, msgspec.Struct):
        for key, inner in msgspec.structs.asdict(value).items():
            yield from _numbers(f"{place}.{key}", inner)
    elif isinstance(value, tuple):  # counted from 1, as load.py does: dubbo.limits[1].actives
        for number, item in enumerate(value, 1):
            yield from _numbers(f"{place}[{number}]", item)


def lowered(before: Config, after: Config) -> list[Problem]:
    """What `effective` lowered, to be told to operators."""
    told = []
    for old, new in zip(before.backends, after.backends, strict=True):
        for key in old.flexible:
            default, now = getattr(old.clients, key), getattr(new.clients, key)
            if now < default:
                rule = f"lowered from the default {default} to fit the descriptor limit (LimitNOFILE)"
                told.append(Problem(old.file, f"clients.{key}", str(now), rule))
    return told


# Of upstream.to: what stands for servers that are not written.
WHERE = {"servers": "", "original": "where the app meant to connect", "host": "the host that a request names"}


def describe(backend: Backend) -> str:
    """One line: where it listens, what it bounds."""
    clients, upstream, queue = backend.clients, backend.upstream, backend.queue
    shards = f", in {backend.shards} workers" if backend.shards > 1 else ""
    return (
        f"{backend.name}: {', '.join(clients.listen)} to {WHERE[upstream.to] or ', '.join(upstream.servers)} "
        f"({backend.protocol}{_by_tls(backend)}): "
        f"at most {upstream.max_connections} upstream connections, {clients.max_connections} clients, "
        f"{queue.max_waiting} waiting{shards}"
    )


def _by_tls(backend: Backend) -> str:
    tls = backend.upstream.tls
    return "" if tls is None else " by TLS" if tls.verify else " by TLS, NOT VERIFIED"


class _Cost(NamedTuple):
    """Descriptors that a backend may hold for one reason."""

    what: str
    full: int
    least: int  # as far down as it may be lowered; `full` if somebody wrote it


def _costs(backend: Backend) -> list[_Cost]:
    listeners = len(backend.clients.listen)
    upstream, clients = backend.upstream.max_connections, backend.clients.max_connections
    backlog = backend.clients.backlog * listeners
    return [
        _Cost("listening", 2 * listeners, 2 * listeners),
        _Cost("upstream", upstream, upstream),
        _Cost(
            "clients",
            clients,
            min(LEAST_CLIENTS, clients) if "max_connections" in backend.flexible else clients,
        ),
        _Cost("backlog", backlog, listeners if "backlog" in backend.flexible else backlog),
    ]


def _total(owned: list[Backend], size: Literal["full", "least"]) -> int:
    costs = [cost for backend in owned for cost in _costs(backend)]
    return RESERVE + sum(cost.full if size == "full" else cost.least for cost in costs)


def _fit(owned: list[Backend], nofile: int) -> list[Backend]:
    """Everyone has the least; what is left then goes to each in proportion to what is asked beyond it."""
    least = _total(owned, "least")
    asked = _total(owned, "full") - least
    left = min(nofile - least, asked)
    return [_lower(backend, left, asked) for backend in owned]


def _lower(backend: Backend, left: int, asked: int) -> Backend:
    given = {
        cost.what: cost.least + (cost.full - cost.least) * left // max(1, asked) for cost in _costs(backend)
    }
    clients = msgspec.structs.replace(
        backend.clients,
        max_connections=given["clients"],
        backlog=given["backlog"] // len(backend.clients.listen),
    )
    return msgspec.structs.replace(backend, clients=clients)


def _too_many(config: Config, owned: list[Backend], nofile: int) -> Problem:
    needed = _total(owned, "least")
    rows = [f"{RESERVE} reserve"]
    by_size = sorted(owned, key=lambda backend: -_total([backend], "least"))
    for backend in by_size[:_LONGEST_SUM]:
        parts = [f"{cost.least} {cost.what}" for cost in _costs(backend)]
        rows.append(f"{backend.name} ({' + '.join(parts)})")
    if others := by_size[_LONGEST_SUM:]:
        rows.append(f"{len(others)} smaller backends ({_total(others, 'least') - RESERVE})")
    advice = "raise LimitNOFILE (ulimit -Hn)"
    if len(owned) > 1:
        advice += f" or workers (now {config.node.workers})"
    arithmetic = f"a worker needs {needed} descriptors of {nofile}: {' + '.join(rows)}"
    return Problem(by_size[0].file, "", "", f"{arithmetic}; {advice} or lower these")
