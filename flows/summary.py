"""What a run did, in numbers: from manifests and the engine's totals. Printed as the closing table, stored as summary.json."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from flows.session import Session
from synth import rows
from synth.driver import Manifest
from synth.engine.engine import Engine


def summarise(session: Session, engine: Engine, home: Path, outcome: str) -> dict[str, Any]:
    """The closing numbers of a run; objects of finished steps only, so it also holds for a run that was stopped."""
    stats = engine.stats
    made = {step: [session.driver.load(place) for place in sorted(places)] for step, places in session.made.items()}
    survivors = _survivors(session, made.get("resolve", []))
    families: dict[str, dict[str, int]] = {}
    for one in made.get("generate", []):
        tally = families.setdefault(one.config["family"], {"documents": 0, "kept": 0})
        tally["documents"] += one.counts["items"]
        ids = rows.read_table(session.store.local(one.file("documents.parquet").path), ["id"])["id"]
        tally["kept"] += pc.sum(pc.is_in(ids, value_set=survivors)).as_py() or 0
    seconds = (stats.last_answer or 0) - (stats.first_send or 0)
    release = session.pinned if outcome == "released" else None
    return {
        "outcome": outcome,
        "recipe": session.recipe.name,
        "run": session.run_id,
        "home": str(home),
        "release": release.number if release else None,
        "seeds": sum(one.counts["items"] for one in made.get("screen", [])),
        "seeds_dropped": _dropped([*made.get("ingest", []), *made.get("screen", [])]),
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
        "dropped": {step: _dropped(made.get(step, [])) for step in ("generate", "keep", "resolve")},
        "clusters": sum(one.counts["notes"]["clusters"] for one in made.get("resolve", [])),
        "usd": round(engine.dollars(), 6),
        "gpu_hours": round(engine.gpu_hours(), 6),
        **({"limit": engine.spent.limit, "in_flight_at_limit": engine.spent.in_flight} if engine.spent else {}),
        "shards": [{"path": f"{home}/{one['path']}", **one_of(one)} for one in release.shards] if release else [],
    }


def one_of(entry: Any) -> dict[str, Any]:
    """Of a shard's entry in a release, what a person wants to see."""
    return {name: entry[name] for name in ("split", "rows", "bytes")}


def _survivors(session: Session, resolved: list[Manifest]) -> pa.Array:
    """Ids of the documents that stay."""
    columns = [
        rows.read_table(session.store.local(one.file("index.parquet").path), ["doc_id"])["doc_id"] for one in resolved
    ]
    return pa.concat_arrays([chunk for column in columns for chunk in column.chunks] or [pa.array([], pa.string())])


def _dropped(objects: list[Manifest]) -> dict[str, int]:
    """Drops under their first reason, most frequent first."""
    total: Counter[str] = Counter()
    for one in objects:
        total.update(one.counts["dropped"])
    return dict(total.most_common())
