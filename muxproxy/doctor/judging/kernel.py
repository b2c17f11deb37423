"""Kernel settings that matter to connections: each with its value, its reason, and the line to type. Pure.

A setting is wrong where something that was seen is wrong because of it. By itself no number of them is:
what a machine with few connections has is good enough for it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from muxproxy.doctor.facts import Facts, Flow
from muxproxy.doctor.judging.flows import FILLING, NEARLY, use
from muxproxy.doctor.judging.words import listed
from muxproxy.doctor.report import Evidence, Finding, Level, Setting, percent

LINUX = 28_232  # ports of Linux's own ip_local_port_range
WIDE_LOW, WIDE_HIGH = 10_240, 65_535  # what stays below it is for servers
WIDE = 40_000  # what has so many is wide already
_IPV4 = "/proc/sys/net/ipv4/"


class Wants(NamedTuple):
    """What the configuration asks of the kernel; without one, nothing."""

    ports: frozenset[int] = frozenset()  # that it listens on
    backlog: int = 0  # the largest
    connections: int = 0  # clients and upstreams, all at a time
    nofile: str = ""  # what is wrong with the descriptor limit, as limits.py says it


def settings(facts: Facts, wants: Wants, nofile: tuple[int, int]) -> list[Setting]:
    """`nofile`: the soft and the hard limit of this shell."""
    uses = [(flow, use(flow, facts)) for flow in facts.flows]
    full = [flow for flow, ports in uses if ports.share >= NEARLY or ports.runs_out]
    filling = [flow for flow, ports in uses if ports.share >= FILLING]
    told = [
        _port_range(facts, wants, full, filling),
        _reserved(facts, wants),
        _tw_reuse(facts, full),
        _timestamps(facts, full),
        _somaxconn(facts, wants),
        _syn_backlog(facts, wants),
        _nofile(wants, nofile),
        _conntrack(facts, wants),
    ]
    is_masked = not facts.knows("somaxconn")
    return [_unread(each) if _is_hidden(each, facts, is_masked) else each for each in told]


def _is_hidden(each: Setting, facts: Facts, is_masked: bool) -> bool:
    """nofile is no file, and there may be no nf_conntrack."""
    may_lack = each.name == "nofile" or (each.name == "nf_conntrack_max" and not is_masked)
    return not may_lack and not facts.knows(each.name)


def _unread(each: Setting) -> Setting:
    """A container's masked /proc/sys: nothing is to be typed for what nobody has seen."""
    reason = "cannot be read here; where it matters, Linux's own is assumed"
    return Setting(each.name, "", Level.FINE, reason, each.source)


def findings(found: Sequence[Setting]) -> Iterator[Finding]:
    for each in found:
        if each.level != Level.FINE:
            evidence = Evidence(f"{each.name} = {each.value}", each.source)
            yield Finding(
                each.level,
                "setting",
                f"{each.name} is {each.value or 'empty'}: {each.reason}",
                each.type,
                (evidence,),
            )


def _port_range(facts: Facts, wants: Wants, full: Sequence[Flow], filling: Sequence[Flow]) -> Setting:
    ports = facts.ports
    value = f"{ports.low} {ports.high}"
    each = f"{ports.size:,} ports for each source address, remote address and remote port"
    level, reason, line = Level.FINE, f"{each}", ""
    if full and ports.size < WIDE:
        level, reason = Level.WRONG, f"only {each}, and {listed(flow.remote for flow in full)} needs more"
    elif filling and ports.size < WIDE:
        level, reason = (
            Level.WARNING,
            f"only {each}; to {listed(flow.remote for flow in filling)} most are taken",
        )
    elif ports.size < LINUX // 2:
        level, reason = Level.WARNING, f"only {each}; Linux's own is 32768 60999, {LINUX:,}"
    if level != Level.FINE:
        line = _widen(facts, wants)
    return Setting("ip_local_port_range", value, level, reason, _IPV4 + "ip_local_port_range", line)


def _widen(facts: Facts, wants: Wants) -> str:
    """A range that takes in ports of servers needs them reserved in the same breath."""
    ports = facts.ports
    served = {each.port for each in facts.listeners} | wants.ports
    inside = {port for port in served if WIDE_LOW <= port <= WIDE_HIGH and port not in ports}
    line = f'sysctl -w net.ipv4.ip_local_port_range="{WIDE_LOW} {WIDE_HIGH}"'
    if not inside - ports.reserved:
        return line
    return f'sysctl -w net.ipv4.ip_local_reserved_ports="{ranges(inside | ports.reserved)}" && {line}'


def _reserved(facts: Facts, wants: Wants) -> Setting:
    ports = facts.ports
    value = facts.settings.get("ip_local_reserved_ports", "")
    exposed = {port for port in wants.ports if port in ports}
    source = _IPV4 + "ip_local_reserved_ports"
    if not exposed:
        inside = sorted({each.port for each in facts.listeners if each.port in ports})
        reason = "ports that connect() leaves to who listens; none of muxproxy's needs it"
        if not wants.ports:
            reason = "ports that connect() leaves to who listens (-c PATH: does muxproxy need any?)"
        if inside:
            reason += f"; inside the range others listen: {listed(map(str, inside))}"
        return Setting("ip_local_reserved_ports", value, Level.FINE, reason, source)
    told = listed(map(str, sorted(exposed)))
    reason = f"the configuration listens on {told}, which a connect() may take first: `run` then ends with 3"
    line = f'sysctl -w net.ipv4.ip_local_reserved_ports="{ranges(exposed | ports.reserved)}"'
    return Setting("ip_local_reserved_ports", value, Level.WARNING, reason, source, line)


