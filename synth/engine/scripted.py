"""The scripted server: a real HTTP server that speaks OpenAI's chat API, its answers derived from the ask alone.

    python -m synth.engine.scripted --port 0 --ready-file F [--script plain] [--fail 500:0.05,reset:0.01] ...

It stands in for a model where the text does not matter: tests, rehearsals, timings. The same ask gets the same answer
from every instance, forever within one SCRIPT_VERSION. An ask is the request body without `model`, `n` and
`max_tokens`; choice number i of `n` is an answer of its own, and `max_tokens` cuts what would have come anyway.

Endpoints: GET /health, /v1/models, /metrics (Prometheus), /stats (JSON); POST /v1/chat/completions, /tokenize (vLLM's).
Not supported, and refused with 400: `stream`, content parts other than text, JSON schema keywords that
synth.engine.scripted_text does not know. Tokens are words and punctuation marks; delimiters of reasoning count nothing.

Scripts (--script). `plain` answers with 60-140 words of pseudo-English that use words of the last user message, or with
a JSON value that conforms to the schema asked for. The others do the same, and besides:

    thinker   reasons first, 30-200 tokens by the ask, unless `chat_template_kwargs` has `enable_thinking: false`. The
              reasoning stands where --reasoning-field says: `reasoning` or `reasoning_content` (fields of the message),
              `tags` (`<think>` and `</think>` in the content), `open_tag_in_prompt` (the closing one alone), `channels`
              (`<|channel|>analysis<|message|>...<|end|><|start|>assistant<|channel|>final<|message|>` and the answer).
              `max_tokens` cuts reasoning and answer together: a cut within the reasoning leaves no answer.
    strong    begins the answer with the word RIGHT (in every string of a JSON value).
    weak      begins it with RIGHT, or with WRONG for the asks that are too hard for it.

With --thinking-budget `enforce`, `thinking_token_budget` in the body ends the reasoning, and the answer follows; `ignore`
is the default; `refuse` answers 400, whatever the script.

A marker anywhere in the messages, say in a seed's text, changes the answer:

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
    [[scripted: hard=P]]              too hard for `weak` with probability P (0-1), by the ask; see `is_hard`
    [[scripted: weak=OUTCOME]]        what `weak` does where it is too hard: one of the outcomes above
    [[scripted: fault=NAME]]          this fault at every try; NAME*2: at the first two tries of this ask
    [[scripted: status=500]]          the same as fault=500

The markers of one ask may be combined (`near=1` with `outcome=think`); of two with the same name the first counts. A file
of --answers comes before all of them but faults: the first of its keys found in a message gives the answer, a string as
it is, another value as JSON text.

Faults, by marker or by `--fail NAME:SHARE,...`, which comes first:

    400-599       this HTTP status; 429 and 503 with `Retry-After: --retry-after-seconds`
    reset         the connection is cut (RST) before any byte
    reset_body    it is cut in the middle of the body
    malformed     200 with half of a JSON text
    error_body    200 with `{"error": {...}}`
    drip          200, a byte at a time, the whole taking --drip-seconds
    hang          no answer ever
    die           the server sends itself SIGKILL
    no_choices    `"choices": []`
    no_usage      a good answer without `usage`
    think_cut     reasoning of `max_tokens` tokens (4,000 at most) in `reasoning`, no content, finish_reason `length`
    null_content  the same without the reasoning
    OUTCOME       any of the outcomes above

--fail hits by a hash of --fail-seed, the request and how often this server has seen it: a retry can succeed, and
everything happens again in the same way. A server that is started anew counts tries from 1.

Faults of the whole server: --fail-first N (503 to the first N chat requests), --freeze-after N (after N answers chat
requests hang and the token counters stand still, while /health and the rest go on, as when vLLM's engine core is stuck),
--die-after N (SIGKILL to itself after N answers), --other-model-after-restart FILE (from the second start with FILE on
/v1/models names `scripted-<script>-other`, as do the replies, and answers differ), --leak-bytes-per-ask N (the process
grows with each chat request). With --faults-once FILE it freezes or dies only while FILE does not exist, and creates it:
a server started again with the same arguments works.

/stats: chat `requests` received, `in_flight`, `most_in_flight` at any time, `answered` with 200, `by_status` (all that
ended, by how), `faults` by name, `started_at` (seconds since 1970), `resident_bytes` (memory of the process).

The request log has a JSON line `{"event": "request", "time", "digest"}` for each chat request received, and `{"event":
"answer", "time", "digest", "status"}` for each answer given to the kernel completely (status a number, or `malformed`,
`error_body` or `no_choices`). `digest` is synth.digest.digest of the request's JSON body; `time` is seconds since 1970.
The time an answer takes can be recomputed from outside: see `latency_seconds`.
"""

