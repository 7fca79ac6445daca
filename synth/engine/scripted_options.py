"""The command line of the scripted server; what the options mean for a caller stands in synth.engine.scripted."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import NormalDist
from typing import Any, get_args

import orjson

from synth.digest import hash_share
from synth.engine.scripted_chat import SCRIPTS, BudgetRule, ReasoningField
from synth.engine.scripted_faults import Shares, parse_faults
from synth.errors import UserError, fail


@dataclass(frozen=True)
class Options:
    """How one server behaves. Names and units are those of the command line; `faults` is --fail, `canned` --answers."""

    script: str = "plain"
    reasoning_field: ReasoningField = "reasoning"
    thinking_budget: BudgetRule = "ignore"
    api_key: str | None = None
    latency_seconds: float = 0.0
    latency_sigma: float = 0.0
    tokens_per_second: float = 0.0
    faults: Shares = ()
    fail_seed: int = 0
    fail_first: int = 0
    retry_after_seconds: int = 0
    drip_seconds: float = 30.0
    freeze_after: int | None = None
    die_after: int | None = None
    faults_once: Path | None = None
    other_model_after_restart: Path | None = None
    leak_bytes_per_ask: int = 0
    request_log: Path | None = None
    canned: Mapping[str, Any] = field(default_factory=dict)


def latency_seconds(options: Options, asked: str, tokens: int) -> float:
    """How long the answer of `tokens` tokens to the request with the digest `asked` takes, in seconds.

    Lognormal with the mean and sigma asked for, drawn by the digest alone, plus the tokens at their rate: who knows the
    request's body and the reply's `usage.completion_tokens` can recompute it as
    `latency_seconds(options, synth.digest.digest(body), completion_tokens)`.
    """
    seconds = options.latency_seconds
    if seconds and options.latency_sigma:
        normal = NormalDist().inv_cdf(max(hash_share("latency", asked), 2**-64))
        seconds *= math.exp(options.latency_sigma * normal - options.latency_sigma**2 / 2)
    return seconds + (tokens / options.tokens_per_second if options.tokens_per_second else 0.0)


def parser(description: str) -> argparse.ArgumentParser:
    """The options of the command line."""
    made = argparse.ArgumentParser(prog="python -m synth.engine.scripted", description=description)
    add = made.add_argument
    add("--host", default="127.0.0.1")
    add("--port", type=int, default=0, help="0 = any free one")
    add("--ready-file", type=Path, help="gets the base URL and the version as JSON once the server listens")
    add("--api-key-file", type=Path, help="requests must carry the key in this file")
    add("--script", choices=SCRIPTS, default=SCRIPTS[0])
    add("--reasoning-field", choices=get_args(ReasoningField), default="reasoning", help="where `thinker` puts it")
    add("--thinking-budget", choices=get_args(BudgetRule), default="ignore", help="for thinking_token_budget")
    add("--latency-seconds", type=float, default=0.0, help="mean time of an answer")
    add("--latency-sigma", type=float, default=0.0, help="sigma of its lognormal distribution; 0 = always the mean")
    add("--tokens-per-second", type=float, default=0.0, help="further time per generated token; 0 = none")
    add("--request-log", type=Path, help="JSON lines are appended to this file")
    add("--answers", type=Path, help="JSON object: a piece of text -> the answer to asks that contain it")
    _add_faults(made.add_argument_group("faults").add_argument)
    return made


def _add_faults(add: Callable[..., Any]) -> None:
    add("--fail", default="", metavar="NAME:SHARE,…", help="shares of the tries that get a fault")
    add("--fail-seed", type=int, default=0, metavar="N", help="changes which tries --fail hits")
    add("--fail-first", type=int, default=0, metavar="N", help="the first N chat requests get 503")
    add("--retry-after-seconds", type=int, default=0, help="Retry-After of 429 and 503")
    add("--drip-seconds", type=float, default=30.0, help="time of the fault `drip`")
    add("--freeze-after", type=int, metavar="N", help="after N answers chat requests are never answered again")
    add("--die-after", type=int, metavar="N", help="SIGKILL to itself after N answers")
    add("--faults-once", type=Path, metavar="FILE", help="freeze or die only while FILE does not exist, and create it")
    add("--other-model-after-restart", type=Path, metavar="FILE", help="from the second start with FILE on")
    add("--leak-bytes-per-ask", type=int, default=0, help="memory kept for ever per chat request")


def options_of(given: argparse.Namespace) -> Options:
    """Checked options. UserError says what is wrong with them."""
    key = _read(given.api_key_file, "the API key", str.strip) if given.api_key_file else None
    if key == "":
        raise fail(UserError, "the API key file is empty", given=given.api_key_file)
    canned = _read(given.answers, "the answers", orjson.loads) if given.answers else {}
    if not isinstance(canned, dict):
        raise fail(UserError, "the answers must be one JSON object", given=given.answers)
    _check_numbers(vars(given))
    _check_folder(given.faults_once)
    _check_folder(given.other_model_after_restart)
    elsewhere: dict[str, Any] = {"api_key": key, "canned": canned, "faults": parse_faults(given.fail)}
    same = [name for name in Options.__dataclass_fields__ if name not in elsewhere]
    return Options(**elsewhere, **{name: getattr(given, name) for name in same})


def _check_numbers(given: Mapping[str, Any]) -> None:
    signed = ("port", "fail_seed")
    numbers = {name: value for name, value in given.items() if isinstance(value, int | float) and name not in signed}
    negative = [name for name, value in numbers.items() if value < 0]
    if negative:
        raise fail(UserError, f"{', '.join(negative)} must not be negative")
    if 0 in (given["freeze_after"], given["die_after"]):
        raise fail(UserError, "--freeze-after and --die-after count answers", given=0, allowed="1 or more")


def _check_folder(file: Path | None) -> None:
    if file is not None and not file.parent.is_dir():
        raise fail(UserError, "there is no such folder", given=file.parent, do="make it, or correct the file's path")


def _read(path: Path, what: str, parse: Callable[[str], Any]) -> Any:
    try:
        return parse(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise fail(UserError, f"{what} cannot be read: {error}", given=path) from None
