"""What earlier runs of a recipe say of what is left: `synth plan`'s forecast. From manifests and a few of their tables."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import orjson

from flows.forecast import forecast, hours_of_history
from flows.projection import Load, Sample, minus, project
from flows.recipe import Recipe
from flows.seed_counts import count_rows
from flows.session import Session
from flows.steps.generate import GenerateWork
from flows.usage import ASK_COLUMNS, ATTEMPT_COLUMNS, DOCUMENT_COLUMNS, Interval, Prices, Usage, active_seconds, add
from synth import releases, rows
from synth.driver import File, Manifest
from synth.engine.answered import Answered, answered

_SEEDS, _OBJECTS = 3000, 64  # per family, of objects that are read: so many say as much as all
_RELEASES = 20  # looked at, the newest first
_RUNS = 5  # whose speed is looked at
_LEAST_SHARE = 0.01  # of the largest run's tokens: a shorter run says nothing of speed
_QUESTIONS = ("family_version", "family_digest", "options", "roles")  # what in generate's config shapes what is asked
_CHOICE = ("share", "route", "rivals")  # and what says which seeds it takes

T = TypeVar("T")

NO_HISTORY = "nothing of this recipe was made here yet: `synth run RECIPE --preview 20` says what it will take"


@dataclass
class Made:
    """An object of generate, the object of keep that judged it where that is known, and what resolve dropped of its wave."""

    generate: Manifest
    keep: Manifest | None = None
    resolve: Sequence[File] = ()


@dataclass
class Left:
    """What a plan found to be done, by family: seeds of partitions nobody asked about yet, and open journals' answers."""

    seeds: dict[str, float] = field(default_factory=lambda: defaultdict(float))  # that pass the screen
    unscreened: dict[str, float] = field(default_factory=lambda: defaultdict(float))  # of which some will
    again: dict[str, int] = field(
        default_factory=lambda: defaultdict(int)
    )  # partitions to be asked otherwise than before
    replayed: dict[str, int] = field(default_factory=lambda: defaultdict(int))  # partitions whose answers are there
    made: dict[str, list[Made]] = field(default_factory=lambda: defaultdict(list))  # not yet released
    answered: list[Answered] = field(default_factory=list)

    def add(self, session: Session, family: str, seeds: File, rows_: int, screened: Manifest | None) -> None:
        """A partition whose documents are not made."""
        group = f"{seeds.sha256[:16]}/{family}"
        earlier = session.store.objects(f"objects/generate/{group}")
        config = session.works.generate_config(family)
        if any(_asks_alike(session.driver.load(place).config, config) for place in earlier):
            self.replayed[family] += 1
            return
        self.again[family] += bool(earlier)
        if screened:
            self.seeds[family] += screened.counts["kept"]
        else:
            self.unscreened[family] += rows_
        for journal in sorted((session.driver.scratch / "generate" / group).glob("*/journal.sqlite")):
            self.answered.extend(answered(journal))


def job(session: Session, left: Left, new_files: Mapping[str, File]) -> dict[str, Any] | None:
    """The forecast of what is left; None when earlier runs made nothing, or when no model need be asked."""
    made = {family: _sampled(session, family, left) for family in session.works.families}
    if not all(made.values()):
        return None
    new, passing = _new_seeds(session, new_files), _passing(session)
    samples, loads, intervals, notes = {}, {}, [], []
    for family, objects in made.items():
        usage = _usage(session, objects)
        samples[family] = usage.sample()
        intervals += usage.intervals
        share = _taken_share(session, family, objects)
        loads[family] = _load(left.seeds[family], left.unscreened[family] + new, passing, share)
        if not _asks_alike(objects[0].generate.config, session.works.generate_config(family)):
            notes.append(f"{family}: by what it took under other options or roles; those of now were never run")
    notes += _remarks(left)
    samples, loads = _without_idle(samples, loads)
    tokens = project(samples, loads, "completion_tokens", False)
    timed = _timed(session)
    if any(run.places != _places(session.recipe.model_dump(mode="json")) for run in timed):
        notes.append("hours: by the speed of runs that had other replicas or in_flight in [run.models]")
    rates = [run.tokens_per_second for run in timed] or _speed_of(samples, intervals)
    held = _held(session.recipe, left.answered)
    hours = hours_of_history(minus(tokens, held.get("completion_tokens", 0.0)), rates)
    return forecast(session.recipe, samples, loads, hours, False, notes, held)


