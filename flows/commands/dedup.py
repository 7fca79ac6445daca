"""`synth dedup` and `synth index`: near-duplicates among texts in any Parquet or JSON lines files."""

from __future__ import annotations

import argparse
import difflib
import re
import time
from collections.abc import Iterator, Mapping
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dedup import ResolveConfig
from dedup.threads import default_workers
from flows.against import open_all
from flows.deduping import deduplicate, summary
from flows.display import console
from flows.pools import make_pool
from flows.recipe import DedupConfig, load
from flows.samples import visible
from flows.steps.resolve import LEAST_MEMORY_BYTES, DedupRun
from synth.config import parse
from synth.errors import UserError, fail
from synth.text_files import read_texts, text_files

READ_WORDS = 600  # of a text, when one that is like it is laid beside it
SAMPLE_WORDS = 70  # of these that are shown
BEFORE_WORDS = 25  # of what both have that are shown before they part
_SIZES = ((2, 2), (3, 5), (6, 10), (11, 100), (101, None))


def main(options: argparse.Namespace) -> int:
    """Dedup. Exit codes: 0 done, 2 wrong input."""
    config, against = _config(options)
    how = _how(options)
    files = text_files(options.files)
    pools, releases = open_all(against, config.minhash)
    batches = (batch for file in files for batch in read_texts(file, options.text, options.id))
    began = time.monotonic()
    found = deduplicate(batches, config, [*pools, *releases], options.out, how, options.samples)
    value = summary(found, time.monotonic() - began, options.out)
    if options.json:
        print(orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS).decode())
    else:
        _print(value)
    return 0


def _how(options: argparse.Namespace) -> DedupRun:
    memory = DedupRun().memory_bytes
    if options.memory_gb is not None:
        memory = int(options.memory_gb * 2**30)
        if memory < LEAST_MEMORY_BYTES:
            what, allowed = "too little memory to plan with", f"--memory-gb {LEAST_MEMORY_BYTES / 2**30:g} or more"
            raise fail(UserError, what, given=options.memory_gb, allowed=allowed)
    how = DedupRun(workers=options.workers or 0, runner=options.runner, memory_bytes=memory)
    how.check()
    return how


def index(options: argparse.Namespace) -> int:
    """Index. Exit codes: 0 done, 2 wrong input."""
    began = time.monotonic()
    made = make_pool(
        text_files(options.files), options.text, options.id, options.out, options.workers or default_workers()
    )
    value: dict[str, Any] = {
        "documents": made.config.documents,
        "files": len(made.config.files),
        "bytes": sum(path.stat().st_size for path in options.out.iterdir()),
        "seconds": round(time.monotonic() - began, 3),
        "folder": str(options.out),
    }
    if options.json:
        print(orjson.dumps(value).decode())
    else:
        size = f"{value['bytes'] / 1e6:,.1f} MB in {value['seconds']:,.1f} s"
        print(f"{value['documents']:,} texts of {value['files']:,} files signed ({size})")
        print(f"now: synth dedup NEW… --out DIR --against {options.out}")
    return 0


def _config(options: argparse.Namespace) -> tuple[ResolveConfig, list[str]]:
    """What a duplicate is: the recipe's [dedup], or the defaults, with what the command line sets; and what both name to compare
    with."""
    if options.assignments and not options.recipe:
        raise fail(UserError, "--set changes a recipe, and none is given", do="add --recipe FILE")
    base = load(options.recipe, options.assignments).dedup if options.recipe else DedupConfig()
    given = {"jaccard": options.jaccard, "containment": options.containment}
    fields = {name: value for name, value in base.content().items() if name != "against"}
    fields |= {name: value for name, value in given.items() if value is not None}
    return parse(ResolveConfig, fields), [*base.against, *options.against]


def _print(value: Mapping[str, Any]) -> None:
    speed = value["texts"] / max(value["seconds"], 1e-9)
    size = f"{value['text_bytes'] / 1e6:,.1f} MB in {value['seconds']:,.1f} s, {speed:,.0f} texts/s"
    print(f"{value['texts']:,} texts ({size}): {value['kept']:,} kept ({value['kept'] / value['texts']:.1%})")
    for word, number in value["dropped"].items():
        print(f"  dropped {word:<18} {number:>9,}")
    for word, number in value["spared"].items():
        print(f"  kept, though near: {word} {number:,}")
    if value["pool_candidates"]:
        print(f"  {value['pool_candidates']:,} texts of pools and releases were compared")
    if value["clusters"]:
        print(f"\n{value['clusters']:,} clusters: {', '.join(_sizes(value['sizes']))}")
        for one in value["largest"]:
            where = f" in pool {one['pool']!r}" if one["pool"] else ""
            print(f"  {one['texts']:>6,} texts around {one['cluster_id']}{where}")
    for one in value["samples"]:
        _print_pair(one)
    print(f"\n{value['file']}")


