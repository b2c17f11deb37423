"""Toys: four tiny protocols, one per Sharing, so that the heart is tested with all verbs of the contract
and no HTTP.

A message is a line, and a body if the line announces one. A line is words between spaces, the first is its
name:

    request   name [+N: a body of N bytes] [idem] [eager] [bye: end my connection] [oneway] [pin] [unpin]
              [local: the session answers] [refuse: the session refuses] [db=N: the session remembers]
              [quiet] [block=N: alone, its reply may take N seconds longer] [reset: the session forgets all]
              [listen=X] [unlisten=X] [anywhere: means the same in each db] [bug: the session raises]
    push      *sub X | *unsub X | *msg X ...: an acknowledgement, or for who listens to X
    reply     name [+N] [~: the body ends with the connection] [100: interim] [101: switch] [close] [hint=N]
    refusal   no LABEL [retry=N] [bye] | text

A line that begins with `!` is malformed, with `?` so badly that it cannot be answered. TAGGED lines have
eight digits and a space in front. DEDICATED has no lines: bytes.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence
from typing import Any

from muxproxy.config.model import Backend
from muxproxy.mux.deadlines import INF
from muxproxy.native import i64
from muxproxy.protocols.contract import (
    ANSWER,
    ANYWHERE,
    BROKEN,
    EAGER,
    END_CLIENT,
    END_UPSTREAM,
    FIRST,
    FRAMES,
    IDEMPOTENT,
    INTERIM,
    LAST,
    LISTEN,
    ONEWAY,
    PIN,
    PUSH,
    QUIET,
    SWITCH,
    UNPIN,
    UNTOLD,
    Connection,
    Feed,
    Frame,
    Reason,
    ReplyFramer,
    RequestFramer,
    Session,
    Sharing,
    TaggedProtocol,
)
from tests.toy_feeds import ToyFeed

MAX_LINE = 100  # bytes
TAG = 9  # bytes of a tag and its space
_MARKS = {"idem": IDEMPOTENT, "eager": EAGER, "oneway": ONEWAY, "pin": PIN, "quiet": QUIET}
_MARKS["anywhere"] = ANYWHERE
_STATES = {f"db={n}": f"db={n}" for n in range(10)}  # one object per state: states are compared by identity
_HEAD, _BODY, _STOPPED, _OPAQUE, _DEAD = range(5)


class Toy(TaggedProtocol):
    """`Toy(sharing)` is any of the four. All that the heart reads is set on the instance: compiled, it looks
    there and not at a subclass."""

    frames = FRAMES  # of one feed

    def __init__(self, sharing: Sharing, *, sessions: bool = False, half_close: bool = True) -> None:
        self.name = "toy"
        self.subscriber_buffer = 1000
        # What follows is TAGGED's: tests/tagged_toys.py has more of it.
        self.probe_interval, self.probe_keep, self.probe_key = 0.0, INF, "heartbeat"
        self.probe_misses, self.request_buffer = 2, 0
        self.limits = ()
        self.sharing = sharing
        self.half_close = half_close
        self.draining = False
        self._sessions = sessions
        self.outdates = ""  # what the next change of the configuration makes of connections
        self.counters = {}

    def configure(self, backend: Backend) -> str:
        outdates, self.outdates = self.outdates, ""
        return outdates

    def goodbye(self) -> bytes:
        return b""

    def limit_of(self, note: Any) -> int:
        return -1

    def requests(self) -> RequestFramer:
        return ToyRequests(self)

    def replies(self) -> ReplyFramer:
        return ToyReplies(self)

    def session(self, requests: RequestFramer) -> Session | None:
        return ToySession() if self._sessions else None

    def connection(self, replies: ReplyFramer) -> Connection | None:
        # TAGGED sessions only answer: preludes have no tags
        return ToyConnection() if self._sessions and self.sharing is not Sharing.TAGGED else None

    def feed(self) -> Feed | None:
        return ToyFeed() if self._sessions else None

    def refusal(
        self,
        reason: Reason,
        text: str,
        *,
        note: Any = None,
        tag: int = 0,
        retry_after: int = 0,
        closing: bool = True,
        weight: int = 1,
    ) -> Frame:
        retry = f" retry={retry_after}" if retry_after else ""
        bye = note is not None and "bye" in note
        line = f"no {reason.label}{retry}{' bye' if closing or bye else ''} | {text}\n".encode()
        if self.sharing is Sharing.TAGGED:
            line = b"%08d " % tag + line
        return Frame(line, FIRST | LAST | (END_CLIENT if bye else 0), tag=tag)

    def probe(self) -> bytes | None:
        return b"ping\n"

    def retag(self, data: bytes, tag: int) -> bytes:
        return b"%08d " % tag + data[TAG:]

    def drain(self) -> None:
        self.draining = True


class _Lines:
    """Lines and bodies out of chunks; what a line means is the sub-class's."""

    held: int
    midway: bool
    more: int

    def _start(self, protocol: Toy) -> None:
        self._protocol = protocol
        self._buffer = b""
        self._left = 0.0  # of a body; inf: until the connection ends
        self._state = _OPAQUE if protocol.sharing is Sharing.DEDICATED else _HEAD
        self.held = 0
        self.midway = False
        self.more = 0

    def _feed(self, data: bytes) -> Sequence[Frame]:
        self._buffer += data
        frames: list[Frame] = []
        is_over = False
        while self._buffer and self._state != _STOPPED and not is_over:
            before = self._buffer
            self._step(frames)
            if self._buffer is before:
                break
            is_over = len(frames) >= self._protocol.frames and self._may_stop(frames[-1])
        self.more = len(self._buffer) if is_over else 0
        self.held = len(self._buffer) - self.more
        self.midway = self._state == _HEAD and self._buffer != b""
        return frames

    def _may_stop(self, frame: Frame) -> bool:
        return self._state != _STOPPED

    def _step(self, frames: list[Frame]) -> None:
        if self._state == _HEAD:
            self._on_line(frames)
            return
        data, self._buffer = self._buffer, b""
        if self._state == _OPAQUE:
            frames.append(Frame(data, 0))
        elif self._state == _BODY:
            size = int(min(self._left, len(data)))
            self._buffer = data[size:]
            self._left -= size
            frames.append(self._part(data[:size], last=not self._left))
            if not self._left:
                self._end()

    def _on_line(self, frames: list[Frame]) -> None:
        end = self._buffer.find(b"\n") + 1
        if not end:
            if len(self._buffer) > MAX_LINE:
                self._die(frames, "line too long")
            return
        line = self._buffer[: end - 1]
        tag = 0
        if self._protocol.sharing is Sharing.TAGGED:
            if not line[: TAG - 1].isdigit():
                self._die(frames, "no tag")
                return
            tag, line = int(line[: TAG - 1]), line[TAG:]
        words = tuple(line.decode("latin-1").split(" "))
        if words[0][:1] in ("!", "?"):
            self._die(frames, "malformed " + words[0])
            return
        self._left = 0.0
        for word in words:
            if word[:1] == "+":
                self._left = float(word[1:])
            elif word == "~":
                self._left = float("inf")
        frame = self._head(self._buffer[:end], words, tag)
        if frame is None:
            self._die(frames, "unsolicited " + words[0])
            return
        size = int(min(self._left, len(self._buffer) - end))
        frame.data = self._buffer[: end + size]
        self._buffer = self._buffer[end + size :]
        self._left -= size
        self._state = _BODY
        if frame.marks & SWITCH:
            self._state = _OPAQUE
        elif frame.marks & (INTERIM | PUSH):
            self._state = _HEAD
        elif not self._left:
            frame.marks |= self._last_marks()
            self._end()
        frames.append(frame)

    def _end(self) -> None:
        self._state = _HEAD

    def _die(self, frames: list[Frame], why: str) -> None:
        self._state = _DEAD
        self._buffer = b""
        frames.append(self._malformed(why))

    def _head(self, line: bytes, words: tuple[str, ...], tag: int) -> Frame | None:
        raise NotImplementedError

    def _part(self, data: bytes, last: bool) -> Frame:
        return Frame(data, self._last_marks() if last else 0, self._why(), self._tag())

    def _last_marks(self) -> int:
        return LAST

    def _why(self) -> Any:
        return None

    def _tag(self) -> int:
        return 0

    def _malformed(self, why: str) -> Frame:
        raise NotImplementedError


