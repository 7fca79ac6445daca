"""`synth status`: how the home's newest run stands, from another shell. It takes no lock and asks the run nothing."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson
from rich.table import Table

from flows import status
from flows.closing import closing_lines
from flows.commands.home import home_of
from flows.display import clock, console, progress_line, say
from synth.store import Store

_SHOWN_ENDPOINTS = 12  # the others are in --json


def main(options: argparse.Namespace) -> int:
    """Print it. Exit code 0, whatever became of the run."""
    store = Store.at(home_of(options), say)
    value = status.newest(store)
    if options.json:
        print(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())
    elif value is None:
        print(f"no run yet on the home {store.name}")
    else:
        _print(store, value)
    return 0


def _print(store: Store, value: dict[str, Any]) -> None:
    for line in _lines(store, value):
        print(line)
    if value["state"] == "running" and value["endpoints"]:
        console().print(_table(value["endpoints"]))
    for line in _logs(value):
        print(line)


def _lines(store: Store, value: Mapping[str, Any]) -> Iterator[str]:
    where = f"process {value['process']} on {value['host']}"
    since = f"since {value['started_at']}"
    said = f"as of {max(0.0, status.age_seconds(value['updated_at'])):.0f} s ago"
    head = f"{value['recipe']} on {store.name}: run {value['run']}"
    if value["state"] == "running":
        yield f"{head} goes on ({where}, {since}; {said})"
        yield f"  {progress_line(value['recipe'], value)}"
        done, total = value["partitions"]["done"], value["partitions"]["total"]
        yield f"  {done:,} of {total:,} partitions complete, {value['asks']:,} answers, {value['faults']:,} faults"
    elif value["state"] == "ended":
        yield f"{head}: {value['outcome'].replace('_', ' ')} at {value['ended_at']}, after {clock(value['elapsed_seconds'])}"
        yield from (f"  {line}" for line in value["closing"] or [f"again: {value['again']}"])
    elif value["state"] == "killed":
        yield f"{head} was killed ({where}, {since}; its last word is {said.removeprefix('as of ')})"
        yield from (f"  {line}" for line in closing_lines(value, "killed", value["again"]))
    else:
        yield f"{head} is silent ({where}, {since}): no word for {clock(status.age_seconds(value['updated_at']))}"
        yield f"  look there. Only when it is gone, go on with: {value['again']}"


def _table(endpoints: list[dict[str, Any]]) -> Table:
    """The endpoints, the slowest first, after those that do not answer."""
    table = Table("endpoint", "state", "in flight", "answers", "tokens/s", "s/answer", "silent", "starts", box=None)
    ordered = sorted(endpoints, key=lambda one: (one["state"] == "up", -(one["seconds_per_answer"] or 0.0)))
    for one in ordered[:_SHOWN_ENDPOINTS]:
        silent = one["silent_seconds"]
        table.add_row(
            one["name"],
            one["state"],
            f"{one['in_flight']}/{one['window']}",
            f"{one['answers']:,}",
            _number(one["tokens_per_second"]),
            _number(one["seconds_per_answer"]),
            "-" if silent is None else f"{silent:,.0f} s",
            str(one["starts"]),
        )
    if len(ordered) > _SHOWN_ENDPOINTS:
        table.add_row(f"… {len(ordered) - _SHOWN_ENDPOINTS} more", *[""] * 7)
    return table


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.1f}"


def _logs(value: Mapping[str, Any]) -> Iterator[str]:
    """Where the servers of our own write; the last lines of those that are not well, or of all when the run ended badly."""
    bad = value["state"] == "killed" or value["outcome"] == "failed"
    for one in [one for one in value["endpoints"] if one["log"]][:_SHOWN_ENDPOINTS]:
        yield f"log of {one['name']}: {one['log']}"
        if bad or (value["state"] == "running" and one["state"] != "up"):
            yield from (f"    {line}" for line in status.last_lines(Path(one["log"])))
