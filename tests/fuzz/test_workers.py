"""A few seconds of what `python -m tests.fuzz workers` does for as long as one likes."""

from __future__ import annotations

from tests.fuzz.workers import play


def test_hostile_peers_harm_nobody_else() -> None:
    report = play(5.0, seed=1, parallel=6)
    print("\n".join(report.lines()))
    assert report.faults() == []
    assert all(probe["asked"] for probe in report.probes.values())
    # It was an attack: everything that a nuisance can do was done, on both sides.
    assert {"_talk", "_drip", "_flood", "_deaf", "_mute"} <= report.clients.keys()
    assert {"answer", "slam", "_talk"} <= report.servers.keys()
