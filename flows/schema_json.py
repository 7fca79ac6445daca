"""The recipe as JSON Schema, for editors that check TOML while it is written (`#:schema recipe.schema.json`)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import filters.rules  # noqa: F401  (registers the bundled rules)
from filters.registry import rules
from flows.recipe import Recipe
from generators.registry import families
from synth.registry import Spec

_EXTENDS = {
    "type": "string",
    "description": "A recipe that this one builds on: a .toml file, relative to this one's folder, or a bundled recipe's name. "
    "Tables are merged key by key; everything else, lists included, replaces what the base says. A table over a list of "
    "tables, such as [families.distill], changes the entry of that name, id or column.",
}


def json_schema() -> dict[str, Any]:
    """With the options of every bundled family and rule, and `extends`, which makes everything else optional."""
    schema = Recipe.model_json_schema()
    definitions = schema["$defs"]
    _add_options(definitions, "FamilyConfig", families)
    _add_options(definitions, "RuleConfig", rules)
    required = schema.pop("required")
    schema["anyOf"] = [{"required": ["extends"]}, {"required": required}]
    for name, field in schema["properties"].items():
        if field.get("type") == "array":
            described = {key: field.pop(key) for key in ("description", "default") if key in field}
            schema["properties"][name] = {"anyOf": [field, {"type": "object"}], **described}
    schema["properties"] = {"extends": _EXTENDS, **schema["properties"]}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "synth recipe", **schema}


def _add_options(definitions: dict[str, Any], entry: str, specs: Iterable[Spec[Any]]) -> None:
    """Of an entry that names a bundled part, `options` are that part's."""
    branches = []
    for spec in specs:
        own = spec.Options.model_json_schema(ref_template="#/$defs/{model}")
        for name, definition in own.pop("$defs", {}).items():
            definitions.setdefault(name, definition)
        definitions[f"{entry}_{spec.name}"] = own
        options = {"properties": {"options": {"$ref": f"#/$defs/{entry}_{spec.name}"}}}
        bundled = {"properties": {"name": {"const": spec.name}}, "required": ["name"], "not": {"required": ["file"]}}
        branches.append({"if": bundled, "then": options})
    definitions[entry]["allOf"] = branches