def _remarks(left: Left) -> list[str]:
    notes = []
    if replayed := sum(left.replayed.values()):
        notes.append(f"{replayed:,} objects are made of answers that are there: they ask nothing")
    if again := sum(left.again.values()):
        notes.append(f"{again:,} objects were made from other questions: what is asked unchanged is not paid again")
    if asks := sum(one.asks for one in left.answered):
        notes.append(f"{asks:,} asks of open partitions are answered already, and taken off")
    return notes


def _without_idle(
    samples: Mapping[str, Sample], loads: Mapping[str, Load]
) -> tuple[dict[str, Sample], dict[str, Load]]:
    """Families that have nothing left to do say nothing of what is left."""
    busy = [family for family, load in loads.items() if load.seeds]
    return {family: samples[family] for family in busy}, {family: loads[family] for family in busy}


# What was made


def _sampled(session: Session, family: str, left: Left) -> list[Made]:
    """Some objects of a family, those that were asked as now before others, spread over what there is."""
    wanted = session.works.generate_config(family)
    found = [*left.made[family], *_released(session, family)]
    alike = [one for one in found if _asks_alike(one.generate.config, wanted)]
    read: list[Made] = []
    seeds = 0
    for one in _spread(alike or found):
        if seeds < _SEEDS:
            read.append(one)
            seeds += one.generate.counts["notes"]["seeds"]
    return read


