"""Endpoints: the model servers that we start as children, and those of others that already run.

`identity` says what a model is without starting anything; `start` gives an Endpoint that answers. Keys for our own
servers are made up for each start and handed over by file or environment: no key is ever in a command line, a log, a
message or a repr.
"""

from __future__ import annotations

import errno
import importlib.util
import os
import re
import secrets
import socket
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.client import HTTPException
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import orjson

import synth
from synth import weights
from synth.config import nearest
from synth.digest import digest, file_sha256, short
from synth.engine.roles import ModelConfig, ModelRun
from synth.engine.supervisor import Child
from synth.errors import EndpointError, RecipeError, SynthError, fail
from synth.tokens import read_metadata

_LOOPBACK = "127.0.0.1"
_LLAMA_SLOTS_MAX = 256  # LLAMA_MAX_SEQ in llama.cpp; more requests than slots wait inside the server
_TRIES = 5
_FIRST_PAUSE_SECONDS = 0.5  # doubles with each try
_ANSWER_SECONDS = 10.0
_LOOK_SECONDS = 0.05
_BODY_BYTES = 4_000_000

AnswerT = TypeVar("AnswerT")

# What a server's last words mean, the most specific first: pattern, cause, cure.
_CAUSES: tuple[tuple[str, str, str], ...] = (
    (
        r"address already in use|couldn't bind|cannot listen",
        "its port was taken by another program",
        "set run.models.{name}.port to 0 or to a free port",
    ),
    (
        r"out of memory|bad_alloc|cannot allocate memory|failed to (re)?allocate|insufficient memory|"
        r"no available memory|larger than the maximum number of tokens that can be stored in kv cache",
        "there is not enough memory for it",
        "lower run.models.{name}.in_flight or models.{name}.context_tokens, or take smaller weights",
    ),
    (
        r"invalid magic|corrupted or incomplete|error loading model|failed to load model",
        "the weights are not a whole GGUF file that this llama.cpp can read",
        "check models.{name}.weights, or download the file again",
    ),
    (
        r"repository ?not ?found|gated ?repo|revision ?not ?found|is not a local folder|401 client error",
        "the model hub does not hand out these weights",
        "check models.{name}.weights and models.{name}.revision, and the access of your hub account",
    ),
    (r"no module named", "a Python package is missing", "install the package named below"),
    (
        r"unrecognized arguments|error: argument|invalid choice",
        "it does not know an argument",
        "check run.models.{name}.args",
    ),
)


@dataclass
class Endpoint:
    """A model that answers at `base_url` (up to and including /v1) under the name `model`.

    `loading_seconds` is the time from the start until it answered; `child` is None for a server that is not ours.
    """

    name: str
    base_url: str
    model: str
    api_key: str | None = field(repr=False)
    identity: dict[str, Any]
    engine_version: str
    started_at: datetime
    loading_seconds: float
    child: Child | None
    gpus: int

    def stop(self, grace_seconds: float = 5.0) -> None:
        """Stop the server if it is ours; may be called again."""
        if self.child is not None:
            self.child.stop(grace_seconds)


def identity(config: ModelConfig) -> dict[str, Any]:
    """What the model is, as it is hashed into asks: weights by digest, or the name and revision that are declared.

    A GGUF file's digest covers its tokenizer, chat template and quantisation. Starts and fetches nothing.
    """
    declared: dict[str, Any] = {"context_tokens": config.context_tokens}
    for name in ("revision", "dtype", "thinking_switch", "trust_remote_code"):
        if getattr(config, name):
            declared[name] = getattr(config, name)
    if config.tokenizer is not None:
        declared["tokenizer_sha256"] = file_sha256(Path(config.tokenizer))
    if config.backend == "llama-cpp":
        return {**declared, "weights_sha256": weights.identity(str(config.weights))["sha256"]}
    if config.backend == "scripted":
        return {**declared, **_script_identity(config.script)}
    return {**declared, "model": _sent_name(config)}


