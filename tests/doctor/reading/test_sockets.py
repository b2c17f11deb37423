"""The ends of a socket, as they are called."""

from __future__ import annotations

import socket

import pytest

from muxproxy.doctor.reading.sockets import Lister, ends


@pytest.mark.parametrize(
    ("family", "source", "host", "told"),
    [
        (socket.AF_INET, "10.0.0.1", "10.0.0.5", ("10.0.0.1", "10.0.0.5", 6379)),
        (socket.AF_INET6, "fd00::1", "fd00::5", ("fd00::1", "fd00::5", 6379)),
        # In IPv6 clothes, as Java and Go have them: it is the IPv4 address, whose ports it takes.
        (socket.AF_INET6, "::ffff:10.0.0.1", "::ffff:10.0.0.5", ("10.0.0.1", "10.0.0.5", 6379)),
    ],
)
def test_ends_have_the_names_that_people_type(
    family: int, source: str, host: str, told: tuple[str, str, int]
) -> None:
    one, other = (socket.inet_pton(family, each).ljust(16, b"\0") for each in (source, host))
    assert ends(family, (6379).to_bytes(2, "big") + one + other) == told


def test_a_lister_has_nothing_by_itself() -> None:
    for question in (Lister().live, Lister().listening, Lister().time_waits):
        with pytest.raises(NotImplementedError):
            question()
    Lister().close()