from __future__ import annotations

import asyncio
import hmac
import os
import signal
import sys
import time
import zlib
from collections import Counter
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any

import orjson
from aiohttp import web

from synth.digest import digest
from synth.engine import scripted_faults as faults
from synth.engine import scripted_text as text
from synth.engine.scripted_chat import (
    ENGINE_VERSION,
    SCRIPT_VERSION,
    SCRIPTS,
    ChatRequest,
    ScriptedModel,
    answer,
    completion,
    is_hard,
    parse_request,
)
from synth.engine.scripted_faults import parse_faults
from synth.engine.scripted_markers import ANSWER_FAULTS, BadRequest, is_status
from synth.engine.scripted_options import Options, latency_seconds, options_of, parser
from synth.engine.scripted_pattern import UnsupportedSchema
from synth.errors import SynthError, UserError, fail

__all__ = [
    "SCRIPTS",
    "SCRIPT_VERSION",
    "Options",
    "ScriptedServer",
    "is_hard",
    "latency_seconds",
    "main",
    "parse_faults",
]

_CONTEXT_TOKENS = 131_072
_BODY_LIMIT_BYTES = 64 * 2**20
_JSON = {"Content-Type": "application/json"}


class ScriptedServer:
    """The handlers and counters of one server."""

    def __init__(self, options: Options) -> None:
        """Opens the request log, where one is wanted, for appending, and counts the start."""
        again = options.other_model_after_restart
        other = again is not None and faults.count_start(again) > 1
        self._options = options
        self._served = ScriptedModel(options.script, other, options.reasoning_field, options.thinking_budget)
        self._try_faults = faults.TryFaults(options.faults, options.fail_seed)
        self._server_faults = faults.ServerFaults(options.freeze_after, options.die_after, options.faults_once)
        self._started_at = time.time()
        self._by_status: Counter[str] = Counter()
        self._faults: Counter[str] = Counter()
        self._requests = 0
        self._in_flight = 0
        self._most_in_flight = 0
        self._prompt_tokens = 0
        self._generated_tokens = 0
        self._leaked: list[bytes] = []
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
        return _json(200, {"object": "list", "data": [{"id": self._served.name, **entry}]})

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
        label = f'{{model_name="{self._served.name}"}}'
        counters = (("prompt", self._prompt_tokens), ("generation", self._generated_tokens))
        lines = [
            f"# TYPE vllm:{name}_tokens_total counter\nvllm:{name}_tokens_total{label} {n}\n" for name, n in counters
        ]
        return web.Response(text="".join(lines))

    async def stats(self, request: web.Request) -> web.Response:
        """Counts of chat requests, and of what the process is; the keys stand in the module's manual."""
        counts = {
            "requests": self._requests,
            "in_flight": self._in_flight,
            "most_in_flight": self._most_in_flight,
            "answered": self._by_status["200"],
            "by_status": dict(sorted((+self._by_status).items())),
            "faults": dict(sorted(self._faults.items())),
        }
        return _json(200, {**counts, "started_at": self._started_at, "resident_bytes": faults.resident_bytes()})

    async def chat(self, request: web.Request) -> web.StreamResponse:
        """POST /v1/chat/completions."""
        raw = await request.read()
        self._requests += 1
        if self._options.leak_bytes_per_ask:
            self._leaked.append(b"x" * self._options.leak_bytes_per_ask)
        self._in_flight += 1
        self._most_in_flight = max(self._most_in_flight, self._in_flight)
        try:
            return await self._handle(request, raw, self._requests)
        finally:
            self._in_flight -= 1

    async def _handle(self, request: web.Request, raw: bytes, order: int) -> web.StreamResponse:
        asked, parsed = self._parsed(raw)
        self._note("request", asked)
        if not self._allowed(request):
            return await self._send_error(request, asked, "401", "wrong or missing API key")
        if self._server_faults.frozen:
            return await self._hang("freeze")
        fault = "503" if order <= self._options.fail_first else self._fault(asked, parsed)
        if fault == "die":
            faults.kill_this_process()
        if fault == "hang":
            return await self._hang(fault)
        if fault is not None:
            self._faults[fault] += 1
        if fault == "reset":
            self._by_status[fault] += 1
            faults.reset(request)
            return web.Response()
        if fault is not None and (fault == "error_body" or is_status(fault)):
            return await self._send_error(request, asked, fault, f"scripted {fault}")
        try:
            if isinstance(parsed, BadRequest):
                raise parsed
            return await self._answer(request, asked, parsed, fault)
        except (BadRequest, UnsupportedSchema) as error:
            return await self._send_error(request, asked, "400", str(error))

    def _parsed(self, raw: bytes) -> tuple[str, ChatRequest | BadRequest]:
        """The digest of the body, and what it asks for or what is wrong with it."""
        try:
            body = orjson.loads(raw)
        except orjson.JSONDecodeError as error:
            return digest(raw.hex()), BadRequest(f"the body is not JSON: {error}")
        try:
            return digest(body), parse_request(body, self._served)
        except BadRequest as error:
            return digest(body), error

    def _fault(self, asked: str, parsed: ChatRequest | BadRequest) -> str | None:
        drawn = self._try_faults.drawn(asked)
        if drawn is not None or isinstance(parsed, BadRequest):
            return drawn
        marker = parsed.markers.get("fault") or parsed.markers.get("status")
        return self._try_faults.told(marker, parsed.key) if marker else None

    async def _answer(
        self, request: web.Request, asked: str, parsed: ChatRequest, fault: str | None
    ) -> web.StreamResponse:
        said = fault if fault in ANSWER_FAULTS else None
        answers = [answer(parsed, choice, self._options.canned, said) for choice in range(parsed.choices)]
        tokens = sum(one.tokens for one in answers)
        await self._wait(latency_seconds(self._options, asked, tokens))
        if self._server_faults.frozen:
            return await self._hang("freeze")
        prompt_tokens = sum(text.count_tokens(message) for message in parsed.messages)
        body = completion(parsed, answers, prompt_tokens)
        if fault == "no_choices":
            body["choices"] = []
        if fault == "no_usage":
            del body["usage"]
        response = await self._send(request, asked, fault, orjson.dumps(body))
        self._prompt_tokens += prompt_tokens
        self._generated_tokens += tokens
        return response

    def _allowed(self, request: web.Request) -> bool:
        key = self._options.api_key
        given = request.headers.get("Authorization", "")
        return key is None or hmac.compare_digest(given.encode(), f"Bearer {key}".encode())

    async def _wait(self, seconds: float) -> None:
        try:
            # Also for 0 seconds: requests that came together are then answered together, which costs less.
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            self._by_status["disconnected"] += 1
            raise

    async def _hang(self, fault: str) -> web.StreamResponse:
        self._faults[fault] += 1
        try:
            await asyncio.Event().wait()
        finally:
            self._by_status["hang"] += 1
        return web.Response()

    async def _send(self, request: web.Request, asked: str, fault: str | None, data: bytes) -> web.StreamResponse:
        """Send an answer in the way of its fault."""
        if fault == "drip":
            return await self._out(asked, "200", faults.drip(request, data, self._options.drip_seconds))
        if fault == "reset_body":
            return await self._out(asked, fault, faults.send_half(request, data))
        if fault == "malformed":
            data = data[: len(data) // 2]
        status = fault if fault in ("malformed", "no_choices") else "200"
        return await self._out(asked, status, faults.send(request, _response(200, data)))

    async def _send_error(self, request: web.Request, asked: str, status: str, message: str) -> web.StreamResponse:
        code = 500 if status == "error_body" else int(status)
        response = _json(200 if status == "error_body" else code, _error(code, message))
        if status in ("429", "503"):
            response.headers["Retry-After"] = str(self._options.retry_after_seconds)
        return await self._out(asked, status, faults.send(request, response))

    async def _out(
        self, asked: str, status: str, sending: Coroutine[Any, Any, web.StreamResponse]
    ) -> web.StreamResponse:
        """Send everything here, not after the handler, so that the log line comes when the answer is out."""
        try:
            response = await sending
        except asyncio.CancelledError:
            self._by_status["disconnected"] += 1
            raise
        except ConnectionError:
            self._by_status["disconnected"] += 1
            return web.Response()
        self._by_status[status] += 1
        if status != "reset_body":
            self._note("answer", asked, int(status) if status.isdecimal() else status)
        if status == "200":
            self._server_faults.answered(self._by_status["200"])
        return response

    def _note(self, event: str, asked: str, status: int | str | None = None) -> None:
        if self._log is not None:
            line = {"event": event, "time": time.time(), "digest": asked}
            os.write(self._log, orjson.dumps(line if status is None else {**line, "status": status}) + b"\n")


def _response(status: int, body: bytes) -> web.Response:
    return web.Response(status=status, body=body, headers=_JSON)


def _json(status: int, body: Any) -> web.Response:
    return _response(status, orjson.dumps(body))


def _error(status: int, message: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": "scripted", "code": status}}


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
    given = parser((__doc__ or "").split("\n")[0]).parse_args(argv)
    try:
        server = ScriptedServer(options_of(given))
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
