"""Who opens too many to whom, who churns, whose ephemeral ports run out and when, who is not answered. Pure.

Ports of a flow: a connection takes one until it is closed, and for 60 s more if this side closed it first.
With c such connections per second a flow settles at (open ones) + 60 c ports; where tcp_tw_reuse lets
connect() take those that are older than a second, at (open ones) + c.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

import msgspec

from muxproxy.doctor.facts import Facts, Flow, Holder
from muxproxy.doctor.judging.words import hands, is_muxproxy, listed, looks, named, rates, seen, ss, who
from muxproxy.doctor.report import Evidence, Finding, Level, count, percent, span, times

UNIX = '# a unix socket has no ports: [clients] listen = ["unix:/run/muxproxy/NAME.sock"]'
LINGERS = 60.0  # seconds: TCP_TIMEWAIT_LEN
REUSED_AFTER = 1.0
# Of a flow's ports. connect() searches the longer the fuller they are, and a burst of a second takes the
# rest.
FULL, NEARLY, FILLING = 0.98, 0.9, 0.6
# A rate of one second says what comes only if some of it has come already: else it was a burst.
BELIEVED = 0.1
SOON = 600.0  # seconds
CHURNS = 50.0  # TIME_WAITs per second: 3,000 of them at any time
# One process to one remote. A pool of a hundred that has use for them is a pool; the second incident's had
# 500, the third's 10,000. Beyond a thousand the server pays for them, used or not.
MANY, FAR_TOO_MANY = 100, 1000
# One process to all: the first incident, to a few dozen hosts 20,000, each of them below a thousand.
FAR_TOO_MANY_IN_ALL = 5000
IDLE = 4  # so many times as many connections as were ever waiting for a reply at a time
UNANSWERED = 3  # sockets
# Of all segments; on a network that is sound it is some thousandths.
LOSSY, LOST = 0.02, 0.1


class Use(NamedTuple):
    """Of a flow's ports."""

    taken: int  # that connect() cannot have
    size: int
    settles: float  # at the present rate
    seconds: float | None  # until none is left; None: that is not where it goes

    @property
    def share(self) -> float:
        return self.taken / self.size

    @property
    def runs_out(self) -> bool:
        """At the present rate, of which enough has come to be believed; or it has nearly all, and soon."""
        if self.seconds is None or self.share < BELIEVED:
            return False
        return self.settles > self.size or self.seconds < SOON


def use(flow: Flow, facts: Facts) -> Use:
    size = facts.ports.size
    may_reuse = facts.may_reuse[flow.is_loopback]
    live = flow.ports - flow.time_wait if flow.ports > flow.time_wait else 0
    taken = min(size, live + flow.young) if may_reuse else min(size, flow.ports)
    settles = live + flow.churned * (REUSED_AFTER if may_reuse else LINGERS)
    seconds = None
    if flow.growth > 0 and (settles > size or taken >= FILLING * size):
        seconds = (size - taken) / flow.growth
    return Use(taken, size, settles, seconds)


def findings(facts: Facts, served: Mapping[str, str]) -> Iterator[Finding]:
    """`served`: remote -> where the configuration has a listener for it."""
    crowded = dict(_crowds(facts))
    yield from crowded.values()
    ours = {listener.port for listener in facts.listeners if any(map(is_muxproxy, listener.holders))}
    for flow in facts.flows:
        if flow.is_loopback and (flow.port in ours or flow.remote in served.values()):
            yield from _towards_us(flow, facts)
            continue
        found = _ports(flow, facts, served)
        if found is None:
            found = _churn(flow, facts, served)
        if found is not None:
            yield found
        yield from _pools(flow, facts, served, crowded.keys())
        yield from _silence(flow)
    yield from _losses(facts)


def _towards_us(flow: Flow, facts: Facts) -> Iterator[Finding]:
    """The app's side of muxproxy: a client costs it next to nothing, and ports only by TCP."""
    found = _ports(flow, facts, {}) or _churn(flow, facts, {})
    if found is not None:
        yield msgspec.structs.replace(found, type=UNIX)


def cure(flow: Flow, served: Mapping[str, str]) -> str:
    if place := served.get(flow.remote):
        return f"# point the app at {place} (muxproxy serves {flow.remote} there)"
    return f"muxproxy doctor --suggest {flow.remote}"


