"""What the doctor says: findings, each with one line of what is wrong, one to type, and its evidence. Pure.

`Report` is the published shape of `--json`; `muxproxy doctor --schema` prints it as a JSON schema. A key is
added without notice, and changes its meaning or goes only with another `shape`.
"""

from __future__ import annotations

import enum

import msgspec

from muxproxy.doctor.facts import Flow, Listener, Process, Sight

SHAPE = 1


class Level(enum.StrEnum):
    """`wrong` is what exit status 1 is for; `warning` works today and is the next incident."""

    WRONG = "wrong"
    WARNING = "warning"
    FINE = "fine"


class Evidence(msgspec.Struct, frozen=True):
    text: str
    source: str  # where the figure comes from, and where a doubter can look


class Finding(msgspec.Struct, frozen=True):
    level: Level
    about: str  # a short word of a closed list: `ports`, `churn`, `pool` ...
    title: str  # one line: what is wrong
    type: str = (
        ""  # one line: what to type; "": nothing can be typed, and `title` or evidence says what to do
    )
    evidence: tuple[Evidence, ...] = ()
    weight: float = 0.0  # among those of its level: the largest is told first
    remote: str = ""


class Setting(msgspec.Struct, frozen=True):
    """One kernel setting: its value, and what it is for."""

    name: str
    value: str  # "": this kernel has not got it
    level: Level
    reason: str
    source: str
    type: str = ""  # "": nothing needs to be changed


class PortUse(msgspec.Struct, frozen=True):
    """Of the ephemeral ports of one flow."""

    remote: str
    source: str
    # that connect() cannot have: where tcp_tw_reuse lets it, without TIME_WAITs older than a second
    taken: int
    size: int
    settles: float  # how many at the present rate, once it has lasted for a minute
    seconds_left: float | None  # at the present rate; None: they do not run out


class FleetLine(msgspec.Struct, frozen=True):
    """N nodes x what each may open, beside what the server takes."""

    name: str
    level: Level
    nodes: int
    bound: int  # of one node
    limit: int | None
    text: str
    source: str
    is_configured: bool = True  # else nothing bounds it, and `bound` is the most that was seen


class Report(msgspec.Struct, frozen=True):
    shape: int
    verdict: Level
    findings: tuple[Finding, ...]  # the worst first
    settings: tuple[Setting, ...]
    flows: tuple[Flow, ...]  # the fullest first
    port_use: tuple[PortUse, ...]  # of each flow, in the same order
    listeners: tuple[Listener, ...]
    processes: tuple[Process, ...]
    fleet: tuple[FleetLine, ...]
    counters: dict[str, int]
    growth: dict[str, int]
    sight: Sight
    unseen: tuple[str, ...]  # what this user could not see, and what root would add
    time_waits: int
    incoming: int


# -- how numbers are said ---------------------------------------------------------------------------------


def times(number: float) -> str:
    """A rate: `1,234`, `12`, `0.5`."""
    return f"{number:,.0f}" if number >= 10 or number == round(number) else f"{number:.1f}"


def percent(part: float, whole: float) -> str:
    share = 100 * part / whole if whole else 0.0
    if 0 < share < 0.05:
        return "under 0.1 %"
    return f"{share:.0f} %" if share >= 10 or share == 0 else f"{share:.1f} %"


def span(seconds: float) -> str:
    """About how long: `40 s`, `12 min`, `3 h`."""
    for unit, size in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(1.0, seconds):.0f} s"


def count(number: int, noun: str) -> str:
    if number == 1:
        return f"1 {noun}"
    return f"{number:,} {noun}{'es' if noun.endswith('s') else 's'}"
