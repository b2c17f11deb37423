"""Our own bugs, as they are logged: where, and of what kind; never with what a client or a server had said.

`int(b"secret")` and a key that is not found repeat their operand in the exception's text. For who mends it
the line that raised is enough; for whoever reads the log it may be somebody's data.
"""

from __future__ import annotations

import sys
import traceback

# Their text repeats what was wrong: conversions, decoding, look-ups.
_TALKATIVE = (ValueError, KeyError)


def describe_current() -> str:
    """Of the exception that is being handled, as traceback.format_exc()."""
    error = sys.exc_info()[1]
    return "" if error is None else describe(error)


def describe(error: BaseException) -> str:
    """As traceback.format_exception() has it, but for the text of those."""
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    lines = [describe(before), "\n"] if before is not None else []
    lines += ["Traceback (most recent call last):\n", *traceback.format_tb(error.__traceback__)]
    if isinstance(error, _TALKATIVE):
        lines.append(f"{type(error).__name__}: (not shown, for it may repeat a peer's bytes)\n")
    else:
        lines += traceback.format_exception_only(error)
    return "".join(lines)
