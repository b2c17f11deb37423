"""What a reload does: (old, new) -> what is added, removed, changed and how, or refused and why. Pure.

Both configurations have their effective numbers (limits.py), of the same descriptor limit. Of two that say
the same in another order of files nothing is to do. A backend is its name: one with a new protocol is removed
and added, and is told as replaced.

    plan(old, new)   what is to be done, by name, so that it is the same whoever asks
    told(plan)       the same for JSON, of which cli/plan.py makes lines. Without any password

A plan with something refused is not carried out at all: `ConfigError(plan.refused)` says why.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec

from muxproxy.config import ways
from muxproxy.config.address import Address, overlap, parse_listen
from muxproxy.config.keys import NODE_FILE, shown
from muxproxy.config.limits import describe
from muxproxy.config.model import Backend, Config, Whole
from muxproxy.config.ways import Rule, Way
from muxproxy.errors import Problem

# Of a Backend and a Node, and nobody's keys: who it is, where it was read, what `limits` may lower, where
# others listen, and as whom it is known.
PROVENANCE = frozenset({"name", "file", "flexible", "listeners", "pseudonym"})


@dataclass(frozen=True, slots=True, repr=False)
class Change:
    """One key. Its values are the model's own, a password too: nobody prints them but by `told()`."""

    key: str  # dotted, as it stands in the file: `redis.batch.delay`
    old: Any
    new: Any
    way: Way

    def __repr__(self) -> str:
        return f"Change({self.key}: {shown(self.key, self.old)} -> {shown(self.key, self.new)})"


@dataclass(frozen=True, slots=True)
class Changed:
    """A backend that stays, with its connections and its clients."""

    old: Backend
    new: Backend
    changes: tuple[Change, ...]


class Listening(NamedTuple):
    backend: str
    address: str  # as it is written


class Handed(NamedTuple):
    """One backend listened there, another one will: the socket is never closed, so nobody is refused."""

    address: str  # as the new one has it
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Plan:
    added: tuple[Backend, ...]
    removed: tuple[Backend, ...]
    changed: tuple[Changed, ...]
    node: tuple[Change, ...]
    opened: tuple[Listening, ...]
    closed: tuple[Listening, ...]
    handed: tuple[Handed, ...]
    refused: tuple[Problem, ...]

    @property
    def is_empty(self) -> bool:
        """Nothing to do, and nothing that was asked for in vain."""
        return not (self.added or self.removed or self.changed or self.node or self.refused)

    @property
    def replaced(self) -> frozenset[str]:
        """Names that are removed and added."""
        return frozenset({b.name for b in self.added} & {b.name for b in self.removed})


def plan(old: Config, new: Config) -> Plan:
    before = {backend.name: backend for backend in old.backends}
    after = {backend.name: backend for backend in new.backends}
    stay = []
    for name in sorted(before.keys() & after.keys()):
        changes = tuple(_changes(before[name], after[name], ways.BACKEND))
        if not any(change.way is Way.AS_NEW for change in changes):
            stay.append(Changed(before[name], after[name], changes))
    staying = {each.old.name for each in stay}
    removed = tuple(before[name] for name in sorted(before.keys() - staying))
    added = tuple(after[name] for name in sorted(after.keys() - staying))
    opened, closed, handed = _listeners(removed, added, stay)
    node = tuple(_changes(old.node, new.node, ways.NODE))
    return Plan(
        added=added,
        removed=removed,
        changed=tuple(each for each in stay if each.changes or each.old.listeners != each.new.listeners),
        node=tuple(change for change in node if change.way not in ways.REFUSED),
        opened=tuple(opened),
        closed=tuple(closed),
        handed=tuple(handed),
        refused=(
            *(_unchangeable(new, change) for change in node if change.way in ways.REFUSED),
            *_unbindable(after, opened, closed),
        ),
    )


