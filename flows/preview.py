"""A preview: a recipe's own path on a few seeds in a home that is thrown away, so that a person can judge every prompt."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from flows.forecast import forecast, hours_of_preview
from flows.projection import Load
from flows.recipe import Recipe, without_quality
from flows.samples import STEPS, counted_as, sample
from flows.seed_counts import Head, RowCount, count_rows, loads, odds, scores_of
from flows.session import Session
from flows.steps import ingest
from flows.steps.audit import stops_release
from flows.usage import ASK_COLUMNS, ATTEMPT_COLUMNS, DOCUMENT_COLUMNS, Prices, Usage, add
from flows.works import Chain, Works
from synth import rows
from synth.canaries import CANARY_SOURCE
from synth.driver import File, Manifest, Work
from synth.engine.budget import BudgetReached
from synth.errors import SourceError, fail
from synth.sources import Source, source_files
from synth.step import Counts, Step

_CANDIDATES_PER_SEED = 20  # read of each source, so that some are left when the screen is strict

Row = dict[str, Any]


def preview_recipe(recipe: Recipe) -> Recipe:
    """The recipe with every family on every seed, no canaries, one server per model, and no folder or port of a real run.

    No quality model is trained: a few seeds are too few. Gates on its score are left out with it.
    """
    recipe = without_quality(recipe)
    families = tuple(one.model_copy(update={"share": 1.0, "weight": None, "route": None}) for one in recipe.families)
    models = {name: one.model_copy(update={"port": 0, "replicas": 1}) for name, one in recipe.run.models.items()}
    budget = recipe.run.budget.model_copy(update={"target_kept_tokens": 0})
    run = {"home": None, "scratch": None, "max_failed_share": 1.0, "grace_seconds": 0.0, "models": models}
    return recipe.model_copy(
        update={
            "families": families,
            "ingest": recipe.ingest.model_copy(update={"canary_share": 0.0}),  # those of the head are counted alone
            "run": recipe.run.model_copy(update={**run, "budget": budget}),
        }
    )


@dataclass
class Seeds:
    """The seeds of a preview: those that pass the screen, from each source in turn; how many rows it took to find them."""

    chosen: list[Row] = field(default_factory=list)
    heads: dict[str, Head] = field(default_factory=dict)  # by source
    rows_read: int = 0
    dropped: Counter[str] = field(default_factory=Counter)


def choose_seeds(recipe: Recipe, base: Path, wanted: int, folder: Path) -> Seeds:
    """`wanted` seeds (fewer when there are no more), read from the head of each source; canaries are none of them.
    `folder` is scratch.

    SourceError when none passes the screen.
    """
    found, works = Seeds(), Works(recipe)
    passing = []
    for source in recipe.sources:
        out = folder / source.id
        out.mkdir(parents=True)
        counts = _read_head(recipe, source, base, wanted * _CANDIDATES_PER_SEED, out)
        found.rows_read += counts.notes["rows_read"]
        found.dropped.update(counts.dropped)
        found.heads[source.id] = Head(counts.notes["rows_read"])
        passing.append(_screened(works, out, found, found.heads[source.id]))
    taken = [row for turn in itertools.zip_longest(*passing) for row in turn if row is not None]
    found.chosen = sorted(taken[:wanted], key=lambda row: row["id"])
    if not found.chosen:
        reasons = ", ".join(f"{reason} {number:,}" for reason, number in found.dropped.most_common())
        what = f"none of the first {found.rows_read:,} rows of the sources becomes a seed"
        raise fail(SourceError, what, given=reasons, do="look at these texts, or loosen [screen] on purpose")
    return found


def _read_head(recipe: Recipe, source: Source, base: Path, most: int, out: Path) -> Counts:
    """Ingest the head of a source. Its files are neither hashed nor read to their end: they may be terabytes."""
    config = ingest.IngestWork(**dict(recipe.ingest), sources=(source,), max_seeds=most)
    paths = {f"source/{source.id}/{number:08d}": path for number, path in enumerate(source_files(source, base))}
    return ingest.run(paths, config, out)


def _screened(works: Works, out: Path, found: Seeds, into: Head) -> list[Row]:
    """The seeds in `out` that pass the screen, in hash order; the others are counted, but for canaries."""
    cut = rows.read_tables(sorted(out.glob("seeds-*.parquet")), rows.SEED)
    copied = pc.equal(cut["source_id"], CANARY_SOURCE)
    passing, dropped = _passing(works, cut.filter(pc.invert(copied)), out / "screen", into)
    canaries, _ = _passing(works, cut.filter(copied), out / "canaries", into)
    found.dropped.update(dropped)
    into.passing, into.canaries = rows.seeds_from(passing), rows.seeds_from(canaries)
    return list(passing.to_pylist())


def _passing(works: Works, cut: pa.Table, folder: Path, into: Head) -> tuple[pa.Table, Mapping[str, int]]:
    """Those that pass the screen, and how many do not, by reason. Their scores go into the head."""
    folder.mkdir()
    rows.write_table(cut, folder / "seeds.parquet")
    work = works.screen(File(str(folder / "seeds.parquet"), "", 0))
    counts = work.step.run({"seeds": folder / "seeds.parquet"}, work.config, folder)
    dropped = rows.read_table(folder / "drops.parquet", ["item_id"])["item_id"].to_pylist()
    for name, scores in scores_of(rows.read_table(folder / "seed_scores.parquet")).items():
        into.scores.setdefault(name, {}).update(scores)
    return cut.filter(pc.invert(pc.is_in(cut["id"], value_set=pa.array(dropped, pa.string())))), counts.dropped


def _cut(session: Session, chosen: Sequence[Row]) -> Manifest:
    """The chosen seeds as the home's one partition, in place of what ingest would cut."""

    def run(inputs: Mapping[str, Path], config: ingest.IngestWork, out: Path) -> Counts:
        rows.write_table(rows.table(chosen, rows.SEED), out / "seeds-00000.parquet")
        rows.write_table(rows.DROP.empty_table(), out / "drops.parquet")
        return Counts(len(chosen), len(chosen))

    recipe = session.recipe
    step = Step("ingest", ingest.STEP.version, ingest.IngestWork, run)
    config = ingest.IngestWork(**dict(recipe.ingest), sources=recipe.sources)
    return session.driver.run(Work(step, config, {}, recipe.name))