def _sizes(sizes: Mapping[int, int]) -> Iterator[str]:
    for low, high in _SIZES:
        clusters = sum(number for size, number in sizes.items() if low <= size and (high is None or size <= high))
        if clusters:
            span = f"{low}" if low == high else f"{low} or more" if high is None else f"{low} to {high}"
            yield f"{clusters:,} of {span} texts"


def _print_pair(one: Mapping[str, Any]) -> None:
    out = console()
    what = one["reason"] or f"kept, though near: {one['spared']}"
    shares = f"Jaccard {one['jaccard']:.2f}, contained {one['containment']:.2f}" if one["jaccard"] is not None else ""
    partner = one["partner_id"] or one["near_id"]
    where = f" of pool {one['partner_pool']!r}" if one["partner_pool"] else ""
    print(f"\n=== {what}: {one['doc_id']}, beside {partner}{where}  {shares}{_facts(one)}")
    if one["partner_text"] is None:
        print("  its partner's text cannot be reached")
        return
    mine, other = marked(one["text"], one["partner_text"], styled=out.is_terminal)
    if not out.is_terminal:
        print(f"  text:    {mine.plain}\n  partner: {other.plain}")
        return
    _side_by_side(out, mine, other)


def _side_by_side(out: Console, mine: Text, other: Text) -> None:
    table = Table("text (what both have is underlined)", "the one that stays", box=None, padding=(0, 1))
    table.add_row(mine, other)
    out.print(table)


def _facts(one: Mapping[str, Any]) -> str:
    return f"  other facts: {one['facts']}" if one["facts"] else ""


def marked(text: str, other: str, styled: bool) -> tuple[Text, Text]:
    """Both texts around the first place where they part: runs of words that both have are underlined or, without style,
    stand within ‹ ›."""
    mine, theirs = ([word for word in re.split(r"\s+", visible(one)) if word][:READ_WORDS] for one in (text, other))
    found = difflib.SequenceMatcher(None, mine, theirs, autojunk=False).get_matching_blocks()
    blocks = [block for block in found if block.size > 1]
    starts = _parting(blocks, len(mine), len(theirs))
    runs = [
        [(block.a, block.a + block.size) for block in blocks],
        [(block.b, block.b + block.size) for block in blocks],
    ]
    first, second = (
        _window(words, start, spans, styled) for words, start, spans in zip((mine, theirs), starts, runs, strict=True)
    )
    return first, second


def _parting(blocks: list[difflib.Match], mine: int, theirs: int) -> tuple[int, int]:
    """Where to begin showing each text: some words before the end of the first long run that both have; where nothing
    follows it, with the run."""
    if not blocks:
        return 0, 0
    first = max(blocks[:8], key=lambda block: block.size)
    parts = first.a + first.size < mine and first.b + first.size < theirs
    skipped = max(first.size - BEFORE_WORDS, 0) if parts else 0
    starts = first.a + skipped, first.b + skipped
    return (0, 0) if max(starts) <= BEFORE_WORDS else starts


def _window(words: list[str], start: int, runs: list[tuple[int, int]], styled: bool) -> Text:
    end = start + SAMPLE_WORDS
    inside = [(max(low, start) - start, min(high, end) - start) for low, high in runs if high > start and low < end]
    made = Text("… " if start else "").append(_marked(words[start:end], inside, styled))
    return made.append(" …" if end < len(words) else "")


def _marked(words: list[str], runs: list[tuple[int, int]], styled: bool) -> Text:
    pieces, at = list[Text](), 0
    for start, end in [*runs, (len(words), len(words))]:
        if start > at:
            pieces.append(Text(" ".join(words[at:start])))
        if end > start:
            run = " ".join(words[start:end])
            pieces.append(Text(run, "underline") if styled else Text(f"‹{run}›"))
        at = end
    return Text(" ").join(pieces)
