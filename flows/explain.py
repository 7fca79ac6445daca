"""`synth explain`: which item is meant, and what the catalogue knows of the objects behind it.

The catalogue finds an id among all texts and says which runs and releases an object belongs to. The rows themselves are read
from the few files that hold them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from flows.holder import holder
from flows.lineage import Lineage, Row, Track
from synth.audit.catalog import build_catalog
from synth.audit.copies import CATALOG, bring_here
from synth.audit.limits import DEFAULT_MEMORY, DEFAULT_SECONDS, within
from synth.audit.sql import Catalogue, catalogue
from synth.audit.tables import literal
from synth.errors import HomeError, IntegrityError, UserError, fail
from synth.store import MARK, Store

MIN_DIGITS = 4
MOST_CANDIDATES = 10
_ID_DIGITS = 64
_AFTER_DIGITS = "g"  # sorts behind every hex digit


@dataclass(frozen=True)
class Hit:
    """An item whose id begins as asked for. `of`: a document's family, a seed's source. `stages`: objects that hold it."""

    kind: str  # document | seed
    id: str
    of: str
    stages: tuple[str, ...]


@dataclass(frozen=True)
class Use:
    """A run that used all objects of a track."""

    run: str
    recipe: str
    policy: str
    started_at: str
    outcome: str | None


class Reader:
    """A home that is asked about its items. HomeError: there is none. A missing catalogue is built."""

    def __init__(self, home: Path | str, tell: Callable[[str], None] = lambda text: None) -> None:
        self.store = Store.at(home, tell)
        if not self.store.exists(MARK):
            do = "run a recipe first (`synth run RECIPE`), or give the right folder with --home"
            raise fail(HomeError, f"{self.store.name} is not a home of synth", do=do)
        self.lineage = Lineage(self.store)
        self._tell = tell
        self._runs: dict[str, Row] = {}
        self._open = ExitStack()
        self._opened: Catalogue | None = None
        self.built = False
        """Whether the catalogue was built for this question."""
        if not self._catalogue.is_file():
            self.build()

    @property
    def _catalogue(self) -> Path:
        return self.store.local(CATALOG)

    def build(self) -> None:
        """Build the catalogue of what is there now."""
        self.close()
        build_catalog(self.store.root)
        self.built = True

    def close(self) -> None:
        """Close the catalogue; the next question opens it again."""
        self._open.close()
        self._opened = None

    def sql(self, question: str) -> list[Row]:
        """Rows of the catalogue, which stays open for the next question."""
        bring_here(self.store.root, question, self._tell)
        if self._opened is None:
            self._opened = self._open.enter_context(catalogue(self.store.root, DEFAULT_MEMORY))
        with self._opened.answer(question, DEFAULT_SECONDS) as found:
            answer: list[Row] = within(found, DEFAULT_MEMORY).to_pylist()
        return answer

    def as_of(self) -> datetime:
        """When the catalogue was built."""
        return datetime.fromtimestamp(self._catalogue.stat().st_mtime, UTC)

    def changed(self) -> bool:
        """Whether a run began, ended or released since the catalogue was built."""
        runs = [f"runs/{name}/run.json" for name in self.store.names("runs")]
        folders = [f"releases/{recipe}" for recipe in self.store.names("releases")]
        records = [*runs, *(f"{folder}/{name}" for folder in folders for name in self.store.names(folder))]
        built = self._catalogue.stat().st_mtime
        return any((self.store.modified_at(record) or 0) > built for record in records)

    def run(self, name: str) -> Row:
        """The record of a run; empty when it is gone."""
        if name not in self._runs:
            try:
                self._runs[name] = orjson.loads(self.store.read(f"runs/{name}/run.json"))
            except FileNotFoundError:
                self._runs[name] = {}
        return self._runs[name]

    def running(self) -> str | None:
        """The run on this machine that holds the home now; None: nobody does."""
        return holder(self.store.root)


def find(reader: Reader, given: str) -> Hit:
    """The one item whose id begins with `given`. UserError when it is none or several, with what was found."""
    prefix = _prefix(given)
    hits = _hits(reader, prefix)
    if not hits and not reader.built and reader.changed():
        reader.build()
        hits = _hits(reader, prefix)
    if len(hits) == 1:
        return hits[0]
    raise _several(prefix, hits) if hits else _none(reader, prefix)


def _prefix(given: str) -> str:
    """The start of an id, as it is stored."""
    prefix = given.strip().rstrip("….").lower()
    if not re.fullmatch(r"[0-9a-f]+", prefix) or not MIN_DIGITS <= len(prefix) <= _ID_DIGITS:
        raise fail(
            UserError,
            "this is not the start of an id",
            given=given,
            allowed=f"{MIN_DIGITS} to {_ID_DIGITS} hex digits of the id of a document or a seed",
            do='ids are in the catalogue: synth sql "SELECT id, family FROM documents LIMIT 5"',
        )
    return prefix


def _hits(reader: Reader, prefix: str) -> list[Hit]:
    """Documents, then seeds; where there are none, seeds that ingest dropped, of which only the drop was kept."""
    found = reader.sql(
        "SELECT 'document' AS kind, id, family AS what, list_sort(list(DISTINCT stage)) AS stages FROM all_documents "
        f"WHERE {_begins('id', prefix)} GROUP BY ALL UNION ALL "
        "SELECT 'seed', id, source_id, list_sort(list(DISTINCT stage)) FROM all_seeds "
        f"WHERE {_begins('id', prefix)} GROUP BY ALL ORDER BY kind, id LIMIT 1000"
    )
    found = found or reader.sql(
        "SELECT 'seed' AS kind, item_id AS id, rule AS what, list_sort(list(DISTINCT stage)) AS stages FROM all_drops "
        f"WHERE step = 'ingest' AND {_begins('item_id', prefix)} GROUP BY ALL ORDER BY id LIMIT 1000"
    )
    return [Hit(one["kind"], one["id"], one["what"], tuple(one["stages"])) for one in found]


def _begins(column: str, prefix: str) -> str:
    """As a range: a scan skips what lies outside by the statistics of the files."""
    return f"{column} >= {literal(prefix)} AND {column} < {literal(prefix + _AFTER_DIGITS)}"


def _several(prefix: str, hits: Sequence[Hit]) -> Exception:
    shown = [f"{one.kind:<8} {one.id[:16]}  {one.of}" for one in hits[:MOST_CANDIDATES]]
    more = len(hits) - len(shown)
    lines = [*shown, f"and {more:,} more"] if more else shown
    what, allowed = f"{len(hits):,} items begin with {prefix}", "one of them:\n    " + "\n    ".join(lines)
    return fail(UserError, what, allowed=allowed, do="give more digits")


def _none(reader: Reader, prefix: str) -> Exception:
    asks = reader.sql(f"SELECT DISTINCT ask_id, seed_id FROM all_asks WHERE {_begins('ask_id', prefix)} LIMIT 1")
    if asks:
        what, seed = f"{prefix} is an ask, and neither a document nor a seed", asks[0]["seed_id"]
        return fail(UserError, what, do=f"synth explain {seed[:16]} tells of the seed that it was asked about")
    held = reader.sql(
        "SELECT coalesce(sum(items) FILTER (step = 'generate'), 0)::BIGINT AS documents, "
        "coalesce(sum(items) FILTER (step = 'ingest'), 0)::BIGINT AS seeds FROM all_objects"
    )[0]
    looked = f"{held['documents']:,} documents and {held['seeds']:,} seeds of {reader.store.name}, dropped ones too"
    going_on = reader.running()
    what = f"no document or seed begins with {prefix}"
    do = f"what {going_on} makes can be asked for when it has ended" if going_on else "check the id, or give --home"
    return fail(UserError, what, allowed=f"the start of an id among {looked}", do=do)


@dataclass(frozen=True)
class Judged:
    """A track and what became of it. `release`: the first release of the newest ones that stands on all of it."""

    track: Track
    uses: tuple[Use, ...]  # the newest first
    release: tuple[str, int] | None  # recipe and number

    @property
    def rank(self) -> tuple[bool, str, int]:
        """The greater, the more it says about now: what is released, then the newest run, then the most complete."""
        return self.release is not None, self.uses[0].started_at if self.uses else "", len(self.track.objects())


def judged(reader: Reader, tracks: Iterable[Track]) -> list[Judged]:
    """Each track with its runs and its release, what counts now first. Tracks that nobody made on purpose are left out: two
    policies whose files are equal can be crossed."""
    every = list(tracks)
    places = sorted({place for track in every for place in track.objects().values()})
    used = _uses(reader, places)
    released = _released(reader, places)
    found = []
    for track in every:
        objects = track.objects().values()
        runs = set.intersection(*(set(used.get(place, {})) for place in objects))
        uses = sorted((used[track.generated.place][run] for run in runs), key=lambda use: use.started_at, reverse=True)
        recipes = set.intersection(*(set(released.get(place, {})) for place in objects))
        release = max(((name, max(released[place][name] for place in objects)) for name in recipes), default=None)
        if uses or any(place not in used for place in objects):
            found.append(Judged(track, tuple(uses), release))
    return sorted(found, key=lambda one: one.rank, reverse=True)


def _listed(values: Iterable[str]) -> str:
    return ", ".join(map(literal, values))


def _uses(reader: Reader, places: Sequence[str]) -> dict[str, dict[str, Use]]:
    """Of each object the runs that made or used it, by name."""
    found: dict[str, dict[str, Use]] = {}
    for row in reader.sql(
        "SELECT o.object, r.run, r.recipe, r.policy, strftime(r.started_at, '%Y-%m-%dT%H:%M:%SZ') AS started_at, r.outcome "
        f"FROM run_objects o JOIN runs r USING (run) WHERE o.object IN ({_listed(places)})"
    ):
        use = Use(row["run"], row["recipe"], row["policy"], row["started_at"], row["outcome"])
        found.setdefault(row["object"], {})[use.run] = use
    return found


def _released(reader: Reader, places: Sequence[str]) -> dict[str, dict[str, int]]:
    """Of each object the recipes whose newest release stands on it, and since which release."""
    found: dict[str, dict[str, int]] = {}
    for row in reader.sql(f"SELECT object, recipe, release FROM objects WHERE object IN ({_listed(places)})"):
        found.setdefault(row["object"], {})[row["recipe"]] = row["release"]
    return found


def listed_in(reader: Reader, path: str) -> list[Row]:
    """The releases that list a shard, by recipe: the first, the last, and whether that is the recipe's newest one."""
    return reader.sql(
        "SELECT recipe, min(release) AS first, max(release) AS last, bool_or(current) AS current FROM all_shards "
        f"WHERE path = {literal(path)} GROUP BY ALL ORDER BY current DESC, last DESC"
    )


