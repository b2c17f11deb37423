"""One backend of one machine has one pseudonym, and no other has it."""

from __future__ import annotations

import socket

import pytest

from muxproxy.config.destination.pseudonym import pseudonym
from tests.config import models


def test_it_is_the_same_whoever_asks_and_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = models.backend(upstream__to="host", clients__listen=("127.0.0.1:80",))
    assert pseudonym(mine) == pseudonym(models.with_keys(mine, {"queue.timeout": 9.0}))
    others = {
        pseudonym(models.backend(clients__listen=("127.0.0.1:81",))),
        pseudonym(models.backend("beta", clients__listen=("127.0.0.1:80",))),
    }
    assert len(others | {pseudonym(mine)}) == 3
    here = pseudonym(mine)
    monkeypatch.setattr(socket, "gethostname", lambda: "elsewhere")
    assert pseudonym(mine) != here
    assert here.removeprefix("muxproxy-").isalnum()
