"""The configuration against this machine: its ports, its bounds, and who goes past it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from muxproxy.config import limits
from muxproxy.config.address import Address, parse_listen, parse_server
from muxproxy.config.model import Backend, Config
from muxproxy.doctor.facts import Facts
from muxproxy.doctor.judging.kernel import Wants
from muxproxy.doctor.judging.words import hands, is_muxproxy, named, seen
from muxproxy.doctor.report import Evidence, Finding, Level
from muxproxy.errors import ConfigError


def wants(config: Config, nofile: int) -> Wants:
    """`nofile`: the descriptor limit that `run` would have here."""
    problem = ""
    try:
        config = limits.effective(config, nofile)
    except ConfigError as error:
        problem = error.problems[0].rule
    backends = config.backends
    return Wants(
        ports=frozenset(
            address.port for backend in backends for address in _listeners(backend) if address.port
        ),
        backlog=max((backend.clients.backlog for backend in backends), default=0),
        connections=sum(
            backend.clients.max_connections + backend.upstream.max_connections for backend in backends
        ),
        nofile=problem,
    )


def served(config: Config | None) -> dict[str, str]:
    """Remote -> where an app can have it from muxproxy. Names are not resolved."""
    found: dict[str, str] = {}
    for backend in config.backends if config is not None else ():
        for server in backend.upstream.servers:
            found.setdefault(str(parse_server(server)), backend.clients.listen[0])
    return found


def findings(facts: Facts, config: Config) -> Iterator[Finding]:
    places = served(config)
    yield from _past_it(facts, places)
    for backend in config.backends:
        yield from _taken(facts, backend)
        yield from _too_wide(facts, backend)


def _listeners(backend: Backend) -> list[Address]:
    return [address for text in backend.clients.listen if (address := parse_listen(text)).kind == "tcp"]


def _past_it(facts: Facts, places: Mapping[str, str]) -> Iterator[Finding]:
    """Who still opens connections of its own to a server that muxproxy is there for."""
    for flow in facts.flows:
        place = places.get(flow.remote)
        direct = [each for each in flow.holders if not each.guess and not is_muxproxy(each)]
        if place is None or not direct:
            continue
        yield Finding(
            Level.WARNING,
            "past",
            f"{named(direct[0])} goes past muxproxy: "
            f"{direct[0].sockets:,} connections of its own to {flow.remote}",
            f"# point it at {place}",
            (seen(flow), *hands(flow)),
            weight=float(direct[0].sockets),
            remote=flow.remote,
        )


def _taken(facts: Facts, backend: Backend) -> Iterator[Finding]:
    """A listener's address that somebody else has."""
    for address in _listeners(backend):
        for listener in facts.listeners:
            is_same = listener.port == address.port and listener.host in (address.host, "0.0.0.0", "::")
            if is_same and listener.holders and not is_muxproxy(listener.holders[0]):
                yield Finding(
                    Level.WRONG,
                    "taken",
                    f"{backend.file}: {address} is taken by {named(listener.holders[0])}: `run` ends with 3",
                    f"ss -ltnp sport = :{address.port}",
                    (Evidence(f"{listener.address} is listened on", "sock_diag, inode in /proc/PID/fd"),),
                    weight=1.0,
                )


def _too_wide(facts: Facts, backend: Backend) -> Iterator[Finding]:
    bound, size = backend.upstream.max_connections, facts.ports.size
    if bound <= size * len(backend.upstream.servers or ("",)):
        return
    yield Finding(
        Level.WRONG,
        "bound",
        f"{backend.file}: upstream.max_connections = {bound:,}, and there are {size:,} ephemeral ports",
        f"muxproxy check -c {backend.file}    # and lower it",
        (Evidence(f"{facts.ports.low} to {facts.ports.high}", "/proc/sys/net/ipv4/ip_local_port_range"),),
        weight=1.0,
    )
