"""Requests and replies for Hypothesis: mostly right, with the wrong mixed in where parsers go wrong."""

from __future__ import annotations

from hypothesis import strategies as st

from muxproxy.protocols.redis.resp.grammar import CRLF, multibulk

WORDS = st.one_of(
    st.binary(max_size=12),
    st.sampled_from([b"\r\n", b"a\r\n$1\r\nb", b"*1\r\n", b"\0", b"k" * 300, b"v" * 1100, b"\r", b"1"]),
)
NAMES = st.sampled_from(
    [
        *b"GET get SET SET SET set MSET DBSIZE PING MULTI MULTI EXEC EXEC DISCARD SELECT AUTH RESET".split(),
        *b"BLPOP SUBSCRIBE CLIENT nobody gEt".split(),
    ]
)
COMMANDS = st.tuples(NAMES, st.lists(WORDS, max_size=3)).map(lambda c: multibulk([c[0], *c[1]]))
EMPTY = st.sampled_from([b"*0\r\n", b"*-1\r\n", b"\r\n", b" \r\n", b"\n"])
INLINE = st.sampled_from([b"GET a\r\n", b"SET a 'b c'\n", b'SET "\\x00" "\\n"\r\n', b"PING\r\n", b"EXEC\n"])
WRONG_REQUESTS = st.sampled_from(
    [
        *(
            b"*x\r\n",
            b"*+1\r\n",
            b"*01\r\n",
            b"*1\r\nx\r\n",
            b"*1\r\n$-1\r\n",
            b"*1\r\n$x\r\n",
            b"*1\r\n\r\n",
        ),
        *(b"*1\r\n$1\r\nab\r\n", b"*1\r\n$1\r\na\rb", b'GET "\r\n', b"\0\r\n", b"POST /\r\n", b"*1\r$1\ra\r"),
        *(b"*2\r\n$3\r\nGET\r\n", b"*1\r\n$5\r\n", b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$01\r\nb\r\n", b"*"),
    ]
)
REQUESTS = st.lists(
    st.one_of(COMMANDS, COMMANDS, COMMANDS, COMMANDS, EMPTY, INLINE, WRONG_REQUESTS), max_size=12
).map(b"".join)

LINES = st.sampled_from(
    [
        b"+OK\r\n",
        b"-ERR no\r\n",
        b":12\r\n",
        b":-1\r\n",
        b"+\r\n",
        b"_\r\n",
        b"#t\r\n",
        b"#f\r\n",
        b",1.5\r\n",
        *[b"(12345678901234567890\r\n", b"$-1\r\n", b"*-1\r\n", b"+" + b"x" * 200 + CRLF],
    ]
)
BULKS = WORDS.map(lambda word: b"$%d\r\n%b\r\n" % (len(word), word))
VERBATIM = WORDS.map(lambda word: b"=%d\r\ntxt:%b\r\n" % (len(word) + 4, word))
# What a map's key may be for every parser.
KEYS = st.one_of(st.sampled_from([b"+a\r\n", b":1\r\n"]), BULKS)
ATOMS = st.one_of(LINES, BULKS, VERBATIM)


def _lists(of: st.SearchStrategy[bytes], kinds: bytes) -> st.SearchStrategy[bytes]:
    return st.tuples(st.sampled_from(list(kinds)), st.lists(of, max_size=4)).map(
        lambda t: b"%c%d\r\n" % (t[0], len(t[1])) + b"".join(t[1])
    )


def _pairs(keys: st.SearchStrategy[bytes], of: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    return st.lists(st.tuples(keys, of).map(b"".join), max_size=3).map(
        lambda pairs: b"%%%d\r\n" % len(pairs) + b"".join(pairs)
    )


# What every parser of RESP3 knows.
COMMON = st.recursive(ATOMS, lambda of: st.one_of(_lists(of, b"*~"), _pairs(KEYS, of)), max_leaves=12)
COMMON_PUSHES = _lists(COMMON, b">").filter(lambda push: push != b">0\r\n")
# Lengths and counts that none takes.
WRONG_LENGTHS = st.sampled_from(
    [
        b"$x\r\n",
        b"$-2\r\n",
        b"$01\r\na\r\n",
        b"$+1\r\na\r\n",
        b"*x\r\n",
        b"*-2\r\n",
        b"*01\r\n+a\r\n",
        b"x",
        b"\r",
        *[b"*1\r\n$\r\n", b"%1\r\n+a\r\n$x\r\n", b"*\r\n", b"~x\r\n", b"%+1\r\n", b"*1\r\nx"],
    ]
)


def _attributed(of: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    return st.tuples(_pairs(KEYS, of), of).map(lambda t: b"|" + t[0][1:] + t[1])


def _streamed(of: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    return st.one_of(
        st.tuples(st.sampled_from([b"*?\r\n", b"~?\r\n"]), st.lists(of, max_size=3).map(b"".join)).map(
            lambda t: b"".join(t) + b".\r\n"
        ),
        st.lists(st.tuples(KEYS, of).map(b"".join), max_size=3).map(
            lambda pairs: b"%?\r\n" + b"".join(pairs) + b".\r\n"
        ),
    )


_STREAMED_STRINGS = st.lists(st.binary(min_size=1, max_size=9), max_size=3).map(
    lambda parts: b"$?\r\n" + b"".join(b";%d\r\n%b\r\n" % (len(p), p) for p in parts) + b";0\r\n"
)
_ERRORS = WORDS.map(lambda word: b"!%d\r\n%b\r\n" % (len(word), word))

# Everything that RESP3 has.
REPLY = st.recursive(
    st.one_of(ATOMS, _STREAMED_STRINGS, _ERRORS),
    lambda of: st.one_of(_lists(of, b"*~"), _pairs(of, of), _attributed(of), _streamed(of)),
    max_leaves=12,
)
PUSHES = _lists(REPLY, b">")
WRONG_REPLIES = st.one_of(
    WRONG_LENGTHS,
    st.sampled_from([b"$1\r\nab\r\n", b".\r\n", b";1\r\na\r\n", b"*?\r\n*1\r\n.\r\n", b"!-1\r\n"]),
)
REPLIES = st.lists(st.one_of(REPLY, REPLY, REPLY, REPLY, PUSHES, WRONG_REPLIES), max_size=10).map(b"".join)

GARBAGE = st.one_of(
    st.binary(max_size=200),
    st.lists(
        st.sampled_from([bytes([byte]) for byte in b"*$%~>|:+-_#,(!=;.?0123\r\nx \"'"] + [CRLF, CRLF])
    ).map(b"".join),
)


@st.composite
def pieces(draw: st.DrawFn, data: st.SearchStrategy[bytes]) -> list[bytes]:
    """`data` as a network may deliver it. Joined, they are what was sent."""
    whole = draw(data)
    cuts = sorted(draw(st.lists(st.integers(0, len(whole)), max_size=6)))
    return [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
