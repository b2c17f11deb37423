"""`python -m tests.system.answers HOST PORT`: answers HTTP, Dubbo and words, a connection a thread.

Each takes 10 ms, so that a network that goes down meets requests that were not acknowledged, and replies.
"""

from __future__ import annotations

import socketserver
import sys
import time

from tests.system.dubbo.frames import BEAT, BEAT_REPLY, Frames, frame, reply

WORK = 0.01
HTTP = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Answers(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        self.frames = Frames()
        while data := self.request.recv(65536):
            for answer in self.answers(data):
                time.sleep(WORK)
                self.request.sendall(answer)

    def answers(self, data: bytes) -> list[bytes]:
        if data[:1] == b"G":
            return [HTTP] * data.count(b"\r\n\r\n")
        if data[:1] == b"w":
            return [b"word\n"] * data.count(b"\n")
        told = self.frames.feed(data)
        return [
            frame(BEAT_REPLY, tag, b"N", 20) if flags == BEAT else reply(tag, b"x")
            for flags, _, tag, _ in told
        ]


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True
    request_queue_size = 1024


if __name__ == "__main__":
    with Server((sys.argv[1], int(sys.argv[2])), Answers) as server:
        server.serve_forever()