def start(name: str, config: ModelConfig, run: ModelRun, scratch: Path) -> Endpoint:
    """An endpoint that answers; blocks until it does.

    With a `base_url`, or the backend `openai`, the endpoint exists and is only checked. Otherwise a server is started
    under the supervisor, its log in `scratch`. Raises RecipeError for what the user must change, EndpointError when
    nobody answers, and what `synth.weights.locate` raises.
    """
    if run.base_url is not None or config.backend == "openai":
        return _outside(name, config, run)
    _refuse_taken_port(name, run.port)
    folder = scratch / (name if re.fullmatch(r"\w[\w.-]*", name) else short(digest(name)))
    folder.mkdir(parents=True, exist_ok=True)
    if config.backend == "vllm":
        return _vllm(name, config, run, folder)
    arguments = (
        _llama_arguments(name, config, run) if config.backend == "llama-cpp" else _scripted_arguments(config, run)
    )
    return _own(name, config, run, folder, arguments)


def _script_identity(script: str) -> dict[str, Any]:
    from synth.engine.scripted_chat import SCRIPT_VERSION, SCRIPTS

    if script not in SCRIPTS:
        raise fail(
            RecipeError, f"unknown script{nearest(script, SCRIPTS)}", given=script, allowed=", ".join(sorted(SCRIPTS))
        )
    return {"script": script, "script_version": SCRIPT_VERSION}


def _sent_name(config: ModelConfig) -> str:
    """The name that stands in requests."""
    return config.model or config.weights or config.script


# Servers that already run.


def _outside(name: str, config: ModelConfig, run: ModelRun) -> Endpoint:
    base_url = _base_url(name, run)
    key = _given_key(name, run)
    begin, started_at = time.monotonic(), datetime.now(UTC)
    _check_answers(name, base_url, key, run)
    return Endpoint(
        name=name,
        base_url=base_url,
        model=_sent_name(config),
        api_key=key,
        identity=identity(config),
        engine_version="unknown",
        started_at=started_at,
        loading_seconds=time.monotonic() - begin,
        child=None,
        gpus=run.gpus,
    )


def _base_url(name: str, run: ModelRun) -> str:
    where = f"run.models.{name}.base_url"
    if run.base_url is None:
        raise fail(
            RecipeError, f"{where}: missing (an endpoint that already runs)", do="give its URL, up to and including /v1"
        )
    try:
        parts = urlsplit(run.base_url)
        secret = "@" in parts.netloc or bool(parts.query)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        usable, secret = False, "@" in run.base_url
    if secret:  # not shown: it may hold a password
        raise fail(
            RecipeError,
            f"{where}: holds a user name, a password or a query",
            allowed="scheme, host, port and path",
            do=f"put the key into an environment variable and name that in run.models.{name}.api_key_env",
        )
    if not usable or not re.fullmatch(r"[!-~]+", run.base_url):
        raise fail(RecipeError, f"{where}: not a URL", given=run.base_url, allowed="http://host:port/v1 or https://…")
    return run.base_url.rstrip("/")


def _given_key(name: str, run: ModelRun) -> str | None:
    """The key from the environment variable that the recipe names; None when it names none."""
    variable = run.api_key_env
    if variable is None:
        return None
    where = f"run.models.{name}.api_key_env"
    key = os.environ.get(variable, "").strip()
    if not key:
        # A user who put the key itself here must not find it in a log.
        shown = variable if re.fullmatch(r"[A-Z][A-Z0-9_]*", variable) else "that is named there"
        raise fail(
            RecipeError,
            f"{where}: the environment variable {shown} is not set, or empty",
            allowed="the name of an environment variable that holds the key",
            do=f"export {shown}=… and run again" if shown == variable else "give a name such as MODEL_API_KEY",
        )
    if not re.fullmatch(r"[!-~]+", key):
        raise fail(RecipeError, f"{where}: the value of {variable} holds characters that no API key has")
    return key


def _check_answers(name: str, base_url: str, key: str | None, run: ModelRun) -> None:
    """GET {base_url}/models: a right answer, or the error that says what is wrong."""
    url = f"{base_url}/models"
    problem = ""
    for tried in range(_TRIES):
        if tried:
            time.sleep(_FIRST_PAUSE_SECONDS * 2 ** (tried - 1))
        try:
            status, body = _get(url, key)
        except (OSError, HTTPException) as error:
            problem = str(getattr(error, "reason", error)) or type(error).__name__
            continue
        if status == 200:
            if _is_json_object(body):
                return
            raise _wrong(name, url, "it answers, but not as OpenAI's API does")
        problem = f"HTTP {status}"
        if status < 500 and status not in (408, 425, 429):
            raise _refused(name, url, status, run)
    raise fail(
        EndpointError,
        f"model {name!r}: nobody answers at {url} ({_TRIES} tries; the last one: {problem})",
        do=f"start that server or correct run.models.{name}.base_url, then run the same command again",
    )


