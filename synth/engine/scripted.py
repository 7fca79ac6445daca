"""The scripted server: a real HTTP server that speaks OpenAI's chat API, its answers derived from the ask alone.

    python -m synth.engine.scripted --port 0 --ready-file F [--script plain] [--fail 500:0.05,reset:0.01] ...

It stands in for a model where the text does not matter: tests, rehearsals, timings. The same ask gets the same answer
from every instance, forever within one SCRIPT_VERSION. An ask is the request body without `model`, `n` and
`max_tokens`; choice number i of `n` is an answer of its own, and `max_tokens` cuts what would have come anyway.

Endpoints: GET /health, /v1/models, /metrics (Prometheus), /stats (JSON); POST /v1/chat/completions, /tokenize (vLLM's).
Not supported, and refused with 400: `stream`, content parts other than text, JSON schema keywords that
synth.engine.scripted_text does not know. Tokens are words and punctuation marks.

Script `plain` answers with 60-140 words of pseudo-English that use words of the last user message, or with a JSON value
that conforms to the schema asked for. A marker anywhere in the messages, say in a seed's text, changes that:

    [[scripted: outcome=refuse]]      a sentence of refusal
    [[scripted: outcome=empty]]       no text at all
    [[scripted: outcome=truncate]]    half of the answer, finish_reason `length`
    [[scripted: outcome=loop]]        one sentence again and again (in every string of a JSON value)
    [[scripted: outcome=bad_json]]    JSON that cannot be parsed; without a schema, the usual text with a stray end
    [[scripted: outcome=think]]       reasoning in `reasoning_content`, and the usual answer
    [[scripted: outcome=think_open]]  `<think>` that is never closed, finish_reason `length`
    [[scripted: outcome=leak]]        the usual answer with `</think>` or `<|im_end|>` in the middle
    [[scripted: outcome=copy]]        the longest block of the last user message, markers removed (or strings that are it)
    [[scripted: echo=TEXT]]           exactly TEXT, whatever was asked for
    [[scripted: near=K]]              asks with the same K get long texts that differ in a few words (JSON: in one)
    [[scripted: status=500]]          this HTTP status, at every try

The markers of one ask may be combined (`near=1` with `outcome=think`); of two with the same name the first counts. A file
of --answers comes before all of them but `status`: the first of its keys found in a message gives the answer, a string as
it is, another value as JSON text.

Faults (--fail) hit by a hash of the ask and of how often this server has seen it: a retry can succeed, and everything
happens again in the same way. `reset` cuts the connection, `malformed` answers 200 with half of a JSON text, `hang`
never answers.

The request log has a JSON line `{"event": "request", "time", "digest"}` for each chat request received, and `{"event":
"answer", "time", "digest", "status"}` for each answer given to the kernel completely (status a number, or `malformed`).
`digest` is synth.digest.digest of the request's JSON body; `time` is seconds since 1970.
"""

from __future__ import annotations

import argparse
import asyncio
import hmac
import math
import os
import signal
import socket
import struct
import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import NormalDist
from typing import Any

import orjson
from aiohttp import web

from synth.digest import digest, hash_share
from synth.engine import scripted_text as text
from synth.engine.scripted_chat import (
    ENGINE_VERSION,
    SCRIPT_VERSION,
    SCRIPTS,
    BadRequest,
    answer,
    completion,
    parse_request,
)
from synth.engine.scripted_pattern import UnsupportedSchema
from synth.errors import SynthError, UserError, fail

__all__ = ["SCRIPTS", "SCRIPT_VERSION", "Options", "ScriptedServer", "latency_seconds", "main", "parse_faults"]

_CONTEXT_TOKENS = 131_072
_BODY_LIMIT_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Options:
    """How one server behaves. `faults` are (HTTP status, reset, malformed or hang; share of requests) in order."""

    script: str = "plain"
    api_key: str | None = None
    latency_seconds: float = 0.0
    latency_sigma: float = 0.0
    tokens_per_second: float = 0.0
    faults: tuple[tuple[str, float], ...] = ()
    fail_first: int = 0
    request_log: Path | None = None
    canned: Mapping[str, Any] = field(default_factory=dict)


