"""The log: one line per event on stderr, `event key=value ...`, and nothing else.

Under systemd the journal adds time and process; a line then starts with its priority (sd-daemon(3), `<6>`).
Elsewhere it starts with the time. The write blocks, as any daemon's does: a reader of stderr that stalls
holds up the supervisor, never a worker's request.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

_PRIORITY = {"debug": 7, "info": 6, "warning": 4, "error": 3}  # syslog(3)
_BARE = re.compile(r"[^\s\"'=]+")


class Log:
    def __init__(self, write: Callable[[str, str], None], level: str = "info") -> None:
        """`write(level, line)`; lines below `level` are not written."""
        self._write = write
        self.set_level(level)

    def set_level(self, level: str) -> None:
        self._least = _PRIORITY[level]

    def info(self, event: str, **fields: Any) -> None:
        self.line("info", event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        self.line("warning", event, fields)

    def error(self, event: str, **fields: Any) -> None:
        self.line("error", event, fields)

    def line(self, level: str, event: str, fields: Mapping[str, Any]) -> None:
        """`level` and `event` may come from a worker: a level we do not know counts as an error."""
        level = level if level in _PRIORITY else "error"
        if _PRIORITY[level] <= self._least:
            words = [_clean(event), *(f"{_clean(key)}={_show(value)}" for key, value in fields.items())]
            self._write(level, " ".join(words))


def stderr_log(level: str) -> Log:
    descriptor = sys.stderr.fileno()
    journal = _is_journal(descriptor, os.environ.get("JOURNAL_STREAM", ""))

    def write(level: str, line: str) -> None:
        start = f"<{_PRIORITY[level]}>" if journal else f"{_now()} {level:7} "
        try:
            os.write(descriptor, f"{start}{line}\n".encode(errors="backslashreplace"))
        except OSError:
            pass  # whoever read the log has gone (EPIPE) or its disk is full: the service goes on

    return Log(write, level)


def _is_journal(descriptor: int, journal_stream: str) -> bool:
    """systemd.exec(5), $JOURNAL_STREAM: device and inode, so that a redirected stderr is not taken for it."""
    status = os.fstat(descriptor)
    return journal_stream == f"{status.st_dev}:{status.st_ino}"


def _now() -> str:
    seconds = time.time()
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{int(seconds % 1 * 1000):03}Z"


def _show(value: Any) -> str:
    """Bare where that is unambiguous, else a JSON string: one event stays one line whatever a peer sent."""
    if isinstance(value, float):
        return f"{value:.6g}"
    text = str(value)
    return text if _BARE.fullmatch(text) and text.isprintable() else _quote(text)


def _clean(word: str) -> str:
    return word if word.isprintable() else _quote(word)


def _quote(text: str) -> str:
    """A JSON string of printable characters: no peer's ESC or C1 codes (U+009B is another ESC [), nor what
    turns text around, reach a terminal."""
    quoted = json.dumps(text, ensure_ascii=False)
    return quoted if quoted.isprintable() else "".join(map(_escape, quoted))


def _escape(letter: str) -> str:
    if letter.isprintable():
        return letter
    return "\\u007f" if letter == "\x7f" else json.dumps(letter)[1:-1]