class ToyRequests(_Lines, RequestFramer):
    def __init__(self, protocol: Toy) -> None:
        self._start(protocol)
        self._opened = protocol.sharing is not Sharing.DEDICATED

    def feed(self, data: bytes) -> Sequence[Frame]:
        if not self._opened:
            self._opened = True
            return (Frame(b"", FIRST | EAGER), *self._feed(data))
        return self._feed(data)

    def resume(self) -> None:
        if self._state == _STOPPED:
            self._state = _HEAD

    def opaque(self) -> None:
        self._state = _OPAQUE

    def _head(self, line: bytes, words: tuple[str, ...], tag: int) -> Frame | None:
        marks = FIRST
        for word in words[1:]:
            marks |= _MARKS.get(word, 0)
        return Frame(line, marks, words, tag)

    def _end(self) -> None:
        self._state = _STOPPED if self._protocol.sharing is Sharing.EXCLUSIVE else _HEAD

    def _malformed(self, why: str) -> Frame:
        if "?" in why:
            return Frame(b"", FIRST | BROKEN, why)
        refusal = self._protocol.refusal(Reason.BAD_REQUEST, why)
        return Frame(refusal.data, FIRST | LAST | ANSWER | END_CLIENT)


# A reply that says nothing but its name.
PLAIN = re.compile(rb"(\d{8}) (?!asks|stops|stays|close)[a-z]+\d*\n")


