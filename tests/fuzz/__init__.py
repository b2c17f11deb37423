"""Fuzzing: `python -m tests.fuzz framers | workers --minutes 60`; CI runs a small size of each (test_*.py).

samples   what well-behaved peers say, in each protocol, and how a hostile one spoils it
framers   all framers, fed with that: whole and cut anywhere, with and without what they remember
workers   a whole muxproxy between hostile clients and hostile servers, while probes look on
hostile   the hostile peers: a program of its own
probes    the honest ones, who check every reply and how long it took: a program of its own
"""
