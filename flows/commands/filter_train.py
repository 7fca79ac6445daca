"""`synth filter-train`: a fastText quality model from files, or from what a home kept and dropped, and what it is worth."""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
from rich.table import Table

from filters.training import Trained, TrainingConfig, train
from filters.training_card import recipe_lines
from filters.training_files import read_labelled, read_pairs, read_sides
from filters.training_rows import BAD, EXAMPLES, GOOD
from flows.commands.home import home_of
from flows.display import console, say
from synth import rows
from synth.audit.sql import query
from synth.audit.tables import COUNTED_AS, literal
from synth.config import nearest, parse
from synth.digest import digest
from synth.errors import UserError, fail

SCORES = ("quality_score", "quality_delta")  # drops by these say what an earlier model thought, not what is bad
QUERY_SECONDS, QUERY_MEMORY = 600, "8GB"

Read = tuple[pa.Table, list[dict[str, Any]]]


def main(options: argparse.Namespace) -> int:
    """Read, train, judge; print the card and what to paste into a recipe."""
    out: Path = options.out
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise fail(UserError, f"{out} is there already", do="give --out a folder that does not exist yet")
    config = _settings(options)
    examples, files = _examples(options)
    pairs = read_pairs(options.pairs) if options.pairs else None
    say(f"training on {len(examples):,} texts")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as scratch:
        whole = Path(scratch) / "whole"
        whole.mkdir()
        trained = train(examples, config, whole, files, pairs)
        if out.exists():
            out.rmdir()  # empty, as was checked
        shutil.move(whole, out)
    _report(trained, out, options.json)
    return 0


def _settings(options: argparse.Namespace) -> TrainingConfig:
    """The fields that the command's options give, the others as they are by default."""
    names = ("lr", "dim", "word_ngrams", "epochs", "bucket", "min_count")
    given = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    return parse(TrainingConfig, {**given, "quantize": options.quantize}, "filter-train")


def _examples(options: argparse.Namespace) -> Read:
    """From whichever of the three kinds of examples is given."""
    sides = bool(options.positives or options.negatives)
    if [sides, bool(options.labelled), options.from_catalogue].count(True) != 1:
        raise fail(
            UserError,
            "filter-train wants one kind of examples",
            allowed="--positives FILE… --negatives FILE…, or --labelled FILE… --label COLUMN, or --from-catalogue --family F",
        )
    if options.from_catalogue:
        return _from_catalogue(options)
    if options.labelled:
        if not options.label:
            raise fail(UserError, "--labelled wants --label", do="name the column that says which texts are good")
        return read_labelled(options.labelled, options.label, options.good, options.text, options.root)
    if not (options.positives and options.negatives):
        missing = "--negatives" if options.positives else "--positives"
        raise fail(UserError, f"{missing} is missing", do="give files of good texts and files of bad ones")
    return read_sides(options.positives, options.negatives, options.text, options.root)


def _from_catalogue(options: argparse.Namespace) -> Read:
    """What a home kept of a family against what it dropped of it: the generated parts, as the rule will see them."""
    home = home_of(options)
    if not options.family:
        raise fail(
            UserError, "--from-catalogue wants --family", do="name the family whose kept and dropped texts differ"
        )
    recipe = chosen_recipe(home, options.recipe)
    own = f"recipe = {literal(recipe)} AND family = {literal(options.family)}"
    families = _column(home, f"SELECT DISTINCT family FROM documents WHERE recipe = {literal(recipe)}")
    _known("family", options.family, families)
    for reason in options.reasons:
        _known("reason", reason, _column(home, _REASONS.format(own=own)))
    found = query(home, _labelled(own, recipe, options.reasons), QUERY_SECONDS, QUERY_MEMORY)
    table = found.set_column(
        found.schema.get_field_index("text"), "text", rows.generated_texts(found.select(["text", "parts"]))
    )
    examples = table.select(EXAMPLES.names).cast(EXAMPLES)
    name = f"catalogue of recipe {recipe}, family {options.family}"
    reasons = f", dropped for {', '.join(options.reasons)}" if options.reasons else ""
    return examples, [{"name": name + reasons, "rows": len(examples), "sha256": _content_digest(found)}]


