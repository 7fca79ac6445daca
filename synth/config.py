"""The base of every configuration: frozen, unknown keys refused, a sentence, unit and source per field.

Each field shapes content (it is hashed into the keys of what it shapes) or execution (it stands in `[run]` and is never
hashed). Errors name the field as it stands in the recipe, what was given, what is allowed, and the nearest known key.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from synth.config_errors import Places, explain, nearest
from synth.errors import RecipeError, fail

__all__ = ["Config", "Places", "assign", "entry_names", "load_toml", "nearest", "parse", "position_of"]

ConfigT = TypeVar("ConfigT", bound="Config")


class Config(BaseModel):
    """Base of all configurations. Declare fields with pydantic's `Field(default, description="sentence, unit, source")`."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, validate_default=True)

    def content(self) -> dict[str, Any]:
        """The fields as a JSON value, defaults merged: what goes into a key. Override it to leave a field out."""
        return {name: _content(getattr(self, name)) for name in type(self).model_fields}

    def check(self) -> None:
        """Look at what the fields name outside the recipe, such as files, before anything starts. Override it to refuse."""


def _content(value: Any) -> Any:
    if isinstance(value, Config):
        return value.content()
    if isinstance(value, Mapping):
        return {name: _content(inner) for name, inner in value.items()}
    return [_content(inner) for inner in value] if isinstance(value, list | tuple) else value


def parse(
    kind: type[ConfigT],
    value: Mapping[str, Any],
    where: str = "",
    elsewhere: Callable[[], Places] | None = None,
) -> ConfigT:
    """Validate `value` as `kind`. For messages: `where` is the recipe's table it stands in, `elsewhere` tells where other
    keys stand, for one that was written into the wrong table."""
    try:
        return kind.model_validate(_tuples(value))
    except ValidationError as error:
        raise explain(kind, error.errors(), where, value, elsewhere) from None


def _tuples(value: Any) -> Any:
    """Lists as tuples, all the way down: configs are frozen, TOML and JSON know lists only."""
    if isinstance(value, Mapping):
        return {name: _tuples(inner) for name, inner in value.items()}
    return tuple(_tuples(inner) for inner in value) if isinstance(value, list | tuple) else value


def load_toml(path: Path) -> dict[str, Any]:
    """A TOML file as a dict. RecipeError: it is not there, or not TOML; with the line that is wrong."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        return tomllib.loads(text)
    except OSError as error:
        what = f"no such recipe: {path}" if not path.exists() else f"{path} cannot be read: {error.strerror}"
        raise fail(RecipeError, what, do="give the path of a .toml file") from None
    except UnicodeDecodeError as error:
        raise fail(RecipeError, f"{path} is not valid TOML: {error}", do="save it as UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise fail(RecipeError, f"{path} is not valid TOML: {error}", given=_line_of(str(error), text)) from None


def _line_of(message: str, text: str) -> str | None:
    """The line that the message names, with its number; of the end of the text, the last one that says something."""
    lines = text.splitlines()
    found = re.search(r"at line (\d+)", message)
    number = int(found[1]) if found else max((at for at, line in enumerate(lines, 1) if line.strip()), default=0)
    return f"line {number}: {lines[number - 1].strip()}" if 0 < number <= len(lines) else None


def assign(target: dict[str, Any], assignment: str) -> tuple[tuple[str | int, ...], Any]:
    """Apply `--set a.b=c` (c is a TOML value; a bare word is a text). The place that was written, and what."""
    dotted, equals, raw = assignment.partition("=")
    if not equals or not dotted.strip():
        raise fail(RecipeError, "--set wants key.path=value", given=assignment, do="for example --set run.workers=2")
    try:
        value = tomllib.loads(f"x = {raw}")["x"]
    except tomllib.TOMLDecodeError:
        value = raw.strip()
    *parents, last = dotted.strip().split(".")
    at: Any = target
    place: list[str | int] = []
    for name in parents:
        key, at = _child(at, name, assignment)
        place.append(key)
    target_key: str | int = _position(at, last, assignment) if isinstance(at, list) else last
    at[target_key] = value
    return (*place, target_key), value


def _child(at: Any, name: str, assignment: str) -> tuple[str | int, Any]:
    key: str | int = name
    if isinstance(at, list):
        key = _position(at, name, assignment)
        child = at[key]
    else:
        child = at.setdefault(name, {})
    if not isinstance(child, dict | list):
        raise fail(RecipeError, f"--set {assignment}: {name!r} is a value, not a table")
    return key, child


def _position(items: list[Any], name: str, assignment: str) -> int:
    found = position_of(items, name)
    if found is not None:
        return found
    known = entry_names(items)
    raise fail(
        RecipeError,
        f"--set {assignment}: no entry {name!r}{nearest(name, known)}",
        allowed=", ".join(known) or "a number",
    )


_ENTRY_KEYS = ("name", "id", "column")


def position_of(items: list[Any], name: str) -> int | None:
    """The place in a list of tables: by the table's `name`, `id` or `column`, or by number. None: there is no such entry."""
    for position, item in enumerate(items):
        if isinstance(item, dict) and name in [item.get(key) for key in _ENTRY_KEYS]:
            return position
    return int(name) if name.isdigit() and int(name) < len(items) else None


def entry_names(items: list[Any]) -> list[str]:
    """The words by which the tables of a list are found."""
    named = [
        next((item[key] for key in _ENTRY_KEYS if item.get(key)), None) for item in items if isinstance(item, dict)
    ]
    return [str(name) for name in named if name is not None]
