"""vLLM as a child: its command line from the recipe, which versions we start, and one compilation at a time."""

from __future__ import annotations

import fcntl
import importlib.metadata
import importlib.util
import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path

import orjson

from synth.digest import digest, short
from synth.engine.launch import LOOPBACK
from synth.engine.memory import check_memory, check_ranks
from synth.engine.outside import get
from synth.engine.roles import ModelConfig, ModelRun
from synth.errors import EndpointError, RecipeError, fail

_OLDEST = (0, 14)
_LOOK_SECONDS = 0.1
_NOT_COMPILED_FOR = ("VLLM_API_KEY", "VLLM_CACHE_ROOT", "VLLM_HOST_IP", "VLLM_PORT")

# vLLM's options for which the recipe has a field: two places that disagree would be resolved silently.
_FIELDS = {
    "--model": "models.{name}.weights",
    "--revision": "models.{name}.revision",
    "--tokenizer-revision": "models.{name}.revision",
    "--dtype": "models.{name}.dtype",
    "--max-model-len": "models.{name}.context_tokens",
    "--trust-remote-code": "models.{name}.trust_remote_code",
    "--served-model-name": "models.{name}.weights",
    "--port": "run.models.{name}.port",
    "--tensor-parallel-size": "run.models.{name}.tensor_parallel",
    "-tp": "run.models.{name}.tensor_parallel",
    "--data-parallel-size": "run.models.{name}.data_parallel",
    "-dp": "run.models.{name}.data_parallel",
    "--max-num-seqs": "run.models.{name}.max_num_seqs",
    "--max-num-batched-tokens": "run.models.{name}.max_num_batched_tokens",
    "--gpu-memory-utilization": "run.models.{name}.gpu_memory_utilization",
    "--reasoning-parser": "run.models.{name}.reasoning_parser",
    "--speculative-config": "run.models.{name}.speculative",
}
_ABBREVIABLE = ("--trust-remote-code", "--api-key")  # vLLM takes shortened names too


def check(name: str, config: ModelConfig, run: ModelRun) -> None:
    """Everything that can be wrong before vLLM starts: RecipeError in the user's words."""
    _refuse_version(name, installed_version())
    for argument in run.args:
        _refuse_argument(name, argument)
    check_ranks(name, run)
    check_memory(name, config, run)


def installed_version() -> str | None:
    """Version of the vLLM that this Python imports, whatever its wheel is called; None: there is none."""
    found = importlib.util.find_spec("vllm")
    if found is None or found.origin is None:  # none, or just a folder of that name
        return None
    wheels = importlib.metadata.packages_distributions().get("vllm", ["vllm"])
    try:
        return importlib.metadata.version(wheels[0])
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def _refuse_version(name: str, version: str | None) -> None:
    if version is None:
        raise fail(
            RecipeError,
            f"models.{name}.backend: vllm is not installed",
            do=f"pip install 'synth[vllm]', or start a server elsewhere and give run.models.{name}.base_url",
        )
    found = re.match(r"(\d+)\.(\d+)", version)
    if found is None or (int(found[1]), int(found[2])) < _OLDEST:
        raise fail(
            RecipeError,
            f"models.{name}.backend: before 0.14, vLLM runs Python code from a model's folder without being asked to "
            "(CVE-2026-22807)",
            given=f"vllm {version}",
            allowed="vllm 0.14 or newer",
            do="pip install --upgrade vllm",
        )


def _refuse_argument(name: str, argument: str) -> None:
    option = argument.split("=")[0].replace("_", "-")
    full = next((known for known in _ABBREVIABLE if len(option) > 2 and known.startswith(option)), option)
    if full == "--api-key":
        raise fail(
            RecipeError,
            f"run.models.{name}.args: a key on a command line can be read by everybody on the machine",
            do=f"leave it out (one is made up), or name its environment variable in run.models.{name}.api_key_env",
        )
    if full in _FIELDS:
        field = _FIELDS[full].format(name=name)
        raise fail(RecipeError, f"run.models.{name}.args: {full} has a field of its own", do=f"give it as {field}")


