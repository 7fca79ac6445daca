"""How far a run is, as one JSON value: what the live line, `runs/<id>/status.json` and the closing words are made of."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flows.recipe import Recipe
from flows.session import Session
from flows.usage import Prices
from synth.driver import Manifest, Work
from synth.engine.engine import Engine
from synth.engine.model import Model
from synth.engine.pool import Replica

_WINDOW_SECONDS = 300.0  # over which speeds are taken: long enough for slow answers, short enough to show a change
_LEAST_SECONDS = 2.0  # between two looks that make a speed
_AFTER = {"ingest": "seeds are cut", "resolve": "shards", "shards": "audit", "audit": "release"}


@dataclass(frozen=True)
class _Look:
    """Running totals at one moment; of each endpoint answers, their seconds and their tokens."""

    at: float
    tokens: int
    done: float
    endpoints: Mapping[str, tuple[int, float, int]]


class Progress:
    """Collects what is done. `on_object` may be called from any thread."""

    def __init__(self, recipe: Recipe, engine: Engine) -> None:
        self._recipe = recipe
        self._engine = engine
        self._prices = Prices(recipe)
        self._session: Session | None = None
        self._seen: set[str] = set()
        self._items: Counter[str] = Counter()
        self._kept: Counter[str] = Counter()
        self._taken: Counter[str] = Counter()  # by family: seeds that it worked on
        self._offered: Counter[str] = Counter()  # by family: seeds that it could have taken
        self._signed: Counter[str] = Counter()  # by seed partition: families whose chain is complete
        self._partitions = 0
        self._seeds: int | None = None  # of all partitions of this run; None: to be counted
        self._looks: deque[_Look] = deque()
        self._began = time.monotonic()
        self._stage = "starting"
        self._guard = threading.Lock()

    def watch(self, session: Session) -> None:
        """The run whose work this is."""
        self._session = session

    def on_object(self, work: Work, manifest: Manifest) -> None:
        """Hear of an object that was made or found."""
        with self._guard:
            if manifest.place in self._seen:
                return
            self._seen.add(manifest.place)
            self._items[manifest.step] += manifest.counts["items"]
            self._kept[manifest.step] += manifest.counts["kept"]
            self._hear(work, manifest)

    def _hear(self, work: Work, manifest: Manifest) -> None:
        if manifest.step == "generate":
            notes, family = manifest.counts["notes"], manifest.config["family"]
            offered = notes["seeds"] - notes["seeds_screened"]
            self._offered[family] += offered
            self._taken[family] += offered - notes["seeds_not_routed"]
        elif manifest.step == "sign":
            self._signed[work.group.partition("/")[0]] += 1
        elif manifest.step == "ingest":
            self._seeds = None
        waiting = self._stage in ("starting", "seeds are cut")
        self._stage = _AFTER.get(manifest.step, "generate" if waiting or manifest.step == "generate" else self._stage)

    def value(self) -> dict[str, Any]:
        """How far it is."""
        with self._guard:
            done, total = self._pairs()
            now = time.monotonic()
            look = self._look(now, done)
            stats = self._engine.stats
            usd = self._engine.dollars() if self._prices.any() else None
            left = max(0.0, total - done)
            per_second = self._per_second(look)
            families = len(self._recipe.families)
            return {
                "stage": self._stage,
                "elapsed_seconds": round(now - self._began, 1),
                "partitions": {
                    "done": sum(number >= families for number in self._signed.values()),
                    "total": self._partitions,
                },
                "documents": {"done": round(done), "expected": round(max(total, done))},
                "kept_share": self._kept["keep"] / self._items["score"] if self._items["score"] else None,
                "asks": stats.asks,
                "asks_answered_before": stats.replayed,
                "in_flight": stats.in_flight,
                "unanswered": max(0, stats.attempts - stats.asks - stats.faults - stats.in_flight),
                "faults": stats.faults,
                "prompt_tokens": stats.prompt_tokens,
                "completion_tokens": stats.completion_tokens,
                "tokens_per_second": _rate(look, self._looks[0]),
                "usd": None if usd is None else round(usd, 6),
                "usd_expected": None if usd is None else _expected(usd, stats, left),
                "unpriced_models": self._prices.unpriced(),
                "seconds_left": round(left / per_second) if per_second else None,
                "endpoints": self._endpoints(look),
            }

    def _pairs(self) -> tuple[float, float]:
        """(seed, family) pairs done, those of earlier runs included, and expected in all."""
        if self._seeds is None and self._session is not None:
            pending = self._session.pending()
            self._partitions = max(len(pending), len(self._signed))
            self._seeds = self._session.seeds_in(pending)
        stats = self._engine.stats
        found = max(0, sum(self._taken.values()) - stats.seeds_closed)
        passing = self._kept["screen"] / self._items["screen"] if self._items["screen"] else 1.0
        weights = sum(one.weight for one in self._recipe.families if one.weight is not None)
        total = 0.0
        for one in self._recipe.families:
            guess = one.share if one.weight is None else one.weight / weights
            share = self._taken[one.name] / self._offered[one.name] if self._offered[one.name] else guess
            total += (self._seeds or 0) * passing * share
        return float(found + stats.seeds_done), max(total, float(stats.seeds + found))

    def _look(self, now: float, done: float) -> _Look:
        replicas = [one for model in self._engine.models.values() for one in model.pool.replicas]
        endpoints = {one.name: (one.answered, one.answer_seconds, one.written_tokens) for one in replicas}
        look = _Look(now, self._engine.stats.completion_tokens, done, endpoints)
        if self._engine.stats.first_send and (not self._looks or now - self._looks[-1].at >= _LEAST_SECONDS):
            self._looks.append(look)
        while len(self._looks) > 2 and now - self._looks[0].at > _WINDOW_SECONDS:
            self._looks.popleft()
        if not self._looks:
            self._looks.append(look)
        return look

    def _per_second(self, look: _Look) -> float | None:
        """Pairs per second that were asked about: of the window, or while it holds too few of all since the first send."""
        stats, since = self._engine.stats, self._looks[0]
        if look.at - since.at >= _LEAST_SECONDS and look.done - since.done >= 1 and not stats.replayed:
            return (look.done - since.done) / (look.at - since.at)
        if not stats.first_send or not stats.asks:
            return None
        return _fresh(stats) / max(1e-9, look.at - stats.first_send) or None

    def _endpoints(self, look: _Look) -> list[dict[str, Any]]:
        return [
            _endpoint(model, replica, look, self._looks[0])
            for model in self._engine.models.values()
            for replica in model.pool.replicas
        ]


def _fresh(stats: Any) -> float:
    """Seeds done whose answers were asked for in this run, not looked up."""
    return float(stats.seeds_done * stats.asks / max(1, stats.asks + stats.replayed))


def _expected(usd: float, stats: Any, left: float) -> float | None:
    """US dollars at the end, if what is left costs what was paid so far per seed."""
    return round(usd + left * usd / _fresh(stats), 6) if _fresh(stats) else None


def _rate(look: _Look, since: _Look) -> float | None:
    seconds = look.at - since.at
    return round((look.tokens - since.tokens) / seconds, 1) if seconds >= _LEAST_SECONDS and look.tokens else None


def _endpoint(model: Model, replica: Replica, look: _Look, since: _Look) -> dict[str, Any]:
    keeper = model.keepers.get(replica.name)
    life = keeper.lives[-1] if keeper and keeper.lives else None
    child = life.endpoint.child if life else None
    now, before = look.endpoints[replica.name], since.endpoints.get(replica.name, (0, 0.0, 0))
    answers, seconds = now[0] - before[0], look.at - since.at
    return {
        "name": replica.name,
        "state": _state(replica, life is not None, look.at, started=bool(model.keepers)),
        "where": life.endpoint.base_url if life else None,
        "in_flight": replica.in_flight,
        "window": int(replica.window),
        "answers": replica.answered,
        "tokens_per_second": round((now[2] - before[2]) / seconds, 1) if seconds >= _LEAST_SECONDS else None,
        "seconds_per_answer": round((now[1] - before[1]) / answers, 2) if answers else None,
        "silent_seconds": round(look.at - replica.answered_at, 1) if replica.answered_at else None,
        "starts": len(keeper.lives) if keeper else 0,
        "log": str(child.log) if child else None,
    }


def _state(replica: Replica, came_up: bool, now: float, started: bool) -> str:
    if replica.given_up:
        return "given up"
    if not came_up:
        return "starting" if started else "not started"
    if not replica.up:
        return "down"
    return "asked to wait" if replica.blocked_until > now else "up"
