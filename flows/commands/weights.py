"""`synth weights`: model files, what is known and what is here."""

from __future__ import annotations

import argparse

import orjson
from rich.table import Table

from flows.display import console
from synth.weights import locate, status


def main(options: argparse.Namespace) -> int:
    """List the known files; with a name, fetch it."""
    if options.name:
        path = locate(options.name)
        print(orjson.dumps({"name": options.name, "path": str(path)}).decode() if options.json else path)
        return 0
    known = status()
    if options.json:
        print(orjson.dumps(known, option=orjson.OPT_INDENT_2, default=str).decode())
        return 0
    table = Table("name", "MB", "licence", "here", "what", box=None, pad_edge=False)
    for one in known:
        size = f"{one['size_bytes'] / 1e6:.1f}"
        table.add_row(one["name"], size, one["license"], str(one["path"]) if one["cached"] else "no", one["about"])
    console().print(table)
    return 0
