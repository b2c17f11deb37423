"""Rules between two keys, two files, or a key and good sense.

contradictions()   within one backend: refused
collisions()       between all of them: two that want one address: refused
warnings()         what works and is seldom meant: `check` shows it, `run` logs it
notes()            what is worth knowing: `check` shows it
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from muxproxy.config import keys, refusals, sources
from muxproxy.config.address import Address, overlap, parse_listen, parse_server
from muxproxy.config.destination.entries import parse_entry
from muxproxy.config.destination.pseudonym import pseudonym
from muxproxy.config.destination.redirect import listeners, parse_place
from muxproxy.config.model import AUTO, Backend, Batch, Config, Node, Upstream
from muxproxy.config.secrets import is_hidden
from muxproxy.config.units import format_duration
from muxproxy.errors import Problem


def contradictions(backend: Backend, bad: set[str]) -> list[Problem]:
    """`bad`: keys with a problem of their own; nothing more is said about these."""
    problems = []
    for small, large in keys.NOT_ABOVE:
        low, high = _value(backend, small), _value(backend, large)
        if low is None or high is None or low <= high or small in bad or large in bad:
            continue
        rule = f"at most {large}, {keys.shown(large, high)}"
        problems.append(Problem(backend.file, small, str(keys.shown(small, low)), rule))
    servers = [parse_server(text) for text in backend.upstream.servers]
    listen = [parse_listen(text) for text in backend.clients.listen]
    for number, server in enumerate(servers):
        if server in servers[:number]:
            problems.append(Problem(backend.file, "upstream.servers", f'"{server}"', "each server once"))
        if any(_reaches(server, address) for address in listen):
            rule = "this backend listens there itself: a loop"
            problems.append(Problem(backend.file, "upstream.servers", f'"{server}"', rule))
    problems += _destinations(backend, bad)
    problems += _tls(backend, bad)
    problems += _reserve(backend, bad)
    problems += _redis(backend, bad)
    problems += _dubbo(backend)
    return problems


def _destinations(backend: Backend, bad: set[str]) -> Iterator[Problem]:
    upstream, http = backend.upstream, backend.http

    def problem(key: str, value: object, rule: str) -> Problem:
        return Problem(backend.file, key, str(value), rule)

    to = f'"{upstream.to}"'
    if upstream.to == "host" and backend.protocol not in ("http", ""):
        rule = f'needs protocol = "http": requests of "{backend.protocol}" name no host'
        yield problem("upstream.to", to, rule)
    if upstream.to != "servers":
        if upstream.servers:
            rule = f"not with to = {to}: its requests have destinations of their own"
            yield problem("upstream.servers", f'"{upstream.servers[0]}"', rule)
        shards = 0 if "shards" in bad else backend.shards
        enough = {"upstream.max_connections_each": upstream.max_connections_each}
        for number, route in enumerate(http.routes, 1):
            enough[f"http.routes[{number}].max_connections"] = route.max_connections or shards
        for key, most in enough.items():
            if shards > most and key not in bad:
                yield problem(key, most, f"at least shards, {shards}: each of them needs a place there")
    elif "upstream.to" not in bad:
        for key, values in (("allow", upstream.allow), ("deny", upstream.deny)):
            if values:
                rule = (
                    'needs to = "original" or "host": all requests go to servers, which are the operator\'s'
                )
                yield problem(f"upstream.{key}", f'"{values[0]}"', rule)
    yield from _redirects(backend, bad)
    if upstream.to != "host" and "upstream.to" not in bad:
        if http.routes:
            yield problem("http.routes[1].host", f'"{http.routes[0].host}"', 'needs to = "host"')
        if http.max_tunnels is not None:
            yield problem("http.max_tunnels", http.max_tunnels, 'needs to = "host"')
    for number, route in enumerate(http.routes, 1):
        for server in route.servers:
            if any(_reaches(parse_server(server), parse_listen(text)) for text in backend.clients.listen):
                rule = "this backend listens there itself: a loop"
                yield problem(f"http.routes[{number}].servers", f'"{server}"', rule)
        hidden = [i for i, other in enumerate(http.routes[: number - 1], 1) if other.host == route.host]
        if hidden:
            rule = f"the same as http.routes[{hidden[0]}], which comes first"
            yield problem(f"http.routes[{number}].host", f'"{route.host}"', rule)


def _redirects(backend: Backend, bad: set[str]) -> Iterator[Problem]:
    clients = backend.clients

    def problem(key: str, value: object, rule: str) -> Problem:
        return Problem(backend.file, f"clients.{key}", str(value), rule)

    if backend.upstream.to != "original" and "upstream.to" not in bad:
        if clients.redirect:
            yield problem("redirect", f'"{clients.redirect[0]}"', 'needs [upstream] to = "original"')
        if clients.transparent:
            yield problem("transparent", "true", 'needs [upstream] to = "original"')
        return
    for key, values in (
        ("redirect_users", clients.redirect_users),
        ("redirect_cgroups", clients.redirect_cgroups),
    ):
        if values and not clients.redirect and "clients.redirect" not in bad:
            yield problem(key, f'"{values[0]}"', "needs redirect, which says to where they connect")
    for text in clients.listen if backend.upstream.to == "original" else ():
        if parse_listen(text).kind == "unix":
            rule = 'not with to = "original": nobody was to go elsewhere who connects to a unix socket'
            yield problem("listen", f'"{text}"', rule)
    for text in clients.redirect:
        if not listeners(backend, parse_place(text)):
            rule = "redirect leads to this machine's loopback: listen on 127.0.0.1, for IPv6 on [::1]"
            yield problem("redirect", f'"{text}"', rule)


def with_listeners(node: Node, backends: list[Backend]) -> list[Backend]:
    """Those whose requests have destinations know where they must not go."""
    listen = [text for backend in backends for text in backend.clients.listen]
    places = tuple(sorted({str(parse_listen(text)) for text in [*listen, *filter(None, [node.admin_tcp])]}))
    return [
        replace(backend, listeners=places, pseudonym=pseudonym(backend))
        if backend.upstream.to != "servers"
        else backend
        for backend in backends
    ]


def _tls(backend: Backend, bad: set[str]) -> Iterator[Problem]:
    clients, tls = backend.clients, backend.upstream.tls
    by_tls = [text for text in clients.listen if parse_listen(text).tls]
    if by_tls and clients.tls is None and "clients.tls.cert_file" not in bad and "clients.tls" not in bad:
        rule = "needs a certificate: [clients.tls] with cert_file and key_file"
        yield Problem(backend.file, "clients.listen", f'"{by_tls[0]}"', rule)
    if by_tls and backend.upstream.to == "original" and "upstream.to" not in bad:
        rule = 'not with to = "original": what an app says to somebody else is not ours to decrypt'
        yield Problem(backend.file, "clients.listen", f'"{by_tls[0]}"', rule)
    for place, said in (("clients.tls", clients.tls), ("upstream.tls", tls)):
        if said is not None and said.alpn and backend.protocol == "http":
            rule = 'not with protocol = "http", whose name is http/1.1: nothing else is spoken here'
            yield Problem(backend.file, f"{place}.alpn", f'"{said.alpn}"', rule)
    if tls is None:
        return
    if tls.key_file and not tls.cert_file and "upstream.tls.cert_file" not in bad:
        yield Problem(backend.file, "upstream.tls.key_file", f'"{tls.key_file}"', "needs cert_file")
    paths = [text for text in backend.upstream.servers if parse_server(text).kind == "unix"]
    if paths and tls.verify and not tls.server_name and "upstream.tls.server_name" not in bad:
        rule = "by TLS a path has no name that could be checked: write server_name in [upstream.tls]"
        yield Problem(backend.file, "upstream.servers", f'"{paths[0]}"', rule)


def _reserve(backend: Backend, bad: set[str]) -> Iterator[Problem]:
    reserve, most, shards = backend.tcp.reserve, backend.upstream.max_connections, backend.shards
    if not bad.isdisjoint({"tcp.reserve", "upstream.max_connections", "shards"}) or shards > most:
        return
    if reserve >= most:
        rule = f"below upstream.max_connections, {most}, or no session but these has a place"
        yield Problem(backend.file, "tcp.reserve", str(reserve), rule)
    elif reserve + shards > most:
        rule = (
            f"at most {most - shards}: of upstream.max_connections, {most}, each of {shards} shards needs one"
        )
        yield Problem(backend.file, "tcp.reserve", str(reserve), rule)


def _redis(backend: Backend, bad: set[str]) -> Iterator[Problem]:
    """No value of a secret is shown."""
    redis = backend.redis

    def problem(key: str, value: str, rule: str) -> Problem:
        return Problem(backend.file, f"redis.{key}", value, rule)

    if redis.auth == "passthrough":
        for key in ("username", "password", "client_password"):
            if getattr(redis, key):
                rule = 'not with auth = "passthrough": each client authenticates as itself'
                yield problem(f"{key}_file" if getattr(redis, f"{key}_file", "") else key, "", rule)
    elif redis.username and not redis.password and bad.isdisjoint({"redis.password", "redis.password_file"}):
        value = "" if is_hidden("username", redis.username) else f'"{redis.username}"'
        yield problem("username", value, "needs password or password_file")
    denied = {name.lower() for name in redis.deny}
    for name in redis.allow:
        if why := refusals.NEVER.get(name.lower()):
            rule = f'cannot be allowed: it {why}; give such clients a backend with protocol = "tcp"'
            yield problem("allow", f'"{name}"', rule)
        elif name.lower() in denied:
            yield problem("allow", f'"{name}"', "is in deny too")


def _dubbo(backend: Backend) -> Iterator[Problem]:
    first: dict[tuple[str, str], int] = {}
    for number, limit in enumerate(backend.dubbo.limits, 1):
        other = first.setdefault((limit.service, limit.method), number)
        if other != number:
            what = f'"{limit.service}"' + (f', method "{limit.method}"' if limit.method else "")
            rule = f"the same as dubbo.limits[{other}]"
            yield Problem(backend.file, f"dubbo.limits[{number}].service", what, rule)


def collisions(node: Node, backends: list[Backend]) -> list[Problem]:
    """Two listeners cannot have one address; the second that claims it has the problem."""
    problems = []
    taken: list[tuple[Address, str]] = []
    if node.admin:
        taken.append((Address("unix", path=node.admin), f"admin in {node.file}"))
    if node.admin_tcp:
        taken.append((parse_listen(node.admin_tcp), f"admin_tcp in {node.file}"))
    for backend in backends:
        for text in backend.clients.listen:
            address = parse_listen(text)
            owner = next((who for other, who in taken if overlap(address, other)), None)
            if owner is None:
                taken.append((address, f'"{text}" in {backend.file}'))
            else:
                problems.append(
                    Problem(backend.file, "clients.listen", f'"{text}"', f"already taken by {owner}")
                )
    return problems


def warnings(config: Config) -> list[Problem]:
    found = [warning for backend in config.backends for warning in _warnings(backend)]
    workers, owners = config.node.workers, sum(backend.shards for backend in config.backends)
    if workers > owners:
        rule = f"a backend has one owner for each of its shards: only {owners} of the workers will be started"
        found.append(Problem(config.node.file, "workers", str(workers), rule))
    found += _admin_warnings(config.node)
    return found


def _admin_warnings(node: Node) -> Iterator[Problem]:
    if node.admin_mode & 0o002:
        rule = "every user of this machine may pause, drain and reload: take the last digit's 2 away"
        yield Problem(node.file, "admin_mode", str(keys.shown("admin_mode", node.admin_mode)), rule)
    if node.admin_tcp and not parse_listen(node.admin_tcp).is_local:
        rule = "other machines can read status and metrics there: names and addresses of servers are in them"
        yield Problem(node.file, "admin_tcp", f'"{node.admin_tcp}"', rule)


def _warnings(backend: Backend) -> Iterator[Problem]:
    clients, queue, upstream, http = backend.clients, backend.queue, backend.upstream, backend.http

    def warn(key: str, rule: str) -> Problem:
        value = _value(backend, key)
        return Problem(backend.file, key, "" if value is None else str(keys.shown(key, value)), rule)

    yield from _from_warnings(backend)
    yield from _tls_warnings(backend)
    for text in clients.listen:
        address = parse_listen(text)
        if address.kind == "tcp" and address.port == 0:
            rule = "the kernel chooses another port at every start"
            yield Problem(backend.file, "clients.listen", f'"{text}"', rule)
    if upstream.max_connections >= clients.max_connections:
        yield warn("upstream.max_connections", "not below clients.max_connections: nothing is shared")
    if upstream.max_connections < len(upstream.servers):
        yield warn(
            "upstream.max_connections", f"fewer than the {len(upstream.servers)} servers: some get none"
        )
    if queue.max_waiting and upstream.connect_timeout > queue.timeout:
        timeout = format_duration(queue.timeout)
        yield warn(
            "upstream.connect_timeout",
            f"above queue.timeout, {timeout}: one dead server fails who waits for it",
        )
    if 0 < upstream.max_lifetime < upstream.idle_timeout:
        yield warn("upstream.idle_timeout", "above max_lifetime: never reached")
    for name, rule in _LITTLE_EFFECT.get(backend.protocol, {}).items():
        if getattr(upstream, name) != getattr(Upstream(), name):
            yield warn(f"upstream.{name}", rule)
    if backend.protocol == "http" and http.max_upgraded == upstream.max_connections:
        yield warn("http.max_upgraded", "upgraded sessions can take every connection, and requests then wait")
    if upstream.to == "servers":
        for name in ("max_connections_each", "max_destinations"):
            if getattr(upstream, name) != getattr(Upstream(), name):
                yield warn(f"upstream.{name}", 'no effect without to = "original" or "host"')
    else:
        if any(parse_entry(text).name in ("localhost", ".localhost") for text in upstream.allow):
            rule = "its addresses are loopback, which only a network allows: 127.0.0.0/8"
            yield Problem(backend.file, "upstream.allow", '"localhost"', rule)
        if upstream.max_connections_each > max(1, upstream.max_connections // 2):
            most = upstream.max_connections
            who = "one that hangs takes" if upstream.max_connections_each >= most else "two that hang take"
            yield warn(
                "upstream.max_connections_each", f"more than half of max_connections, {most}: {who} all"
            )
    if backend.protocol == "redis":
        yield from _redis_warnings(backend)
    if backend.protocol == "tcp":
        yield Problem(backend.file, "protocol", '"tcp"', _does_not_multiplex(backend))
        ports = {parse_server(text).port for text in upstream.servers}
        for port in sorted(ports & _COUNTS_SPARES.keys()) if upstream.min_connections else ():
            rule = f"port {port} is usually {_COUNTS_SPARES[port]}; leave it at 0 there"
            yield warn("upstream.min_connections", rule)


def _from_warnings(backend: Backend) -> Iterator[Problem]:
    written = backend.clients.from_
    reachable = [text for text in backend.clients.listen if not parse_listen(text).is_local]
    for text in reachable:
        rule = ""
        if sources.ANYONE in written:
            rule = "other machines can reach this, and muxproxy does not ask who they are"
        elif not written:
            rule = "other machines can reach this, and are refused: for them write from in [clients]"
        if rule:
            yield Problem(backend.file, "clients.listen", f'"{text}"', rule)
    if not reachable and not set(written) <= {sources.THIS_MACHINE}:
        rule = "no listener that another machine can reach"
        yield Problem(backend.file, "clients.from", f'"{", ".join(written)}"', rule)


def _tls_warnings(backend: Backend) -> Iterator[Problem]:
    clients, upstream = backend.clients, backend.upstream
    if clients.tls is not None and not any(parse_listen(text).tls for text in clients.listen):
        rule = 'nobody comes by TLS: no listener begins with "tls:", such as "tls:0.0.0.0:6381"'
        yield Problem(backend.file, "clients.tls", "", rule)
    if upstream.tls is not None and not upstream.tls.verify:
        rule = "NOT VERIFIED: whoever answers is taken for the server, and reads and writes all of it"
        yield Problem(backend.file, "upstream.tls.verify", "false", rule)


def notes(config: Config) -> list[Problem]:
    """What `check` says besides, though nothing is wrong."""
    return [note for backend in config.backends for note in _notes(backend, config.node.workers)]


def _notes(backend: Backend, workers: int) -> Iterator[Problem]:
    if backend.shards > workers != AUTO:
        rule = f"more than workers, {workers}: as many are started, for each shard is a process of its own"
        yield Problem(backend.file, "shards", str(backend.shards), rule)
    addresses = [parse_listen(text) for text in backend.clients.listen]
    tcp = [address for address in addresses if address.kind == "tcp"]
    if backend.protocol == "dubbo" and tcp and all(a.host.startswith("127.") for a in tcp):
        rule = (
            "a Java consumer puts the node's own address in the place of 127.*, localhost and 0.0.0.0: "
            "its URL names an alias of it in /etc/hosts, or [::1] if that is listened on, too"
        )
        yield Problem(backend.file, "clients.listen", f'"{tcp[0]}"', rule)


_ONE_AT_A_TIME = "no effect with http: one request at a time on a connection"
_ITS_OWN = "no effect with tcp: every session has a connection of its own"
# [upstream] keys that a protocol makes little or nothing of.
_LITTLE_EFFECT = {
    "http": {"max_in_flight": _ONE_AT_A_TIME, "max_pinned": _ONE_AT_A_TIME, "suspect_after": _ONE_AT_A_TIME},
    "dubbo": {"max_pinned": "no effect with dubbo: a call needs none alone, but while it comes in"},
    "tcp": {"max_in_flight": _ITS_OWN, "max_pinned": _ITS_OWN, "suspect_after": _ITS_OWN},
}


def _redis_warnings(backend: Backend) -> Iterator[Problem]:
    upstream, redis = backend.upstream, backend.redis

    def warn(key: str, value: str, rule: str) -> Problem:
        return Problem(backend.file, key, value, rule)

    if upstream.max_connections == 1:
        rule = "one client that needs it alone (BLPOP, WATCH) stops all the others, and so do subscribers"
        yield warn("upstream.max_connections", "1", rule)
    if upstream.max_pinned == 0:
        yield warn(
            "upstream.max_pinned", "0", "BLPOP, WATCH, MULTI in pieces and their like are never served"
        )
    if redis.batch.commands < 2 and redis.batch != Batch():
        yield warn("redis.batch.commands", str(redis.batch.commands), "below 2 nothing is held back")
    denied = frozenset(name.lower() for name in redis.deny)
    for name in redis.allow:
        if not refusals.has_effect(name.lower(), denied):
            yield warn("redis.allow", f'"{name}"', "no effect: it is not refused, or not a command")


# Servers to which a connection that says nothing is somebody who cannot log in, by their ports.
_COUNTS_SPARES = {
    3306: "MySQL's, which counts a connection that ends without a login as an error, and blocks this machine "
    "after max_connect_errors of them",
    5432: "PostgreSQL's, where each spare takes one of the server's own max_connections until "
    "authentication_timeout ends it",
}

# Ports by which the server behind one can be guessed.
_USUAL_PORTS = {6379: "redis", 80: "http", 8080: "http", 20880: "dubbo"}


def _does_not_multiplex(backend: Backend) -> str:
    ports = {parse_server(text).port for text in backend.upstream.servers}
    guesses = sorted({_USUAL_PORTS[port] for port in ports if port in _USUAL_PORTS})
    if guesses:
        better = f'protocol = "{guesses[0]}" does, if that is what the servers speak, as their port suggests'
    else:
        better = f"{', '.join(name for name in keys.PROTOCOLS if name != 'tcp')} do, if the servers speak one"
    most = backend.upstream.max_connections
    return f"bounds but does not multiplex: {most} clients at a time have a connection each; {better}"


def _reaches(server: Address, listen: Address) -> bool:
    """A connection to `server` arrives at `listen`, as far as one can know without asking the kernel."""
    if server.kind == "unix" or listen.kind == "unix" or server.port != listen.port:
        return server == listen
    everywhere = listen.host in ("0.0.0.0", "::")
    if server.host == "localhost":
        return everywhere or listen.is_local
    if server.is_name or server.is_ipv6 != listen.is_ipv6:
        return False
    return server.host == listen.host or (everywhere and server.is_local)


def _value(backend: Backend, dotted: str) -> float | int | None:
    table, _, key = dotted.rpartition(".")
    value: float | int | None = getattr(getattr(backend, table) if table else backend, key)
    return value
