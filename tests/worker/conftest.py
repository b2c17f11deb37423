"""Scenes of real sockets, played twice: towards servers in plain text, and by TLS. To the heart and to who
writes a scene there must be no difference."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.worker import hands

# What is judged there is how the hands behave towards servers.
BOTH_WAYS = ("test_upstream", "test_remains", "test_sessions", "test_engine")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    is_scene = "perform" in metafunc.function.__code__.co_names
    if is_scene and metafunc.module.__name__.rpartition(".")[2] in BOTH_WAYS:
        metafunc.parametrize("servers_speak", ["plain", "tls"], indirect=True)


@pytest.fixture(autouse=True)
def servers_speak(request: pytest.FixtureRequest) -> Iterator[None]:
    hands.TLS = getattr(request, "param", "plain") == "tls"
    yield
    hands.TLS = False
