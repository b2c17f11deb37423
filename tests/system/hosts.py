"""Many origins of one real nginx: each host is an address of its own, 127.0.2.1 and so on, all on one port.

`GET /echo?token=T` is answered with the address that was asked, the Host it was asked by, and the token.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from tests.system.origins import answers, listening
from tests.system.process import end, tool, wait_for

_NGINX = """
daemon off;
{user}
pid {folder}/nginx.pid;
error_log stderr error;
worker_processes 1;
worker_rlimit_nofile 16384;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    default_type text/plain;
    server {{
        {listen}
        location /echo {{ return 200 "$server_addr $http_host $arg_token\\n"; }}
        location /fields {{
            return 200 "$request|$http_via|$http_proxy_authorization|$http_proxy_connection\\n";
        }}
    }}
    server {{
        {listen}
        server_name named.test;
        location /echo {{ return 200 "named.test $arg_token\\n"; }}
    }}
}}
"""


class Hosts:
    def __init__(self, count: int) -> None:
        self.hosts = [f"127.0.2.{number + 1}" for number in range(count)]
        self.folder = Path(tempfile.mkdtemp(prefix="muxproxy-hosts-"))
        with contextlib.ExitStack() as stack:
            first = stack.enter_context(listening(host=self.hosts[0]))
            self.port = int(first.getsockname()[1])
            others = [stack.enter_context(listening(self.port, host=host)) for host in self.hosts[1:]]
            config = self.folder / "nginx.conf"
            listen = "\n".join(f"listen {host}:{self.port} backlog=4096;" for host in self.hosts)
            named = listen.replace(" backlog=4096", "")
            user = "user root;" if os.geteuid() == 0 else ""
            text = _NGINX.format(folder=self.folder, user=user, listen=listen)
            config.write_text(text[: (cut := text.rindex("server {"))] + text[cut:].replace(listen, named))
            descriptors = [sock.fileno() for sock in (first, *others)]
            with (self.folder / "errors").open("wb") as errors:
                self._process = subprocess.Popen(
                    [tool("nginx"), "-p", str(self.folder), "-c", str(config), "-e", "stderr"],
                    env=os.environ | {"NGINX": "".join(f"{descriptor};" for descriptor in descriptors)},
                    pass_fds=descriptors,
                    stderr=errors,
                )
        wait_for(
            lambda: answers(self.hosts[-1], self.port, 200),
            within=10,
            what=f"nginx answers; {(self.folder / 'errors').read_text()}",
        )

    def url(self, number: int, path: str) -> str:
        return f"http://{self.hosts[number]}:{self.port}{path}"

    def echoed(self, number: int, token: str) -> str:
        return f"{self.hosts[number]} {self.hosts[number]}:{self.port} {token}\n"

    def __enter__(self) -> Hosts:
        return self

    def __exit__(self, *_: object) -> None:
        end(self._process, signal.SIGTERM)
        shutil.rmtree(self.folder, ignore_errors=True)
