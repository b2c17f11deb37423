"""`--suggest REMOTE`: the backend's file that would replace what was seen, with its arithmetic. Pure.

Little's law, L = lambda W: as many requests are in flight, on average, as arrive per second times the
seconds that each takes. L is what is observed here, by looking often; W follows.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Sequence
from typing import NamedTuple

from muxproxy.config.model import Upstream
from muxproxy.doctor.facts import SOCK_DIAG, Facts, Flow
from muxproxy.doctor.judging.words import looks, who
from muxproxy.doctor.report import count, times

# Where servers of each protocol usually listen.
PORTS = {
    "redis": (6379, 6380, 6381, 7000, 7001, 7002, 16379, 26379),
    "http": (80, 81, 591, 3000, 4000, 5000, 8000, 8008, 8080, 8081, 8082, 8088, 8090, 8888, 9000, 9090, 9200),
    "dubbo": tuple(range(20880, 20900)),
}
# What a program that listens there, on this machine, is called.
PROGRAMS = {"redis": ("redis", "valkey", "keydb"), "http": ("nginx", "httpd", "apache", "caddy", "haproxy")}
BURSTS = 2  # times what was seen: a second is short, and waiting begins where this ends
# Of the 128 requests that a shared connection takes: half, so that one slow reply does not hold up all.
IN_FLIGHT = 64
LEAST, MOST_SHARED = 2, 16  # connections
# Seconds for which connections that are opened live, on average: who dials so often has use for each of them.
SHORT = 1.0
DEFAULT = Upstream(servers=()).max_connections
# What is known by its port and has sessions that nobody shares.
SESSIONS = {
    5432: "PostgreSQL",
    3306: "MySQL",
    27017: "MongoDB",
    11211: "memcached",
    5672: "AMQP",
    9092: "Kafka",
}
SEEN = 0.9  # of all connects of this machine: with fewer, rates are of those that were seen


class Guess(NamedTuple):
    protocol: str
    reason: str


class Concurrency(NamedTuple):
    rate: float  # lambda: requests per second, or connections where each carries its own
    mean: float  # L
    most: int  # at the busiest look
    what: str  # is counted
    source: str
    is_whole: bool = True  # else connections came and went that were not seen


def remotes(facts: Facts) -> list[str]:
    """To whom anybody here has connections: the most first."""
    counts: dict[str, int] = {}
    for flow in facts.flows:
        counts[flow.remote] = counts.get(flow.remote, 0) + sum(flow.states.values())
    return sorted(counts, key=lambda remote: (-counts[remote], remote))


def suggest(facts: Facts, remote: str) -> str:
    """Raises KeyError if nobody has a connection to it."""
    flows = [flow for flow in facts.flows if flow.remote == remote]
    if not flows:
        raise KeyError(remote)
    guess = guessed(flows[0], facts)
    seen = concurrency(flows, guess.protocol, facts.sight.by)._replace(is_whole=_is_whole(facts))
    bound, sum_ = bounded(seen, guess.protocol)
    name = backend_name(guess.protocol, remote)
    listen = free_port(flows[0], {each.port for each in facts.listeners})
    busiest = max(flows, key=lambda flow: sum(flow.states.values()))
    total = sum(sum(flow.states.values()) for flow in flows)
    waits = sum(flow.time_wait for flow in flows)
    return _TEXT.format(
        name=name,
        remote=remote,
        seconds=f"{facts.sight.seconds:.1f}",
        who=who(busiest),
        total=count(total, "connection"),
        waits=f"{waits:,}",
        protocol=guess.protocol,
        reason=guess.reason,
        listen=listen,
        note=_note(facts, flows),
        server=remote,
        law="".join(f"# {line}\n" for line in law(seen, looks(facts))),
        sum=sum_,
        bound=bound,
    )


_TEXT = """\
# /etc/muxproxy/backends/{name}.toml
# Suggested by `muxproxy doctor --suggest {remote}` from what it saw in {seconds} s: look at it before you
# use it.
#     muxproxy check -c {name}.toml
# Seen: {total} to {remote}, {waits} of them in TIME_WAIT; most of them by
#     {who}
# Every other key has its default: config/README.md.

protocol = "{protocol}"  # A GUESS, {reason}; nobody was asked

