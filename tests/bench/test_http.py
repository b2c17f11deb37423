"""What is read from nginx and told to wrk."""

from __future__ import annotations

import pytest

from tests.bench import http


def test_accepted_connections_are_the_first_figure_of_stub_status():
    reply = "HTTP/1.1 200 OK\r\n\r\nActive connections: 9 \nserver accepts handled requests\n 70 71 9000 \n"
    assert http.parse_accepted(reply) == 70


@pytest.mark.parametrize("closing", [False, True])
def test_only_the_distinct_load_that_closes_writes_connection_close_into_its_heads(closing):
    script = http.lua_script(http.Load("x", "x", 1, closing=closing, distinct=True))
    assert ('["Connection"] = "close"' in script) is closing
