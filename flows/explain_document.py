"""A document explained, as one JSON value: where it comes from, what was asked, how it was judged, what became of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson

from flows.explain import Hit, Judged, Reader, costs, decoded, find, judged, listed_in, one_row, placed_now, retractions
from flows.explain_gates import gate_table, who_set
from flows.lineage import Row, Track
from flows.samples import counted_as, messages
from synth.audit.tables import STEPS
from synth.driver import Manifest
from synth.errors import UserError
from synth.rows import part_text

CONTAMINATION = ("decontamination", "decontamination_rendered")
NEAR = "near_duplicate"
TOKENS = ("prompt_tokens", "completion_tokens", "reasoning_tokens")

_MADE = (
    "family",
    "family_version",
    "renderer_version",
    "root_id",
    "seed_ids",
    "models",
    "license",
    "generation_depth",
    *TOKENS,
    "written_tokens",
)
_SEED = ("id", "source_id", "root_id", "source", "url", "license", "output_terms", "language", "quality", "text")


def document(reader: Reader, hit: Hit) -> dict[str, Any]:
    """The whole value of a document."""
    found = _judged(reader, hit)
    main = found[0]
    row = _row(reader, main.track.generated, hit.id)
    seed = seed_row(reader, main.track.generated, row["seed_ids"][0])
    merged = _merged(reader, main)
    verdicts = _verdicts(reader, main.track, hit.id)
    sent = attempts(reader, main.track.generated, row["ask_ids"])
    return {
        "kind": "document",
        "id": hit.id,
        **{name: row[name] for name in _MADE},
        "axes": decoded(row["axes"]) or {},
        "payload": decoded(row["payload"]),
        "text": row["text"],
        "parts": row["parts"],
        "reasoning": row["reasoning"],
        "seed": {**{name: seed[name] for name in _SEED}, "span": row["seed_span"]},
        "asks": _asks(reader, main.track, row, seed["text"], verdicts, sent),
        "scores": _scores(reader, main.track, hit.id),
        "gates": _gates(reader, main.track, hit.id, merged),
        "verdicts": [one for one in verdicts if one["rung"] not in (*CONTAMINATION, NEAR, "selection")],
        "contamination": [one for one in verdicts if one["rung"] in CONTAMINATION and one["outcome"] == "failed"],
        "near_duplicates": _near(reader, main, hit.id, verdicts),
        "spans": _spans(reader, main.track, hit.id),
        "fate": fate(reader, main, hit.id),
        "other_fates": [fate(reader, one, hit.id) for one in found[1:]],
        "cost": total_cost(costs(reader, sent)),
    }


def first_fate(reader: Reader, hit: Hit) -> dict[str, Any]:
    """What became of a document, as it counts now."""
    return fate(reader, _judged(reader, hit)[0], hit.id)


def _judged(reader: Reader, hit: Hit) -> list[Judged]:
    tracks = [track for stage in hit.stages for track in reader.lineage.tracks(reader.lineage.load(stage))]
    return judged(reader, tracks)


def _row(reader: Reader, generated: Manifest, doc_id: str) -> Row:
    return one_row(reader.lineage.about(generated, "documents", doc_id, "id"), f"the document {doc_id}")


def seed_row(reader: Reader, generated: Manifest, seed_id: str) -> Row:
    """The row of a seed of the partition that an object of documents was made from."""
    file = reader.lineage.seeds(generated.inputs["seeds"])
    return one_row(reader.lineage.rows(file, "id", [seed_id]) if file else [], f"the seed {seed_id}")


def _merged(reader: Reader, one: Judged) -> Mapping[str, Any] | None:
    """The recipe of the newest run that judged so."""
    return reader.run(one.uses[0].run).get("merged") if one.uses else None


def _verdicts(reader: Reader, track: Track, doc_id: str) -> list[Row]:
    """All verdicts on it, in the order of the steps; evidence as JSON."""
    made = {"generate": track.generated, "score": track.score, "resolve": track.resolve, "shards": track.shards}
    rows = [
        {"step": step, **row} for step, one in made.items() for row in reader.lineage.about(one, "verdicts", doc_id)
    ]
    kept = ("step", "rung", "judge", "outcome", "score", "ask_id")
    return [{**{name: row[name] for name in kept}, "evidence": decoded(row["evidence"])} for row in rows]


def _asks(
    reader: Reader, track: Track, row: Row, seed_text: str, verdicts: Sequence[Row], sent: Sequence[Row]
) -> list[dict[str, Any]]:
    """Every ask that was put for it, those whose answers stand in the text first, each with all attempts ever sent."""
    order = list(dict.fromkeys([*row["written_by"], *row["ask_ids"]]))
    asked = {
        one["ask_id"]: one
        for one in reader.lineage.rows(track.generated.file("asks.parquet"), "ask_id", row["ask_ids"])
    }
    chosen = {one["ask_id"]: one for one in verdicts if one["rung"] == "selection"}
    return [
        {
            **{name: value for name, value in asked[ask_id].items() if name not in ("prompt", "sampling")},
            "wrote": ask_id in row["written_by"],
            "selection": chosen[ask_id]["outcome"] if ask_id in chosen else None,
            "selector": chosen[ask_id]["evidence"] if ask_id in chosen else None,
            "sampling": orjson.loads(asked[ask_id]["sampling"]),
            "messages": messages(asked[ask_id]["prompt"], seed_text),
            "attempts": [one for one in sent if one["ask_id"] == ask_id],
        }
        for ask_id in order
        if ask_id in asked
    ]


def attempts(reader: Reader, generated: Manifest, ask_ids: list[str]) -> list[dict[str, Any]]:
    """Attempts for these asks, in the order in which they were sent. An answer that was reused has them in an older object."""
    group = generated.place.split("/", 2)[2].rpartition("/")[0]
    found = []
    for one in reader.lineage.of("generate", group):
        for row in reader.lineage.rows(one.file("attempts.parquet"), "ask_id", ask_ids):
            seconds = (row["ended_at"] - row["started_at"]).total_seconds() if row["ended_at"] else None
            found.append({**row, "seconds": seconds})
    return sorted(found, key=lambda row: (row["started_at"], row["step"], row["attempt_id"]))


def _scores(reader: Reader, track: Track, doc_id: str) -> dict[str, Any]:
    """Every score that rules gave it, by column."""
    found = reader.lineage.about(track.score, "scores", doc_id)
    return {name: value for row in found for name, value in row.items() if name not in ("item_id", "family")}


def _gates(reader: Reader, track: Track, doc_id: str, merged: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    found = reader.lineage.about(track.score, "scores", doc_id)
    if not found or track.keep is None:
        return []
    return gate_table(found[0], track.keep.config["gates"], "document", "keep", who_set(merged, "document"))


def _near(reader: Reader, one: Judged, doc_id: str, verdicts: Sequence[Row]) -> dict[str, Any] | None:
    """The near-duplicate verdict with both texts that were compared, and the documents that went because this one stays."""
    resolved = one.track.resolve
    if resolved is None:
        return None
    verdict = next((row for row in verdicts if row["rung"] == NEAR), None)
    said = (verdict or {}).get("evidence") or {}
    other = said.get("partner_id") or said.get("near_id")
    covers = [
        {name: row[name] for name in ("item_id", "rule", "score", "reason")}
        for made in reader.lineage.of("resolve", resolved.place.split("/", 2)[2].rpartition("/")[0])
        for row in reader.lineage.about(made, "drops", doc_id, "partner_id")
    ]
    unique = {row["item_id"]: row for row in covers}
    return {
        "outcome": verdict["outcome"] if verdict else None,
        "evidence": said,
        "compared_text": _generated(_row(reader, one.track.generated, doc_id)) if other else None,
        "partner": _partner(reader, other) if other else None,
        "stays_for": list(unique.values()),
    }


def _generated(row: Row) -> str:
    """What of a document is compared."""
    return part_text(row["text"], row["parts"] or [], "generated")


def _partner(reader: Reader, doc_id: str) -> dict[str, Any]:
    """The other document of a pair. The texts of pools lie outside the home."""
    from flows.steps.resolve import POOL_MARK  # it brings the code that compares

    if doc_id.startswith(POOL_MARK):
        _, pool, text_id = doc_id.split(":", 2)
        return {"id": doc_id, "pool": pool, "text_id": text_id, "family": None, "fate": None, "compared_text": None}
    try:
        hit = find(reader, doc_id)
    except UserError:
        return {"id": doc_id, "pool": None, "text_id": None, "family": None, "fate": None, "compared_text": None}
    row = _row(reader, reader.lineage.load(hit.stages[0]), doc_id)
    what = first_fate(reader, hit)
    return {
        "id": doc_id,
        "pool": None,
        "text_id": None,
        "family": row["family"],
        "fate": what,
        "compared_text": _generated(row),
    }


def _spans(reader: Reader, track: Track, doc_id: str) -> list[dict[str, Any]]:
    """Where rules found something in text and reasoning; whether shards writes something else there."""
    masks = set(track.shards.config.get("masks", ())) if track.shards else set()
    places = (("text", track.score, "spans"), ("reasoning", track.shards, "reasoning_spans"))
    return [
        {
            "in": where,
            **{name: row[name] for name in ("rule", "start_byte", "end_byte", "replacement")},
            "masked": row["rule"] in masks,
        }
        for where, made, table in places
        for row in reader.lineage.about(made, table, doc_id, "doc_id")
    ]


def fate(reader: Reader, one: Judged, doc_id: str) -> dict[str, Any]:
    """What became of it under one policy. `state`: dropped | released | retracted | kept (no release lists it) | open (steps
    are missing). `current`: the newest release of its recipe stands on this."""
    track, lineage = one.track, reader.lineage
    judges = {"generate": track.generated, "keep": track.keep, "resolve": track.resolve}
    drops = [row for made in judges.values() for row in lineage.about(made, "drops", doc_id)]
    drops.sort(key=lambda drop: (STEPS.index(drop["step"]), drop["rule_order"]))
    placed = _placed(reader, one, doc_id)
    state = "dropped" if drops else placed["state"] if placed else "open" if track.shards is None else "kept"
    first = drops[0] if drops else None
    return {
        "state": state,
        "current": one.release is not None and state != "retracted",
        "step": first["step"] if first else None,
        "counted_as": counted_as(first) if first else None,
        "drops": [{name: row[name] for name in row if name not in ("item_id", "item_kind")} for row in drops],
        "shard": placed["shard"] if placed else None,
        "recipe": one.uses[0].recipe if one.uses else None,
        "policy": one.uses[0].policy if one.uses else None,
        "runs": [{name: getattr(use, name) for name in ("run", "started_at", "outcome")} for use in one.uses],
        "release": one.release[1] if one.release else None,
        "objects": track.objects(),
    }


def _placed(reader: Reader, one: Judged, doc_id: str) -> dict[str, Any] | None:
    """Where it stands in a shard, and the releases that list that; None: it is in none. A retraction of others may have
    written the shard anew: what counts now is told by the catalogue."""
    shards = one.track.shards
    found = reader.lineage.about(shards, "rows", doc_id, "doc_id")
    if not found or shards is None:
        return None
    shard = {
        "path": f"{shards.place}/{found[0]['shard']}",
        **{name: found[0][name] for name in ("row", "split", "tokens")},
    }
    gone = []
    if one.release is not None:
        shard = placed_now(reader, doc_id, one.release[0]) or shard
        gone = retractions(reader, doc_id)
    releases = listed_in(reader, shard["path"])
    state = "retracted" if gone else "released" if releases else "kept"
    return {"state": state, "shard": {**shard, "releases": releases, "retracted": gone}}


def total_cost(paid: Mapping[str, Row]) -> dict[str, Any]:
    """The sum over asks; dollars are null where nothing had a price."""

    def total(name: str) -> Any:
        known = [row[name] for row in paid.values() if row[name] is not None]
        return sum(known) if known else None

    counted = {name: total(name) or 0 for name in ("attempts", "prompt_tokens", "generated_tokens")}
    return {"asks": len(paid), **counted, "token_dollars": total("token_dollars"), "gpu_dollars": total("gpu_dollars")}


def outcomes(asks: Iterable[Row]) -> dict[str, int]:
    """How often each outcome came."""
    return dict(Counter(one["outcome"] for one in asks).most_common())
