"""`synth gc`: list what no release and no run needs; with --yes remove it."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

import orjson
from rich.table import Table

from flows.commands.home import existing, home_of
from flows.display import console
from flows.gc import Survey, survey, sweep
from synth.audit.catalog import build_catalog
from synth.errors import UserError, fail
from synth.store import Store


def main(options: argparse.Namespace) -> int:
    """Look, and with --yes remove. Exit codes: 0 done, 2 wrong input."""
    store = existing(home_of(options))
    drop = _numbers(options.drop_releases_before)
    if not options.yes:
        _tell(store, survey(store, options.answers, drop), options, "nothing was removed: to do it, give --yes")
        return 0
    with store.lock("synth gc"):
        found = survey(store, options.answers, drop)
        sweep(store, found.garbage, lambda: build_catalog(store.root))
    _tell(store, found, options, "removed")
    return 0


def _numbers(given: list[str]) -> dict[str, int]:
    found = {}
    for one in given:
        name, _, number = one.rpartition(":")
        if not name or not number.isdecimal():
            what = "--drop-releases-before wants a recipe's name and a release's number"
            raise fail(UserError, what, given=one, allowed="NAME:N, for example quickstart:3")
        found[name] = int(number)
    return found


def _value(store: Store, found: Survey, removed: bool) -> dict[str, Any]:
    return {
        "home": store.name,
        "removed": removed,
        "bytes": sum(one.size_bytes for one in found.garbage),
        "groups": [
            {"what": what, "why": why, "count": count, "bytes": size}
            for (what, why), (count, size) in _groups(found).items()
        ],
        "kept": [{"why": why, "objects": count, "bytes": size} for why, (count, size) in sorted(found.kept.items())],
        "paths": [one.path for one in found.garbage],
    }


def _groups(found: Survey) -> Mapping[tuple[str, str], tuple[int, int]]:
    groups: dict[tuple[str, str], tuple[int, int]] = {}
    for one in found.garbage:
        count, size = groups.get((one.what, one.why), (0, 0))
        groups[one.what, one.why] = (count + 1, size + one.size_bytes)
    return groups


def _tell(store: Store, found: Survey, options: argparse.Namespace, end: str) -> None:
    if options.json:
        print(orjson.dumps(_value(store, found, options.yes), option=orjson.OPT_INDENT_2).decode())
        return
    if found.garbage:
        table = Table("what", "number", "MB", "why", box=None, pad_edge=False)
        for (what, why), (count, size) in _groups(found).items():
            table.add_row(what, f"{count:,}", f"{size / 1e6:,.2f}", why)
        console().print(table)
        total = sum(one.size_bytes for one in found.garbage)
        print(f"\n{total / 1e6:,.2f} MB in {len(found.garbage):,} places of {store.name}: {end}")
    else:
        print(f"nothing in {store.name} is without use")
    for why, (count, size) in sorted(found.kept.items()):
        print(f"  kept: {count:,} objects, {size / 1e6:,.2f} MB: {why}")
