"""A local S3 for tests: moto in this process, and a proxy before it that plays the faults of the world."""

from __future__ import annotations

import http.client
import itertools
import logging
import random
import socketserver
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

BUCKET = "corpora"
_SLOW_DOWN = (
    b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.'
    b"</Message></Error>"
)
_numbers = itertools.count()


def start_moto() -> tuple[str, Callable[[], None]]:
    """A moto server with one empty bucket; its URL, and how to stop it."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    connection = http.client.HTTPConnection(host, port)
    connection.request("PUT", f"/{BUCKET}")
    assert connection.getresponse().status == 200
    return f"http://{host}:{port}", server.stop


@dataclass
class Seen:
    """A request as the proxy saw it."""

    method: str
    path: str
    headers: dict[str, str]


@dataclass
class Faults:
    """What the proxy does to requests: `lose` cuts the connection when S3 has acted, before it answers; `cut` in the middle
    of its answer; `strip` takes headers away; `status` answers in place of S3. Each fault is counted."""

    slow_down_share: float = 0.0
    lose: Callable[[Seen], bool] = lambda seen: False
    cut: Callable[[Seen], bool] = lambda seen: False
    strip: tuple[str, ...] = ()
    status: int = 0
    before: Callable[[Seen], None] = lambda seen: None
    seen: list[Seen] = field(default_factory=list)
    random: random.Random = field(default_factory=lambda: random.Random(7))
    guard: threading.Lock = field(default_factory=threading.Lock)
    slowed: int = 0
    lost: int = 0
    cuts: int = 0


@contextmanager
def proxy(endpoint: str, faults: Faults) -> Iterator[str]:
    """A server before `endpoint`; its URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            """Quiet."""

        def _pass_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            seen = Seen(self.command, self.path, {name.lower(): value for name, value in self.headers.items()})
            faults.before(seen)
            with faults.guard:
                faults.seen.append(seen)
                slow = not faults.status and faults.random.random() < faults.slow_down_share
                faults.slowed += slow
            if faults.status:
                self._answer(faults.status, {}, b"")
                return
            if slow:
                self._answer(503, {"Content-Type": "application/xml"}, _SLOW_DOWN)
                return
            behind = http.client.HTTPConnection(endpoint.removeprefix("http://"))
            kept = {name: value for name, value in self.headers.items() if name.lower() not in faults.strip}
            behind.request(self.command, self.path, body, kept)
            answer = behind.getresponse()
            data = answer.read()
            headers = dict(answer.getheaders())
            behind.close()
            with faults.guard:
                lose, cut = faults.lose(seen), faults.cut(seen)
                faults.lost += lose
                faults.cuts += cut
            if cut:
                self.send_response_only(answer.status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data[: len(data) // 2])
                self.wfile.flush()
            if lose or cut:
                self.close_connection = True
                self.connection.close()
                return
            self._answer(answer.status, headers, data)

        def _answer(self, status: int, headers: dict[str, str], data: bytes) -> None:
            self.send_response_only(status)
            for name, value in headers.items():
                if name.lower() not in ("content-length", "connection", "transfer-encoding"):
                    self.send_header(name, value)
            length = headers.get("Content-Length", str(len(data))) if self.command == "HEAD" else str(len(data))
            self.send_header("Content-Length", length)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _pass_on

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            """Clients that are killed are meant to be."""

    server: socketserver.TCPServer = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def aws_environment(endpoint: str, cache: Path) -> dict[str, str]:
    """What a process needs to work on homes at `endpoint`, with a cache of its own: as if it ran on another machine."""
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "SYNTH_CACHE": str(cache),
    }


def use(monkeypatch: pytest.MonkeyPatch, endpoint: str, cache: Path) -> None:
    """Let this process work on homes at `endpoint`."""
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    for name, value in aws_environment(endpoint, cache).items():
        monkeypatch.setenv(name, value)


def new_home() -> str:
    """The URL of a prefix that no other test uses."""
    return f"s3://{BUCKET}/homes/{next(_numbers):04d}"


def puts(seen: Sequence[Seen], ending: str) -> list[Seen]:
    """Of the requests those that write a key with this ending."""
    return [one for one in seen if one.method == "PUT" and one.path.partition("?")[0].endswith(ending)]
