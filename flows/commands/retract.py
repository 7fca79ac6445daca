"""`synth retract`: show what a retraction takes out of the newest release, and with --yes make the release without it."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa

from flows.acceptance import signed
from flows.commands.home import existing, home_of
from flows.display import say
from flows.recipe import load
from flows.retract import KINDS, Named, find, retract_named, stands
from flows.retracted import DOCUMENT_KINDS, SEED_KINDS
from flows.runs import new_run_id
from flows.samples import visible
from synth import releases
from synth.audit.asking import Question, ask
from synth.audit.catalog import build_catalog
from synth.audit.copies import bring_here
from synth.config import nearest
from synth.driver import Driver
from synth.errors import HomeError, UserError, fail
from synth.releases import Release
from synth.store import Store

_ID_COLUMNS = ("id", "doc_id", "item_id")
_SAMPLE_CHARACTERS = 160


def main(options: argparse.Namespace) -> int:
    """Retract. Exit codes: 0 shown or done, 2 wrong input, 3 the data of the release to be contradict themselves."""
    recipe = load(Path(options.name)) if options.name.endswith(".toml") else None
    store = existing(home_of(options, recipe))
    name = recipe.name if recipe else options.name
    signature = signed(options.because)
    if not options.yes:
        return _show(store, _newest(store, name), options)
    with store.lock(f"synth retract {name}"):
        release = _newest(store, name)
        driver, named = _named(store, release, options)
        if before := stands(release, named):
            return _tell(options, {"outcome": "nothing_to_do", **_value(release, named)}, [_already(before)])
        made = retract_named(driver, release, named, signature, f"retract-{new_run_id()}")
        build_catalog(store.root)
    value = {"outcome": "retracted", **_value(release, named), "new_release": made.number, "path": made.path}
    value["accepted"] = [one["check"] for one in made.accepted]
    return _tell(options, value, _done(made, named, store, options))


def _show(store: Store, release: Release, options: argparse.Namespace) -> int:
    _, named = _named(store, release, options)
    if before := stands(release, named):
        return _tell(options, {"outcome": "nothing_to_do", **_value(release, named)}, [_already(before)])
    lines = [*_would(release, named), "", "Nothing was changed. To do it, give --yes."]
    return _tell(options, {"outcome": "shown", **_value(release, named)}, lines)


def _tell(options: argparse.Namespace, value: Mapping[str, Any], lines: list[str]) -> int:
    print(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode() if options.json else "\n".join(lines))
    return 0


def _newest(store: Store, name: str) -> Release:
    release = releases.newest(store, name)
    if release is None:
        known = store.names("releases")
        what = f"no release of {name!r} in {store.name}{nearest(name, known)}"
        raise fail(HomeError, what, allowed=", ".join(known) or "nothing is released there")
    return release


def _named(store: Store, release: Release, options: argparse.Namespace) -> tuple[Driver, Named]:
    driver = Driver(store, store.root / "scratch")
    kind = next(kind for kind in KINDS if getattr(options, kind))
    ids = _asked(store, release, options.sql) if kind == "sql" else None
    values = [options.sql] if kind == "sql" else getattr(options, kind)
    return driver, find(driver, release, kind, values, ids)


def _asked(store: Store, release: Release, sql: str) -> pa.Array:
    """The ids that a query to the catalogue finds."""
    catalog = store.local("catalog.duckdb")
    if not catalog.exists() or catalog.stat().st_mtime < (store.modified_at(release.path) or 0):
        build_catalog(store.root)
    bring_here(store.root, sql, say)
    with ask(Question(str(store.root), sql)) as reader:
        table = reader.read_all()
    named = [name for name in _ID_COLUMNS if name in table.column_names] or table.column_names
    if len(table.column_names) > 1 and named[0] not in _ID_COLUMNS:
        what = "the query has several columns, and none is called id"
        raise fail(UserError, what, given=", ".join(table.column_names), do='write "SELECT id FROM documents WHERE …"')
    column = table[named[0]].combine_chunks()
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        what = f"the column {named[0]} holds no ids"
        raise fail(UserError, what, given=str(column.type), do='write "SELECT id FROM documents WHERE …"')
    return column.cast(pa.string()).drop_null()


def _value(release: Release, named: Named) -> dict[str, Any]:
    return {
        "recipe": release.recipe,
        "release": release.number,
        "kind": named.kind,
        "values": list(named.values),
        "standing": named.kind != "sql",
        "seeds": named.seeds,
        "documents": len(named.documents),
        "released": len(named.released),
        "tokens": named.tokens,
        "families": dict(named.families),
        "shards": [one["path"] for one in named.shards],
        "shards_rows": sum(one["rows"] for one in named.shards),
        "near_duplicates_that_stay_dropped": named.shielded,
        "samples": [dict(one) for one in named.samples],
    }


def _rule(named: Named) -> str:
    return "what the query names" if named.kind == "sql" else f"{named.kind} {', '.join(named.values)}"


def _already(before: Mapping[str, Any]) -> str:
    return f"nothing to do: retracted in release {before['release']}, because {before['because']}"


def _would(release: Release, named: Named) -> list[str]:
    every = sum(one["rows"] for one in release.shards)
    lines = [f"{_rule(named)}, in release {release.number} of {release.recipe!r}:"]
    if named.kind in SEED_KINDS:
        lines.append(f"  seeds       {named.seeds:,}: they are used no more, by no policy of this recipe")
    families = ", ".join(f"{family} {number:,}" for family, number in named.families.items())
    lines += [
        f"  documents   {len(named.released):,} of {every:,} that are released go"
        + (f" ({families})" if families else ""),
        f"  tokens      {named.tokens:,} that models wrote",
        f"  shards      {len(named.shards):,} of {len(release.shards):,} are written anew",
    ]
    if named.shielded:
        lines.append(f"  stay gone   {named.shielded:,} near-duplicates of them, until another policy compares again")
    for one in named.samples:
        text = visible(one["text"][:_SAMPLE_CHARACTERS]).replace("\n", " ")
        more = " …" if len(one["text"]) > _SAMPLE_CHARACTERS else ""
        lines.append(f"\n  {one['id'][:16]} ({one['family']}, seed {one['seed_ids'][0][:16]})\n    {text}{more}")
    return lines


def _done(made: Release, named: Named, store: Store, options: argparse.Namespace) -> list[str]:
    where = f" --home {options.home}" if options.home else ""
    lines = [
        f"release {made.number} of {made.recipe!r} is without {_rule(named)}: {len(named.released):,} documents went, "
        f"{len(named.shards):,} shards were written anew, {sum(one['rows'] for one in made.shards):,} documents are left",
        f"  {store.name}/{made.path}",
        f"  evidence: synth sql{where} \"SELECT * FROM drops WHERE step = 'retract'\", or FROM retractions",
    ]
    if named.kind == "sql":
        lines.append("  these texts do not come back; another text of the same seeds may (--seed keeps that out, too)")
    else:
        lines.append("  the rule stands for all later releases of this recipe, whatever its policy")
    if named.kind in DOCUMENT_KINDS:
        lines.append(f"  a recipe that still names this {named.kind} pays for texts that are dropped: take it out")
    for one in made.accepted:
        lines.append(
            f"  {one['check']} fails without them ({one['violations']:,} violations): accepted, see the release"
        )
    lines += [
        "",
        f"Still there: releases before {made.number} list the old shards, and objects/generate and objects/ingest hold what was",
        "written and read. No trainer reads those. To remove the old shards, too:",
        f"  synth gc{where} --drop-releases-before {made.recipe}:{made.number} --yes",
        "Answers and seeds lie in immutable files: to be rid of their bytes, take the seeds out of the sources and make the",
        "corpus in a new home.",
    ]
    return lines