class ToyReplies(_Lines, ReplyFramer):
    def whole(self, data: bytes) -> list[bytes]:
        """One word each."""
        lines: list[bytes] = []
        is_plain = self._protocol.sharing is Sharing.ORDERED and not self._protocol.draining
        is_plain &= self._protocol.frames == FRAMES  # fewer are counted by feed() alone
        while is_plain and self._state == _HEAD and not self._buffer and len(lines) < FRAMES:
            line = data[: data.find(b"\n") + 1]
            if not self._expected or not line[:-1].isalnum() or "bye" in (self._expected[0] or ()):
                break
            if line in (b"100\n", b"101\n", b"close\n"):
                break
            self._note, self._words = self._expected.popleft(), (line[:-1].decode(),)
            lines.append(line)
            data = data[len(line) :]
        return lines

    def __init__(self, protocol: Toy) -> None:
        self._start(protocol)
        self.idle_hint = None
        self.early = False
        self.push_cost = 0
        self.whose = 0
        self._expected: deque[Any] = deque()
        self._words: tuple[str, ...] = ()
        self._note: Any = None
        self._now_tag = 0

    def feed(self, data: bytes) -> Sequence[Frame]:
        return self._feed(data)

    def extent(self, data: bytes, at: i64) -> i64:
        plain = PLAIN.match(data, at)
        is_over = self._protocol.frames < FRAMES or self._protocol.draining
        if plain is None or is_over or self._buffer or self._state != _HEAD or self._expected:
            return 0
        self.whose = int(plain[1])
        return plain.end()

    def rest(self, data: bytes, at: i64, spent: i64) -> Sequence[Frame]:
        return self.feed(data[at:])

    def expect(self, note: Any) -> None:
        self._expected.append(note)

    def _may_stop(self, frame: Frame) -> bool:
        return not (self._protocol.sharing is Sharing.EXCLUSIVE and frame.marks & LAST)

    def eof(self) -> Sequence[Frame]:
        if self._state == _OPAQUE:
            return (Frame(b"", LAST | END_UPSTREAM | END_CLIENT, "session ended"),)
        if self._state == _BODY and self._left == float("inf"):
            self._state = _DEAD
            return (Frame(b"", LAST | END_UPSTREAM | END_CLIENT, "reply until close"),)
        if self._state == _BODY or self._expected or self._buffer:
            return (Frame(b"", BROKEN, "cut"),)
        return ()

    def _head(self, line: bytes, words: tuple[str, ...], tag: int) -> Frame | None:
        if words[0].startswith("*"):
            return Frame(line, PUSH, words)
        if not self._expected and self._protocol.sharing is not Sharing.TAGGED:
            return None
        self._words, self._now_tag = words, tag
        if "100" in words:
            return Frame(line, INTERIM, None, tag)
        self._note = self._expected.popleft() if self._expected else None
        for word in words:
            if word.startswith("hint="):
                self.idle_hint = float(word[5:])
        marks = FIRST | (SWITCH if "101" in words else 0) | (UNTOLD if "~" in words else 0)
        return Frame(line, marks, self._why(), tag)

    def _last_marks(self) -> int:
        marks = LAST
        if "close" in self._words:
            marks |= END_UPSTREAM
        if self._protocol.draining or (self._note is not None and "bye" in self._note):
            marks |= END_CLIENT
        return marks

    def _why(self) -> Any:
        return "server says close" if "close" in self._words else None

    def _tag(self) -> int:
        return self._now_tag

    def _malformed(self, why: str) -> Frame:
        return Frame(b"", BROKEN, why)


