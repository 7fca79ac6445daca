"""The base of every configuration: frozen, unknown keys refused, a sentence, unit and source per field.

Each field shapes content (it is hashed into the keys of what it shapes) or execution (it stands in `[run]` and is never
hashed). Errors name the field as it stands in the recipe, what was given, what is allowed, and the nearest known key.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from synth.errors import RecipeError, SynthError, fail

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


def nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` or nothing."""
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean {matches[0]!r}?" if matches else ""


def parse(kind: type[ConfigT], value: Mapping[str, Any], where: str = "") -> ConfigT:
    """Validate `value` as `kind`. `where` is the recipe's table it stands in, for messages."""
    try:
        return kind.model_validate(_tuples(value))
    except ValidationError as error:
        raise explain(kind, error.errors(), where) from None


def _tuples(value: Any) -> Any:
    """Lists as tuples, all the way down: configs are frozen, TOML and JSON know lists only."""
    if isinstance(value, Mapping):
        return {name: _tuples(inner) for name, inner in value.items()}
    return tuple(_tuples(inner) for inner in value) if isinstance(value, list | tuple) else value


def explain(kind: type[BaseModel], errors: Sequence[ErrorDetails], where: str) -> SynthError:
    """A pydantic report as one message in the user's words."""
    lines = []
    for one in errors:
        field = ".".join(str(part) for part in (*filter(None, [where]), *one["loc"]))
        hint = ""
        if one["type"] == "extra_forbidden":
            known = _fields_at(kind, one["loc"][:-1])
            hint = nearest(str(one["loc"][-1]), known) or (f"; known keys: {', '.join(known)}" if known else "")
            lines.append(f"{field}: unknown key{hint}")
        elif one["type"] == "missing":
            lines.append(f"{field}: missing{_describe(kind, one['loc'])}")
        else:
            message = one["msg"].removeprefix("Value error, ")
            lines.append(f"{field}: given {one['input']!r}; allowed: {message[0].lower()}{message[1:]}")
    return fail(RecipeError, "\n".join(lines))


def _fields_at(kind: type[BaseModel], location: Sequence[int | str]) -> list[str]:
    """Names of the fields of the model found at `location` under `kind`; empty when there is no single model there."""
    current: Any = kind
    for part in location:
        if isinstance(part, int):
            continue
        fields = getattr(current, "model_fields", {})
        if part in fields:
            current = _model_in(fields[part].annotation)
    return sorted(getattr(current, "model_fields", {}))


def _model_in(annotation: Any) -> Any:
    """The one model class inside an annotation such as `tuple[Source, ...]`, or None."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = [_model_in(argument) for argument in getattr(annotation, "__args__", ())]
    models = [model for model in found if model is not None]
    return models[0] if len(models) == 1 else None


def _describe(kind: type[BaseModel], location: Sequence[int | str]) -> str:
    """` (the field's sentence)` for a missing field, or nothing."""
    parent: Any = kind
    names = [part for part in location if isinstance(part, str)]
    for name in names[:-1]:
        fields = getattr(parent, "model_fields", {})
        parent = _model_in(fields[name].annotation) if name in fields else None
    fields = getattr(parent, "model_fields", {})
    described = fields[names[-1]].description if names and names[-1] in fields else None
    return f" ({described})" if described else ""


def load_toml(path: Path, assignments: Sequence[str] = ()) -> dict[str, Any]:
    """A TOML file as a dict, with `--set a.b=c` assignments applied (c is a TOML value; a bare word is a string)."""
    try:
        value = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise fail(RecipeError, f"no such recipe: {path}", do="give the path of a .toml file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise fail(RecipeError, f"{path} is not valid TOML: {error}") from None
    for assignment in assignments:
        _assign(value, assignment)
    return value


def _assign(target: dict[str, Any], assignment: str) -> None:
    dotted, equals, raw = assignment.partition("=")
    if not equals or not dotted:
        raise fail(RecipeError, "--set wants key.path=value", given=assignment, do="for example --set run.workers=2")
    try:
        value = tomllib.loads(f"x = {raw}")["x"]
    except tomllib.TOMLDecodeError:
        value = raw
    *parents, last = dotted.split(".")
    at: Any = target
    for name in parents:
        at = _child(at, name, assignment)
    if isinstance(at, list):
        at[_position(at, last, assignment)] = value
    else:
        at[last] = value


def _child(at: Any, name: str, assignment: str) -> Any:
    if isinstance(at, list):
        return at[_position(at, name, assignment)]
    child = at.setdefault(name, {})
    if not isinstance(child, dict | list):
        raise fail(RecipeError, f"--set {assignment}: {name!r} is a value, not a table")
    return child


def _position(items: list[Any], name: str, assignment: str) -> int:
    """The place in a list of tables: by number, or by the table's `name`, `id` or `column`."""
    for position, item in enumerate(items):
        if isinstance(item, dict) and name in (item.get("name"), item.get("id"), item.get("column")):
            return position
    if name.isdigit() and int(name) < len(items):
        return int(name)
    known = [str(item.get("name") or item.get("id") or item.get("column")) for item in items if isinstance(item, dict)]
    raise fail(
        RecipeError,
        f"--set {assignment}: no entry {name!r}{nearest(name, known)}",
        allowed=", ".join(known) or "a number",
    )
