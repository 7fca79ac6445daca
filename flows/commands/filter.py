"""`synth filter`: what rules and gates make of texts in any Parquet or JSON lines files."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from rich.table import Table

from filters import decontamination
from filters.decontamination_report import report
from filters.gates import Gate
from filters.published import PRESETS, PresetUse
from flows import sweep as sweeping
from flows.commands.filter_recipe import FilterOptions, judge_of
from flows.display import console, say
from flows.filtering import NO_FAMILY, TABLES, Judge, Judged, Tally, filter_texts, swept_gate
from flows.steps.scoring import options_of, warm_rules
from flows.svg import line_chart
from synth.errors import UserError, fail
from synth.text_files import read_texts, text_files

SHOWN_REASONS = 12  # in the table of overlaps
SHOWN_FAMILIES = 2  # by name
SAY_SECONDS = 10.0


def main(options: argparse.Namespace) -> int:
    """Filter. Exit codes: 0 done, 2 wrong input."""
    if options.presets:
        _list_presets(options.json)
        return 0
    if not options.files or options.out is None:
        what = "synth filter wants files and a folder for its results"
        raise fail(UserError, what, do="for example: synth filter texts.parquet --out filtered")
    wanted = FilterOptions(options.recipe, options.assignments, options.preset, options.rule, options.judge_as)
    files = text_files(options.files)
    judge = judge_of(wanted, files)
    gate = swept_gate(options.sweep, judge) if options.sweep else None
    warm_rules(judge.rules, say)
    looked_up: list[pa.Table] = []
    swept: list[tuple[list[str], NDArray[np.float64]]] = []
    began, progress = time.monotonic(), _Progress()

    def watch(judged: Judged) -> None:
        progress.add(judged)
        looked_up.append(judged.verdicts.filter(pc.equal(judged.verdicts["rung"], decontamination.RULE)))
        if gate:
            swept.append((_families(judged), _numbers(judged.scores[gate.column])))

    batches = (batch for file in files for batch in read_texts(file, options.text, options.id))
    tally = filter_texts(batches, judge, options.out, options.workers or os.cpu_count() or 1, watch)
    value = {
        **summary(tally, judge, time.monotonic() - began, options.out),
        "contamination": _contamination(judge, looked_up),
    }
    curves = _swept(gate, swept, judge, options.out) if gate else None
    if options.json:
        extra = {"sweep": sweeping.as_json(curves)} if curves else {}
        print(orjson.dumps({**value, **extra}, option=orjson.OPT_INDENT_2).decode())
        return 0
    _print(value)
    if curves:
        _print_sweep(curves, options.out)
    return 0


def _contamination(judge: Judge, looked_up: list[pa.Table]) -> list[dict[str, Any]]:
    """A row per evaluation set, where the texts were looked up in any."""
    known = options_of(judge.rules, decontamination.RULE)
    if not isinstance(known, decontamination.DecontaminationOptions):
        return []
    return list(report(pa.concat_tables(looked_up), known.sizes()).to_pylist())


class _Progress:
    """A line now and then, so that a long run is not silent."""

    def __init__(self) -> None:
        self._texts, self._bytes, self._began = 0, 0, time.monotonic()
        self._next = self._began + SAY_SECONDS

    def add(self, judged: Judged) -> None:
        self._texts += len(judged.families)
        self._bytes += judged.text_bytes
        now = time.monotonic()
        if now >= self._next:
            self._next = now + SAY_SECONDS
            speed = self._bytes / 1e6 / (now - self._began)
            say(f"{self._texts:,} texts, {self._bytes / 1e6:,.0f} MB, {speed:,.1f} MB/s")


def _families(judged: Judged) -> list[str]:
    return list(pc.fill_null(judged.families, NO_FAMILY).to_pylist())


def _numbers(column: pa.ChunkedArray) -> NDArray[np.float64]:
    values = pc.fill_null(column.cast(pa.float64()), float("nan"))
    return np.asarray(values.to_numpy(), dtype=np.float64)


def summary(tally: Tally, judge: Judge, seconds: float, out: Path) -> dict[str, Any]:
    """What `synth filter` says, as a JSON value. `fails` counts texts whether or not another reason came first."""
    order = [at for at in range(len(tally.reasons)) if tally.together[at, at]]
    return {
        "texts": tally.texts,
        "text_bytes": tally.text_bytes,
        "seconds": round(seconds, 3),
        "kept": tally.all_kept,
        "families": {
            name: {"texts": texts, "kept": tally.kept[name]} for name, texts in sorted(tally.of_family.items())
        },
        "reasons": [
            {
                "reason": tally.reasons[at],
                "gates": [_bound(gate) for gate in judge.gates if gate.reason == tally.reasons[at]],
                "fails": int(tally.together[at, at]),
                "first": int(tally.first[at]),
                "only": int(tally.only[at]),
            }
            for at in order
        ],
        "overlap": {
            tally.reasons[at]: {tally.reasons[to]: int(tally.together[at, to]) for to in order} for at in order
        },
        "idle": [reason for at, reason in enumerate(tally.reasons) if not tally.together[at, at]],
        "files": [str(out / f"{name}.parquet") for name in TABLES],
    }


def _bound(gate: Gate) -> str:
    few = len(gate.families) <= SHOWN_FAMILIES
    families = f" ({', '.join(gate.families) if few else f'{len(gate.families)} families'})" if gate.families else ""
    if gate.one_of is not None:
        return f"{gate.column} one of {', '.join(gate.one_of)}{families}"
    low = f"{gate.min:g} <= " if gate.min is not None else ""
    high = f" <= {gate.max:g}" if gate.max is not None else ""
    return f"{low}{gate.column}{high}{families}"


def _print(value: Mapping[str, Any]) -> None:
    speed = value["text_bytes"] / 1e6 / max(value["seconds"], 1e-9)
    size = f"{value['text_bytes'] / 1e6:,.1f} MB in {value['seconds']:,.1f} s, {speed:,.1f} MB/s"
    share = value["kept"] / value["texts"]
    print(f"{value['texts']:,} texts ({size}): {value['kept']:,} kept ({share:.1%})")
    if len(value["families"]) > 1:
        for name, one in value["families"].items():
            print(f"  {name:<16} {one['kept']:,} of {one['texts']:,} kept ({one['kept'] / one['texts']:.1%})")
    if value["reasons"]:
        _print_reasons(value)
    if value["contamination"]:
        _print_contamination(value["contamination"])
    if value["idle"]:
        print(f"\nfailed by no text: {', '.join(value['idle'])}")
    print(f"\n{' '.join(value['files'])}")


def _print_reasons(value: Mapping[str, Any]) -> None:
    out = console()
    table = Table("dropped by", "passes when", "fails", "share", "first", "only", box=None, pad_edge=False)
    for at in range(2, 6):
        table.columns[at].justify = "right"
    for one in value["reasons"]:
        passes = "; ".join(one["gates"][:2]) + ("; …" if len(one["gates"]) > 2 else "")
        share = f"{one['fails'] / value['texts']:.1%}"
        table.add_row(one["reason"], passes, f"{one['fails']:,}", share, f"{one['first']:,}", f"{one['only']:,}")
    print()
    out.print(table)
    print("fails: texts that fail it; first: those that no earlier line drops; only: those that nothing else drops")
    shown = sorted(value["reasons"], key=lambda one: -one["fails"])[:SHOWN_REASONS]
    if len(shown) > 1:
        _print_overlap(value, [one["reason"] for one in value["reasons"] if one in shown])


def _print_contamination(found: list[dict[str, Any]]) -> None:
    table = Table(
        "evaluation set", "items", "items hit", "texts hit", "A / B / C", "coverage", box=None, pad_edge=False
    )
    for one in found:
        rules = " / ".join(str(one[f"hits_{rule}"]) for rule in "abc")
        longest = "" if one["longest_coverage"] is None else f"{one['longest_coverage']:.2f}"
        table.add_row(
            one["benchmark"], *(f"{one[name]:,}" for name in ("items", "items_hit", "texts_hit")), rules, longest
        )
    print()
    console().print(table)
    print("A: half of an item's question; B: 13 words of question and answer; C: a short question near its answer")


def _print_overlap(value: Mapping[str, Any], reasons: list[str]) -> None:
    table = Table(*["overlap", *map(str, range(1, len(reasons) + 1))], box=None, pad_edge=False)
    for number, reason in enumerate(reasons, 1):
        row = value["overlap"][reason]
        cells = ["" if other == reason else f"{row[other] / row[reason]:.0%}" for other in reasons]
        table.add_row(f"{number} {reason}", *cells)
    print()
    console().print(table)
    print("of the texts that fail the line, the share that fails the column too")


def _swept(gate: Gate, parts: list[tuple[list[str], NDArray[np.float64]]], judge: Judge, out: Path) -> sweeping.Sweep:
    """The curves; the same as out/sweep-<column>.svg."""
    is_gate = gate in judge.gates
    bound = "min" if gate.min is not None else "max"
    now = (gate.min if bound == "min" else gate.max) if is_gate else None
    curves = sweeping.sweep(gate.column, "min" if bound == "min" else "max", sweeping.scores_by_family(parts), now)
    title = f"Kept share by the {bound} of {gate.column}"
    chart = line_chart(title, f"{bound} {gate.column}", curves.thresholds, curves.kept, curves.now)
    svg_path(out, gate.column).write_text(chart, encoding="utf-8")
    return curves


def svg_path(out: Path, column: str) -> Path:
    """Where the curves of a column are drawn."""
    return out / f"sweep-{column}.svg"


def _print_sweep(curves: sweeping.Sweep, out: Path) -> None:
    print(f"\nkept share by the {curves.bound} of {curves.column}, by this bound alone")
    for line in sweeping.plot(curves):
        print(line)
    print()
    table = Table(f"{curves.bound} {curves.column}", *curves.kept, box=None, pad_edge=False)
    for threshold, shares in sweeping.table(curves):
        now = "  <- now" if threshold == curves.now else ""
        table.add_row(f"{threshold:.4g}{now}", *(f"{share:.1%}" for share in shares.values()))
    console().print(table)
    print(f"\n{svg_path(out, curves.column)}")


def _list_presets(json: bool) -> None:
    if json:
        value = {
            name: {"source": one.source, "gates": [_bound(gate) for gate in one.gates]} for name, one in PRESETS.items()
        }
        print(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())
        return
    for line in _preset_lines():
        print(line)


def _preset_lines() -> Iterator[str]:
    for name, one in PRESETS.items():
        yield f"{name}  ({one.source})"
        yield from (f"  {_bound(gate):<52} else {gate.reason}" for gate in one.gates)
        yield ""
    yield f'in a recipe: [keep] presets = [{{ name = "c4", override = {{ c4_sentences = {{ min = 3 }} }} }}]; {_FIELDS}'


_FIELDS = f"fields: {', '.join(PresetUse.model_fields)}"