def options(config: ModelConfig, run: ModelRun) -> list[str]:
    """vLLM's command line without host and port; the user's own arguments come last."""
    revision = str(config.revision)
    given: dict[str, object] = {
        "--model": config.weights,
        "--served-model-name": config.weights,
        "--generation-config": "vllm",  # what shapes answers is in the request, not in a file beside the weights
        "--revision": revision,
        "--tokenizer-revision": revision,
        "--max-model-len": config.context_tokens,
        "--dtype": config.dtype,
        "--tensor-parallel-size": run.tensor_parallel,
        "--data-parallel-size": run.data_parallel,
        "--max-num-seqs": run.max_num_seqs,
        "--max-num-batched-tokens": run.max_num_batched_tokens,
        "--gpu-memory-utilization": run.gpu_memory_utilization,
        "--reasoning-parser": run.reasoning_parser,
        "--speculative-config": orjson.dumps(run.speculative).decode() if run.speculative else None,
    }
    argv = [word for option, value in given.items() if value is not None for word in (option, str(value))]
    trusted = ["--trust-remote-code"] if config.trust_remote_code else []
    # One line per request would fill the disk in a run of a month.
    return [*argv, *trusted, "--disable-uvicorn-access-log", *run.args]


def program(port: int, given: Sequence[str]) -> list[str]:
    """The whole command line."""
    server = [sys.executable, "-P", "-m", "vllm.entrypoints.openai.api_server"]
    return [*server, "--host", LOOPBACK, "--port", str(port), *given]


def variables(key: str) -> dict[str, str]:
    """What vLLM needs in its environment: the key, and that nothing is reported to anybody."""
    return {"VLLM_API_KEY": key, "DO_NOT_TRACK": "1", "VLLM_NO_USAGE_STATS": "1"}


def answering_version(root: str) -> str | None:
    """The version of the vLLM server at this URL, None while it does not answer."""
    try:
        if get(f"{root}/health", None)[0] != 200:
            return None
        status, body = get(f"{root}/version", None)
    except (OSError, HTTPException):
        return None
    return str(orjson.loads(body)["version"]) if status == 200 else "unknown"


@contextmanager
def compiling(name: str, run: ModelRun, given: Sequence[str], env: Mapping[str, str]) -> Iterator[None]:
    """Holds the lock of vLLM's compile cache while a replica loads, unless all that it compiles already lies there.

    Replicas that compile the same model at the same time into one folder spoil each other's files, most of all on a
    shared file system. The first one's success leaves a mark; whoever waits then goes on, with the others.
    Raises EndpointError when the lock cannot be had within `run.start_timeout_seconds`.
    """
    if any(argument.replace("_", "-") == "--enforce-eager" for argument in run.args):
        yield
        return
    cache = _cache_root(env) / "torch_compile_cache"  # whoever empties vLLM's cache empties the marks too
    cache.mkdir(parents=True, exist_ok=True)
    mark = cache / f"synth-{short(_fingerprint(given, env))}.compiled"
    with (cache / "synth.lock").open("ab") as lock:
        held = _lock_unless(name, run, lock.fileno(), mark)
        yield
        if held:
            mark.touch()


def _lock_unless(name: str, run: ModelRun, lock: int, mark: Path) -> bool:
    """Wait until the lock is ours (True) or the mark is there (False). The lock goes with its file."""
    deadline = time.monotonic() + run.start_timeout_seconds
    while not mark.exists():
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise fail(
                    EndpointError,
                    f"model {name!r}: for {run.start_timeout_seconds:g} s, others have been compiling into {mark.parent}",
                    do=f"run again later, raise run.models.{name}.start_timeout_seconds, or set VLLM_CACHE_ROOT",
                ) from None
            time.sleep(_LOOK_SECONDS)
        except OSError as error:
            raise fail(
                EndpointError,
                f"model {name!r}: the file system of {mark.parent} has no locks ({error.strerror})",
                do="set VLLM_CACHE_ROOT to a folder on a local disk",
            ) from None
        else:
            return True
    return False


def _cache_root(env: Mapping[str, str]) -> Path:
    """Where vLLM keeps what it compiled, by its own rules."""
    if given := env.get("VLLM_CACHE_ROOT"):
        return Path(given).expanduser()
    return Path(env.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "vllm"


def _fingerprint(given: Sequence[str], env: Mapping[str, str]) -> str:
    """What compiled code depends on: vLLM's version, its options and switches, and the kind of GPU."""
    switches = {key: env[key] for key in sorted(env) if key.startswith("VLLM_") and key not in _NOT_COMPILED_FOR}
    return digest({"vllm": installed_version(), "options": list(given), "switches": switches, "gpus": _gpu_kinds()})


def _gpu_kinds() -> list[str]:
    """The models of the node's NVIDIA GPUs; empty where there are none."""
    kinds = set()
    for path in Path("/proc/driver/nvidia/gpus").glob("*/information"):
        kinds |= {line.split(":", 1)[1].strip() for line in path.read_text().splitlines() if line.startswith("Model:")}
    return sorted(kinds)
