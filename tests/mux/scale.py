"""How large and how patient the machines' stages are: so little that all comes about in a short play."""

from __future__ import annotations

from typing import Any

RESPONSE_BUFFER, REQUEST_BUFFER, REQUEST_HIGH = 120, 60, 100  # bytes: small messages shall reach them
MAX_CLIENTS = 4
SCALE: dict[str, Any] = {
    "timeout": 1.0,
    "reply_timeout": 3.0,
    "idle_timeout": 10.0,
    "client_idle_timeout": 50.0,
    "abandoned_bytes": 100,
    "response_buffer": RESPONSE_BUFFER,
    "request_buffer": REQUEST_BUFFER,
    "max_clients": MAX_CLIENTS,
}
