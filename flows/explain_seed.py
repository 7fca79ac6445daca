"""A seed explained, as one JSON value: its text, how the screen judged it, which families took it, what they made of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flows.explain import Hit, Judged, Reader, costs, decoded, judged, one_row
from flows.explain_document import CONTAMINATION, fate, outcomes, total_cost
from flows.explain_gates import gate_table, who_set
from flows.lineage import Row, Track
from flows.steps.routing import OWN_QUALITY, Rival, Route, chosen
from synth import rows
from synth.config import parse
from synth.digest import short
from synth.driver import File, Manifest


@dataclass(frozen=True)
class _Cut:
    """A partition that holds the seed, and the objects that were made of it."""

    ingest: Manifest
    file: File
    row: Row


def seed(reader: Reader, hit: Hit) -> dict[str, Any]:
    """The whole value of a seed. One that ingest dropped has no text: only its drop was kept."""
    cuts = [cut for stage in hit.stages for cut in _cuts(reader, stage, hit.id)]
    if not cuts:
        return _dropped_by_ingest(reader, hit)
    judgements = [one for cut in cuts for one in _judgements(reader, cut, hit.id)]
    main = judgements[0] if judgements else None
    documents = [one for cut in cuts for one in _documents(reader, cut, hit.id)]
    asks = _asks(reader, cuts, hit.id)
    row = cuts[0].row
    return {
        "kind": "seed",
        "id": hit.id,
        **{name: row[name] for name in rows.SEED.names if name not in ("id", "meta")},
        "meta": decoded(row["meta"]) or {},
        "recipes": sorted({one.ingest.place.split("/")[2] for one in cuts}),
        "partitions": [{"object": cut.ingest.place, "file": cut.file.path, "sha256": cut.file.sha256} for cut in cuts],
        "screen": main,
        "other_screens": judgements[1:],
        "families": _families(reader, cuts, row, main),
        "documents": documents,
        "asks": outcomes(asks),
        "cost": total_cost(costs(reader, _attempts(reader, cuts, [one["ask_id"] for one in asks]))),
        "fate": _fate(main, documents),
    }


def first_fate(reader: Reader, hit: Hit) -> dict[str, Any]:
    """What became of a seed, as it counts now."""
    found: dict[str, Any] = seed(reader, hit)["fate"]
    return found


def _dropped_by_ingest(reader: Reader, hit: Hit) -> dict[str, Any]:
    drops = [row for stage in hit.stages for row in reader.lineage.about(reader.lineage.load(stage), "drops", hit.id)]
    first = one_row(drops, f"the drop of the seed {hit.id}")
    state = {"state": "dropped", "step": "ingest", "counted_as": first["rule"], "drops": drops}
    return {"kind": "seed", "id": hit.id, "text": None, "fate": state}


def _cuts(reader: Reader, stage: str, seed_id: str) -> list[_Cut]:
    ingested = reader.lineage.load(stage)
    if ingested.step != "ingest":
        return []
    found = []
    for file in ingested.tables("seeds"):
        found += [_Cut(ingested, file, row) for row in reader.lineage.rows(file, "id", [seed_id])]
    return found


def _judgements(reader: Reader, cut: _Cut, seed_id: str) -> list[dict[str, Any]]:
    """How each policy's screen judged it, what counts now first."""
    made = reader.lineage.of("screen", short(cut.file.sha256))
    return [_judgement(reader, one, seed_id) for one in _ranked(reader, made)]


def _ranked(reader: Reader, made: Sequence[Manifest]) -> list[Judged]:
    """Objects of one step as tracks of their own: which runs used each, and whether the newest release stands on it."""
    return judged(reader, [Track(one) for one in made])


def _judgement(reader: Reader, one: Judged, seed_id: str) -> dict[str, Any]:
    screened = one.track.generated
    scores = one_row(reader.lineage.about(screened, "seed_scores", seed_id), f"the score of the seed {seed_id}")
    merged = reader.run(one.uses[0].run).get("merged") if one.uses else None
    drops = sorted(reader.lineage.about(screened, "drops", seed_id), key=lambda drop: drop["rule_order"])
    verdicts = [
        {**{name: row[name] for name in ("rung", "judge", "outcome", "score")}, "evidence": decoded(row["evidence"])}
        for row in reader.lineage.about(screened, "verdicts", seed_id)
    ]
    return {
        "object": screened.place,
        "recipe": one.uses[0].recipe if one.uses else None,
        "current": one.release is not None,
        "runs": [use.run for use in one.uses],
        "state": "dropped" if drops else "passed",
        "counted_as": drops[0]["reason"] if drops else None,
        "drops": [{name: row[name] for name in row if name not in ("item_id", "item_kind")} for row in drops],
        "scores": {name: value for name, value in scores.items() if name not in ("item_id", "family")},
        "gates": gate_table(scores, screened.config["gates"], "seed", "screen", who_set(merged, "seed")),
        "verdicts": [row for row in verdicts if row["rung"] not in CONTAMINATION],
        "contamination": [row for row in verdicts if row["rung"] in CONTAMINATION and row["outcome"] == "failed"],
    }


def _generated(reader: Reader, cut: _Cut) -> list[Manifest]:
    """Every object of documents that was made of the partition."""
    return reader.lineage.of("generate", short(cut.file.sha256))


