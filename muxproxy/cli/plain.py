"""What may be printed to a terminal: no control characters, whoever wrote the text.

A server's words reach `status`, and whatever answers on a socket may not be muxproxy: ESC and the C1 codes
(U+0080 to U+009F) drive the terminal, and bidirectional marks turn text around.
"""

from __future__ import annotations

from typing import Any


def plain(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def plain_all(value: Any) -> Any:
    """The same for every string in what JSON can say."""
    if isinstance(value, str):
        return plain(value)
    if isinstance(value, dict):
        return {plain_all(key): plain_all(each) for key, each in value.items()}
    return [plain_all(each) for each in value] if isinstance(value, list) else value
