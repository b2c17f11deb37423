"""A forward proxy's framers, for the tests beside this file."""

from __future__ import annotations

from typing import Any

from muxproxy.protocols.http.forward.protocol import ForwardProtocol
from tests.config import models

NAME = "muxproxy-test"
VIA = b"Via: 1.1 muxproxy-test\r\n"


def proxy(**keys: Any) -> ForwardProtocol:
    """`keys`: of the configuration, `upstream__deny=("10.0.0.0/8",)`."""
    whole = {"upstream__to": "host", "upstream__servers": (), "pseudonym": NAME, **keys}
    return ForwardProtocol(models.backend(**whole))
