"""A pydantic report in the user's words: the field as it stands in the recipe, what was given, what is allowed or was meant."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from synth.errors import RecipeError, SynthError, fail

Places = Mapping[str, Sequence[str]]
"""Where keys stand in a recipe: `workers` -> ("run.workers",). Names that a recipe gives are written NAME."""

_SURE = 0.8  # so near to a sibling that it is a slip of the pen, not a key of another table
_NEAR = 0.6
_SHOWN_CHARACTERS = 200
_IS_KEY = "[key]"  # pydantic's mark for a dict's key

_TYPES = {
    "int_type": "a whole number (integer)",
    "int_parsing": "a whole number (integer)",
    "int_from_float": "a whole number (integer)",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "a text in quotes (string)",
    "tuple_type": "a list: [...]",
    "too_short": "a list of at least 1 entry",
    "dict_type": "a table",
    "model_type": "a table",
    "model_attributes_type": "a table",
}


def nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` or nothing. Case, and - for _, make no difference."""
    found = _nearest(name, known, _NEAR)
    return f"; did you mean {found!r}?" if found else ""


def _nearest(name: str, known: Iterable[str], cutoff: float) -> str | None:
    plain = {_plain(one): one for one in known}
    matches = difflib.get_close_matches(_plain(name), list(plain), n=1, cutoff=cutoff)
    return plain[matches[0]] if matches else None


def _plain(name: str) -> str:
    """`maxTokens` and `Max-Tokens` as `max_tokens`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower().replace("-", "_")


def explain(
    kind: type[BaseModel],
    errors: Sequence[ErrorDetails],
    where: str,
    value: object = None,
    elsewhere: Callable[[], Places] | None = None,
) -> SynthError:
    """The report as one error. `value` is what was validated; `elsewhere` says where else in a recipe keys stand."""
    lines = []
    for one in errors:
        location = [part for part in one["loc"] if part != _IS_KEY]
        field = _dotted(where, location, value)
        if one["type"] == "extra_forbidden":
            lines.append(f"{field}: unknown key{_meant(kind, location, where, elsewhere() if elsewhere else {})}")
        elif one["type"] == "missing":
            lines.append(f"{field}: missing{_describe(kind, location)}{_twin(where, location, value)}")
        elif not (one["type"] == "too_short" and one["input"]):  # else its entries are wrong, which is told already
            lines.append(_wrong_value(field, one))
    return fail(RecipeError, "\n".join(lines))


def _dotted(where: str, location: Sequence[int | str], value: Any) -> str:
    """The field as the user would name it: entries of lists by their name, id or column."""
    words = [where] if where else []
    for part in location:
        value = _inner(value, part)
        named = isinstance(part, int) and isinstance(value, Mapping)
        name = (
            next((value[key] for key in ("name", "id", "column") if isinstance(value.get(key), str)), None)
            if named
            else None
        )
        words.append(name or str(part))
    return ".".join(words)


def _inner(value: Any, part: int | str) -> Any:
    try:
        return value[part]
    except (KeyError, IndexError, TypeError):
        return None


def _lists(value: Any) -> Any:
    """Tuples as the lists that the user wrote."""
    if isinstance(value, Mapping):
        return {name: _lists(inner) for name, inner in value.items()}
    return [_lists(inner) for inner in value] if isinstance(value, tuple | list) else value


def _wrong_value(field: str, one: ErrorDetails) -> str:
    given = repr(_lists(one["input"]))
    if len(given) > _SHOWN_CHARACTERS:
        given = given[:_SHOWN_CHARACTERS] + " …"
    message = one["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    allowed = _TYPES.get(one["type"], f"{message[0].lower()}{message[1:]}")
    if one["type"] == "literal_error":
        known = re.findall(r"'([^']*)'", str(one.get("ctx", {}).get("expected", "")))
        return f"{field}: given {given}; allowed: {allowed}{nearest(str(one['input']), known)}"
    if one["type"] == "string_pattern_mismatch":
        allowed += ": small letters a-z, digits, - and _" if "a-z0-9" in str(one.get("ctx")) else ""
    if one["type"] == "tuple_type" and isinstance(one["input"], Mapping):
        allowed = f"a list of tables: [[{field}]] in place of [{field}]"
    elif one["type"] in ("int_type", "float_type", "bool_type") and isinstance(one["input"], str):
        allowed += ", without quotes"
    return f"{field}: given {given}; allowed: {allowed}"


def _meant(kind: type[BaseModel], location: Sequence[int | str], where: str, places: Places) -> str:
    """What an unknown key was meant to be: a sibling, or the key of another table, or else all that is known here."""
    name, siblings = str(location[-1]), _fields_at(kind, location[:-1])
    if sure := _nearest(name, siblings, _SURE):
        return f"; did you mean {sure!r}?"
    at = [*where.split("."), *map(str, location[:-1])] if where else [str(part) for part in location[:-1]]
    if name in places:
        return f"; did you mean {_closest(at, places[name])}?"
    if near := _nearest(name, siblings, _NEAR):
        return f"; did you mean {near!r}?"
    if far := _nearest(name, places, _SURE):
        return f"; did you mean {_closest(at, places[far])}?"
    return f"; known keys: {', '.join(siblings)}" if siblings else ""


def _closest(at: Sequence[str], places: Sequence[str]) -> str:
    """The place that shares most of its way with where the key was written; two, if they are equally near."""

    def distance(place: str) -> tuple[int, int]:
        parts = place.split(".")
        shared = 0
        for mine, theirs in zip(at, parts, strict=False):
            if theirs not in (mine, "NAME"):
                break
            shared += 1
        return -shared, len(parts)

    near = sorted(places, key=distance)
    return " or ".join(repr(place) for place in near[:2] if distance(place) == distance(near[0]))


def _twin(where: str, location: Sequence[int | str], value: Any) -> str:
    """Of a table that lacks a field: another one of nearly its name. `--set models.smal.x=1` makes a table `smal`."""
    if len(location) < 2 or not isinstance(location[-2], str):
        return ""
    for part in location[:-2]:
        value = _inner(value, part)
    others = [name for name in value if name != location[-2]] if isinstance(value, Mapping) else []
    found = _nearest(location[-2], others, _NEAR)
    return (
        f"; did you mean {'.'.join([*([where] if where else []), *map(str, location[:-2]), found])!r}?" if found else ""
    )


def _fields_at(kind: type[BaseModel], location: Sequence[int | str]) -> list[str]:
    """Names of the fields of the model found at `location` under `kind`; empty when there is no single model there."""
    current: Any = kind
    for part in location:
        if isinstance(part, int):
            continue
        fields = getattr(current, "model_fields", {})
        if part in fields:
            current = model_in(fields[part].annotation)
    return sorted(getattr(current, "model_fields", {}))


def model_in(annotation: Any) -> Any:
    """The one model class inside an annotation such as `tuple[Source, ...]`, or None."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = [model_in(argument) for argument in getattr(annotation, "__args__", ())]
    models = [model for model in found if model is not None]
    return models[0] if len(models) == 1 else None


def _describe(kind: type[BaseModel], location: Sequence[int | str]) -> str:
    """` (the field's sentence)` for a missing field, or nothing."""
    parent: Any = kind
    names = [part for part in location if isinstance(part, str)]
    for name in names[:-1]:
        fields = getattr(parent, "model_fields", {})
        parent = model_in(fields[name].annotation) if name in fields else parent
    fields = getattr(parent, "model_fields", {})
    described = fields[names[-1]].description if names and names[-1] in fields else None
    return f" ({described})" if described else ""