def _tw_reuse(facts: Facts, full: Sequence[Flow]) -> Setting:
    value, source = facts.settings.get("tcp_tw_reuse", ""), _IPV4 + "tcp_tw_reuse"
    waits = [flow for flow in full if flow.time_wait >= FILLING * flow.ports]
    meaning = {
        "0": "connect() never takes the port of a TIME_WAIT: each is lost for 60 s",
        "1": "connect() may take the port of a TIME_WAIT that is older than a second",
        "2": "connect() may take the port of a TIME_WAIT older than a second, on loopback alone",
    }.get(value, "")
    if not waits or value == "1":
        return Setting("tcp_tw_reuse", value, Level.FINE, meaning, source)
    told = listed(f"{flow.remote} {flow.time_wait:,}" for flow in waits)
    wanted = "2" if all(flow.is_loopback for flow in waits) else "1"
    if wanted == value:
        return Setting("tcp_tw_reuse", value, Level.FINE, meaning, source)
    reason = f"{meaning}, and they are what the ports go to ({told})"
    line = f"sysctl -w net.ipv4.tcp_tw_reuse={wanted}"
    return Setting("tcp_tw_reuse", value, Level.WRONG, reason, source, line)


def _timestamps(facts: Facts, full: Sequence[Flow]) -> Setting:
    value, source = facts.settings.get("tcp_timestamps", ""), _IPV4 + "tcp_timestamps"
    if value != "0":
        return Setting(
            "tcp_timestamps", value, Level.FINE, "on, as tcp_tw_reuse needs it, at both ends", source
        )
    reason = "off: tcp_tw_reuse does nothing without it, and old segments are told from new ones by luck"
    level = Level.WRONG if any(flow.time_wait for flow in full) else Level.WARNING
    return Setting("tcp_timestamps", value, level, reason, source, "sysctl -w net.ipv4.tcp_timestamps=1")


def _somaxconn(facts: Facts, wants: Wants) -> Setting:
    value, source = facts.settings.get("somaxconn", ""), "/proc/sys/net/core/somaxconn"
    cap = int(value or 0)
    capped = [each for each in facts.listeners if each.backlog >= cap and each.dropped_now]
    wanted = max(4096, wants.backlog)
    line = f"sysctl -w net.core.somaxconn={wanted}"
    if capped and cap < wanted:
        reason = f"it caps every listen queue, and {listed(each.address for each in capped)} overflows at it"
        return Setting("somaxconn", value, Level.WRONG, reason, source, line)
    if wants.backlog > cap:
        reason = f"it caps every listen queue, and [clients] backlog asks for {wants.backlog:,}"
        return Setting("somaxconn", value, Level.WARNING, reason, source, line)
    return Setting("somaxconn", value, Level.FINE, "the cap of every listen queue", source)


def _syn_backlog(facts: Facts, wants: Wants) -> Setting:
    value, source = facts.settings.get("tcp_max_syn_backlog", ""), _IPV4 + "tcp_max_syn_backlog"
    has_cookies = facts.settings.get("tcp_syncookies", "1") != "0"
    limit = int(value or 0)
    what = "how many connects may be half open at a listener"
    if has_cookies:
        return Setting(
            "tcp_max_syn_backlog",
            value,
            Level.FINE,
            f"{what} where tcp_syncookies is 0; it is on here",
            source,
        )
    if wants.backlog > limit:
        reason = f"{what}, tcp_syncookies is 0, and [clients] backlog asks for {wants.backlog:,}"
        line = f"sysctl -w net.ipv4.tcp_max_syn_backlog={max(4096, wants.backlog)}"
        return Setting("tcp_max_syn_backlog", value, Level.WARNING, reason, source, line)
    return Setting("tcp_max_syn_backlog", value, Level.FINE, what, source)


def _nofile(wants: Wants, nofile: tuple[int, int]) -> Setting:
    soft, hard = nofile
    value, source = f"{soft} {hard}", "getrlimit(RLIMIT_NOFILE) of this shell: ulimit -Sn, ulimit -Hn"
    if wants.nofile:
        line = "systemctl edit muxproxy    # [Service] LimitNOFILE=1048576; in a shell: ulimit -n 1048576"
        return Setting("nofile", value, Level.WARNING, wants.nofile, source, line)
    reason = (
        "descriptors of a process, soft and hard; `muxproxy run` takes the hard one (in a unit: LimitNOFILE)"
    )
    return Setting("nofile", value, Level.FINE, reason, source)


def _conntrack(facts: Facts, wants: Wants) -> Setting:
    value, source = facts.settings.get("nf_conntrack_max", ""), "/proc/sys/net/netfilter/nf_conntrack_max"
    if not value:
        return Setting(
            "nf_conntrack_max", "", Level.FINE, "not loaded: no firewall counts connections here", source
        )
    most, used = int(value), int(facts.settings.get("nf_conntrack_count", "0"))
    told = f"connections that the firewall can remember; {used:,} now ({percent(used, most)})"
    if used + wants.connections > most:
        reason = f"{told}, and the configuration allows {wants.connections:,} more"
        line = f"sysctl -w net.netfilter.nf_conntrack_max={_rounded(2 * (used + wants.connections))}"
        return Setting("nf_conntrack_max", value, Level.WARNING, reason, source, line)
    return Setting("nf_conntrack_max", value, Level.FINE, told, source)


def _rounded(number: int) -> int:
    """Up, to a power of two."""
    return 1 << max(1, number - 1).bit_length()


def ranges(ports: frozenset[int] | set[int]) -> str:
    """`8080,9000-9002`, as ip_local_reserved_ports is written."""
    parts: list[list[int]] = []
    for port in sorted(ports):
        if parts and parts[-1][1] == port - 1:
            parts[-1][1] = port
        else:
            parts.append([port, port])
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in parts)
