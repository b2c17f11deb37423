"""The grammar of HTTP/1.1 as regular expressions over bytes, and the limits that have no key.

Every pattern is anchored by its use (`match`, `fullmatch`) and takes time linear in its input: runs of one
character class are possessive (`++`, `*+`). Groups of several are only greedy, because CPython before 3.11.5
and 3.12.3 gets possessive groups wrong (gh-106052, gh-101955) and Debian 12 ships 3.11.2.

Where we are laxer than the RFCs it is written here, nowhere else:
- A request target may hold any visible ASCII character but `#` (RFC 3986 would forbid `"<>[]\\^`{|}`, which
  browsers and HTTP libraries send in queries every day; no framing depends on them).
- A status line may end right after the code (RFC 9112 section 4 asks for a space; many servers forget it).
Where the RFCs let a recipient be lax, replies are read so and go on as they should have been (`LAX_...`): no
more than one reading follows, and the server is the operator's choice. Requests are not: parsers that
disagree about them are how requests are smuggled.
"""

from __future__ import annotations

import re
from typing import Final

# -- limits -------------------------------------------------------------------------------------------------

# of Content-Length: below 2**63 for whoever counts in 64 bits. RFC 9112 section 6.3, RFC 9110 8.6
MAX_LENGTH_DIGITS: Final = 18
MAX_CHUNK_DIGITS: Final = 15  # of a chunk's size in hex: below 2**60, likewise. RFC 9112 section 7.1
# bytes of a chunk's size and extensions; nothing we know of sends more than a few
MAX_CHUNK_LINE: Final = 256
MAX_EXTENSIONS: Final = (
    16 * 1024
)  # bytes of chunk extensions in one message: RFC 9112 section 7.1.1. Go's net/http: 16 KiB

# -- RFC 9110 section 5 -------------------------------------------------------------------------------------

TCHAR: Final = rb"!#$%&'*+\-.^_`|~0-9A-Za-z"  # 5.6.2
TOKEN: Final = rb"[" + TCHAR + rb"]++"
# 5.5, with the white space around it: no NUL, CR, LF or other control
VALUE: Final = rb"[\t\x20-\x7e\x80-\xff]*+"
OWS: Final = rb"[ \t]*+"  # 5.6.3
QUOTED: Final = rb'"(?:[\t\x20\x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t\x20-\x7e\x80-\xff])*"'  # 5.6.4

FIELD: Final = re.compile(rb"(" + TOKEN + rb"):(" + VALUE + rb")")  # one field line, RFC 9112 section 5
LAX_FIELD: Final = re.compile(rb"(" + TOKEN + rb")[ \t]++:(" + VALUE + rb")")  # RFC 9112 section 5.1
LAX_FOLD: Final = re.compile(rb"[ \t]*+\r\n[ \t]++")  # RFC 9112 section 5.2
TOKENS: Final = re.compile(
    rb"[ \t,]*+(?:" + TOKEN + OWS + rb"(?:,[ \t,]*+|\Z))*"
)  # 5.6.1: empty elements are allowed
PROTOCOLS: Final = re.compile(  # Upgrade, RFC 9110 section 7.8
    rb"[ \t,]*+(?:" + TOKEN + rb"(?:/" + TOKEN + rb")?" + OWS + rb"(?:,[ \t,]*+|\Z))+"
)
DIGITS: Final = re.compile(rb"[0-9]{1,%d}" % MAX_LENGTH_DIGITS)
TRANSFER_CODING: Final = re.compile(  # RFC 9110 section 10.1.4
    TOKEN
    + rb"(?:"
    + OWS
    + rb";"
    + OWS
    + TOKEN
    + OWS
    + rb"="
    + OWS
    + rb"(?:"
    + TOKEN
    + rb"|"
    + QUOTED
    + rb"))*"
)

# uri-host [":" port], RFC 9110 section 7.2 and RFC 3986 section 3.2.2. May be empty.
AUTHORITY_CHARS: Final = rb"(?:[A-Za-z0-9\-._~!$&'()*+,;=%]*+|\[[0-9A-Fa-f:.vV]+\])(?::[0-9]{0,5})?"
AUTHORITY: Final = re.compile(AUTHORITY_CHARS)