def latency_seconds(options: Options, asked: str, tokens: int) -> float:
    """As long as a model would take: lognormal with the mean asked for, by the ask's digest, plus the tokens at their rate."""
    seconds = options.latency_seconds
    if seconds and options.latency_sigma:
        normal = NormalDist().inv_cdf(max(hash_share("latency", asked), 2**-64))
        seconds *= math.exp(options.latency_sigma * normal - options.latency_sigma**2 / 2)
    return seconds + (tokens / options.tokens_per_second if options.tokens_per_second else 0.0)


class ScriptedServer:
    """The handlers and counters of one server."""

    def __init__(self, options: Options) -> None:
        """Opens the request log, where one is wanted, for appending."""
        self._options = options
        self._seen: Counter[bytes] = Counter()  # by ask; kept only where faults depend on it
        self._by_status: Counter[str] = Counter()
        self._requests = 0
        self._in_flight = 0
        self._prompt_tokens = 0
        self._generated_tokens = 0
        self._log: int | None = None
        if options.request_log is not None:
            self._log = os.open(options.request_log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)

    def app(self) -> web.Application:
        """The aiohttp application."""
        app = web.Application(client_max_size=_BODY_LIMIT_BYTES)
        app.router.add_get("/health", self.health)
        app.router.add_get("/v1/models", self.models)
        app.router.add_post("/v1/chat/completions", self.chat)
        app.router.add_post("/tokenize", self.tokenize)
        app.router.add_get("/metrics", self.metrics)
        app.router.add_get("/stats", self.stats)
        return app

    def close(self) -> None:
        """Close the request log."""
        if self._log is not None:
            os.close(self._log)
            self._log = None

    async def health(self, request: web.Request) -> web.Response:
        """200 as soon as the server listens."""
        return web.Response(text="ok")

    async def models(self, request: web.Request) -> web.Response:
        """The one model, as OpenAI lists models."""
        if not self._allowed(request):
            return _json(401, _error(401, "wrong or missing API key"))
        entry = {"object": "model", "owned_by": "synth", "created": 0, "max_model_len": _CONTEXT_TOKENS}
        return _json(200, {"object": "list", "data": [{"id": f"scripted-{self._options.script}", **entry}]})

    async def tokenize(self, request: web.Request) -> web.Response:
        """`{"prompt": …}` or `{"messages": …}` -> count and ids of tokens."""
        if not self._allowed(request):
            return _json(401, _error(401, "wrong or missing API key"))
        try:
            body = orjson.loads(await request.read())
            texts = [body["prompt"]] if "prompt" in body else list(parse_request(body).messages)
            tokens = [zlib.crc32(token.encode()) for one in texts for token in text.tokens_of(one)]
        except (BadRequest, orjson.JSONDecodeError, TypeError) as error:
            return _json(400, _error(400, str(error)))
        return _json(200, {"count": len(tokens), "max_model_len": _CONTEXT_TOKENS, "tokens": tokens})

    async def metrics(self, request: web.Request) -> web.Response:
        """Token counters under vLLM's names, in Prometheus' text format."""
        label = f'{{model_name="scripted-{self._options.script}"}}'
        counters = (("prompt", self._prompt_tokens), ("generation", self._generated_tokens))
        lines = [
            f"# TYPE vllm:{name}_tokens_total counter\nvllm:{name}_tokens_total{label} {n}\n" for name, n in counters
        ]
        return web.Response(text="".join(lines))

    async def stats(self, request: web.Request) -> web.Response:
        """Chat requests received, not yet ended, answered with 200, and all that ended by how they did."""
        by_status = dict(sorted(self._by_status.items()))
        counts = {"requests": self._requests, "in_flight": self._in_flight, "answered": by_status.get("200", 0)}
        return _json(200, {**counts, "by_status": by_status})

    async def chat(self, request: web.Request) -> web.StreamResponse:
        """POST /v1/chat/completions."""
        raw = await request.read()
        self._requests += 1
        order = self._requests
        try:
            body = orjson.loads(raw)
            asked = digest(body)
        except orjson.JSONDecodeError as error:
            body, asked = error, digest(raw.hex())
        self._note("request", asked)
        self._in_flight += 1
        try:
            return await self._answer(request, body, asked, order)
        finally:
            self._in_flight -= 1

    async def _answer(self, request: web.Request, body: Any, asked: str, order: int) -> web.StreamResponse:
        fault = "503" if order <= self._options.fail_first else self._fault(asked)
        if not self._allowed(request):
            fault = "401"
        if fault in ("reset", "hang"):
            return await self._break(request, fault)
        if fault is not None and fault != "malformed":
            return await self._send(request, asked, fault, _error(int(fault), f"scripted {fault}"))
        try:
            if isinstance(body, orjson.JSONDecodeError):
                raise fail(BadRequest, f"the body is not JSON: {body}")
            parsed = parse_request(body, self._options.script)
            if "status" in parsed.directives:
                status = parsed.directives["status"]
                return await self._send(request, asked, status, _error(int(status), f"scripted {status}"))
            answers = [answer(parsed, choice, self._options.canned) for choice in range(parsed.choices)]
        except (BadRequest, UnsupportedSchema) as error:
            return await self._send(request, asked, "400", _error(400, str(error)))
        tokens = sum(one.tokens for one in answers)
        await self._wait(asked, tokens)
        prompt_tokens = sum(text.count_tokens(message) for message in parsed.messages)
        response = await self._send(request, asked, fault or "200", completion(parsed, answers, prompt_tokens))
        self._prompt_tokens += prompt_tokens
        self._generated_tokens += tokens
        return response

    def _allowed(self, request: web.Request) -> bool:
        key = self._options.api_key
        given = request.headers.get("Authorization", "")
        return key is None or hmac.compare_digest(given.encode(), f"Bearer {key}".encode())

    def _fault(self, asked: str) -> str | None:
        if not self._options.faults:
            return None
        ask = bytes.fromhex(asked[:32])
        self._seen[ask] += 1
        share = hash_share("fault", asked, str(self._seen[ask]))
        for kind, part in self._options.faults:
            share -= part
            if share < 0:
                return kind
        return None

    async def _wait(self, asked: str, tokens: int) -> None:
        try:
            await asyncio.sleep(latency_seconds(self._options, asked, tokens))
        except asyncio.CancelledError:
            self._by_status["disconnected"] += 1
            raise

    async def _break(self, request: web.Request, fault: str) -> web.StreamResponse:
        try:
            if fault == "hang":
                await asyncio.Event().wait()
        finally:
            self._by_status[fault] += 1
        transport = request.transport
        if transport is not None:
            # Closing with a linger time of 0 sends RST instead of FIN.
            connection = transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            transport.abort()
        return web.Response()

    async def _send(self, request: web.Request, asked: str, status: str, body: Any) -> web.StreamResponse:
        """Send everything here, not after the handler, so that the log line comes when the answer is out."""
        data = orjson.dumps(body)
        malformed = status == "malformed"
        response = web.Response(
            status=200 if malformed else int(status),
            body=data[: len(data) // 2] if malformed else data,
            content_type="application/json",
            headers={"Retry-After": "0"} if status in ("429", "503") else None,
        )
        try:
            await response.prepare(request)
            await response.write_eof()
        except asyncio.CancelledError:
            self._by_status["disconnected"] += 1
            raise
        except ConnectionError:
            self._by_status["disconnected"] += 1
            return response
        self._by_status[status] += 1
        self._note("answer", asked, "malformed" if malformed else int(status))
        return response

    def _note(self, event: str, asked: str, status: int | str | None = None) -> None:
        if self._log is not None:
            line = {"event": event, "time": time.time(), "digest": asked}
            os.write(self._log, orjson.dumps(line if status is None else {**line, "status": status}) + b"\n")


def _json(status: int, body: Any) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(body), content_type="application/json")