def placed_now(reader: Reader, doc_id: str, recipe: str) -> Row | None:
    """Where a document stands in the shards of the newest release of a recipe; None: nowhere."""
    found = reader.sql(
        f"SELECT path, row, split, tokens FROM rows WHERE doc_id = {literal(doc_id)} AND recipe = {literal(recipe)}"
    )
    return found[0] if found else None


def retractions(reader: Reader, doc_id: str) -> list[Row]:
    """The releases of the newest ones' chains that took a document out, by recipe, and why."""
    return reader.sql(
        "SELECT DISTINCT recipe, release, evidence FROM drops WHERE step IN ('retract', 'release') "
        f"AND item_id = {literal(doc_id)} ORDER BY ALL"
    )


def costs(reader: Reader, attempts: Iterable[Row]) -> dict[str, Row]:
    """What each ask cost, from its rows of ATTEMPT: attempts, tokens as reported, dollars by tokens and as its share of GPU time,
    as the view `all_attempt_costs` counts them. Dollars are null where no run that paid had such a price."""
    found: dict[str, Row] = {}
    gpu: dict[tuple[str, str], Callable[[int], float]] = {}
    for row in attempts:
        read, generated = row["usage_prompt_tokens"] or 0, row["usage_completion_tokens"] or 0
        paid = row["run"], re.sub(r"/[^/]*$", "", row["endpoint"])
        card = reader.run(paid[0]).get("models", {}).get(paid[1], {})
        ask = found.setdefault(
            row["ask_id"], {**dict.fromkeys(_COUNTED, 0), "token_dollars": None, "gpu_dollars": None}
        )
        for name, number in zip(_COUNTED, (1, read, generated), strict=True):
            ask[name] += number
        per_token = [card.get(name, 0.0) for name in _TOKEN_PRICES]
        if any(per_token):
            ask["token_dollars"] = (ask["token_dollars"] or 0) + (read * per_token[0] + generated * per_token[1]) / 1e6
        if card.get(_GPU_PRICE):
            gpu.setdefault(paid, _gpu_share(reader, *paid))
            ask["gpu_dollars"] = (ask["gpu_dollars"] or 0) + gpu[paid](generated)
    return found


