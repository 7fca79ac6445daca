"""`synth schema`: every field of a recipe with unit, default and source; of one table; or as JSON Schema."""

from __future__ import annotations

import argparse
import shutil
import sys
import textwrap

import orjson

from filters.gates import Gate
from filters.published import PRESETS
from flows.schema import Field, all_fields, default_gates
from flows.schema_json import json_schema
from synth.config import nearest
from synth.errors import UserError, fail

EXTENDS = (
    "extends = \"base.toml\" builds on another recipe: a file, relative to this one's folder, or a bundled recipe's name.\n"
    "Tables are merged key by key; everything else, lists included, replaces what the base says. A table over a list of tables\n"
    "([families.distill] over [[families]]) changes the entry of that name, id or column. `synth plan --merged` shows the result."
)
ENDING = (
    "NAME: what the recipe names itself. `synth schema TABLE` shows one table, such as run.models or families.textbook;\n"
    "`synth schema keep.gates` the default bounds, `synth schema presets` the published ones; --json is for editors."
)
_WIDTH = 110


def main(options: argparse.Namespace) -> int:
    """Print the fields, or those under a dotted place."""
    if options.json and options.table:
        listed = [field.as_json() for field in _under(options.table)]
        print(orjson.dumps({"fields": listed}, option=orjson.OPT_INDENT_2).decode())
        return 0
    if options.json:
        print(orjson.dumps(json_schema(), option=orjson.OPT_INDENT_2).decode())
        return 0
    if options.table == "presets":
        _print_presets()
        return 0
    fields = _under(options.table) if options.table else all_fields()
    if not options.table:
        print(f"A recipe is a TOML file. {EXTENDS}\n")
    _print(fields)
    gates = default_gates(options.table or "")
    if gates:
        _print_gates(gates)
    if not options.table:
        print(f"\n{ENDING}")
    return 0


def _under(table: str) -> list[Field]:
    """The fields at a place and below it. Names of models and the like may stand for NAME, brackets may be left on."""
    wanted = table.strip("[]").split(".")
    everything = all_fields()
    found = [field for field in everything if _leads(wanted, field.place.split("."))]
    if found:
        return found
    places = {".".join(field.place.split(".")[:length]) for field in everything for length in range(1, 5)}
    last = [field.place for field in everything if field.place.split(".")[-1] == wanted[-1]]
    hint = f"; did you mean {last[0]!r}?" if last and len(wanted) == 1 else nearest(table, places)
    tables = sorted({field.place.split(".")[0] for field in everything})
    raise fail(UserError, f"a recipe has no {table!r}{hint}", given=table, allowed=", ".join([*tables, "presets"]))


def _leads(wanted: list[str], place: list[str]) -> bool:
    """Whether `run.models.big` leads to `run.models.NAME.gpus`, and `families.textbook` to its options."""
    if len(place) < len(wanted):
        return False
    return all(given == found or found == "NAME" for given, found in zip(wanted, place, strict=False))


def _print(fields: list[Field]) -> None:
    """A block per table: a line of facts per field, and what it is."""
    width = min(_WIDTH, shutil.get_terminal_size((_WIDTH, 24)).columns) if sys.stdout.isatty() else _WIDTH
    table = None
    for field in fields:
        parent, _, name = field.place.rpartition(".")
        if parent != table:
            table = parent
            print(f"{'' if field is fields[0] else chr(10)}[{parent}]" if parent else "[the recipe itself]")
        print(f"  {name}: {_facts(field)}")
        for line in textwrap.wrap(field.what, width - 6):
            print(f"      {line}")


def _facts(field: Field) -> str:
    facts = [f"{field.type}{f', {field.allowed}' if field.allowed else ''}"]
    if field.unit:
        facts.append(f"unit: {field.unit}")
    facts.append("required" if field.default == "required" else f"default: {field.default}")
    if field.unit and field.default not in ("required", "none"):
        facts.append(f"source: {field.source}")
    if field.shapes == "execution":
        facts.append("execution")
    return "; ".join(facts)


def _print_gates(gates: tuple[Gate, ...]) -> None:
    print("\nBy default:")
    for gate in gates:
        only = f"  ({', '.join(gate.families)})" if gate.families else ""
        print(f"  {gate.reason:<22} {_bound(gate)}{only}")


def _bound(gate: Gate) -> str:
    if gate.one_of:
        return f"{gate.column} is one of {', '.join(gate.one_of)}"
    low = f"{gate.min:g} ≤ " if gate.min is not None else ""
    high = f" ≤ {gate.max:g}" if gate.max is not None else ""
    return f"{low}{gate.column}{high}"


def _print_presets() -> None:
    for name, preset in PRESETS.items():
        print(f"{name}  (source: {preset.source})")
        for gate in preset.gates:
            print(f"  {gate.reason:<34} {_bound(gate)}")
