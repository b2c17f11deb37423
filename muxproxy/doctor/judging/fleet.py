"""N nodes x what each may open, against what the server takes. Pure.

Every node may open its whole bound, and all of it to one of several servers while the others are down.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from muxproxy.config.model import Config
from muxproxy.doctor.facts import Facts
from muxproxy.doctor.judging.suggest import by_port
from muxproxy.doctor.report import Evidence, Finding, FleetLine, Level, percent

NEARLY = 0.8
WHERE = {
    "redis": "CONFIG GET maxclients",
    "dubbo": "the provider's accepts",
    "http": "its worker_connections, or what else it has",
    "tcp": "MySQL: SHOW VARIABLES LIKE 'max_connections'; PostgreSQL: SHOW max_connections, less "
    "superuser_reserved_connections",
}


class Bound(NamedTuple):
    """What one node may open."""

    name: str
    protocol: str
    number: int
    source: str
    is_configured: bool = True  # else nothing bounds it


class Limit(NamedTuple):
    number: int
    source: str
    others: int | None = None  # connections that it has now, from everybody


def configured(config: Config) -> list[Bound]:
    return [
        Bound(
            backend.name,
            backend.protocol,
            backend.upstream.max_connections,
            f"{backend.file}: upstream.max_connections",
        )
        for backend in config.backends
    ]


def observed(facts: Facts) -> list[Bound]:
    """Without a configuration nothing is bounded: the most that was seen."""
    most: dict[tuple[str, int], int] = {}
    for flow in facts.flows:
        key = (flow.remote, flow.port)
        most[key] = most.get(key, 0) + max(flow.open_most, flow.live)
    source = "no bound; the most that was open here: ss -tan dst"
    return [
        Bound(remote, by_port(port).protocol, number, f"{source} {remote}", is_configured=False)
        for (remote, port), number in most.items()
        if number
    ]


def lines(nodes: int, bounds: Sequence[Bound], limits: Mapping[str, Limit]) -> list[FleetLine]:
    return [_line(nodes, bound, limits.get(bound.name)) for bound in bounds]


def _line(nodes: int, bound: Bound, limit: Limit | None) -> FleetLine:
    total = nodes * bound.number
    text = f"{nodes:,} nodes x {bound.number:,} = {total:,} connections"
    if limit is None:
        text += (
            f"; what the server takes is not known: give it, --limit {bound.name}=N ({WHERE[bound.protocol]})"
        )
        return FleetLine(
            bound.name, Level.FINE, nodes, bound.number, None, text, bound.source, bound.is_configured
        )
    text += f" of {limit.number:,} that the server takes ({percent(total, limit.number)})"
    if limit.others is not None:
        text += f"; it has {limit.others:,} now, from everybody"
    level = Level.FINE
    if total > limit.number:
        level = Level.WRONG
        text += f": at most {limit.number // nodes:,} for each node"
    elif total > NEARLY * limit.number:
        level = Level.WARNING
    source = f"{bound.source}; {limit.source}"
    return FleetLine(bound.name, level, nodes, bound.number, limit.number, text, source, bound.is_configured)


def findings(found: Sequence[FleetLine]) -> Iterator[Finding]:
    for line in found:
        if line.level != Level.FINE:
            assert line.limit is not None
            fits = max(1, int(NEARLY * line.limit) // line.nodes)
            cure = f"muxproxy doctor --suggest {line.name}    # and no more than {fits} on each node"
            if line.is_configured:
                cure = f"muxproxy set {line.name} max_connections={fits}    # on each node, and in its file"
            yield Finding(
                line.level,
                "fleet",
                f"{line.name}: {line.text}",
                cure,
                (Evidence(line.text, line.source),),
                weight=line.nodes * line.bound / line.limit,
            )
