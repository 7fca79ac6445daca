"""`synth filter-calibrate`: which threshold keeps which share of a pool, what stands at it, and the line for the recipe."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from rich.table import Table

from filters.baselines import flip_share
from filters.calibration import KEEP_SHARES, gate_lines, kept_by, lane, nearest_to, threshold_for
from filters.fasttext_model import flatten
from filters.training import probabilities
from filters.training_files import read_pairs
from flows.calibration import Pool, file_pools, file_texts, home_pools, home_texts, model_for
from flows.commands.filter_train import chosen_recipe
from flows.commands.home import home_of
from flows.display import console
from flows.filtering import NO_FAMILY
from flows.svg import line_chart
from flows.sweep import sweep
from synth.errors import UserError, fail

DEFAULT_KEEP = 0.9
QUALITY_SCORE = "quality_score"
SAMPLES = 2  # on each side of a threshold
SAMPLE_CHARACTERS = 160

Texts = Callable[[Sequence[str]], dict[str, str]]
"""Ids -> the texts of those that are found."""


def main(options: argparse.Namespace) -> int:
    """Calibrate every score that is asked for."""
    _check(options)
    home, recipe, pools, texts = _given(options)
    if len(pools) > 1 and options.threshold is not None:
        raise fail(
            UserError, "--threshold is for one score", given=", ".join(one.column for one in pools), do="add --score"
        )
    calibrated = [_calibrated(pool, options, texts) for pool in pools]
    flips = _flips(options, calibrated, home, recipe) if options.pairs else None
    if options.svg:
        options.svg.write_text(_chart(pools[0]), encoding="utf-8")
    if options.json:
        print(orjson.dumps({"scores": calibrated, "style_flips": flips}, option=orjson.OPT_INDENT_2).decode())
        return 0
    for one in calibrated:
        _print(one)
    if flips:
        _print_flips(flips)
    if options.svg:
        print(f"curves: {options.svg}")
    return 0


def _check(options: argparse.Namespace) -> None:
    if options.keep is not None and options.threshold is not None:
        raise fail(UserError, "either --keep or --threshold", do="leave one of them out")
    if options.keep is not None and not 0 < options.keep <= 1:
        raise fail(UserError, "--keep is a share", given=options.keep, allowed="above 0, at most 1")
    if options.threshold is not None and not math.isfinite(options.threshold):
        raise fail(UserError, "--threshold is no number", given=options.threshold)
    if options.scores and (options.home or options.recipe):
        raise fail(UserError, "--scores stands in place of a home and a recipe", do="leave --home and --recipe out")


def _given(options: argparse.Namespace) -> tuple[Path | None, str | None, list[Pool], Texts]:
    """The home and the recipe where there is one, the pools, and how to look texts up."""
    columns = options.score or ([QUALITY_SCORE] if options.threshold is not None else [])
    if options.scores:
        pools = file_pools(options.scores, columns, options.family)
        return None, None, pools, lambda ids: file_texts(options.texts or [], ids, options.text, options.id)
    home = home_of(options)
    recipe = chosen_recipe(home, options.recipe)
    pools = home_pools(home, recipe, columns, options.family)
    return home, recipe, pools, lambda ids: home_texts(home, ids)


def _calibrated(pool: Pool, options: argparse.Namespace, texts: Texts) -> dict[str, Any]:
    """One score as a JSON value: its lanes, each family's threshold with texts on both sides, and the gates."""
    share = DEFAULT_KEEP if options.keep is None else options.keep
    families = sorted(set(pool.families.tolist()))
    found: list[dict[str, Any]] = []
    lanes = []
    for family in families:
        mine = pool.families == family
        threshold = options.threshold if options.threshold is not None else threshold_for(pool.scores[mine], share)
        if math.isnan(threshold):
            raise fail(
                UserError, f"none of the texts of {family} has a {pool.column}", do="leave it out: --family OTHER"
            )
        found.append(_family(pool, family, np.flatnonzero(mine), threshold, texts))
        for source in sorted(set(pool.sources[mine].tolist())):
            scores = pool.scores[mine & (pool.sources == source)]
            lanes.append(asdict(lane(family, source, scores, threshold)))
    one_for_all = options.threshold is not None or families == [NO_FAMILY]
    gates = [(None, found[0]["threshold"])] if one_for_all else [(one["family"], one["threshold"]) for one in found]
    return {
        "score": pool.column,
        "asked": {"threshold": options.threshold} if options.threshold is not None else {"keep": share},
        "keep_shares": KEEP_SHARES,
        "families": found,
        "lanes": lanes,
        "recipe": gate_lines(pool.column, gates),
    }