_COUNTED = ("attempts", "prompt_tokens", "generated_tokens")
_TOKEN_PRICES = ("usd_per_million_prompt_tokens", "usd_per_million_completion_tokens")
_GPU_PRICE = "usd_per_gpu_hour"


def _gpu_share(reader: Reader, run: str, model_name: str) -> Callable[[int], float]:
    """What of a model's GPU dollars in a run an attempt that generated so many tokens is charged."""
    mine = f"run = {literal(run)} AND regexp_replace(endpoint, '/[^/]*$', '') = {literal(model_name)}"
    (paid,) = reader.sql(f"SELECT coalesce(sum(dollars), 0) AS dollars FROM all_sessions WHERE {mine}")
    (sent,) = reader.sql(
        "SELECT count(*) AS attempts, coalesce(sum(usage_completion_tokens), 0)::BIGINT AS tokens "
        f"FROM all_attempts WHERE {mine}"
    )
    dollars, tokens, attempts = paid["dollars"], sent["tokens"], max(sent["attempts"], 1)
    return lambda generated: float(dollars * generated / tokens if tokens else dollars / attempts)


def one_row(found: Sequence[Row], what: str) -> Row:
    """The row that must be there."""
    if not found:
        raise fail(IntegrityError, f"{what} is not in the file that the catalogue names", do="run `synth audit`")
    return found[0]


def decoded(value: str | None) -> Any:
    """A stored JSON value."""
    return orjson.loads(value) if value else None