def _documents(reader: Reader, cut: _Cut, seed_id: str) -> list[dict[str, Any]]:
    """Documents made of it, of all policies, each with its fate; what counts now first."""
    found: dict[str, dict[str, Any]] = {}
    for generated in _generated(reader, cut):
        mine = _made_of(reader, generated, seed_id)
        for one in judged(reader, reader.lineage.tracks(generated)) if mine else []:
            for row in mine:
                what = fate(reader, one, row["id"])
                said = {"id": row["id"], "family": row["family"], "written_tokens": row["written_tokens"]}
                said |= {name: what[name] for name in ("state", "step", "counted_as", "current", "recipe")}
                if row["id"] not in found or (said["current"] and not found[row["id"]]["current"]):
                    found[row["id"]] = said
    return sorted(found.values(), key=lambda one: (not one["current"], one["family"], one["id"]))


def _made_of(reader: Reader, generated: Manifest, seed_id: str) -> list[Row]:
    """The documents of an object that were made of the seed, without their texts."""
    columns = ["id", "family", "seed_ids", "written_tokens"]
    return [row for row in reader.lineage.table(generated, "documents", columns) if seed_id in row["seed_ids"]]


def _asks(reader: Reader, cuts: Sequence[_Cut], seed_id: str) -> list[Row]:
    """Its asks, each once: an answer that was reused stands in several objects."""
    found = {
        row["ask_id"]: row
        for cut in cuts
        for one in _generated(reader, cut)
        for row in reader.lineage.about(one, "asks", seed_id, "seed_id")
    }
    return list(found.values())


def _attempts(reader: Reader, cuts: Sequence[_Cut], ask_ids: list[str]) -> list[Row]:
    """What was sent for these asks; each attempt stands in one object."""
    made = [one for cut in cuts for one in _generated(reader, cut)]
    return [row for one in made for row in reader.lineage.rows(one.file("attempts.parquet"), "ask_id", ask_ids)]


def _families(reader: Reader, cuts: Sequence[_Cut], row: Row, main: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """Of each family under the policy that counts now whether it took the seed, and why not."""
    said: list[dict[str, Any]] = []
    if main is None:
        return said
    for cut in cuts:
        made = [one for one in _generated(reader, cut) if _of_screen(one, reader.lineage.load(main["object"]))]
        newest = {one.track.generated.config["family"]: one.track.generated for one in reversed(_ranked(reader, made))}
        for family, generated in sorted(newest.items()):
            state, why = _routed(generated.config, row, main)
            ids = [one["id"] for one in _made_of(reader, generated, row["id"])]
            said.append({"family": family, "state": state, "why": why, "documents": ids, "object": generated.place})
    return said


def _of_screen(generated: Manifest, screened: Manifest) -> bool:
    return bool(generated.inputs["drops"] == screened.file("drops.parquet").sha256)


def _routed(config: Mapping[str, Any], row: Row, main: Mapping[str, Any]) -> tuple[str, str]:
    """(took | screened | route | weight | share, in words), by the code that routed it."""
    if main["state"] == "dropped":
        return "screened", f"the screen dropped it: {main['counted_as']}"
    scores = {name: {row["id"]: value} for name, value in main["scores"].items()}
    route = parse(Route, config["route"]) if config["route"] else None
    rivals = [parse(Rival, one) for one in config["rivals"]]
    seeds = rows.seeds_from(rows.table([row], rows.SEED))

    def takes(family: str, share: float, its_route: Route | None, its_rivals: Sequence[Rival]) -> bool:
        return bool(chosen(family, seeds, scores, share, its_route, its_rivals))

    if not takes(config["family"], 1.0, route, ()):
        assert route is not None
        return "route", _outside(route, row, main["scores"])
    won = next((one.family for one in rivals if takes(one.family, 1.0, one.route, rivals)), config["family"])
    if won != config["family"]:
        return "weight", f"by weight it went to {won}"
    if not rivals and not takes(config["family"], config["share"], route, ()):
        return "share", f"not among the share of {config['share']:g} that the family takes, by hash"
    return "took", "by weight" if rivals else f"among its share of {config['share']:g}" if config[
        "share"
    ] < 1 else "all"


def _outside(route: Route, row: Row, scores: Mapping[str, Any]) -> str:
    value = row["quality"] if route.column == OWN_QUALITY else scores.get(route.column)
    given = {"at least": route.min, "below": route.below}
    bounds = " and ".join(f"{word} {bound:g}" for word, bound in given.items() if bound is not None)
    return f"its {route.column} is {'missing' if value is None else f'{value:g}'}, and the family is for {bounds}"


def _fate(main: Mapping[str, Any] | None, documents: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What became of the seed. `state`: dropped | used (something made of it is released) | wasted (nothing is) | open."""
    if main is None:
        return {"state": "open", "step": None, "counted_as": None, "drops": []}
    if main["state"] == "dropped":
        return {"state": "dropped", "step": "screen", "counted_as": main["counted_as"], "drops": main["drops"]}
    released = any(one["state"] == "released" and one["current"] for one in documents)
    state = "used" if released else "wasted" if documents else "open"
    return {"state": state, "step": None, "counted_as": None, "drops": []}
