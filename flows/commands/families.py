"""`synth families`: what can be written from seeds, how it is asked for, and what can be set."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import orjson
from rich.table import Table
from rich.text import Text

from flows.display import console
from flows.families import family_in, load_family
from generators.common import Prompts
from generators.registry import families
from generators.writing import WritingOptions
from synth.ask import Family
from synth.registry import Spec

CAPS = ("min_seed_tokens", "segment_tokens", "max_tokens")
SAMPLING = ("temperature", "top_p")


def main(options: argparse.Namespace) -> int:
    """A table of the bundled families; of one, by its name or the user's file, everything."""
    if options.name or options.file:
        value = described(_wanted(options.name, options.file))
        if not options.json:
            _print_family(value)
            return 0
    else:
        value = {"families": [summary(spec) for spec in families]}
        if not options.json:
            _print_table(value["families"])
            return 0
    print(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())
    return 0


def _wanted(name: str | None, file: Path | None) -> Spec[Family]:
    if file is None:
        assert name is not None
        return load_family(name, None)
    return load_family(name, str(file)) if name else family_in(file, "--file", "give the path of a .py file")


def summary(spec: Spec[Family]) -> dict[str, Any]:
    """One family as a JSON value: its card, and the defaults of the options that say how much and how freely it writes."""
    card = spec.card
    return {
        "name": spec.name,
        "version": spec.version,
        "renderer_version": spec.renderer_version,
        "input": card.input if card else None,
        "output": card.output if card else None,
        "source": card.source if card else None,
        "caps": {name: _default(spec, name) for name in CAPS},
        **{name: _default(spec, name) for name in SAMPLING},
    }


def described(spec: Spec[Family]) -> dict[str, Any]:
    """The summary, and every option, the roles that may be asked, and the prompts, axes and criteria of its prompt file."""
    options = [
        {
            "name": name,
            "default": None if field.is_required() else field.get_default(),
            "description": field.description,
        }
        for name, field in spec.Options.model_fields.items()
    ]
    return {**summary(spec), "options": options, "roles": _roles(spec), "prompts": _prompts(spec)}


def _default(spec: Spec[Family], name: str) -> Any:
    field = spec.Options.model_fields.get(name)
    return field.get_default() if field and not field.is_required() else None


def _roles(spec: Spec[Family]) -> dict[str, list[str]] | None:
    """Roles asked by default, and further ones that options can ask for. None when the family does not say."""
    if not issubclass(spec.Options, WritingOptions):
        return None
    asked = spec.Options.model_construct().roles()
    rungs = get_args(get_args(spec.Options.model_fields["verify"].annotation)[0])
    widest = spec.Options.model_construct(select="judge", verify=dict.fromkeys(rungs, "label")).roles()
    return {"asked": list(asked), "on_demand": sorted(set(widest) - set(asked))}


def _prompts(spec: Spec[Family]) -> dict[str, Any] | None:
    """The family's prompt file, found as the bundled families give it: a function `prompts()` beside their Options."""
    make = getattr(sys.modules[spec.Options.__module__], "prompts", None)
    prompts = make() if callable(make) else None
    return prompts.content() if isinstance(prompts, Prompts) else None


def _print_table(found: list[dict[str, Any]]) -> None:
    columns = ("family", "version", "input -> output", "source", "tokens", "temperature / top_p")
    table = Table(*columns, box=None, pad_edge=False)
    table.columns[0].no_wrap = True
    for one in found:
        version = f"{one['version']}/{one['renderer_version']}"
        made = f"{one['input']} -> {one['output']}" if one["input"] else ""
        cells = (one["name"], version, made, one["source"] or "", _caps(one), _sampling(one))
        table.add_row(*map(Text, cells))
    console().print(table)
    print(
        "\nversion: of the prompts / of the renderer. tokens: shortest seed / longest segment / longest answer.\n"
        "All of it can be set per recipe: `synth families NAME` shows the options, prompts and axes of one."
    )


def _caps(one: Mapping[str, Any]) -> str:
    return " / ".join(_or_dash(one["caps"][name]) for name in CAPS)


def _sampling(one: Mapping[str, Any]) -> str:
    return " / ".join(_or_dash(one[name]) for name in SAMPLING)


def _or_dash(value: Any) -> str:
    return "-" if value is None else str(value)


def _print_family(value: Mapping[str, Any]) -> None:
    print(f"{value['name']}  version {value['version']}, renderer {value['renderer_version']}")
    if value["input"]:
        print(f"  {value['input']} -> {value['output']}\n  source: {value['source']}")
    print(f"\nRoles: {_roles_line(value['roles'])}\n\nOptions:")
    table = Table("option", "default", "what", box=None, pad_edge=False, padding=(0, 2, 0, 2))
    for one in value["options"]:
        table.add_row(one["name"], Text(_toml(one["default"])), Text(one["description"] or ""))
    console().print(table)
    if value["prompts"] is None:
        print("\nIt has no prompt file: its prompts stand in its code.")
    else:
        _print_prompts(value["prompts"])


def _roles_line(roles: Mapping[str, list[str]] | None) -> str:
    if roles is None:
        return "it may ask any role of the recipe"
    more = f"; {', '.join(roles['on_demand'])} where options say so" if roles["on_demand"] else ""
    return f"{', '.join(roles['asked'])}{more}"


def _toml(value: Any) -> str:
    if value is None:
        return "none"
    return orjson.dumps(value).decode()


def _print_prompts(prompts: Mapping[str, Any]) -> None:
    """The prompt file's tables in their order: whatever a family has beside what all have is shown as well."""
    for name, value in prompts.items():
        if not value:
            continue
        print(f"\n{name.replace('_', ' ').capitalize()}:")
        if isinstance(value, str):
            print(_indented(value))
        elif isinstance(value, Mapping):
            for key, inner in value.items():
                _print_entry(key, inner)
        else:
            for number, one in enumerate(value):
                print(f"  {number:>2}  {one}")


def _print_entry(key: str, inner: Any) -> None:
    if isinstance(inner, Mapping):
        print(f"  {key}")
        for name, words in inner.items():
            print(f"    {name:<16} {words}")
    else:
        print(f"  {key:<18} {inner if isinstance(inner, str) else ', '.join(map(str, inner))}")


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.strip().splitlines())
