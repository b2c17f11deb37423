"""Random conversations, played: what the tests of all protocols' test_conversations*.py share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol, TypeVar

from tests.fakes import Peer, Stage


class Play(Protocol):
    """One conversation, made from a seed and nothing else."""

    def step(self) -> None: ...

    def end(self) -> None: ...


P = TypeVar("P", bound=Play)


def played(make: Callable[[int], P], *, seeds: int, steps: int) -> Iterator[P]:
    """One play after the other, each with so many steps and to its end. A failure says of which seed."""
    for seed in range(seeds):
        play = make(seed)
        try:
            for _ in range(steps):
                play.step()
            play.end()
        except Exception as failure:
            failure.add_note(f"seed {seed}")
            raise
        yield play


def left_behind(stage: Stage) -> dict[str, object]:
    """What is still there of clients that have all gone: nothing, at the end of a play."""
    now = stage.statistics()
    return {name: now[name] for name in ("clients", "in_flight", "waiting", "pinned") if now[name]}


def sends_part(peer: Peer, data: bytes, part: float) -> bytes:
    """`peer` sends so much of `data`, from 0.0 to 1.0 of it. Returns the rest."""
    end = round(len(data) * part)
    if end:
        peer.sends(data[:end])
    return data[end:]