def _error(status: int, message: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": "scripted", "code": status}}


def parse_faults(given: str) -> tuple[tuple[str, float], ...]:
    """`500:0.05,reset:0.01` as pairs; UserError where a kind or a share is not allowed."""
    faults = []
    for one in filter(None, given.split(",")):
        kind, _, share = one.strip().partition(":")
        try:
            part = float(share)
        except ValueError:
            part = -1.0
        known = kind in ("reset", "malformed", "hang") or (kind.isdigit() and 400 <= int(kind) <= 599)
        if not known or not 0 <= part <= 1:
            allowed = "KIND:SHARE with an HTTP status 400-599, reset, malformed or hang, and a share from 0 to 1"
            raise fail(UserError, "--fail cannot be read", given=one, allowed=allowed)
        faults.append((kind, part))
    if sum(part for _, part in faults) > 1:
        raise fail(UserError, "the shares of --fail add up to more than 1", given=given)
    return tuple(faults)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m synth.engine.scripted", description=(__doc__ or "").split("\n")[0])
    add = parser.add_argument
    add("--host", default="127.0.0.1")
    add("--port", type=int, default=0, help="0 = any free one")
    add("--ready-file", type=Path, help="gets the base URL and the version as JSON once the server listens")
    add("--api-key-file", type=Path, help="requests must carry the key in this file")
    add("--script", choices=SCRIPTS, default=SCRIPTS[0])
    add("--latency-seconds", type=float, default=0.0, help="mean time of an answer")
    add("--latency-sigma", type=float, default=0.0, help="sigma of its lognormal distribution; 0 = always the mean")
    add("--tokens-per-second", type=float, default=0.0, help="further time per generated token; 0 = none")
    add("--fail", default="", metavar="KIND:SHARE,…", help="kinds: an HTTP status, reset, malformed, hang")
    add("--fail-first", type=int, default=0, metavar="N", help="the first N chat requests get 503")
    add("--request-log", type=Path, help="JSON lines are appended to this file")
    add("--answers", type=Path, help="JSON object: a piece of text -> the answer to asks that contain it")
    return parser


def _read(path: Path, what: str, parse: Callable[[str], Any]) -> Any:
    try:
        return parse(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise fail(UserError, f"{what} cannot be read: {error}", given=path) from None


def _options(given: argparse.Namespace) -> Options:
    key = _read(given.api_key_file, "the API key", str.strip) if given.api_key_file else None
    if key == "":
        raise fail(UserError, "the API key file is empty", given=given.api_key_file)
    canned = _read(given.answers, "the answers", orjson.loads) if given.answers else {}
    if not isinstance(canned, dict):
        raise fail(UserError, "the answers must be one JSON object", given=given.answers)
    negative = [name for name in ("latency_seconds", "latency_sigma", "tokens_per_second") if getattr(given, name) < 0]
    if negative:
        raise fail(UserError, f"{', '.join(negative)} must not be negative")
    return Options(
        script=given.script,
        api_key=key,
        latency_seconds=given.latency_seconds,
        latency_sigma=given.latency_sigma,
        tokens_per_second=given.tokens_per_second,
        faults=parse_faults(given.fail),
        fail_first=given.fail_first,
        request_log=given.request_log,
        canned=canned,
    )


async def _serve(server: ScriptedServer, host: str, port: int, ready_file: Path | None) -> None:
    """Listen until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    # A client that goes away cancels its handler: what it never got must not count as answered.
    runner = web.AppRunner(server.app(), access_log=None, handler_cancellation=True, shutdown_timeout=0.5)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port, backlog=1024).start()
        except OSError as error:
            do = "choose another --port, or 0 for any free one"
            raise fail(UserError, f"cannot listen: {error.strerror}", given=f"{host}:{port}", do=do) from None
        if ready_file is not None:
            name = f"[{host}]" if ":" in host else host
            _write_whole(
                ready_file, {"base_url": f"http://{name}:{runner.addresses[0][1]}/v1", "engine_version": ENGINE_VERSION}
            )
        await stop.wait()
    finally:
        await runner.cleanup()


def _write_whole(path: Path, value: Any) -> None:
    """Write JSON so that a reader sees all of it or nothing."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.write_bytes(orjson.dumps(value))
    part.replace(path)


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:  # it does not exist for every platform, and costs only speed
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the server; returns the exit code: 0 after SIGTERM or SIGINT, 2 for a wrong option."""
    given = _parser().parse_args(argv)
    try:
        server = ScriptedServer(_options(given))
        try:
            with asyncio.Runner(loop_factory=_new_loop) as runner:
                runner.run(_serve(server, given.host, given.port, given.ready_file))
        finally:
            server.close()
    except SynthError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
