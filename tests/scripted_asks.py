"""Asks for the tests of the scripted server, and a running one with what a raw client sees of it."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from synth.engine.scripted_chat import SCRIPT_VERSION

PASSAGE = (
    "The Atlantic puffin spends most of the year far out at sea and comes to land only to breed. Pairs return to the same "
    "burrow each spring, often dug into grassy slopes above steep cliffs, and raise a single chick. Adults can carry a "
    "dozen small fish crosswise in their bills, held against spines on the palate."
)
QA_SCHEMA = {
    "type": "object",
    "properties": {
        "pairs": {
            "type": "array",
            "minItems": 2,
            "maxItems": 5,
            "items": {
                "type": "object",
                "properties": {
                    "question": {"type": "string", "maxLength": 200},
                    "answer": {"type": "string", "minLength": 40},
                    "kind": {"type": "string", "enum": ["open", "closed"]},
                },
                "required": ["question", "answer", "kind"],
                "additionalProperties": False,
            },
        }
    },
    "required": ["pairs"],
    "additionalProperties": False,
}


def ask(seed: int = 0, marker: str = "", **more: Any) -> dict[str, Any]:
    """A chat request whose last message holds the passage and a directive."""
    content = f"Rewrite the passage in plain words.\n\n{PASSAGE} {marker}".strip()
    messages = [{"role": "system", "content": "You write clear texts."}, {"role": "user", "content": content}]
    return {"model": "m", "messages": messages, "temperature": 0.7, "seed": seed, **more}


def with_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}


@dataclass
class Seen:
    """What came over a connection: whole (a response with all its bytes), reset, closed (too early) or silent."""

    end: str
    status: int | None
    headers: dict[str, str]
    body: bytes
    pieces: int

    def json(self) -> Any:
        return json.loads(self.body)


def _received(connection: socket.socket) -> Seen:
    got, pieces, end = b"", 0, ""
    while not end:
        try:
            piece = connection.recv(65_536)
            end = "" if piece else "closed"
        except ConnectionResetError:
            piece, end = b"", "reset"
        except TimeoutError:
            piece, end = b"", "silent"
        got, pieces = got + piece, pieces + 1
        head, _, body = got.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        if _ and len(body) == int(headers["content-length"]):
            end = "whole"
    return Seen(end, int(first.split()[1]) if first else None, headers, body, pieces)


class Server:
    """A running server process."""

    def __init__(self, process: subprocess.Popen[bytes], base_url: str) -> None:
        self.process = process
        self.base_url = base_url
        self.port = int(base_url.rsplit(":", 1)[1].removesuffix("/v1"))

    def call(
        self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None, seconds: float = 10
    ) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=seconds)
        try:
            data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
            connection.request(method, path, data, dict(headers or {}))
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def chat(self, body: Any, **more: Any) -> tuple[int, Any]:
        status, data = self.call("POST", "/v1/chat/completions", body, **more)
        return status, json.loads(data)

    def raw(self, body: Any, seconds: float = 10) -> Seen:
        """Send one chat request over a socket of its own."""
        data = json.dumps(body).encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(data)}\r\n\r\n"
        with socket.create_connection(("127.0.0.1", self.port), timeout=seconds) as connection:
            connection.sendall(head.encode() + data)
            return _received(connection)

    def stats(self) -> dict[str, Any]:
        stats: dict[str, Any] = json.loads(self.call("GET", "/stats")[1])
        return stats


@contextmanager
def running(folder: Path, *options: str) -> Iterator[Server]:
    """Start a server on a free port; at the end it must leave cleanly on SIGTERM, if it still runs."""
    ready = folder / "ready.json"
    ready.unlink(missing_ok=True)
    process = subprocess.Popen([sys.executable, "-m", "synth.engine.scripted", "--ready-file", str(ready), *options])
    try:
        deadline = time.monotonic() + 30
        while not ready.exists():
            assert process.poll() is None, "the server ended before it was ready"
            assert time.monotonic() < deadline, "the server did not get ready"
            time.sleep(0.01)
        told = json.loads(ready.read_bytes())
        assert told["engine_version"] == f"scripted-{SCRIPT_VERSION}"
        yield Server(process, told["base_url"])
        if process.poll() is None:
            process.terminate()
            assert process.wait(timeout=10) == 0
    finally:
        process.kill()
        process.wait(timeout=10)


def until(holds: Callable[[], bool], seconds: float = 10) -> None:
    """Wait until it holds."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.005)