def _ports(flow: Flow, facts: Facts, served: Mapping[str, str]) -> Finding | None:
    ports = use(flow, facts)
    if ports.share >= NEARLY or ports.runs_out:
        level = Level.WRONG
    elif ports.share >= FILLING or ports.settles >= FILLING * ports.size:
        level = Level.WARNING
    else:
        return None
    arithmetic = _arithmetic(flow, facts, ports)
    low, high = facts.ports.low, facts.ports.high
    where = "/proc/sys/net/ipv4/ip_local_port_range"
    is_told = facts.knows("ip_local_port_range")
    where = (
        f"{where}, without ip_local_reserved_ports" if is_told else f"ASSUMED, {where} cannot be read here"
    )
    return Finding(
        level,
        "ports",
        _ports_title(flow, ports),
        cure(flow, served),
        (
            seen(flow),
            *hands(flow),
            rates(flow, facts.sight.seconds),
            Evidence(arithmetic, "from the figures above"),
            Evidence(f"{ports.size:,} ports for each pair of addresses and port: {low} to {high}", where),
        ),
        weight=ports.share,
        remote=flow.remote,
    )


def _ports_title(flow: Flow, ports: Use) -> str:
    whose = f"{who(flow)} {_does(flow)} {flow.remote}"
    taken = (
        f"{ports.taken:,} of {ports.size:,} ephemeral ports are taken ({percent(ports.taken, ports.size)})"
    )
    if ports.share >= FULL:
        return f'{whose}: {taken}: connect() fails with "Cannot assign requested address"'
    if ports.seconds is not None:
        return f"{whose}: {taken}, and none is left in about {span(ports.seconds)} at this rate"
    return f"{whose}: {taken}"


def _does(flow: Flow) -> str:
    rate = flow.churned
    if flow.time_wait > flow.live and rate < flow.time_wait / LINGERS:
        return f"opened and closed {flow.time_wait:,} connections within a minute to"
    if flow.time_wait > flow.live:
        return f"opens and closes {times(rate)} connections/s to"
    return f"has {flow.live:,} connections to"


def _arithmetic(flow: Flow, facts: Facts, ports: Use) -> str:
    live = max(0, flow.ports - flow.time_wait)
    held = REUSED_AFTER if facts.may_reuse[flow.is_loopback] else LINGERS
    why = "tcp_tw_reuse" if held == REUSED_AFTER else "TIME_WAIT"
    if ports.share >= FULL and ports.settles < ports.size:
        rate = flow.time_wait / held
        now = f"{flow.time_wait:,} / {held:.0f} s ({why}) = {times(rate)} connects/s"
        return f"{now} are all that is possible now"
    text = f"at this rate it settles at {live:,} open + {times(flow.churned)}/s x {held:.0f} s ({why})"
    return f"{text} = {ports.settles:,.0f} ports, {percent(ports.settles, ports.size)} of them"


def _churn(flow: Flow, facts: Facts, served: Mapping[str, str]) -> Finding | None:
    rate = max(flow.churned, flow.time_wait / LINGERS)
    if rate < CHURNS:
        return None
    ports = use(flow, facts)
    return Finding(
        Level.WARNING,
        "churn",
        f"{who(flow)} {_does(flow)} {flow.remote}: a handshake for each",
        cure(flow, served),
        (
            seen(flow),
            *hands(flow),
            rates(flow, facts.sight.seconds),
            Evidence(_arithmetic(flow, facts, ports), "from the figures above"),
        ),
        weight=ports.share,
        remote=flow.remote,
    )


# -- pools ------------------------------------------------------------------------------------------------


def _crowds(facts: Facts) -> Iterator[tuple[int, Finding]]:
    """By pid: who has thousands of connections, to whomever."""
    by_pid: dict[int, list[tuple[Holder, Flow]]] = defaultdict(list)
    for flow in facts.flows:
        for holder in flow.holders:
            if not holder.guess and not is_muxproxy(holder):
                by_pid[holder.pid].append((holder, flow))
    for pid, held in by_pid.items():
        total = sum(holder.sockets for holder, _ in held)
        if total < FAR_TOO_MANY_IN_ALL:
            continue
        ranked = sorted(held, key=lambda pair: -pair[0].sockets)
        busy = sum(flow.busy_most for _, flow in held)
        remotes = listed(f"{flow.remote} {holder.sockets:,}" for holder, flow in ranked)
        first = ranked[0][1]
        whom = first.remote if len(held) == 1 else count(len(held), "remote")
        yield (
            pid,
            Finding(
                Level.WRONG,
                "pool",
                f"{named(ranked[0][0])} has {total:,} connections to {whom}{_waited(busy, facts)}",
                f"muxproxy doctor --suggest {first.remote}",
                (
                    Evidence(remotes, f"inodes of sock_diag in /proc/{pid}/fd: ss -tanp"),
                    *_busy(busy, facts),
                ),
                weight=1.0 + total / 1000,
                remote=first.remote,
            ),
        )


