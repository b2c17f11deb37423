"""Where one request goes, and whether it may: `Destination`, and the judge of `[upstream] allow` and `deny`.

Pure: nothing is resolved here. A name is judged when it is asked for, and each address that it turns out to
have when that is about to be dialled, so that whoever owns a name cannot lead us elsewhere with it.

    spelling.py   one spelling of every host: Destination
    entries.py    what an operator writes: names, networks, ports
    judge.py      who may go where, and by which route
    redirect.py   the kernel's rules that lead an app's connections here
"""

from muxproxy.config.destination.judge import Judge
from muxproxy.config.destination.spelling import Destination, authority

__all__ = ["Destination", "Judge", "authority"]
