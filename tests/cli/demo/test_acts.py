"""The order of events: the configuration it writes is a good one, and a death on stage ends the play."""

from __future__ import annotations

from pathlib import Path

import pytest

from muxproxy.cli.demo.acts import Acts, write_config
from muxproxy.cli.demo.figures import BOUND, CLIENTS, Leg, clients_for
from muxproxy.config import limits
from muxproxy.config.load import load
from muxproxy.stage.stage import Broken, Stage


@pytest.mark.parametrize("nofile", [130, 1024, 20_000])
def test_the_configuration_fits_into_the_descriptor_limit_as_it_is(tmp_path: Path, nofile: int) -> None:
    clients = clients_for(nofile)
    write_config(tmp_path, str(tmp_path / "admin.sock"), 8080, clients)
    config = load(tmp_path)
    assert limits.effective(config, nofile) == config
    (backend,) = config.backends
    assert backend.upstream.max_connections == BOUND
    assert backend.upstream.servers == ("127.0.0.1:8080",)
    assert backend.queue.max_waiting == clients <= CLIENTS


class Assassin:
    """A view that kills one of the processes when it sees the leg running, or over already."""

    def __init__(self, stage: Stage, name: str) -> None:
        self._stage = stage
        self._name = name

    def show(self, direct: Leg, through: Leg) -> None:
        if through.state in ("running", "done"):
            (victim,) = (child for child in self._stage._children if child.name == self._name)
            victim.process.kill()
            victim.process.wait()


@pytest.mark.parametrize("name", ["the demo's origin", "the demo's load", "muxproxy"])
def test_a_death_on_stage_ends_the_play_and_says_whose(name: str) -> None:
    with pytest.raises(Broken, match=f"^{name} ended by SIGKILL"), Stage("test") as stage:
        Acts(stage, clients=10, seconds=1.0).play(Assassin(stage, name))
    assert not stage.folder.exists()
    assert all(child.process.returncode is not None for child in stage._children)
