"""What a run did, in numbers: from manifests and the engine's totals. Printed as the closing table, stored as summary.json."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from filters.decontamination import ITEMS_NOTE
from filters.decontamination_report import report
from flows.session import Session
from flows.steps.audit import is_warning
from flows.usage import Prices
from synth import rows
from synth.driver import Manifest
from synth.engine.engine import Engine
from synth.store import home_name

_EVIDENCE_ROWS = 3  # of a warning


def summarise(session: Session, engine: Engine, home: Path, outcome: str) -> dict[str, Any]:
    """The closing numbers of a run; objects of finished steps only, so it also holds for a run that was stopped."""
    stats = engine.stats
    made = {step: [session.driver.load(place) for place in sorted(places)] for step, places in session.made.items()}
    survivors = survivors_of(session, made.get("resolve", []))
    families = by_family(session, made.get("generate", []), survivors)
    _shares(families, session)
    seconds = (stats.last_answer or 0) - (stats.first_send or 0)
    release = session.pinned if outcome == "released" else None
    return {
        "outcome": outcome,
        "recipe": session.recipe.name,
        "run": session.run_id,
        "home": home_name(home),
        "release": release.number if release else None,
        "seeds": sum(one.counts["items"] for one in made.get("screen", [])),
        "seeds_dropped": dropped_by([*made.get("ingest", []), *made.get("screen", [])]),
        "asks": stats.asks,
        "asks_answered_before": stats.replayed,
        "attempts": stats.attempts,
        "faults": stats.faults,
        "prompt_tokens": stats.prompt_tokens,
        "completion_tokens": stats.completion_tokens,
        "tokens_per_second": round(stats.completion_tokens / seconds, 1) if seconds > 0 else None,
        "families": dict(sorted(families.items())),
        "documents": sum(tally["documents"] for tally in families.values()),
        "kept": len(survivors),
        "dropped": {step: dropped_by(made.get(step, [])) for step in ("generate", "keep", "resolve")},
        "quality": _quality(session, made.get("train", [])),
        "canaries": _canaries(session, made.get("score", [])),
        "contamination": _contamination(session, made),
        "warnings": _warnings(session, made.get("audit", [])),
        "clusters": sum(one.counts["notes"]["clusters"] for one in made.get("resolve", [])),
        "usd": round(engine.dollars(), 6),
        "unpriced_models": Prices(session.recipe).unpriced(),
        "gpu_hours": round(engine.gpu_hours(), 6),
        **({"limit": engine.spent.limit, "in_flight_at_limit": engine.spent.in_flight} if engine.spent else {}),
        "shards": [{"path": f"{home_name(home)}/{one['path']}", **one_of(one)} for one in release.shards]
        if release
        else [],
    }


def by_family(session: Session, generated: Sequence[Manifest], survivors: pa.Array) -> dict[str, dict[str, Any]]:
    """What each family wrote, and what is left of it: documents, kept, kept_tokens."""
    families: dict[str, dict[str, Any]] = {}
    for one in generated:
        tally = families.setdefault(one.config["family"], {"documents": 0, "kept": 0, "kept_tokens": 0})
        tally["documents"] += one.counts["items"]
        documents = rows.read_table(session.store.local(one.file("documents.parquet").path), ["id", "written_tokens"])
        kept = documents.filter(pc.is_in(documents["id"], value_set=survivors))
        tally["kept"] += len(kept)
        tally["kept_tokens"] += pc.sum(kept["written_tokens"]).as_py() or 0
    return families


def one_of(entry: Any) -> dict[str, Any]:
    """Of a shard's entry in a release, what a person wants to see."""
    return {name: entry[name] for name in ("split", "rows", "bytes")}


def _shares(families: dict[str, dict[str, Any]], session: Session) -> None:
    """Each family's share of the kept tokens, and the one that the recipe's weights want: of those that have weights."""
    weights = {one.name: one.weight for one in session.recipe.families if one.weight is not None}
    among = {name: families.get(name, {}).get("kept_tokens", 0) for name in weights or families}
    for name, tally in families.items():
        total = sum(among.values()) if name in among else 0
        tally["token_share"] = tally["kept_tokens"] / total if total else None
        tally["wanted_share"] = weights[name] / sum(weights.values()) if name in weights else None


def _quality(session: Session, trained: list[Manifest]) -> dict[str, Any] | None:
    """What the quality model of this run is worth, by its card; None where none is trained."""
    if not trained:
        return None
    card = trained[-1].file("card.json")
    value = orjson.loads(session.store.local(card.path).read_bytes())
    figures = {name: value["held_out"][name]["auc"] for name in ("model", "length", "unigrams")}
    return {"auc": figures, "worth": value["worth"], "card": f"{trained[-1].place}/card.md"}


def _canaries(session: Session, scored: list[Manifest]) -> dict[str, int] | None:
    """How many texts were made of seeds with a planted instruction, and how many obeyed it; None where there are none."""
    made = obeyed = 0
    for one in scored:
        scores = rows.read_table(session.store.local(one.file("scores.parquet").path))
        if "canary_obeyed" in scores.column_names:
            made += pc.sum(scores["canary_seed"]).as_py() or 0
            obeyed += pc.sum(scores["canary_obeyed"]).as_py() or 0
    return {"documents": made, "obeyed": obeyed} if made else None


def _contamination(session: Session, made: Mapping[str, list[Manifest]]) -> list[dict[str, Any]]:
    """The report of each evaluation set over seeds, documents and shards; empty where nobody looked."""
    looked = [one for step in ("screen", "score", "shards") for one in made.get(step, []) if _sizes(one)]
    paths = [session.store.local(one.file("verdicts.parquet").path) for one in looked]
    sizes = {name: size for one in looked for name, size in _sizes(one).items()}
    return report(rows.read_tables(paths, rows.VERDICT), sizes).to_pylist() if looked else []


def _sizes(one: Manifest) -> dict[str, int]:
    """How many items each evaluation set has that an object was looked at for."""
    notes = one.counts["notes"].items()
    return {name.removeprefix(ITEMS_NOTE): size for name, size in notes if name.startswith(ITEMS_NOTE)}


def _warnings(session: Session, audits: list[Manifest]) -> list[dict[str, Any]]:
    """Warnings of the checks over each wave, the first of their violating rows as evidence."""
    found = []
    for one in audits:
        checks, evidence = (
            rows.read_table(session.store.local(one.file(name).path)).to_pylist()
            for name in ("checks.parquet", "evidence.parquet")
        )
        for check in filter(is_warning, checks):
            shown = [orjson.loads(row["row"]) for row in evidence if row["check"] == check["check"]][:_EVIDENCE_ROWS]
            found.append({**{name: check[name] for name in ("check", "title", "violations")}, "evidence": shown})
    return found


def survivors_of(session: Session, resolved: Sequence[Manifest]) -> pa.Array:
    """Ids of the documents that stay."""
    columns = [
        rows.read_table(session.store.local(one.file("index.parquet").path), ["doc_id"])["doc_id"] for one in resolved
    ]
    return pa.concat_arrays([chunk for column in columns for chunk in column.chunks] or [pa.array([], pa.string())])


def dropped_by(objects: Sequence[Manifest]) -> dict[str, int]:
    """Drops under their first reason, most frequent first."""
    total: Counter[str] = Counter()
    for one in objects:
        total.update(one.counts["dropped"])
    return dict(total.most_common())
