"""How findings speak of who it is, and where a figure comes from. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from muxproxy.doctor.facts import Facts, Flow, Holder
from muxproxy.doctor.report import Evidence, count, times

_MOST_HOLDERS = 3


def named(holder: Holder) -> str:
    return f"{holder.name or 'a process that has ended'} (pid {holder.pid}, user {holder.user or '?'})"


def is_muxproxy(holder: Holder) -> bool:
    """A supervisor or a worker, as /proc calls them: what they open has a bound, which `-c` judges."""
    return holder.name.split(" ")[-1] in ("muxproxy", "muxproxy.worker")


def who(flow: Flow) -> str:
    """The culprit: the process that opened most of its connections, or has most of them."""
    if not flow.holders:
        if flow.users:
            return f"a process of user {next(iter(flow.users))}"
        return "a process that was not seen"
    first, others = flow.holders[0], len(flow.holders) - 1
    text = named(first)
    if first.guess:
        return f"most likely {text}"
    return f"{text} and {count(others, 'other process')}" if others else text


def states(found: Mapping[str, int]) -> str:
    """`TIME_WAIT 1,990, ESTABLISHED 8`: the most first."""
    ranked = sorted(found.items(), key=lambda pair: (-pair[1], pair[0]))
    return ", ".join(f"{state} {number:,}" for state, number in ranked)


def seen(flow: Flow) -> Evidence:
    return Evidence(f"{flow.source} to {flow.remote}: {states(flow.states)}", f"sock_diag: {ss(flow)}")


def rates(flow: Flow, seconds: float) -> Evidence:
    text = f"{times(flow.opened)} connects/s seen, {times(flow.timed)} TIME_WAITs/s added"
    return Evidence(text, f"sock_diag twice, {seconds:.1f} s apart: what was not there the first time")


def hands(flow: Flow) -> list[Evidence]:
    """Who holds it."""
    lines = []
    for holder in flow.holders[:_MOST_HOLDERS]:
        if holder.guess:
            source = (
                f"/proc/{holder.pid}/fd, cmdline, environ: nobody's hands were seen with a socket of these"
            )
            lines.append(Evidence(f"{named(holder)}: {holder.guess}", source))
        else:
            now = f"{count(holder.sockets, 'socket')} at a time"
            text = f"{named(holder)}: {now}, {holder.opened:,} new ones seen"
            source = f"inodes of sock_diag in /proc/{holder.pid}/fd: {ss(flow, 'p')}"
            lines.append(Evidence(text, source))
    if not flow.holders and flow.users:
        told = ", ".join(f"{user} {number:,}" for user, number in flow.users.items())
        lines.append(Evidence(f"sockets of users: {told}", f"uids of sock_diag: {ss(flow, 'e')}"))
    return lines


def ss(flow: Flow, more: str = "") -> str:
    return f"ss -tan{more} dst {flow.remote}"


def counter(facts: Facts, name: str) -> Evidence:
    """`TcpExt.ListenOverflows`: how far it went meanwhile, and in all."""
    group, _, field = name.partition(".")
    file = "snmp" if group == "Tcp" else "netstat"
    meanwhile = f"{facts.growth.get(name, 0):+,} in {facts.sight.seconds:.1f} s"
    text = f"{field} {meanwhile}, {facts.counters.get(name, 0):,} in all"
    return Evidence(text, f"/proc/net/{file}: nstat -asz {group}{field}")


def setting(facts: Facts, name: str, place: str) -> Evidence:
    return Evidence(f"{name} = {facts.settings.get(name, '')}", f"/proc/sys/{place}")


def listed(words: Iterable[str], most: int = 4) -> str:
    every = list(words)
    more = f" and {len(every) - most:,} more" if len(every) > most else ""
    return ", ".join(every[:most]) + more


def looks(facts: Facts) -> int:
    return max(1, facts.sight.lists)
