"""How many CPUs this process may use, and so its workers: `workers = "auto"`."""

from __future__ import annotations

import os


def usable_cpus() -> int:
    """Those of its affinity (taskset, AllowedCPUs= of systemd, cpusets of containers). A quota is a time and
    no number of CPUs, and is not asked."""
    return len(os.sched_getaffinity(0))
