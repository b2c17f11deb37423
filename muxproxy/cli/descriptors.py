"""This process's descriptor limit, which its workers inherit."""

from __future__ import annotations

import resource

# Where the hard limit is "infinity" the kernel still has fs.nr_open, and this is its usual value.
MOST = 1_048_576


def hard_limit() -> int:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return MOST if hard == resource.RLIM_INFINITY else hard


def raise_to_hard_limit() -> int:
    """Returns the new limit. The soft one is usually 1024, for programs that use select(): none of ours."""
    limit = hard_limit()
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    return limit