def _pools(flow: Flow, facts: Facts, served: Mapping[str, str], told: Collection[int]) -> Iterator[Finding]:
    """But for those that have been told as a crowd."""
    for holder in flow.holders or _unseen(flow):
        is_idle = facts.sight.knows_waiting and holder.sockets >= IDLE * max(1, flow.busy_most)
        far = holder.sockets >= FAR_TOO_MANY
        if holder.guess or holder.pid in told or is_muxproxy(holder):
            continue
        if not far and not (holder.sockets >= MANY and is_idle):
            continue
        whose = named(holder) if holder.pid else who(flow)
        yield Finding(
            Level.WRONG if far else Level.WARNING,
            "pool",
            f"{whose} has {holder.sockets:,} connections to {flow.remote}{_waited(flow.busy_most, facts)}",
            cure(flow, served),
            (seen(flow), *hands(flow), *_busy(flow.busy_most, facts)),
            weight=holder.sockets / FAR_TOO_MANY,
            remote=flow.remote,
        )


def _unseen(flow: Flow) -> tuple[Holder, ...]:
    """Nobody whose descriptors may be read: all of it together is somebody's."""
    return (Holder(0, "", next(iter(flow.users)), flow.live),) if flow.users else ()


def _waited(most: int, facts: Facts) -> str:
    if not facts.sight.knows_waiting:
        return ""
    if not most:
        return "; none was seen waiting for a reply"
    return f"; at most {most:,} waited for a reply at a time"


def _busy(most: int, facts: Facts) -> list[Evidence]:
    if not facts.sight.knows_waiting:
        return []
    text = f"{most:,} had said something that was not answered yet, at most, in {looks(facts)} looks"
    return [Evidence(text, "tcp_info of sock_diag (lastsnd < lastrcv, or unacked): ss -tino")]


# -- the network ------------------------------------------------------------------------------------------


def _silence(flow: Flow) -> Iterator[Finding]:
    if flow.unanswered < UNANSWERED:
        return
    most = flow.unanswered * 2 >= max(1, flow.live)
    yield Finding(
        Level.WRONG if most else Level.WARNING,
        "unanswered",
        f"{flow.remote} does not answer {flow.unanswered:,} of {flow.live:,} connections of {who(flow)}",
        f"ss -tano dst {flow.remote}",
        (
            seen(flow),
            Evidence(
                f"{flow.unanswered:,} sockets have sent again, and wait for the next try; "
                f"{count(flow.retransmitted, 'segment')} sent again meanwhile",
                f"timer and retransmits of sock_diag: {ss(flow, 'o')}",
            ),
        ),
        weight=flow.unanswered / max(1, flow.live),
        remote=flow.remote,
    )


def _losses(facts: Facts) -> Iterator[Finding]:
    again, out = facts.growth.get("Tcp.RetransSegs", 0), facts.growth.get("Tcp.OutSegs", 0)
    share = again / out if out else 0.0
    if again < 20 or share < LOSSY:
        return
    worst = sorted((flow for flow in facts.flows if flow.retransmitted), key=lambda flow: -flow.retransmitted)
    told = (
        listed(f"{flow.remote} {flow.retransmitted:,}" for flow in worst)
        or "connections that have gone, or incoming"
    )
    yield Finding(
        Level.WRONG if share >= LOST and again >= 100 else Level.WARNING,
        "retransmissions",
        f"{percent(again, out)} of all segments are sent again: the network loses them, or a host is overrun",
        "ss -tino state established",
        (
            Evidence(
                f"RetransSegs +{again:,} of OutSegs +{out:,} in {facts.sight.seconds:.1f} s",
                "/proc/net/snmp: nstat -asz TcpRetransSegs TcpOutSegs",
            ),
            Evidence(f"most of it: {told}", "tcp_info of sock_diag (total_retrans), twice"),
        ),
        weight=share,
    )
