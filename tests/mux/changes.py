"""What may change under every machine while it runs: the configuration, as a reload has it."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from muxproxy.mux.base.upstream import CLOSING

# (): not the servers.
SERVERS = st.sampled_from([(), (), (), ("one:1",), ("two:2",), ("one:1", "two:2"), ("three:3", "one:1")])
KEYS: dict[str, st.SearchStrategy[Any]] = {
    "timeout": st.sampled_from([0.3, 1.0, 4.0]),
    "max_waiting": st.integers(0, 4),
    "max_in_flight": st.integers(1, 4),
    "max_pinned": st.integers(0, 2),
    "min_connections": st.integers(0, 2),
    "max_lifetime": st.sampled_from([0.0, 1.0, 20.0]),
    "reply_timeout": st.sampled_from([2.0, 3.0]),
    "session_timeout": st.sampled_from([0.0, 15.0]),
    "idle_timeout": st.sampled_from([1.0, 10.0]),
    "client_idle_timeout": st.sampled_from([10.0, 50.0]),
}


class Reloading(RuleBasedStateMachine):
    stage: Any

    @rule(servers=SERVERS, keys=st.fixed_dictionaries({}, optional=KEYS), outdates=st.booleans())
    def the_configuration_changes(
        self, servers: tuple[str, ...], keys: dict[str, Any], outdates: bool
    ) -> None:
        if outdates:
            self.stage.pool.protocol.outdates = "outdated"
        self.stage.configure(*servers, **keys)

    @rule()
    def the_time_to_drain_is_up(self) -> None:
        with self.stage.turn():
            self.stage.pool.end_retiring(self.stage.world.now)
        assert not any(u.outdated and u.state < CLOSING for u in self.stage.pool.upstreams)
