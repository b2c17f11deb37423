"""What TAGGED protocols have beside others, as a toy: heartbeats both ways, a last call, limits.

request   `beat`: asks whether we live     `lim=N` in a line: it counts against limit N
from the server, with any tag   `asks`: whether we live     `stops`: it wants no more requests
`stays`: it does again
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from muxproxy.mux.deadlines import INF
from muxproxy.protocols.contract import (
    ANSWER,
    ASIDE,
    END_UPSTREAM,
    FIRST,
    INTERIM,
    LAST,
    PUSH,
    Frame,
    Limit,
    Sharing,
)
from tests.toys import TAG, Toy, ToyReplies, ToyRequests

LIVES = b"lives\n"
GOODBYE = b"goodbye\n"


def tagged(tag: int, rest: bytes) -> bytes:
    return b"%08d " % tag + rest


class TaggedToy(Toy):
    def __init__(
        self,
        *,
        probe_interval: float = 0.0,
        probe_misses: int = 2,
        limits: Sequence[Limit] = (),
        stop_timeout: float = 30.0,
        probe_keep: float = INF,
    ) -> None:
        super().__init__(Sharing.TAGGED)
        self.probe_interval = probe_interval
        self.probe_misses = probe_misses
        self.limits = limits
        self.stop_timeout = stop_timeout
        self.probe_keep = probe_keep

    def requests(self) -> ToyRequests:
        return TaggedRequests(self)

    def replies(self) -> ToyReplies:
        return TaggedReplies(self)

    def limit_of(self, note: Any) -> int:
        return next((int(word[4:]) for word in note if word.startswith("lim=")), -1)

    def drain(self) -> None:
        """As Dubbo: its replies do not say that the connection ends."""

    def goodbye(self) -> bytes:
        return tagged(0, GOODBYE)

    def probe(self) -> bytes:
        return tagged(0, b"alive?\n")


class TaggedRequests(ToyRequests):
    def feed(self, data: bytes) -> Sequence[Frame]:
        frames = super().feed(data)
        self.held = 0
        return [
            Frame(frame.data[:TAG] + LIVES, FIRST | LAST | ANSWER | ASIDE, None, frame.tag)
            if frame.note and frame.note[0] == "beat"
            else frame
            for frame in frames
        ]


class TaggedReplies(ToyReplies):
    def feed(self, data: bytes) -> Sequence[Frame]:
        return [self._aside(frame) for frame in super().feed(data)]

    def _aside(self, frame: Frame) -> Frame:
        word = frame.data[TAG:]
        if frame.marks & FIRST and word == b"asks\n":
            return Frame(frame.data[:TAG] + LIVES, FIRST | LAST | PUSH)
        if frame.marks & FIRST and word == b"stops\n":
            return Frame(b"", FIRST | LAST | PUSH | END_UPSTREAM, "server stops")
        if frame.marks & FIRST and word == b"stays\n":
            return Frame(b"", FIRST | LAST | PUSH | INTERIM)
        return frame
