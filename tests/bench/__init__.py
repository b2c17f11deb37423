"""`python -m tests.bench [http] [redis] [dubbo] [tcp] [latency]`: muxproxy beside its peers, in one run.

    http.py      wrk and nginx as the origin; muxproxy, HAProxy, nginx, no proxy at all
    redis.py     redis-benchmark and redis-server; muxproxy (TCP, unix), twemproxy, HAProxy
    echo.py      dubbo and tcp: our own caller.py and provider.py (frames.py); muxproxy, HAProxy
    latency.py   what a proxy adds to a request, http and redis: our own pinger.py, the same origins
    floor.py     what CPU is spent on, by perf, on any of these loads
    suite.py     what all have in common: a suite, its contestants, rounds that take turns
    plan.py      which loads run on which contestants, how long that takes; progress.py says where it is
    builds.py    which muxproxy: one per interpreter
    servers.py   a server: configured, started, found ready, ended
    measure.py   CPU, memory and sockets as the kernel counts them; figures
    report.py    figures -> medians, spreads, ratios -> Markdown

README.md has figures as measured and how to read them. Nothing timed is asserted anywhere; the tests beside
these files check how figures are read, not how large they are.
"""