def make(session: Session, seeds: Seeds, recipe: Recipe) -> dict[str, Any]:
    """Run every step over the chosen seeds; what came of them as a JSON value, with the forecast of the whole job of `recipe`:
    that of the user, of which the session's is the preview."""
    (partition,) = _cut(session, seeds.chosen).tables("seeds")
    chains, limit = _chains(session, partition)
    complete = limit is None
    resolved = session.resolve([partition]) if complete else None
    read = _Reader(session, {row["id"]: row for row in seeds.chosen}, resolved)
    return {
        "recipe": session.recipe.name,
        "seeds": len(seeds.chosen),
        "rows_read": seeds.rows_read,
        "seeds_dropped": dict(seeds.dropped.most_common()),
        "families": [read.family(chain) for _, chain in sorted(chains.items())],
        "unfinished": sorted(set(session.works.families) - set(chains)),
        "budget_reached": limit,
        "failed_checks": _failed_checks(session, session.audit([partition])) if complete else None,
        "job": _forecast(session, seeds, recipe, chains, read),
    }


def _chains(session: Session, partition: File) -> tuple[dict[str, Chain], str | None]:
    """Each family's objects, the families side by side; which budget ended some of them, if one did."""
    names = session.works.families
    with ThreadPoolExecutor(len(names), thread_name_prefix="family") as pool:
        pending = {name: pool.submit(session.chain, partition, name) for name in names}
    made: dict[str, Chain] = {}
    limit: str | None = None
    for name, future in pending.items():
        try:
            made[name] = future.result()
        except BudgetReached as reached:
            limit = reached.limit
    return made, limit


def _failed_checks(session: Session, audited: Manifest) -> list[dict[str, Any]]:
    checks = rows.read_table(session.store.local(audited.file("checks.parquet").path)).to_pylist()
    return [{name: one[name] for name in ("check", "violations", "title")} for one in checks if stops_release(one)]


def _forecast(
    session: Session, seeds: Seeds, recipe: Recipe, chains: Mapping[str, Chain], read: _Reader
) -> dict[str, Any] | None:
    """What the whole job will take by these seeds; None when a budget left a family of them unfinished."""
    if set(chains) != {config.name for config in recipe.families}:
        return None
    counts = {source.id: count_rows(source, session.base) for source in recipe.sources}
    work, passing = loads(recipe, seeds.heads, counts)
    usages = {name: read.usage(chain, Prices(recipe)) for name, chain in chains.items()}
    weights, strangers = _weights(recipe, seeds, work, counts)
    samples = {name: usages[name].sample(weights[name]) for name in usages}
    intervals = [one for usage in usages.values() for one in usage.intervals]
    exact = all(one.exact for one in counts.values())
    rows_text = f"{sum(one.rows for one in counts.values()):,} rows{'' if exact else ', estimated by size'}"
    notes = [f"seeds are the first rows of each source, and stand for all of them ({rows_text})"]
    notes += [f"{name} takes none of these seeds by its route: it was shown others" for name in strangers]
    value = forecast(recipe, samples, work, hours_of_preview(recipe, samples, work, intervals), True, notes)
    rows_ = {"rows": sum(one.rows for one in counts.values()), "rows_exact": exact}
    return {"seeds": round(passing.seeds * (1 + passing.copies)), **rows_, **value}