def _refused(name: str, url: str, status: int, run: ModelRun) -> SynthError:
    if status in (401, 403):
        key = f"the key in {run.api_key_env}" if run.api_key_env else "a request without a key"
        return fail(
            RecipeError,
            f"model {name!r}: {url} refuses {key} (HTTP {status})",
            do=f"name the environment variable of the right key in run.models.{name}.api_key_env, or correct base_url",
        )
    if status == 404:
        return _wrong(name, url, "there is no such page (HTTP 404)")
    if 300 <= status < 400:
        return _wrong(name, url, f"it sends us elsewhere (HTTP {status}), where a key must not follow")
    return _wrong(name, url, f"it refuses the request (HTTP {status})")


def _wrong(name: str, url: str, what: str) -> SynthError:
    return fail(
        RecipeError,
        f"run.models.{name}.base_url: wrong URL: {what}",
        given=url,
        allowed="the URL under which the server has /models and /chat/completions; it mostly ends in /v1",
    )


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the key to another host."""

    def redirect_request(self, *_: Any) -> None:
        return None


# Without proxies, as the client that sends the asks.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirects())


def _get(url: str, key: str | None) -> tuple[int, bytes]:
    """Status and body; OSError or HTTPException when there is no answer."""
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {key}"} if key else {})
    try:
        with _OPENER.open(request, timeout=_ANSWER_SECONDS) as response:
            return response.status, response.read(_BODY_BYTES)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, b""


def _is_json_object(body: bytes) -> bool:
    try:
        return isinstance(orjson.loads(body), dict)
    except orjson.JSONDecodeError:
        return False


# Servers of our own.


def _own(name: str, config: ModelConfig, run: ModelRun, folder: Path, arguments: list[str]) -> Endpoint:
    """Start one of our own programs, which say in a ready file when and where they answer."""
    ready, key_file = folder / "ready.json", folder / "key"
    key = _given_key(name, run) or secrets.token_hex(16)
    ready.unlink(missing_ok=True)
    key_file.unlink(missing_ok=True)
    key_file.touch(mode=0o600)
    key_file.write_text(key)
    argv = [sys.executable, "-P", "-m", *arguments, "--port", str(run.port)]
    argv += ["--ready-file", str(ready), "--api-key-file", str(key_file)]

    def answer() -> dict[str, str] | None:
        return dict(orjson.loads(ready.read_bytes())) if ready.exists() else None

    begin, started_at = time.monotonic(), datetime.now(UTC)
    try:
        child, said = _launch(name, run, argv, _environment(), folder / "server.log", key, answer)
    finally:
        key_file.unlink(missing_ok=True)
    return Endpoint(
        name=name,
        base_url=said["base_url"],
        model=_sent_name(config),
        api_key=key,
        identity=identity(config),
        engine_version=said["engine_version"],
        started_at=started_at,
        loading_seconds=time.monotonic() - begin,
        child=child,
        gpus=run.gpus,
    )


def _llama_arguments(name: str, config: ModelConfig, run: ModelRun) -> list[str]:
    path = weights.locate(str(config.weights))
    metadata = read_metadata(path)
    trained = metadata.get(f"{metadata.get('general.architecture')}.context_length", config.context_tokens)
    if config.context_tokens > trained:
        raise fail(
            RecipeError,
            f"models.{name}.context_tokens: more than the model was trained for",
            given=config.context_tokens,
            allowed=f"at most {trained}",
        )
    return [
        "synth.engine.llama_child",
        *("--weights", str(path.absolute())),
        *("--slots", str(min(run.in_flight, _LLAMA_SLOTS_MAX))),
        *("--context-tokens", str(config.context_tokens)),
        *("--threads", str(run.threads or _cores())),
    ]


def _scripted_arguments(config: ModelConfig, run: ModelRun) -> list[str]:
    _script_identity(config.script)
    return ["synth.engine.scripted", "--host", _LOOPBACK, "--script", config.script, *run.args]


def _vllm(name: str, config: ModelConfig, run: ModelRun, folder: Path) -> Endpoint:
    if importlib.util.find_spec("vllm") is None:
        raise fail(
            RecipeError,
            f"models.{name}.backend: vllm is not installed",
            do="pip install 'synth[vllm]', or start a server elsewhere and give run.models." + name + ".base_url",
        )
    if any(argument.split("=")[0] == "--api-key" for argument in run.args):
        raise fail(
            RecipeError,
            f"run.models.{name}.args: a key on a command line can be read by everybody on the machine",
            do=f"leave it out (one is made up), or name its environment variable in run.models.{name}.api_key_env",
        )
    key = _given_key(name, run) or secrets.token_hex(16)
    port = run.port or _free_port()
    root = f"http://{_LOOPBACK}:{port}"
    argv = [sys.executable, "-P", "-m", "vllm.entrypoints.openai.api_server", "--host", _LOOPBACK, "--port", str(port)]
    argv += ["--model", str(config.weights), "--revision", str(config.revision)]
    argv += ["--max-model-len", str(config.context_tokens), *run.args]
    env = {**_environment(), "VLLM_API_KEY": key, "DO_NOT_TRACK": "1", "VLLM_NO_USAGE_STATS": "1"}
    begin, started_at = time.monotonic(), datetime.now(UTC)
    child, version = _launch(name, run, argv, env, folder / "server.log", key, lambda: _vllm_version(root))
    return Endpoint(
        name=name,
        base_url=f"{root}/v1",
        model=str(config.weights),
        api_key=key,
        identity=identity(config),
        engine_version=f"vllm {version}",
        started_at=started_at,
        loading_seconds=time.monotonic() - begin,
        child=child,
        gpus=run.gpus,
    )


def _vllm_version(root: str) -> str | None:
    """The version of a vLLM server, None while it does not answer."""
    try:
        if _get(f"{root}/health", None)[0] != 200:
            return None
        status, body = _get(f"{root}/version", None)
    except (OSError, HTTPException):
        return None
    return str(orjson.loads(body)["version"]) if status == 200 else "unknown"


def _launch(
    name: str,
    run: ModelRun,
    argv: list[str],
    env: dict[str, str],
    log: Path,
    key: str,
    answer: Callable[[], AnswerT | None],
) -> tuple[Child, AnswerT]:
    """Start the child and wait until `answer` gives something. A child that does not come up is stopped again."""
    child = Child.start(argv, log, env)
    try:
        deadline = time.monotonic() + run.start_timeout_seconds
        while (found := answer()) is None:
            if not child.alive():
                raise _not_up(name, child, key, f"ended while it started (exit code {child.exit_code()})", None)
            if time.monotonic() > deadline:
                what = f"did not answer within {run.start_timeout_seconds:g} s"
                raise _not_up(name, child, key, what, f"raise run.models.{name}.start_timeout_seconds")
            time.sleep(_LOOK_SECONDS)
    except BaseException:
        child.stop()
        raise
    return child, found


def _not_up(name: str, child: Child, key: str, what: str, cure: str | None) -> SynthError:
    words = [line.replace(key, "(key)") for line in child.last_lines(200)]
    cause, known_cure = _cause(name, "\n".join(words), child.exit_code())
    said = "".join(f"\n  | {line[:300]}" for line in words[-12:])
    return fail(
        EndpointError,
        f"the server of model {name!r} {what}{f': {cause}' if cause else ''}{said}",
        do=f"{known_cure or cure or 'read the log'}; the log is {child.log}",
    )


def _cause(name: str, words: str, exit_code: int | None) -> tuple[str | None, str | None]:
    """The likely cause of a failed start and its cure, from what the server wrote and how it ended."""
    for pattern, cause, cure in _CAUSES:
        if re.search(pattern, words, re.IGNORECASE):
            return cause, cure.format(name=name)
    if exit_code == 137:
        return "it was killed, which the system does when memory runs out", _CAUSES[1][2].format(name=name)
    return None, None


def _environment() -> dict[str, str]:
    """Our environment, in which children find this very package, whatever the current folder is."""
    here = str(Path(synth.__file__).parent.parent)
    inherited = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": f"{here}{os.pathsep}{inherited}" if inherited else here}


def _cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _refuse_taken_port(name: str, port: int) -> None:
    if port == 0:
        return
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: a port just left is free
        try:
            probe.bind((_LOOPBACK, port))
        except OSError as error:
            taken = error.errno == errno.EADDRINUSE
            why = "is taken by another program" if taken else f"cannot be used: {error.strerror}"
            raise fail(
                RecipeError,
                f"run.models.{name}.port: port {port} {why}",
                given=port,
                allowed="a free port, or 0 for any free one",
            ) from None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_LOOPBACK, 0))
        return int(probe.getsockname()[1])
