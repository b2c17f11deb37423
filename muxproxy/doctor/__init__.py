"""`muxproxy doctor`: what of this machine's connections is wrong, and what to type. It changes nothing.

    facts.py     pure   what was read: flows, listeners, processes, settings, counters
    report.py    pure   what is said of it, and the published shape of `--json`
    reading/            the machine, into facts: netlink's sock_diag, /proc, a Redis server that is asked
    its limit judging/     pure   facts -> findings; the arithmetic of `--fleet` and `--suggest`

Judging is tested with numbers and needs no machine; reading decides nothing.
"""
