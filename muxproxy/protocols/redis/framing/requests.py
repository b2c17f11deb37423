"""Client bytes to request frames: one for each command, one for a transaction that is whole.

A small command alone is split into words, and the lengths compared as words: no number is read. Of others the
head is looked up and the rest skipped. What is not whole or not plain goes the thorough way (extent.py), and
all agree. Inline requests become multibulk ones (P6 allows it: servers differ, and Redis 7 hangs on a NUL).

A command whose effect on those behind it only its reply can tell (AUTH, SELECT ...) is a barrier: it comes
out of a feed() alone, and what follows is held until resume(). Were it in one list with commands before it,
the heart could answer those and call resume() before it has even seen the barrier.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from muxproxy.native import i64
from muxproxy.protocols.contract import (
    ANSWER,
    ANYWHERE,
    BROKEN,
    END_CLIENT,
    FIRST,
    FRAMES,
    IDEMPOTENT,
    LAST,
    LINES,
    Frame,
)
from muxproxy.protocols.redis.commands.command import (
    BARRIERS,
    CLIENTS_OWN,
    CONTAINER,
    DISCARD,
    EXEC,
    LISTEN,
    MULTI,
    PING,
    RESET,
    SHARED,
    UNKNOWN,
    Command,
)
from muxproxy.protocols.redis.framing.keeping import FRAME, Keeping
from muxproxy.protocols.redis.framing.note import Note, Run
from muxproxy.protocols.redis.framing.settings import HEAD_LENGTH, Head, Settings
from muxproxy.protocols.redis.resp.extent import INCOMPLETE, UNFINISHED, CommandExtent
from muxproxy.protocols.redis.resp.grammar import (
    BLANK,
    COUNTS,
    CRLF,
    LENGTHS,
    LONG_INLINE,
    MAX_LINE,
    SIZES,
    SMALL,
    SPANS,
    MalformedError,
    arguments,
    blank_lines,
    inline_words,
    is_plain,
    lengths_fit,
    multibulk,
    ours,
    span,
)
from muxproxy.protocols.redis.resp.scan import COMPILED
from muxproxy.protocols.redis.resp.scan import command as scan

# Bytes of a command that are held until it is whole; a larger one is sent on in parts. Also the largest
# transaction that goes as one. 64 KiB: what a socket brings at once.
REQUEST_BUFFER: Final = 64 * 1024

# More than any chunk that the hands read at once (worker: 256 KiB).
MAX_CHUNK: Final = 1024 * 1024

# Bytes without a word that are skipped at once: more are work, too.
MAX_BLANK: Final = 16 * 1024

# Words that a chunk is split into: bounds the objects that a chunk of line ends would make.
SPLIT: Final = 4096

WHOLE: Final = FIRST | LAST
_ASTERISK: Final = 42
_ALONE: Final = b"*1\r\n"  # how a command without arguments begins

# Redis takes these for a browser that was talked into sending it commands, and closes (networking.c,
# securityWarningCommand). On a shared connection that would be everybody's end.
_HTTP: Final = (b"post", b"host:")


class RequestFramer(Keeping):
    """For one client."""

    __slots__ = (
        "_dead",
        "_extent",
        "_in_multi",
        "_is_inline",
        "_known",
        "_may_group",
        "_settings",
        "_streaming",
        "_thorough",
        "_waits",
        "groups",
        "runs",
        "trusted",
    )

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.trusted = False  # set by the session: this client may run commands
        self.groups = True  # set by the session: it takes whole transactions as one frame
        self.runs = False  # set by the session: commands that touch no state need not come one by one
        self._settings = settings
        self._known = settings.known
        # The short way looks at no limits: a chunk cannot hold a word, or a count, that is beyond others.
        self._thorough = settings.max_argument < MAX_CHUNK or settings.max_arguments < SMALL
        self._busy = self._thorough
        self._dead = False  # an error was answered: nothing comes out again
        self._waits = False  # behind a barrier
        self._is_inline = False  # the command is an inline one
        self._streaming = False  # its FIRST frame has gone out
        self._extent = CommandExtent(settings.max_arguments, settings.max_argument)
        self._in_multi = False  # a transaction is open that did not go as one
        self._may_group = False

    # -- what clients nearly always send -------------------------------------------------------------------

    def one(self, data: bytes) -> Frame | None:
        size: i64 = len(data)
        if not COMPILED or self._busy or not self.trusted or size > SMALL:
            return None
        after, begin, end = scan(data, 0)
        if after == size:
            command = self._settings.names.find(data, begin, end) or self._known.get(data[begin:end])
            if command is not None and command.kind == SHARED:
                return Frame(data, WHOLE | command.marks, command)
        return None

    def feed(self, data: bytes) -> Sequence[Frame]:
        if self._busy or not self.trusted:
            return self._go_on(data)
        if len(data) > SMALL:
            # Small commands one behind the other, or a large one?
            self._may_group = self.groups and not self._in_multi
            return self._words(data, []) if data.find(b"\r\n*", 0, SMALL) > 0 else self._many(data, 0, [])
        words = data.split(CRLF)
        command: Command | None = None
        if len(words) == 8:
            count, of_name, name, of_a, a, of_b, b, end = words
            if (
                count == b"*3"
                and of_name == LENGTHS[len(name)]
                and of_a == LENGTHS[len(a)]
                and of_b == LENGTHS[len(b)]
                and not end
            ):
                command = self._known.get(name)
        elif len(words) == 6:
            count, of_name, name, of_a, a, end = words
            if count == b"*2" and of_name == LENGTHS[len(name)] and of_a == LENGTHS[len(a)] and not end:
                command = self._known.get(name)
        if command is not None and command.kind == SHARED:
            return (Frame(data, WHOLE | command.marks, command),)
        self._may_group = self.groups and not self._in_multi
        return self._words(data, []) if len(words) > 10 else self._many(data, 0, [])

    def _words(self, data: bytes, frames: list[Frame]) -> Sequence[Frame]:
        """Small commands one behind the other, as words, until one is not small or plain."""
        words = data.split(CRLF, SPLIT)
        tail = words.pop()  # has no line end yet, or has not been split
        last = len(words)
        known = self._known
        at = 0
        run: list[Command] | None = [] if self.runs else None
        begin = 0  # the run's first word
        longest = self._settings.max_run
        try:
            while at < last:
                count = words[at]
                end = at + 7 if count == b"*3" else at + 5 if count == b"*2" else at + 2 * COUNTS[count] + 1
                if end > last:
                    break
                part = words[at:end]
                if end == at + 7:
                    _, of_name, name, of_a, a, of_b, b = part
                    if of_b != LENGTHS[len(b)] or of_a != LENGTHS[len(a)] or of_name != LENGTHS[len(name)]:
                        break
                elif end == at + 5:
                    _, of_name, name, of_a, a = part
                    if of_a != LENGTHS[len(a)] or of_name != LENGTHS[len(name)]:
                        break
                elif not lengths_fit(part):
                    break
                command = known[part[2]]
                if command.kind != SHARED:
                    break
                if run is None:
                    part.append(b"")
                    frames.append(Frame(CRLF.join(part), WHOLE | command.marks, command))
                    if len(frames) >= FRAMES:
                        at = end
                        break
                else:
                    run.append(command)
                    if len(run) >= longest:
                        frames.append(_as_one(CRLF.join([*words[begin:end], b""]), run))
                        run = []
                        begin = end
                at = end
        except (IndexError, KeyError):
            pass  # a count, a length or a name that is not in the tables
        rest = b""
        if at < last or tail:
            rest = CRLF.join([*words[at:], tail]) if at else data
        if run:
            joined = CRLF.join([*words[begin:at], b""]) if begin else data[: len(data) - len(rest)]
            frames.append(_as_one(joined, run))
        return self._many(rest, 0, frames, LINES - at // 4 - len(frames) * FRAME) if rest else frames

    def _many(self, data: bytes, pos: int, frames: list[Frame], work: int = LINES) -> Sequence[Frame]:
        """Commands of any size one behind the other, until one is not whole or not plain. `work`: what this
        feed may still do."""
        heads = self._settings.heads
        find = data.find
        last = len(data)
        while pos < last:
            if work <= 0 and not self._is_in_group(frames):
                return self._put_off(data, pos, frames)
            end = find(b"\r\n$", pos + 8, pos + HEAD_LENGTH)
            head = heads.get(data[pos : end + 3]) if end > 0 else None
            if head is None:
                head = self._head(data, pos)
                if head is None:
                    break
            command, marks, at, left = head
            at += pos
            work -= left + FRAME
            while left:
                end = find(CRLF, at + 3, at + 24)
                if end < 0:
                    break
                size = SPANS.get(data[at:end])
                if size is None:
                    size = span(data, at, end)
                    if size < 0:
                        break
                at = end + size
                left -= 1
            end = at + 2
            if left or data[at:end] != CRLF:
                break  # not all there, or not right
            frame = Frame(data if end - pos == last else data[pos:end], marks, command)
            if command.kind == SHARED:
                frames.append(frame)
            else:
                try:
                    added = self._add(frame, command, frames)
                except MalformedError as fault:
                    return self._fail(fault, frames)
                if self._waits:
                    return self._wait(data, end if added else pos, frames)
            pos = end
        if pos < last:
            return self._walk(data, pos, frames, max(work, 1))  # or it would never get on
        self._group = -1
        return frames

    def _head(self, data: bytes, pos: int) -> Head | None:
        """What the first line and the first word at `pos` say, if they are all there and not too long."""
        line = data.find(CRLF, pos, pos + 16)
        end = data.find(CRLF, line + 2, line + 24)
        if line < 0 or end < 0:
            return None
        count = COUNTS.get(data[pos:line])
        size = SIZES.get(data[line + 2 : end])
        if count is None or size is None:
            return None
        start = end + 2
        end = start + size
        name = data[start:end]
        if len(name) < size:
            return None
        settings = self._settings
        command = self._known.get(name) or settings.find(name)
        head = (command, WHOLE | command.marks, end - pos, count - 1)
        if name in self._known and data[end : end + 3] == b"\r\n$":
            settings.remember(data[pos : end + 3], head)
        return head

    # -- all the rest --------------------------------------------------------------------------------------

    def resume(self) -> None:
        self._waits = False

    def opaque(self) -> None:
        """Nothing in Redis switches its connection over."""

    def _go_on(self, data: bytes) -> Sequence[Frame]:
        if self._dead:
            return ()
        if self._waits:
            return self._wait_too(data)
        data, pos = self._take_rest(data)
        if not data:
            self._busy = self.midway or self._streaming or self._thorough
            return ()
        if self.trusted and not (self.midway or self._streaming or self._thorough):
            self._busy = False
            self._may_group = self.groups and not self._in_multi
            return self._many(data, pos, [])
        self._may_group = self.trusted and self.groups and not self._in_multi
        return self._walk(data, pos, [], LINES)

    def _walk(self, data: bytes, pos: int, frames: list[Frame], work: int) -> Sequence[Frame]:
        """Commands of any form, in any number of pieces."""
        extent = self._extent
        extent.trusted = self.trusted
        try:
            while pos < len(data):
                if work <= 0 and not self._is_in_group(frames):
                    return self._put_off(data, pos, frames)
                if not self.midway and not self._streaming:
                    self._is_inline = data[pos] != _ASTERISK
                    if self._is_inline and data[pos] in BLANK:
                        blank = blank_lines(data, pos, pos + MAX_BLANK)
                        if blank > pos:
                            work -= FRAME + (blank - pos) // FRAME
                            pos = blank
                            continue
                if self._is_inline:
                    end = self._line_end(data, pos)
                    size = (end if end > 0 else len(data)) - pos
                    work -= size // (FRAME if is_plain(data, pos, pos + size) else 4)
                else:
                    extent.left = work
                    end = extent.advance(data, pos)
                    work = extent.left
                    if end < INCOMPLETE:  # the budget ends in the middle of a command
                        end = UNFINISHED - end
                        self._on_part(data if end - pos == len(data) else data[pos:end], frames)
                        return self._put_off(data, end, frames)
                if end < 0:
                    self._on_part(data[pos:] if pos else data, frames)
                    break
                work -= FRAME
                if not self._on_whole(data if end - pos == len(data) else data[pos:end], frames):
                    return self._wait(data, pos, frames)
                pos = end
                if self._waits:
                    return self._wait(data, pos, frames)
        except MalformedError as fault:
            return self._fail(fault, frames)
        self._busy = self.midway or self._streaming or self._thorough
        self._group = -1
        return frames

    def _on_whole(self, data: bytes, frames: list[Frame]) -> bool:
        """The end of a command, or all of it. False: it has to wait, so frames stand before it, and it is all
        in `data`."""
        if self._streaming:
            self._streaming = False
            frames.append(Frame(data, LAST))
            return True
        if self.midway:
            self._kept += data
            data = bytes(self._kept)
            self._let_go()
        if self._is_inline:
            words = inline_words(data)
            if not words:
                return True
            data = multibulk(words)
            name = words[0]
        elif self._extent.count <= 0:
            return True
        else:
            name = arguments(data, 1)[0]
        command = self._known.get(name) or self._settings.find(name)
        return self._add(Frame(data, WHOLE | command.marks, command), command, frames)

    def _on_part(self, data: bytes, frames: list[Frame]) -> None:
        """More of a command, but not its end."""
        if self._streaming:
            frames.append(Frame(data, 0))
            return
        kept = self._kept
        extent = self._extent
        if self._is_inline or len(kept) + len(data) <= REQUEST_BUFFER or extent.is_in_first_lines():
            self._keep(data)
            return
        data = bytes(kept) + data if kept else data
        self._let_go()
        if not extent.has_name():
            raise ours(b"a command name of more than %d bytes" % REQUEST_BUFFER)
        command = self._settings.find(arguments(data, 1)[0])
        if command.kind in BARRIERS:
            raise ours(b"%b of more than %d bytes" % (command.name.encode(), REQUEST_BUFFER))
        if command.kind == LISTEN and len(data) <= self._settings.subscribe_buffer:
            self._keep(data)
            return
        self._add(Frame(data, FIRST | command.marks, command), command, frames)
        self._streaming = True

    def _line_end(self, data: bytes, pos: int) -> int:
        """The end of an inline request. Redis looks at the length only while the end has not come, so that
        what it takes depends on how the bytes are cut; here it does not."""
        end = data.find(b"\n", pos) + 1
        size = (end or len(data)) - pos + (len(self._kept) if self.midway else 0)
        if size - (end > 0) > MAX_LINE:
            raise MalformedError(LONG_INLINE)
        return end or -1

    def _fail(self, fault: MalformedError, frames: list[Frame]) -> Sequence[Frame]:
        self._dead = self._busy = True
        self._let_go()
        self._rest, self.more = b"", 0
        if self._streaming:
            frames.append(Frame(b"", BROKEN, str(fault)))
        else:
            frames.append(Frame(fault.answer, WHOLE | ANSWER | END_CLIENT))
        return frames

    # -- commands that are not like others -----------------------------------------------------------------

    def _add(self, frame: Frame, command: Command, frames: list[Frame]) -> bool:
        """One more frame, or with it a transaction that is whole. False: it has to wait."""
        kind = command.kind
        if kind in (SHARED, PING):
            frames.append(frame)
            return True
        if kind in BARRIERS:
            self._group = -1
            self._waits = True
            if frames:
                return False
            if kind == RESET:
                self._in_multi = False
            frames.append(frame)
            return True
        frames.append(frame)
        if kind == MULTI:
            self._on_multi(frame, frames)
        elif kind in (EXEC, DISCARD):
            self._on_exec(frame, kind, frames)
        elif not (kind == CONTAINER and _is_plain(frame, command)):
            if kind == UNKNOWN and arguments(frame.data, 1)[0].lower() in _HTTP:
                frames.pop()
                raise MalformedError(b"a client that speaks HTTP", answer=b"")
            # It may change what those behind it mean (CLIENT REPLY, SUBSCRIBE), or, should MULTI be refused,
            # block a connection that is everybody's (BLPOP): no transaction goes as one with it or behind it.
            self._group = -1
            self._may_group = False
        return True

    def _on_multi(self, frame: Frame, frames: list[Frame]) -> None:
        if frame.data.startswith(_ALONE) and not self._in_multi:
            self._in_multi = True
            if self._may_group:
                self._group = len(frames) - 1
        else:
            self._group = -1

    def _on_exec(self, frame: Frame, kind: int, frames: list[Frame]) -> None:
        """Seen on Redis 7.0: EXEC with an argument ends the transaction too, DISCARD with one does not."""
        alone = frame.data.startswith(_ALONE)
        begin, self._group = self._group, -1
        if alone or kind == EXEC:
            self._in_multi = False
        if begin < 0 or not alone:
            return
        parts = [part.data for part in frames[begin:]]
        data = b"".join(parts)
        if len(data) <= REQUEST_BUFFER:
            note = Note(frames[begin].note, len(parts))
            frames[begin:] = [Frame(data, WHOLE, note)]


def _as_one(data: bytes, commands: list[Command]) -> Frame:
    if len(commands) == 1:
        return Frame(data, WHOLE | commands[0].marks, commands[0])
    # P9: repeated as one, so only if each may be; and what is told of a loss is told of all.
    changes = [command for command in commands if not command.marks & IDEMPOTENT]
    command = changes[0] if changes else commands[0]
    return Frame(data, WHOLE | command.marks & ~ANYWHERE, Run(command, len(commands)), 0, len(commands))


def _is_plain(frame: Frame, command: Command) -> bool:
    """Is this subcommand like any other command?"""
    words = arguments(frame.data, 2)
    subcommands = command.subcommands
    if len(words) < 2 or subcommands is None:
        return True
    known = subcommands.get(words[1].upper())
    # Not if only the session may answer it, or nobody knows it: CLIENT REPLY OFF, in a transaction that goes
    # as one, would silence a connection that is everybody's (P2).
    return known is not None and known.kind == SHARED and known.name not in CLIENTS_OWN