def values(struct: msgspec.Struct, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Each key, dotted, and its value, in the order of the model."""
    for name, key in zip(struct.__struct_fields__, struct.__struct_encode_fields__, strict=True):
        value = getattr(struct, name)
        if isinstance(value, msgspec.Struct) and not isinstance(value, Whole):
            yield from values(value, f"{prefix}{key}.")
        elif prefix or name not in PROVENANCE:
            yield f"{prefix}{key}", value


def _changes(old: msgspec.Struct, new: msgspec.Struct, rules: Mapping[str, Rule]) -> Iterator[Change]:
    for (key, before), (_, after) in zip(values(old), values(new), strict=True):
        if before != after:
            yield Change(key, before, after, ways.way(rules[key], before, after))


# -- listeners ----------------------------------------------------------------------------------------------


def _listeners(
    removed: tuple[Backend, ...], added: tuple[Backend, ...], stay: list[Changed]
) -> tuple[list[Listening], list[Listening], list[Handed]]:
    """Opened, closed, handed over. What a backend that stays goes on listening on is none of them."""
    closed = [(b, text) for b in removed for text in b.clients.listen]
    opened = [(b, text) for b in added for text in b.clients.listen]
    for each in stay:
        closed += [(each.old, text) for text in _beyond(each.old, each.new)]
        opened += [(each.new, text) for text in _beyond(each.new, each.old)]
    free = {parse_listen(text): (backend.name, text) for backend, text in closed}
    handed: dict[Address, Handed] = {}
    for backend, text in opened:
        address = parse_listen(text)
        # Port 0 is another one every time.
        if address in free and (address.kind == "unix" or address.port):
            handed[address] = Handed(text, free[address][0], backend.name)
    return (
        sorted(Listening(b.name, text) for b, text in opened if parse_listen(text) not in handed),
        sorted(Listening(b.name, text) for b, text in closed if parse_listen(text) not in handed),
        sorted(handed.values()),
    )


def _beyond(one: Backend, other: Backend) -> Iterator[str]:
    """Addresses of `one` that `other` has not; port 0 as often as it has it."""
    there = Counter(parse_listen(text) for text in other.clients.listen)
    for text in one.clients.listen:
        address = parse_listen(text)
        if there[address]:
            there[address] -= 1
        else:
            yield text


# -- what cannot be -----------------------------------------------------------------------------------------


def _unchangeable(new: Config, change: Change) -> Problem:
    was, now = shown(change.key, change.old), shown(change.key, change.new)
    rule = f"a running muxproxy cannot change this, which is {was}: it {change.way.value}"
    return Problem(new.node.file or NODE_FILE, change.key, str(now), rule)


def _unbindable(
    after: Mapping[str, Backend], opened: list[Listening], closed: list[Listening]
) -> Iterator[Problem]:
    """All is bound before anything is closed, and the kernel has no place for 0.0.0.0:80 beside 127.0.0.1:80.
    What stays cannot be in the way: consistency.collisions() has seen to that."""
    for new in opened:
        for old in closed:
            if overlap(parse_listen(new.address), parse_listen(old.address)):
                rule = (
                    f"cannot be bound beside {old.address} of {old.backend}, which this reload would close: "
                    f"reload without it first, or restart"
                )
                yield Problem(after[new.backend].file, "clients.listen", f'"{new.address}"', rule)


# -- for JSON -----------------------------------------------------------------------------------------------


def told(plan: Plan) -> dict[str, Any]:
    """Values are as an operator would write them, lists as lists of such."""
    replaced = plan.replaced
    return {
        "nothing_to_do": plan.is_empty,
        "refused": [{"file": p.file, "key": p.key, "value": p.value, "rule": p.rule} for p in plan.refused],
        "added": [_of(backend) for backend in plan.added if backend.name not in replaced],
        "removed": [_of(backend) for backend in plan.removed if backend.name not in replaced],
        "replaced": [_of(backend) for backend in plan.added if backend.name in replaced],
        "changed": [
            {"backend": each.new.name, **_told(change)} for each in plan.changed for change in each.changes
        ],
        "node": [_told(change) for change in plan.node],
        "opened": [each._asdict() for each in plan.opened],
        "closed": [each._asdict() for each in plan.closed],
        "handed_over": [{"address": each.address, "from": each.old, "to": each.new} for each in plan.handed],
    }


def _of(backend: Backend) -> dict[str, str]:
    return {"backend": backend.name, "what": describe(backend).removeprefix(f"{backend.name}: ")}


def _told(change: Change) -> dict[str, Any]:
    old, new = shown(change.key, change.old), shown(change.key, change.new)
    return {"key": change.key, "old": old, "new": new, "how": change.way.value}