def _family(pool: Pool, family: str, places: Any, threshold: float, texts: Texts) -> dict[str, Any]:
    scores = pool.scores[places]
    kept = kept_by(scores, threshold)
    sides = dict(zip(("just_above", "just_below"), nearest_to(scores, threshold, SAMPLES), strict=True))
    ids = {side: [pool.ids[places[at]] for at in near] for side, near in sides.items()}
    found = texts([one for near in ids.values() for one in near])
    samples = {
        side: [
            {"id": one, "score": float(scores[at]), "text": _shortened(found.get(one))}
            for one, at in zip(ids[side], near, strict=True)
        ]
        for side, near in sides.items()
    }
    size = len(scores)
    return {"family": family, "texts": size, "threshold": threshold, "kept": kept, "kept_share": kept / size, **samples}


def _shortened(text: str | None) -> str | None:
    """The beginning of a text on one line."""
    if text is None:
        return None
    line = " ".join(text.split())
    return line if len(line) <= SAMPLE_CHARACTERS else line[: SAMPLE_CHARACTERS - 1] + "…"


def _flips(
    options: argparse.Namespace, calibrated: Sequence[Mapping[str, Any]], home: Path | None, recipe: str | None
) -> dict[str, Any]:
    """The share of pairs, the same facts in two styles, of which a gate keeps one text alone: at each family's threshold."""
    quality = [one for one in calibrated if one["score"] == QUALITY_SCORE]
    if not quality:
        raise fail(UserError, "--pairs are scored by the quality model", allowed="--score quality_score")
    model = model_for(home, recipe, options.model)
    if not model.is_file():
        raise fail(UserError, f"no such model: {model}", do="give the path of the model that gave the scores")
    first, second = (probabilities(model, [flatten(text) for text in side]) for side in read_pairs(options.pairs))
    shares = {one["family"]: flip_share(first, second, one["threshold"]) for one in quality[0]["families"]}
    return {"pairs": len(first), "flipped": shares}


def _chart(pool: Pool) -> str:
    """Kept share against threshold, a curve per family."""
    scores = {family: pool.scores[pool.families == family] for family in sorted(set(pool.families.tolist()))}
    swept = sweep(pool.column, "min", scores, None)
    return line_chart(f"kept by a min on {pool.column}", pool.column, swept.thresholds, swept.kept)


def _print(one: Mapping[str, Any]) -> None:
    head = [f"keep {share:.0%}" for share in KEEP_SHARES]
    table = Table(one["score"], "source", "texts", *head, "kept", box=None, pad_edge=False)
    for row in one["lanes"]:
        quantiles = ["-" if value is None else f"{value:.4g}" for value in row["thresholds"]]
        kept = f"{row['kept'] / row['texts']:.1%} by {row['threshold']!r}"
        table.add_row(row["family"], row["source"], f"{row['texts']:,}", *quantiles, kept)
    console().print(table)
    for family in one["families"]:
        whole = f"{family['kept']:,} of {family['texts']:,} texts ({family['kept_share']:.1%})"
        print(f"\n{family['family']}: min = {family['threshold']!r} keeps {whole}")
        for side, word in (("just_above", "kept"), ("just_below", "dropped")):
            for sample in family[side]:
                print(f"  {word:<8}{sample['score']:.4g}  {sample['text'] or sample['id']}")
    print(f"\nFor the recipe:\n\n{one['recipe']}")


def _print_flips(flips: Mapping[str, Any]) -> None:
    print(f"style: of {flips['pairs']:,} pairs that tell the same in two ways, the gate keeps one alone in")
    for family, share in flips["flipped"].items():
        print(f"  {share:.1%}  {family}")
