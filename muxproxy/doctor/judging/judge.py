"""Facts, and what is asked of them -> the report. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from muxproxy.config.model import Config
from muxproxy.doctor.facts import Facts, Flow
from muxproxy.doctor.judging import configured, fleet, flows, kernel, queues
from muxproxy.doctor.judging.fleet import Limit
from muxproxy.doctor.judging.kernel import Wants
from muxproxy.doctor.report import SHAPE, Finding, Level, PortUse, Report, count

_ORDER = (Level.WRONG, Level.WARNING, Level.FINE)
_NO_LIMITS: Mapping[str, Limit] = {}


class Question(NamedTuple):
    nofile: tuple[int, int]  # this shell's soft and hard limit
    config: Config | None = None
    nodes: int = 0  # of the fleet; 0: nobody asks
    limits: Mapping[str, Limit] = _NO_LIMITS


def judge(facts: Facts, asked: Question) -> Report:
    config = asked.config
    wants = Wants() if config is None else configured.wants(config, asked.nofile[1])
    settings = kernel.settings(facts, wants, asked.nofile)
    bounds = fleet.observed(facts) if config is None else fleet.configured(config)
    lines = fleet.lines(asked.nodes, bounds, asked.limits) if asked.nodes else []
    found = [
        *flows.findings(facts, configured.served(config)),
        *queues.findings(facts),
        *kernel.findings(settings),
        *fleet.findings(lines),
        *(configured.findings(facts, config) if config is not None else ()),
    ]
    found.sort(key=_worst_first)
    uses = sorted(((flow, _port_use(flow, facts)) for flow in facts.flows), key=_fullest_first)
    return Report(
        shape=SHAPE,
        verdict=found[0].level if found else Level.FINE,
        findings=tuple(found),
        settings=tuple(settings),
        flows=tuple(flow for flow, _ in uses),
        port_use=tuple(told for _, told in uses),
        listeners=tuple(sorted(facts.listeners, key=lambda each: (-each.queue, -each.dropped, each.port))),
        processes=tuple(sorted(facts.processes, key=lambda each: -each.descriptors)),
        fleet=tuple(lines),
        counters=dict(facts.counters),
        growth=dict(facts.growth),
        sight=facts.sight,
        unseen=tuple(unseen(facts)),
        time_waits=facts.time_waits,
        incoming=facts.incoming,
    )


def _port_use(flow: Flow, facts: Facts) -> PortUse:
    use = flows.use(flow, facts)
    return PortUse(flow.remote, flow.source, use.taken, use.size, use.settles, use.seconds)


def _fullest_first(pair: tuple[Flow, PortUse]) -> tuple[int, int, str, str]:
    flow, use = pair
    return (-use.taken, -sum(flow.states.values()), flow.remote, flow.source)


def _worst_first(finding: Finding) -> tuple[int, bool, float]:
    """Of equals what happens before the settings that let it."""
    return (_ORDER.index(finding.level), finding.about == "setting", -finding.weight)


def unseen(facts: Facts) -> list[str]:
    """What this user, from this place, cannot see, and how to."""
    sight, lines = facts.sight, []
    if sight.hidden or (sight.unowned and not sight.is_root):
        whose = count(sight.hidden, "process") if sight.hidden else "processes"  # hidepid does not list them
        lines.append(
            f"{whose} of other users, whose /proc/PID/fd is theirs alone: "
            f"root would name the processes of {count(sight.unowned, 'socket')} more: sudo muxproxy doctor"
        )
    elif sight.unowned:
        lines.append(
            f"the processes of {count(sight.unowned, 'socket')}: they came or went "
            "meanwhile, or are not in this /proc"
        )
    for pid, number in sorted(sight.namespaces.items()):
        lines.append(
            f"{count(number, 'process')} with a network of their own: nsenter -t {pid} -n muxproxy doctor"
        )
    opens = facts.growth.get("Tcp.ActiveOpens", 0)
    opened = round(sum(flow.opened for flow in facts.flows) * sight.seconds)
    if opens - opened > max(10, opens // 10):
        lines.append(
            f"{opens - opened:,} of {opens:,} connects of this second: closed by their server, or failed, "
            "between two looks (nstat -asz TcpActiveOpens counts them all)"
        )
    return lines
