"""Facts, and what is asked of them -> the report. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from msgspec import structs

from muxproxy.config.model import Config
from muxproxy.doctor.facts import SOCK_DIAG, Facts, Flow, Sight
from muxproxy.doctor.judging import configured, fleet, flows, kernel, queues
from muxproxy.doctor.judging.fleet import Limit
from muxproxy.doctor.judging.kernel import Wants
from muxproxy.doctor.judging.words import listed
from muxproxy.doctor.report import SHAPE, Evidence, Finding, Level, PortUse, Report, count

_ORDER = (Level.WRONG, Level.WARNING, Level.FINE)
# What every Linux has; else something hides it.
_EVERYWHERE = ("ip_local_port_range", "tcp_tw_reuse", "tcp_timestamps", "somaxconn", "tcp_max_syn_backlog")
_MOST_NETWORKS = 4  # of a machine with hundreds of containers
_ROOTS = ("sysctl", "prlimit", "systemctl")
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
    if not facts.sight.is_root:
        found = [structs.replace(each, type=_as_root(each.type)) for each in found]
        settings = [structs.replace(each, type=_as_root(each.type)) for each in settings]
    found = [_told_by(facts.sight.by, each) for each in found]
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


def _as_root(line: str) -> str:
    """What only root may do."""
    words = [word if word.split(" ")[0] not in _ROOTS else f"sudo {word}" for word in line.split(" && ")]
    return " && ".join(words)


def _told_by(by: str, finding: Finding) -> Finding:
    """Where it was not sock_diag that told of sockets, no source says that it was."""
    if by == SOCK_DIAG:
        return finding
    evidence = tuple(Evidence(each.text, each.source.replace(SOCK_DIAG, by)) for each in finding.evidence)
    return structs.replace(finding, evidence=evidence)


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
    sight = facts.sight
    lines = [*_unowned(sight), *_untold(facts)]
    sudo = "" if sight.is_root else "sudo "
    ranked = sorted(sight.namespaces.items(), key=lambda pair: (-pair[1], pair[0]))
    for pid, number in ranked[:_MOST_NETWORKS]:
        whose = "its" if number == 1 else "their"
        lines.append(
            f"{count(number, 'process')} with a network of {whose} own (a container's): "
            f"{sudo}nsenter -t {pid} -n muxproxy doctor"
        )
    if len(ranked) > _MOST_NETWORKS:
        lines.append(f"{len(ranked) - _MOST_NETWORKS:,} more networks with fewer processes: lsns -t net")
    opens = facts.growth.get("Tcp.ActiveOpens", 0)
    opened = round(sum(flow.opened for flow in facts.flows) * sight.seconds)
    if opens - opened > max(10, opens // 10):
        lines.append(
            f"{opens - opened:,} of {opens:,} connects of this second: closed by their server, or failed, "
            "between two looks (nstat -asz TcpActiveOpens counts them all)"
        )
    return lines


def _unowned(sight: Sight) -> Iterator[str]:
    """Processes without a name."""
    whose = count(sight.hidden, "process") if sight.hidden else "processes"  # hidepid does not list them
    sockets = count(sight.unowned, "socket")
    if sight.is_root and sight.hidden and sight.unowned:
        yield (
            f"{whose}, whose /proc/PID/fd not even this root may read, and so who has {sockets} more: "
            "it takes CAP_SYS_PTRACE, which most containers lack (docker run --cap-add SYS_PTRACE)"
        )
    elif not sight.is_root and (sight.hidden or sight.unowned):
        more = f"the processes of {sockets} more" if sight.unowned else "whose short connections come and go"
        yield (
            f"{whose} of other users, whose /proc/PID/fd is theirs alone: root would name {more}: "
            "sudo muxproxy doctor"
        )
    elif sight.unowned:
        yield f"the processes of {sockets}: they came or went meanwhile, or are not in this /proc"


def _untold(facts: Facts) -> Iterator[str]:
    """What this kernel, or a sandbox, does not tell."""
    sight = facts.sight
    if sight.refused:
        yield (
            f"who waits for a reply, round trips, how deep listen queues may be: {SOCK_DIAG} is refused here "
            f"({sight.refused}), and {sight.by} does not tell it; it takes AF_NETLINK and the module tcp_diag"
        )
    masked = [name for name in _EVERYWHERE if not facts.knows(name)]
    if masked:
        yield f"the kernel's {listed(masked)}: /proc/sys does not show it here; Linux's own is assumed"
    if "Tcp.OutSegs" not in facts.counters or "TcpExt.ListenOverflows" not in facts.counters:
        yield "segments that are sent again, and overflows: /proc/net/snmp and netstat cannot be read here"