# -- RFC 9112 sections 3 and 4 ------------------------------------------------------------------------------

METHOD: Final = rb"(" + TOKEN + rb")"
TARGET: Final = rb"[!\"$-~]++"
REQUEST_LINE: Final = re.compile(METHOD + rb" (" + TARGET + rb") HTTP/([0-9])\.([0-9])")
NOT_IN_TARGET: Final = re.compile(rb"[^!\"$-~]")
ABSOLUTE: Final = re.compile(
    rb"([A-Za-z][A-Za-z0-9+.\-]*+)://([^/?]*+)(.*)"
)  # 3.2.2: scheme, authority, the rest
STATUS_LINE: Final = re.compile(rb"HTTP/1\.([0-9]) ([1-9][0-9][0-9])(?: " + VALUE + rb")?")
# 4: white space of any kind and length between the words. What is no space is not passed on.
LAX_STATUS_LINE: Final = re.compile(rb"HTTP/1\.([0-9])[ \t]++([1-9][0-9][0-9])(?:[ \t]++(" + VALUE + rb"))?")

# -- RFC 9112 section 7.1 -----------------------------------------------------------------------------------

# A size, and extensions without the "bad" white space that 7.1.1 lets a recipient accept: nobody sends it,
# and parsers that disagree about it are how requests are smuggled.
CHUNK: Final = re.compile(
    rb"([0-9A-Fa-f]{1,%d})((?:;" % MAX_CHUNK_DIGITS
    + TOKEN
    + rb"(?:=(?:"
    + TOKEN
    + rb"|"
    + QUOTED
    + rb"))?)*)\r\n"
)
# Of replies: 7.1.1's white space, sizes padded with blanks behind or noughts before them.
LAX_CHUNK: Final = re.compile(
    rb"(?=[0-9A-Fa-f])0*+([0-9A-Fa-f]{0,%d}+)((?:" % MAX_CHUNK_DIGITS
    + OWS
    + rb";"
    + OWS
    + TOKEN
    + rb"(?:"
    + OWS
    + rb"="
    + OWS
    + rb"(?:"
    + TOKEN
    + rb"|"
    + QUOTED
    + rb"))?)*)"
    + OWS
    + rb"\r\n"
)
TRAILERS: Final = re.compile(rb"(?:" + TOKEN + rb":" + VALUE + rb"\r\n)*\r\n")

# -- whole heads --------------------------------------------------------------------------------------------

# What no head may hold at any place, so that a head is refused as soon as it goes wrong and not at its end
# (which never comes after a bare LF): a control, LF without CR, CR without LF. RFC 9112 section 2.2.
STRAY: Final = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|(?<!\r)\n|\r(?=[^\n])")


def any_case(name: bytes) -> bytes:
    """A pattern for `name` in any case; (?i:...) takes a slower road for every character."""
    return b"".join(
        b"[%c%c]" % (c, c ^ 0x20) if 97 <= c <= 122 else re.escape(bytes([c]))
        for c in name  # names are in lower case
    )


def plain_field(special: list[bytes]) -> bytes:
    """A field line whose name is not one of `special`: a branch for each of their initials, one for the rest.

    The branches exclude each other: were there two ways to match one line, a head of n lines without an end
    would have 2**n, and the engine would try them all.
    """
    rest = rb"[" + TCHAR + rb"]*+:" + VALUE + rb"\r\n"
    initials = {name[:1] for name in special}
    others = bytes(
        c for c in range(128) if re.fullmatch(TOKEN, bytes([c])) and bytes([c]).lower() not in initials
    )
    branches = [rb"[" + re.escape(others) + rb"]" + rest]
    for initial in sorted(initials):
        tails = rb"|".join(any_case(name[1:]) for name in special if name[:1] == initial)
        branches.append(any_case(initial) + rb"(?!(?:" + tails + rb"):)" + rest)
    return rb"|".join(branches)


def field(name: bytes, value: bytes) -> bytes:
    """The line of the field `name` with just this value."""
    return any_case(name) + rb":" + OWS + value + OWS + rb"\r\n"


def once(group: int, line: bytes) -> bytes:
    """`line`, but not where `group`, which is in it, has matched before: the field is repeated."""
    return rb"(?(%d)(?!))" % group + line
