"""Spares before a server that ends who does not log in: MariaDB, which counts them."""

from __future__ import annotations

import time

from tests.system.process import needs, wait_for
from tests.system.tcp.daemons import MariaDB
from tests.system.tcp.test_real_clients import proxied, says

SPARES = 4


@needs("mariadbd")
@needs("mariadb")
def test_spares_that_mariadb_ends_are_not_dialled_again_and_again() -> None:
    with MariaDB() as server, proxied(server, min_connections=SPARES) as proxy:
        wait_for(lambda: server.count("Aborted_connects") >= SPARES, within=20, what="the end of the spares")
        time.sleep(2 * server.connect_timeout + 1)  # what could end meanwhile, if it had been dialled
        assert server.count("Aborted_connects") <= SPARES + 2  # SPARES every two seconds, before
        assert proxy.log().count("server ends spare connections") == 1
        where = ["-h", proxy.host, "-P", proxy.port, "--protocol=tcp", "--skip-ssl"]
        assert says("mariadb", *where, "-N", "-e", "SELECT 6 * 7") == b"42\n"
