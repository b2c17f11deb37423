"""Random conversations, played: what the tests of all protocols' test_conversations*.py share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random
from typing import Protocol, TypeVar

from tests.fakes import Peer, Stage
from tests.sizes import size


class Play(Protocol):
    """One conversation, made from a seed and nothing else."""

    def step(self) -> None: ...

    def end(self) -> None: ...


P = TypeVar("P", bound=Play)


def played(make: Callable[[int], P], *, seeds: int, steps: int) -> Iterator[P]:
    """One play after the other, each with so many steps and to its end; at a full run fifty times as many.
    A failure says of which seed."""
    for seed in range(size(seeds, 50 * seeds)):
        play = make(seed)
        try:
            for _ in range(steps):
                play.step()
            play.end()
        except Exception as failure:
            failure.add_note(f"seed {seed}")
            raise
        yield play


def connected(stage: Stage, random: Random, *, losses: bool) -> Peer | None:
    """A connect under way ends: with a server; or, where things get lost, in vain, be it that it is refused
    or that the server accepts and closes without a word; or with one whose machine is not heard any more."""
    what = random.random() if losses else 1.0
    if what < 0.05:
        stage.refuses()
        return None
    peer = stage.connects()
    if what < 0.1:
        peer.closes()
        return None
    if what < 0.15:
        peer.wire.unanswered, peer.wire.silent = random.choice((3, 6)), 2.0
    return peer


def left_behind(stage: Stage) -> dict[str, object]:
    """What is still there of clients that have all gone: nothing, at the end of a play."""
    now = stage.statistics()
    return {name: now[name] for name in ("clients", "in_flight", "waiting", "pinned") if now[name]}


def is_told(client: Peer) -> bool:
    """It is owed a reply that has not begun, and so gets an error if the time to drain is up now."""
    first = client.wire.brain.first
    return first is not None and not first.begun


def sends_part(peer: Peer, data: bytes, part: float) -> bytes:
    """`peer` sends so much of `data`, from 0.0 to 1.0 of it. Returns the rest."""
    end = round(len(data) * part)
    if end:
        peer.sends(data[:end])
    return data[end:]