def _spread(several: Sequence[T]) -> Sequence[T]:
    """Some of them, from beginning to end."""
    return several[:: max(1, len(several) // _OBJECTS)][:_OBJECTS]


def _released(session: Session, family: str) -> list[Made]:
    """Objects of a family in the newest releases, at most some of each."""
    store, name = session.store, session.recipe.name
    numbers = sorted(int(one.removesuffix(".json")) for one in store.names(f"releases/{name}") if one.endswith(".json"))
    made: list[Made] = []
    for number in reversed(numbers[-_RELEASES:]):
        objects = releases.load(store, name, number).objects
        judged = {_group(place): place for place in objects.get("keep", ())}
        places = [place for place in objects.get("generate", ()) if _group(place).endswith(f"/{family}")]
        resolved = [session.driver.load(place).file("drops.parquet") for place in objects.get("resolve", ())]
        for place in _spread(places):
            keep = judged.get(_group(place))
            made.append(Made(session.driver.load(place), session.driver.load(keep) if keep else None, resolved))
    return made


def _group(place: str) -> str:
    """<partition>/<family> of an object's folder."""
    return "/".join(place.split("/")[2:4])


def _asks_alike(config: Mapping[str, Any], wanted: GenerateWork) -> bool:
    """Whether an object was made from the questions that would be put now."""
    now = wanted.content()
    return all(config.get(name) == now[name] for name in _QUESTIONS)


def _taken_share(session: Session, family: str, objects: Iterable[Made]) -> float:
    """Of the seeds that pass the screen those that the family takes: as in its objects, or by today's share if that changed."""
    now = session.works.generate_config(family).content()
    offered = taken = 0
    for one in objects:
        notes, config = one.generate.counts["notes"], one.generate.config
        if all(config.get(name) == now[name] for name in _CHOICE):
            offered += notes["seeds"] - notes["seeds_screened"]
            taken += notes["seeds"] - notes["seeds_screened"] - notes["seeds_not_routed"]
    if offered:
        return taken / offered
    weights = {rival["family"]: rival["weight"] for rival in now["rivals"]}
    return float(weights[family] / sum(weights.values())) if weights else float(now["share"])


def _usage(session: Session, objects: Sequence[Made]) -> Usage:
    usage, prices, store = Usage(), Prices(session.recipe), session.store
    kinds = (("documents", DOCUMENT_COLUMNS), ("asks", ASK_COLUMNS), ("attempts", ATTEMPT_COLUMNS))
    for one in objects:
        drops = [one.generate.file("drops.parquet"), *([one.keep.file("drops.parquet")] if one.keep else ())]
        drops += one.resolve
        tables = [one.generate.file(f"{name}.parquet") for name, _ in kinds]
        store.fetch(file.path for file in [*drops, *tables])
        dropped = rows.read_tables([store.local(file.path) for file in drops], rows.DROP, ["item_id"])
        documents, asks, attempts = (
            rows.read_table(store.local(file.path), columns) for file, (_, columns) in zip(tables, kinds, strict=True)
        )
        add(usage, documents, asks, attempts, set(dropped["item_id"].to_pylist()), prices)
    return usage


# What is left, and how fast it goes


def _passing(session: Session) -> tuple[int, int]:
    """Seeds that were screened and those that passed, of some partitions."""
    found = [session.driver.find(session.works.screen(seeds)) for seeds in _spread(session.partitions())]
    counts = [one.counts for one in found if one]
    return sum(one["items"] for one in counts), sum(one["kept"] for one in counts)


def _load(screened: float, unscreened: float, passing: tuple[int, int], share: float) -> Load:
    """Seeds of a family: a share of those that passed the screen, and of those that will. Both are drawn by chance, and how
    many pass is known as well as the screened ones tell."""
    items, passed = passing
    passes = passed / items if items else 1.0
    variance = screened * share * (1 - share) + unscreened * passes * share * (1 - passes * share)
    variance += (unscreened * share) ** 2 * passes * (1 - passes) / max(1, items)
    return Load((screened + unscreened * passes) * share, math.sqrt(variance))


def _new_seeds(session: Session, new_files: Mapping[str, File]) -> float:
    """Seeds that will be cut from files that were not read yet, by what became of the rows of earlier ones."""
    cuts = [one.counts for one in session.ingested()]
    items = sum(one["items"] for one in cuts)
    kept = sum(one["kept"] for one in cuts) / items if items else 1.0
    total = 0
    for source in session.recipe.sources:
        mine = [file for name, file in new_files.items() if name.startswith(f"source/{source.id}/")]
        files = [Path(file.path) for file in mine if file.sha256]  # what is not fetched yet cannot be counted
        total += count_rows(source, session.base, files).rows if files else 0
    return total * kept * (1.0 + session.recipe.ingest.canary_share)


def _held(recipe: Recipe, held: Sequence[Answered]) -> dict[str, float]:
    """Amounts that open partitions hold already."""
    prices = Prices(recipe)
    totals: dict[str, float] = defaultdict(float)
    for one in held:
        totals["asks"] += one.asks
        totals["prompt_tokens"] += one.prompt_tokens
        totals["completion_tokens"] += one.completion_tokens
        totals["reasoning_tokens"] += one.reasoning_tokens
        totals["token_usd"] += prices.tokens(one.model, one.prompt_tokens, one.completion_tokens)
    return totals


@dataclass(frozen=True)
class _Timed:
    """An earlier run: what it wrote, how fast, and with how many places at each model."""

    completion_tokens: int
    tokens_per_second: float
    places: dict[str, tuple[int, int]]


def _timed(session: Session) -> list[_Timed]:
    """This recipe's newest runs that wrote some tokens."""
    found: list[_Timed] = []
    for run in reversed(session.store.names("runs")):
        try:
            summary, card = (orjson.loads(session.store.read(f"runs/{run}/{name}.json")) for name in ("summary", "run"))
        except FileNotFoundError:
            continue  # it was killed, or goes on
        if summary.get("recipe") == session.recipe.name and summary.get("tokens_per_second"):
            places = _places(card["merged"])
            found.append(_Timed(summary["completion_tokens"], summary["tokens_per_second"], places))
        if len(found) == _RUNS:
            break
    most = max((run.completion_tokens for run in found), default=0)
    return [run for run in found if run.completion_tokens >= _LEAST_SHARE * most]


def _places(merged: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
    """Requests in flight and replicas of each model that a recipe, as JSON, gives places to."""
    models = merged["run"]["models"].items()
    return {name: (run["in_flight"], len(run.get("base_urls", ())) or run["replicas"]) for name, run in models}


def _speed_of(samples: Mapping[str, Sample], intervals: Sequence[Interval]) -> list[float]:
    """The speed while the sampled objects were made: what there is when every run was killed."""
    active = active_seconds(intervals)
    tokens = sum(float(sample.column("completion_tokens").sum()) for sample in samples.values())
    return [tokens / active] if active else []
