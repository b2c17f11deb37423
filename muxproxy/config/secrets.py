"""Passwords: which keys may hold one, and how one is read from a file.

A secret is shown in no message: not when it is wrong, not under a key that was mistyped, not in a status.
"""

from __future__ import annotations

import difflib
import re
from pathlib import Path

from muxproxy.config.model import SECRETS

SECRET_MAX = 8 * 1024  # bytes; cloud providers' tokens that serve as passwords have 1 to 3 KiB
_FILES = (*(f"{key}_file" for key in SECRETS), "key_file")
_WORDS = ("pas", "pwd", "secret", "token", "auth", "cred", "key", "login", "priv")
_PLAIN_NAME = re.compile(r"[\w.-]{1,64}")  # of a user; "user password" and "user:password" are both
_USERINFO = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*://)?.*@", re.DOTALL)


def is_hidden(dotted: str, value: object) -> bool:
    """Whether no message may show it. `pasword = "..."` is an unknown key and a secret all the same."""
    key = dotted.rpartition(".")[2].lower()
    if key in _FILES:  # a path is shown; what is none may be the password itself, in the wrong place
        return not (isinstance(value, str) and value.startswith("/"))
    if key == "username":
        return not (isinstance(value, str) and _PLAIN_NAME.fullmatch(value))
    return any(word in key for word in _WORDS) or bool(
        difflib.get_close_matches(key, SECRETS, n=1, cutoff=0.75)
    )


def masked(text: str) -> str:
    """Without the user and password that stand in a URL, or in what was meant to be one."""
    text = _USERINFO.sub(r"\1...@", text)
    address, mark, query = text.partition("?")
    return f"{address}?..." if mark and "=" in query else text


def read(path: Path) -> str:
    """The one line of the file. Raises ValueError with the rule: it is the operator who must be told."""
    try:
        with path.open("rb") as file:
            data = file.read(SECRET_MAX + 3)  # the longest with its line's end, and one byte that is too many
        text = data.decode()
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError("the password is not UTF-8") from None
    # What `echo secret > file` and Windows' editors put behind it; a password may end in a space.
    text = text.removesuffix("\n").removesuffix("\r")
    if not text:
        raise ValueError("the file is empty; it holds the password and nothing else")
    if "\n" in text:
        raise ValueError("the file has several lines; it holds the password and nothing else")
    if len(text.encode()) > SECRET_MAX:
        raise ValueError(f"the password is longer than {SECRET_MAX} bytes")
    return text