def _weights(
    recipe: Recipe, seeds: Seeds, work: Mapping[str, Load], counts: Mapping[str, RowCount]
) -> tuple[dict[str, dict[str, float]], list[str]]:
    """For how many seeds of the job each chosen one stands, by family: a large source counts more, and what a family's route
    leaves does not count. Families that take none of the chosen seeds are named, and are judged by all of them."""
    chosen = {row["id"]: row["source_id"] for row in seeds.chosen}
    per_source = Counter(chosen.values())
    weights: dict[str, dict[str, float]] = {}
    strangers = []
    for config in recipe.families:
        every: dict[str, float] = dict.fromkeys(chosen, 0.0)
        for name, head in seeds.heads.items():
            there = len(head.passing) * max(1.0, counts[name].rows / max(1, head.rows_read))
            for seed, odd in zip(
                head.passing, odds(recipe, config, head.passing, head.scores, whole=False), strict=True
            ):
                if seed.id in chosen:
                    every[seed.id] = odd * there / per_source[name]
        if not np.any(list(every.values())):
            every = dict.fromkeys(chosen, 1.0)
            strangers.extend([config.name] if work[config.name].seeds else [])
        weights[config.name] = every
    return weights, strangers


class _Reader:
    """Reads what a chain made."""

    def __init__(self, session: Session, seeds: Mapping[str, Row], resolved: Manifest | None) -> None:
        self._session = session
        self._seeds = seeds
        self._near = self._table(resolved, "drops") if resolved else []

    def _table(self, manifest: Manifest, name: str) -> list[Row]:
        read: list[Row] = rows.read_table(self._session.store.local(manifest.file(f"{name}.parquet").path)).to_pylist()
        return read

    def usage(self, chain: Chain, prices: Prices) -> Usage:
        """What each seed took and gave."""
        documents, asks, attempts = (
            rows.read_table(self._session.store.local(chain.generate.file(f"{name}.parquet").path), columns)
            for name, columns in (
                ("documents", DOCUMENT_COLUMNS),
                ("asks", ASK_COLUMNS),
                ("attempts", ATTEMPT_COLUMNS),
            )
        )
        drops = [*self._table(chain.generate, "drops"), *self._table(chain.keep, "drops"), *self._near]
        usage = Usage()
        add(usage, documents, asks, attempts, {drop["item_id"] for drop in drops}, prices)
        return usage

    def family(self, chain: Chain) -> dict[str, Any]:
        """Counts of one family, with a kept and a dropped sample where there are any."""
        documents = self._table(chain.generate, "documents")
        asks = self._table(chain.generate, "asks")
        drops = _by_item([*self._table(chain.generate, "drops"), *self._table(chain.keep, "drops"), *self._near])
        verdicts = _by_item([*self._table(chain.generate, "verdicts"), *self._table(chain.score, "verdicts")])
        kept = [one for one in documents if one["id"] not in drops]
        dropped = [one for one in documents if one["id"] in drops]
        shown = [*kept[:1], *sorted(dropped, key=lambda one: not one["text"])[:1]]
        known = {ask["ask_id"]: ask for ask in asks}
        samples = [
            sample(one, self._seeds[one["seed_ids"][0]], known, drops.get(one["id"], ()), verdicts.get(one["id"], ()))
            for one in shown
        ]
        reasons = Counter(_first_reason(drops[one["id"]]) for one in dropped)
        return {
            "family": chain.generate.config["family"],
            "asks": len(asks),
            "tokens": _tokens_by_role(asks),
            "documents": len(documents),
            "kept": len(kept),
            "dropped": dict(reasons.most_common()),
            "samples": samples,
        }


def _by_item(found: Iterable[Row]) -> dict[str, list[Row]]:
    grouped: dict[str, list[Row]] = {}
    for row in found:
        grouped.setdefault(row["item_id"], []).append(row)
    return grouped


def _first_reason(drops: Sequence[Row]) -> str:
    return counted_as(min(drops, key=lambda drop: (STEPS.index(drop["step"]), drop["rule_order"])))


def _tokens_by_role(asks: Sequence[Row]) -> dict[str, dict[str, int]]:
    """Per role: asks, and their tokens."""
    totals: dict[str, Counter[str]] = {}
    for ask in asks:
        total = totals.setdefault(ask["role"], Counter())
        total["asks"] += 1
        for name in ("prompt_tokens", "completion_tokens", "reasoning_tokens"):
            total[name] += ask[name] or 0
    return {role: dict(total) for role, total in sorted(totals.items())}