class ToySession(Session):
    """Remembers a database, and a transaction from `pin` to `unpin`, whose requests must all go to one
    connection."""

    def __init__(self) -> None:
        self.pin_reason, self.remembers = "toy", 0
        self.patience = 0.0
        self.listening = False
        self.listens_to: set[str] = set()
        self._state = self.needs = _STATES["db=0"]
        self._pinned = False

    @property
    def size(self) -> int:
        return self.remembers

    def listen(self, what: str, *, begins: bool) -> None:
        self.listens_to = self.listens_to | {what} if begins else self.listens_to - {what}
        self.listening = bool(self.listens_to)

    def on_request(self, frame: Frame) -> Frame:
        words = frame.note
        self.patience, self.needs = 0.0, self._state
        tag = frame.data[:TAG] if frame.data[: TAG - 1].isdigit() else b""
        name = words[0].encode()
        for word in words[1:]:
            if word in _STATES:
                self._state = self.needs = _STATES[word]
                return Frame(tag + name + b" remembered\n", FIRST | LAST | ANSWER, words, frame.tag)
        if "bug" in words:
            raise ZeroDivisionError("a bug of ours")
        if "local" in words:
            return Frame(tag + name + b" here\n", FIRST | LAST | ANSWER, words, frame.tag)
        if "refuse" in words:
            return Frame(tag + b"no way\n", FIRST | LAST | ANSWER | END_CLIENT, words, frame.tag)
        if "reset" in words:
            self._pinned = False
            self.listens_to, self.listening = set(), False
            return Frame(tag + b"forgotten\n", FIRST | LAST | ANSWER | UNPIN, None, frame.tag)
        for word in words[1:]:
            if word.startswith(("listen=", "unlisten=")):
                frame.marks |= LISTEN
                self.needs = _STATES["db=0"]
            elif word.startswith("block="):
                frame.marks |= PIN if self._pinned else PIN | UNPIN
                self.patience = float(word[6:])
        if "pin" in words:
            self._pinned = True
        if self._pinned:
            frame.marks |= PIN
        if "unpin" in words:
            self._pinned = False
            frame.marks |= UNPIN
        return frame


class ToyConnection(Connection):
    """`greets`: it says `hi` first. `resets`: it can."""

    greets, resets = False, True

    def __init__(self) -> None:
        self.state = _STATES["db=0"]
        self.dirty = False

    def greeting(self) -> tuple[bytes, int]:
        return (b"hi\n", 1) if self.greets else (b"", 0)

    def prelude(self, needs: Any) -> tuple[bytes, int]:
        if needs is self.state:
            return b"", 0
        self.state = needs
        return f"select {needs}\n".encode(), 1

    def is_alike(self, needs: Any) -> bool:
        return bool(needs)  # of any db

    def must_be_quiet(self, needs: Any) -> bool:
        return False

    def reset(self) -> tuple[bytes, int]:
        if not self.resets:
            return b"", 0
        self.state, self.dirty = _STATES["db=0"], False
        return b"reset\n", 1

    def fence(self) -> tuple[bytes, int]:
        return b"fence\n", 1

    def listen(self) -> None: ...

    def on_prelude_reply(self, frame: Frame) -> str | None:
        if frame.data.startswith(b"ok"):
            return None
        self.state = "none"
        return f"select: {frame.data.decode().strip()}"