[clients]
# Point the app here, instead of at {remote}.
listen = ["127.0.0.1:{listen}"]
{note}
[upstream]
servers = ["{server}"]
{law}# {sum}
max_connections = {bound}
"""


def _note(facts: Facts, flows: Sequence[Flow]) -> str:
    if not any(flow.time_wait for flow in flows):
        return ""
    lines = [
        "# An app that goes on opening a connection for each request leaves its TIME_WAITs here now. A unix",
        '# socket has none: listen = ["unix:/run/muxproxy/NAME.sock"].',
    ]
    if facts.settings.get("tcp_tw_reuse") == "0":
        lines.append("# Else let the kernel reuse them on loopback (Linux's own default):")
        lines.append("#     sysctl -w net.ipv4.tcp_tw_reuse=2")
    return "\n".join(lines) + "\n"


def guessed(flow: Flow, facts: Facts) -> Guess:
    """By the port, or by the program that listens there if it is here."""
    if flow.is_loopback:
        for listener in facts.listeners:
            for holder in listener.holders if listener.port == flow.port else ():
                for protocol, names in PROGRAMS.items():
                    if holder.name.startswith(names):
                        return Guess(protocol, f"from {holder.name}, which listens there")
    return by_port(flow.port)


def by_port(port: int) -> Guess:
    for protocol, ports in PORTS.items():
        if port in ports:
            return Guess(protocol, f"from the port, {port}")
    if port in (443, 8443):
        return Guess("tcp", f"from the port, {port}: TLS, passed on as it is")
    if name := SESSIONS.get(port):
        return Guess("tcp", f"from the port, {port}, {name}'s: sessions are bounded, and none is shared")
    return Guess("tcp", f"the port, {port}, says nothing: tcp goes with every protocol, and multiplexes none")


def _is_whole(facts: Facts) -> bool:
    opens = facts.growth.get("Tcp.ActiveOpens", 0)
    return sum(flow.opened for flow in facts.flows) * facts.sight.seconds >= SEEN * opens


def concurrency(flows: Sequence[Flow], protocol: str, by: str = SOCK_DIAG) -> Concurrency:
    """Of a raw TCP session nobody knows when it wants something: it is busy while it is open. The same of any
    where nothing says who waits for a reply; and of those that live shortly, which are open because they are
    wanted: bursts of them fall between two looks, and their sockets less often."""
    opened = sum(flow.opened for flow in flows)
    sent = sum(flow.sent for flow in flows)
    busy = sum(flow.busy_most for flow in flows)
    open_mean, open_most = sum(flow.open_mean for flow in flows), sum(flow.open_most for flow in flows)
    is_short = 0 < open_mean < SHORT * opened
    if protocol == "tcp" or (not busy and opened) or is_short or by != SOCK_DIAG:
        source = f"connects/s and ESTABLISHED of {by}"
        return Concurrency(opened, open_mean, open_most, "connections open at a time", source)
    source = "connects/s, and tcp_info of sock_diag: data segments/s, lastsnd < lastrcv"
    what = "connections waiting for a reply at a time"
    return Concurrency(opened + sent, sum(flow.busy_mean for flow in flows), busy, what, source)


def law(seen: Concurrency, looks: int) -> list[str]:
    least, most = ("", "") if seen.is_whole else ("at least ", "at most ")
    lines = [
        f"Little's law, L = lambda W: {seen.what}, L = {seen.mean:.1f} on average and {seen.most:,} at most",
        f"  in {looks} looks; lambda = {least}{times(seen.rate)}/s ({seen.source})",
    ]
    if seen.rate > 0 and seen.mean > 0:
        lines.append(
            f"  so each takes {most}W = L / lambda = {seen.mean:.1f} / {times(seen.rate)} s = {_took(seen)}."
        )
    if not seen.is_whole:
        lines.append("  At least: connections came and went here that were too short to be seen.")
    return lines


def _took(seen: Concurrency) -> str:
    return f"{1000 * seen.mean / seen.rate:.1f} ms"


def bounded(seen: Concurrency, protocol: str) -> tuple[int, str]:
    """And the sum that it is."""
    most = max(seen.most, math.ceil(seen.mean))
    if not most:
        return DEFAULT, f"Nothing was in flight while it looked: {DEFAULT}, which is the default."
    wanted = most * BURSTS
    if protocol in ("redis", "dubbo"):
        need = math.ceil(wanted / IN_FLIGHT)
        bound = min(max(need, LEAST), MOST_SHARED)
        text = f"{most:,} x {BURSTS} for bursts, / {IN_FLIGHT} in flight on each = {need}"
        return bound, f"{text}; at least {LEAST}, at most {MOST_SHARED}."
    text = f"{most:,} x {BURSTS} for bursts = {wanted:,}, one at a time on each"
    return max(wanted, LEAST), f"{text}; at least {LEAST}."


def backend_name(protocol: str, remote: str) -> str:
    return f"{protocol}-{re.sub(r'[^A-Za-z0-9.]+', '-', remote).strip('-')}"[:63]


def free_port(flow: Flow, taken: Collection[int]) -> int:
    """The server's own, so that only the host changes for the app; else the next one that is free."""
    ports: list[int] = [*range(flow.port, 65536), *range(1024, flow.port)]
    return next(port for port in ports if port not in taken and (port != flow.port or not flow.is_loopback))
