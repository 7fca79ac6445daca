"""The last words of a run: what is done, what was paid, what is left, and the command that goes on with it."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from flows.display import clock, paid_text, usd_text

_SAID_LOGS = 4


def command_of(options: argparse.Namespace, command: str = "run") -> str:
    """The command that was given, to be given again."""
    words = ["synth", command, str(options.recipe)]
    if options.home:
        words += ["--home", str(options.home)]
    for assignment in options.assignments:
        words += ["--set", assignment]
    if command == "run":
        words += ["--no-prefect"] if options.no_prefect else []
    return shlex.join(words)


def closing_lines(value: Mapping[str, Any], outcome: str, again: str, ended: str | None = None) -> list[str]:
    """For a run that did not come to its end. `value` is its progress, `ended` the budget that ended it."""
    opening = {
        "interrupted": "stopped, as told",
        "budget_reached": f"{ended}",
        "gate_failed": "a check failed: nothing was released, and all that was made is kept",
        "failed": "stopped by an error",
        "killed": "its process is gone: killed, or the machine went down",
    }[outcome]
    lines = [f"{opening} (after {clock(value['elapsed_seconds'])})", _done(value), _paid(value)]
    if outcome != "gate_failed":
        lines += [_left(value)]
    if outcome == "failed" and (logs := _logs(value["endpoints"])):
        lines.append(f"  logs   {logs}")
    return [*(line for line in lines if line), f"To go on: {again}"]


def _done(value: Mapping[str, Any]) -> str:
    partitions, documents = value["partitions"], value["documents"]
    kept = f" ({value['kept_share']:.0%} of those judged are kept)" if value["kept_share"] is not None else ""
    return (
        f"  done   {partitions['done']:,} of {partitions['total']:,} partitions, "
        f"{documents['done']:,} of ~{documents['expected']:,} documents{kept}; every answer is kept and paid once"
    )


def _paid(value: Mapping[str, Any]) -> str:
    tokens = f"{value['prompt_tokens']:,} tokens read, {value['completion_tokens']:,} written"
    lost = value["unanswered"] + value["in_flight"]
    late = f"; {lost:,} more were in flight: their answers are lost, and may be paid" if lost else ""
    return f"  paid   {value['asks']:,} answers, {tokens}: {paid_text(value)}{late}"


def _left(value: Mapping[str, Any]) -> str:
    documents = value["documents"]["expected"] - value["documents"]["done"]
    if documents <= 0:
        return ""
    parts = [f"~{documents:,} documents"]
    if value["seconds_left"]:
        parts.append(f"~{clock(value['seconds_left'])} at this speed")
    if value["usd"] is not None and value["usd_expected"]:
        parts.append(f"~{usd_text(max(0.0, value['usd_expected'] - value['usd']))} more")
    return f"  left   {', '.join(parts)}"


def _logs(endpoints: Sequence[Mapping[str, Any]]) -> str:
    found = [one["log"] for one in endpoints if one["log"]]
    more = f" and {len(found) - _SAID_LOGS} more" if len(found) > _SAID_LOGS else ""
    return ", ".join(found[:_SAID_LOGS]) + more
