"""What a replay recorded, as NAME.json has it: legs of the same incident, direct and through muxproxy. Pure.

Who says which number: sockets by state are the kernel's, on both hosts; replies, errors and times the
client's; CPU and memory of servers /proc's.
"""

from __future__ import annotations

import msgspec

SHAPE = 1
TIME_WAIT = "TIME_WAIT"


class Sample(msgspec.Struct):
    """Ten times a second."""

    at: float  # seconds since the leg began
    client: dict[str, int]  # sockets of the client's host towards the servers, by state
    server: dict[str, int]  # sockets of the servers' host, by state
    app: int = 0  # connections that the client's own pools hold: with muxproxy, to muxproxy
    replies: int = 0  # so far
    errors: int = 0  # so far
    latency: dict[str, float] = {}  # of the last tenth of a second: p50 ... max, in seconds


class Leg(msgspec.Struct):
    name: str  # direct, repaired, muxproxy ...
    title: str
    how: str  # one line: what is different here
    seconds: float  # as planned, for the axis
    bound: int | None = None  # upstream.max_connections
    samples: list[Sample] = []
    requests: int = 0  # right replies
    errors: dict[str, int] = {}
    latency: dict[str, float] = {}
    dialled: int = 0  # connections that the client opened
    server_cpu: float | None = None  # seconds, of all servers
    server_memory: int | None = None  # bytes, the most, of all servers
    ready: float | None = None  # seconds until the client had all its connections
    facts: list[str] = []  # what else is worth a line beside it
    state: str = "waiting"  # -> running -> done

    @property
    def failed(self) -> int:
        return sum(self.errors.values())

    def most(self, *states: str) -> int:
        """The most sockets of these states at the client's host at a time."""
        return max(
            (sum(sample.client.get(state, 0) for state in states) for sample in self.samples), default=0
        )

    @property
    def most_in_all(self) -> int:
        return max((sum(sample.client.values()) for sample in self.samples), default=0)

    @property
    def most_open(self) -> int:
        """All but TIME_WAITs, which no process holds."""
        return max(
            (sum(s.client.values()) - s.client.get(TIME_WAIT, 0) for s in self.samples),
            default=0,
        )

    @property
    def most_at_servers(self) -> int:
        """Likewise, at the servers' host."""
        return max(
            (sum(s.server.values()) - s.server.get(TIME_WAIT, 0) for s in self.samples),
            default=0,
        )

    @property
    def first_error(self) -> float | None:
        return next((sample.at for sample in self.samples if sample.errors), None)


class Recording(msgspec.Struct):
    name: str  # http, redis, dubbo
    title: str
    story: str  # what happened, in a sentence
    unit: str  # what the client asks for: commands, requests, calls
    size: str  # full, quick, small
    namespaces: bool  # else this machine's loopback
    settings: dict[str, str]  # of the client's host
    machine: dict[str, str]
    notes: list[str]  # what is otherwise than in the incident, and why
    config: str  # of muxproxy, to be copied
    legs: list[Leg]
    suggested: bool = False  # `config` is what `muxproxy doctor --suggest` wrote of the direct leg
    shape: int = SHAPE

    def leg(self, name: str) -> Leg:
        return next(leg for leg in self.legs if leg.name == name)


def to_json(recording: Recording) -> bytes:
    return msgspec.json.encode(recording) + b"\n"


def from_json(data: bytes) -> Recording:
    return msgspec.json.decode(data, type=Recording)


def count(number: float, noun: str) -> str:
    return f"{number:,.0f} {noun}{'' if number == 1 else 's'}"


def duration(seconds: float) -> str:
    if seconds >= 1:
        return f"{seconds:.1f} s"
    return f"{seconds * 1e3:,.0f} ms" if seconds >= 0.01 else f"{seconds * 1e3:.1f} ms"


def size_of(number: float) -> str:
    return f"{number / 2**20:,.0f} MiB"


def outcome(leg: Leg, unit: str) -> list[str]:
    """Of a leg that is over, for whoever has just watched."""
    waits = leg.most(TIME_WAIT)
    sockets = f"{count(leg.most_open, 'socket')} to the servers at most"
    if waits:
        sockets += f", {waits:,} TIME_WAIT"
    lines = [
        f"{leg.title}: {sockets}; {leg.requests:,} {unit} answered, {count(leg.failed, 'error')}"
        + (f", p50 {duration(leg.latency['p50'])}, p99 {duration(leg.latency['p99'])}" if leg.latency else "")
    ]
    lines += [f"    {number:,} x {error}" for error, number in leg.errors.items()]
    return lines
