"""The control channel's framing: any chunking gives the same messages, garbage gives only ValueError."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muxproxy.config.model import Backend, Clients, Upstream
from muxproxy.messages import (
    MAX_MESSAGE,
    Ask,
    Configure,
    Drain,
    Drained,
    Log,
    MessageReader,
    Ready,
    Reconnect,
    Stats,
    encode,
)

BACKEND = Backend(
    name="web",
    protocol="http",
    clients=Clients(listen=("127.0.0.1:8080",)),
    upstream=Upstream(servers=("10.0.0.5:80",)),
)
CONVERSATION = [
    Configure([BACKEND], {"web": [("127.0.0.1:8080", 7)]}),
    Ready(),
    Ask(1),
    Stats(1, {"backends": {"web": {"waiting": 0, "upstream": {"idle": 3}, "oldest_wait": 0.25}}}),
    Reconnect("web", "10.0.0.5:80"),
    Log("info", "server is back", {"backend": "web", "after": 1.5}),
    Drain(30.0),
    Drained(0),
]


@given(cuts=st.lists(st.integers(min_value=0, max_value=600)))
def test_any_chunking_gives_the_same_messages(cuts):
    stream = b"".join(map(encode, CONVERSATION))
    edges = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    reader = MessageReader()
    received = []
    for start, end in itertools.pairwise(edges):
        received += reader.feed(stream[start:end])
    assert received == CONVERSATION


def test_a_conversation_survives_byte_by_byte():
    reader = MessageReader()
    received = []
    for byte in b"".join(map(encode, CONVERSATION)):
        received += reader.feed(bytes([byte]))
    assert received == CONVERSATION


@given(garbage=st.binary(max_size=200))
def test_garbage_in_a_frame_gives_messages_or_a_value_error(garbage):
    try:
        messages = MessageReader().feed(len(garbage).to_bytes(4, "big") + garbage)
    except ValueError:
        return
    assert [type(message) for message in messages] == [type(messages[0])]


@pytest.mark.parametrize(
    "data",
    [
        pytest.param((MAX_MESSAGE + 1).to_bytes(4, "big"), id="a length above the limit"),
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", id="another protocol"),
        pytest.param(encode(Ready()).replace(b"Ready", b"Reedy"), id="an unknown word"),
        pytest.param(encode(Ask(1))[:-1] + b"\xa1", id="a field of the wrong type"),
        pytest.param((100_007).to_bytes(4, "big") + b"\x81\xa6fields" + b"\x91" * 100_000, id="too deep"),
    ],
)
def test_what_is_not_ours_is_a_value_error(data):
    with pytest.raises(ValueError, match=r"."):
        MessageReader().feed(data)


def test_a_log_line_with_an_exception_in_it_can_be_sent():
    [message] = MessageReader().feed(
        encode(Log("error", "connect failed", {"error": OSError(111, "refused")}))
    )
    assert message.fields == {"error": "[Errno 111] refused"}
