"""A recipe that was made of several files, shown as one: as TOML that is itself a recipe, each value with the file it is from."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import orjson

from flows.recipe import Recipe
from flows.recipe_files import Merged, Place


def chain(merged: Merged) -> str:
    """`mine.toml, which extends base.toml`; the name alone where it extends nothing."""
    return ", which extends ".join(file.shown for file in merged.files)


def merged_json(recipe: Recipe) -> dict[str, Any]:
    """Of which files the recipe is, and all that they say; defaults are left out."""
    merged = recipe.merged
    assert merged is not None, "it was read from a file"
    return {"extends": [file.shown for file in merged.files], "merged": merged.value}


def merged_toml(merged: Merged) -> str:
    """All that the files say, as one recipe; values from a base, or from --set, say so. Its paths are as they are read from
    the folder of the first file."""
    lines = [f"# {chain(merged)}"]
    lines += _table(merged, merged.value, (), "")
    return "\n".join(lines) + "\n"


def _table(merged: Merged, table: dict[str, Any], at: Place, prefix: str) -> Iterator[str]:
    """The values of a table, then its tables."""
    tables = {name: value for name, value in table.items() if _is_table(value) or _is_tables(value)}
    for name, value in table.items():
        if name not in tables:
            yield f"{_key(name)} = {_value(value)}{_said(merged, (*at, name))}"
    for name, value in tables.items():
        dotted, place = f"{prefix}{_key(name)}", (*at, name)
        if _is_table(value):
            if not value or any(not _is_table(one) and not _is_tables(one) for one in value.values()):
                yield f"\n[{dotted}]{'' if value else _said(merged, place)}"
            yield from _table(merged, value, place, f"{dotted}.")
            continue
        for position, entry in enumerate(value):
            yield f"\n[[{dotted}]]"
            yield from _table(merged, entry, (*place, position), f"{dotted}.")


def _said(merged: Merged, place: Place) -> str:
    label = merged.said_in.get(place)
    return f" # {label}" if label and label != merged.files[0].shown else ""


def _is_table(value: object) -> bool:
    return isinstance(value, dict)


def _is_tables(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, dict) for one in value)


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else _text(name)


def _value(value: Any) -> str:
    """A value that is no table, or an inline one inside a list."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, dict):
        return (
            "{ " + ", ".join(f"{_key(name)} = {_value(one)}" for name, one in value.items()) + " }" if value else "{}"
        )
    return str(value)


def _text(value: str) -> str:
    """JSON's quoting is TOML's, but for DEL, which TOML wants escaped."""
    return orjson.dumps(value).decode().replace("\x7f", "\\u007f")