def _content_digest(found: pa.Table) -> str:
    """Of the documents that were read: their ids cover their texts."""
    return digest(sorted(zip(found["id"].to_pylist(), found["label"].to_pylist(), strict=True)))


_REASONS = (
    f"SELECT DISTINCT {COUNTED_AS} FROM drops SEMI JOIN (SELECT id, recipe FROM documents WHERE {{own}}) d "
    "ON d.id = item_id AND d.recipe = drops.recipe WHERE item_kind = 'document'"
)


def _labelled(own: str, recipe: str, reasons: Sequence[str]) -> str:
    """SQL: the documents of a family with a label. Good is what has no drop. Bad is what has one of `reasons`; without them,
    what its family or a gate dropped: a duplicate is no bad text, and what a quality score dropped is what it thought."""
    named = ", ".join(map(literal, reasons))
    scores = ", ".join(map(literal, SCORES))
    bad = f"{COUNTED_AS} IN ({named})" if reasons else f"step IN ('generate', 'keep') AND rule NOT IN ({scores})"
    mine = f"recipe = {literal(recipe)}"
    return f"""
        WITH gone AS (
            SELECT item_id, bool_or({bad}) AS is_bad FROM drops WHERE {mine} AND item_kind = 'document' GROUP BY ALL
        ), origins AS (SELECT id AS seed_id, any_value(source_id) AS source FROM seeds WHERE {mine} GROUP BY ALL)
        SELECT id, text, parts, root_id AS root, family, source,
            CASE WHEN is_bad IS NULL THEN '{GOOD}' ELSE '{BAD}' END AS label
        FROM documents LEFT JOIN gone ON item_id = id LEFT JOIN origins ON seed_id = seed_ids[1]
        WHERE {own} AND coalesce(is_bad, true) AND text <> ''"""


def chosen_recipe(home: Path, name: str | None) -> str:
    """The recipe of this name, or the only one that has a release in the home. UserError when that is not clear."""
    found = _column(home, "SELECT DISTINCT recipe FROM releases")
    if name is None and len(found) == 1:
        return found[0]
    if name is None or name not in found:
        what = f"no release of {name!r} in {home}{nearest(name, found)}" if name else f"{home} holds several recipes"
        raise fail(
            UserError, what, allowed=", ".join(found) or "none yet: synth run RECIPE makes one", do="give --recipe"
        )
    return name


def _column(home: Path, sql: str) -> list[str]:
    (column,) = query(home, sql).columns
    return sorted(value for value in column.to_pylist() if value is not None)


def _known(kind: str, name: str, known: Sequence[str]) -> None:
    if name not in known:
        what = f"no such {kind} in the newest release: {name!r}{nearest(name, known)}"
        raise fail(UserError, what, allowed=", ".join(known) or "none")


def _report(trained: Trained, out: Path, json: bool) -> None:
    card = trained.card
    lines = recipe_lines(card, str(out.absolute()))
    if json:
        value = {"out": str(out), "recipe": lines, "card": card}
        print(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())
        return
    figures = card["held_out"]
    table = Table("on held-out roots", "AUC", "95%", "the model is above it by", "95%", box=None, pad_edge=False)
    for name, one in (("the model", figures["model"]), ("length", figures["length"]), ("words", figures["unigrams"])):
        table.add_row(name, _figure(one["auc"]), _range(one, "auc"), _figure(one.get("gain")), _range(one, "gain"))
    console().print(table)
    print(f"\n{card['worth']}\n")
    for name in (card["model"]["file"], "card.md", "card.json"):
        print(f"  {out / name}")
    print(f"\nFor a recipe:\n\n{lines}")


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _range(figures: dict[str, Any], name: str) -> str:
    low, high = figures.get(f"{name}_low"), figures.get(f"{name}_high")
    return "" if low is None or high is None else f"{low:.3f} to {high:.3f}"
