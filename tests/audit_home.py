"""A small home, written by hand: two partitions of seeds, two families, something dropped at every step, real files.

Everything is plain rows that a test may spoil before they are written; counts in manifests are computed first, so that a
spoilt row is a contradiction, as it would be in a real home.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
from audit_spans import span

from flows.retracted import TOMBSTONE
from shards.schema import SHARD
from synth import rows
from synth.audit.sql import query
from synth.digest import digest, file_sha256, short

SCORES = pa.schema(
    [("item_id", pa.string()), ("family", pa.string()), ("words", pa.int64()), ("symbol_ratio", pa.float64())]
)
RULES = {"opening": pa.string(), "canary_obeyed": pa.int64(), "foreign_canaries": pa.int64(), "self_names": pa.int64()}
DOCUMENT_SCORES = pa.schema([*SCORES, *(pa.field(name, kind) for name, kind in RULES.items())])
SCHEMAS = {
    "seeds": rows.SEED,
    "seed_scores": SCORES,
    "documents": rows.DOCUMENT,
    "asks": rows.ASK,
    "attempts": rows.ATTEMPT,
    "drops": rows.DROP,
    "scores": DOCUMENT_SCORES,
    "verdicts": rows.VERDICT,
    "rows": rows.ROW,
    **dict.fromkeys(("spans", "reasoning_spans"), rows.SPAN),
    "quality_card": rows.QUALITY_CARD,
    "tombstones": TOMBSTONE,
    "index": rows.INDEX,
    "rows_elsewhere": rows.ROW,
}
START = datetime(2026, 11, 1, tzinfo=UTC)
FAMILIES = ("qa", "distill")
TOKENS = {"prompt_tokens": 100, "completion_tokens": 40, "reasoning_tokens": 10}
PAYLOAD = (
    '{"pairs": [{"options": ["a", "b", "c"], "correct": 0, "shown": 2}, {"question": "q", "answer": "Yes, it does."}]}'
)
_WRITTEN: dict[str, dict[str, bytes]] = {}  # files by what they hold: most tests spoil one object and write all


@dataclass
class Object:
    """One object before it is written. `promised` overrides what the manifest says of a file."""

    step: str
    group: str
    config: dict[str, Any]
    tables: dict[str, list[dict[str, Any]]]
    counts: dict[str, Any]
    shards: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    promised: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def place(self) -> str:
        key = digest([self.step, self.group, self.config])
        return "/".join(filter(None, ["objects", self.step, self.group, short(key)]))

    def write(self, home: Path) -> None:
        folder = home / self.place
        folder.mkdir(parents=True)
        content = digest([self.step, self.config, self.tables, self.counts, self.shards, self.promised])
        if content not in _WRITTEN:
            self._write(folder)
            _WRITTEN[content] = {path.name: path.read_bytes() for path in folder.iterdir()}
        for name, data in _WRITTEN[content].items():
            (folder / name).write_bytes(data)

    def _write(self, folder: Path) -> None:
        files: dict[str, dict[str, Any]] = {}
        for name, values in self.tables.items():
            schema = SCHEMAS[name.partition(".")[0].partition("-")[0]]
            rows.write_table(rows.table(values, schema), folder / name)
            files[name] = {"rows": len(values)}
        for name, values in self.shards.items():
            with pa.ipc.new_file(str(folder / name), SHARD) as writer:
                for start in range(0, len(values), 2):  # several batches, as in a large shard
                    writer.write_table(rows.table(values[start : start + 2], SHARD))
            files[name] = {"rows": len(values)}
        for name, entry in files.items():
            entry |= {"bytes": (folder / name).stat().st_size, "sha256": file_sha256(folder / name)}
            entry |= self.promised.get(name, {})
        manifest = {
            "format_version": 1,
            "step": self.step,
            "version": 1,
            "key": digest([self.step, self.group, self.config]),
            "config": self.config,
            "inputs": {},
            "files": files,
            "counts": self.counts,
        }
        (folder / "manifest.json").write_bytes(orjson.dumps(manifest))


def counts(items: int, dropped: dict[str, int] | None = None, **notes: int) -> dict[str, Any]:
    dropped = dropped or {}
    return {"items": items, "kept": items - sum(dropped.values()), "dropped": dropped, "notes": notes}


class Wave:
    """All objects of one wave, by label such as `generate/p0/qa`; spoil them, then `write`."""

    def __init__(self, name: str = "w", partitions: Iterable[str] = ("p0", "p1"), policy: str = "A") -> None:
        self.name, self.policy = name, policy
        self.partitions = list(partitions)
        self.objects: dict[str, Object] = {}
        self._ingest()
        for partition in self.partitions:
            self._screen(partition)
            for family in FAMILIES:
                self._generate(partition, family)
                self._score(partition, family)
                self._keep(partition, family)
        card = {"quality_card.parquet": [{"name": "held_out.model.auc", "value": 0.75}]}
        self._add("train", "train", "", card, counts(100))
        self._resolve()
        self._shards()

    # What a test wants to spoil.

    def table(self, label: str, name: str) -> list[dict[str, Any]]:
        return self.objects[label].tables[f"{name}.parquet"]

    def document(self, partition: str, family: str, at: int) -> dict[str, Any]:
        return self.table(f"generate/{partition}/{family}", "documents")[at]

    def climb(self, label: str, at: int, verdict: str, rung: str, **accepted: Any) -> dict[str, Any]:
        """The ask's answer so far gets `verdict`, thinking nine tenths of it; the next step's is accepted, from elsewhere
        when `accepted` (fields of its attempt) says so. Returns that attempt."""
        ask = self.table(label, "asks")[at]
        attempts = self.table(label, "attempts")
        place = next(n for n, one in enumerate(attempts) if one["attempt_id"] == ask["accepted_attempt"])
        last = attempts[place]
        following = {**last, "attempt_id": f"{last['attempt_id']}+", "step": last["step"] + 1, "rung": rung, **accepted}
        last |= {"verdict": verdict, "completion": "c", "reasoning": "reasoning"}
        attempts.insert(place + 1, following)
        ask |= {"accepted_attempt": following["attempt_id"], "model": following["model"]}
        self.objects[label].counts["notes"]["attempts"] += 1
        return following

    def documents(self) -> list[dict[str, Any]]:
        return [
            row
            for label, one in self.objects.items()
            if label.startswith("generate/")
            for row in one.tables["documents.parquet"]
        ]

    def drops(self) -> list[dict[str, Any]]:
        return [row for one in self.objects.values() for row in one.tables.get("drops.parquet", [])]

    def kept(self) -> list[dict[str, Any]]:
        gone = {drop["item_id"] for drop in self.drops()}
        return [row for row in self.documents() if row["id"] not in gone]

    def places(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for one in self.objects.values():
            found.setdefault(one.step, []).append(one.place)
        return found

    def write(self, home: Path) -> None:
        for one in self.objects.values():
            if not (home / one.place).exists():
                one.write(home)

    # How it is made.

    def _add(
        self, label: str, step: str, group: str, tables: dict[str, Any], count: dict[str, Any], **config: Any
    ) -> Object:
        policy = {} if step == "ingest" else {"policy": self.policy}
        self.objects[label] = Object(step, group, {"wave": self.name, **policy, **config}, tables, count)
        return self.objects[label]

    def _seeds(self, partition: str) -> list[dict[str, Any]]:
        made = []
        for at in range(6):
            seed_id = digest(["seed", self.name, partition, at])
            made.append(
                {
                    "id": seed_id,
                    "source_id": "encyclopaedia",
                    "root_id": seed_id,
                    "generation_depth": 0,
                    "text": f"passage {at} of {partition}: a café near the river",
                    "license": "CC0-1.0",
                    "meta": "{}",
                }
            )
        # A canary seed: none of its documents is kept.
        made[2]["meta"] = orjson.dumps({"canary": f"zqcanary-{seed_id[:12]}", "canary_kind": "override"}).decode()
        return made

    def _ingest(self) -> None:
        tables: dict[str, Any] = {f"seeds-{at:05d}.parquet": self._seeds(p) for at, p in enumerate(self.partitions)}
        twice = digest(["seed", self.name, "twice"])
        tables["drops.parquet"] = [
            rows.drop_row(twice, "seed", "ingest", "equal_text", "the same text as another seed")
        ]
        self._add("ingest", "ingest", "", tables, counts(6 * len(self.partitions) + 1, {"equal_text": 1}))

    def _screen(self, partition: str) -> None:
        seeds = self._seeds(partition)
        scores = [{"item_id": seed["id"], "words": 8, "symbol_ratio": 0.0} for seed in seeds]
        drop = rows.drop_row(seeds[0]["id"], "seed", "screen", "words", "too_short", score=3.0, threshold=5.0)
        tables = {"seed_scores.parquet": scores, "drops.parquet": [drop]}
        self._add(f"screen/{partition}", "screen", partition, tables, counts(6, {"too_short": 1}))

    def _generate(self, partition: str, family: str) -> None:
        """`qa` works on the five seeds that are left, `distill` on four of them; of each family one answer is cut."""
        seeds = self._seeds(partition)
        chosen = seeds[1:] if family == "qa" else seeds[2:]
        documents, asks, attempts = [], [], []
        for at, seed in enumerate(chosen):
            ask_id = digest(["ask", seed["id"], family, self.policy])
            cut = at == 0
            ask = self._ask(ask_id, seed["id"], "truncated_answer" if cut else "ok")
            asks.append(ask)
            attempts += self._attempts(ask_id, failed=at == 1)
            documents.append(self._document(family, seed, ask, cut))
        drop = rows.drop_row(
            documents[0]["id"], "document", "generate", "truncated_answer", "the model's answer was cut"
        )
        tables = {
            "documents.parquet": documents,
            "asks.parquet": asks,
            "attempts.parquet": attempts,
            "drops.parquet": [drop],
            "verdicts.parquet": [verdict for row in documents for verdict in self._findings(row)],
        }
        notes = {
            "seeds": 6,
            "seeds_screened": 1,
            "seeds_not_routed": 5 - len(chosen),
            "seeds_without_document": 0,
            "asks": len(asks),
            "attempts": len(attempts),
        }
        count = counts(len(documents), {"truncated_answer": 1}, **notes)
        self._add(f"generate/{partition}/{family}", "generate", partition, tables, count, family=family)

    def _ask(self, ask_id: str, seed_id: str, outcome: str) -> dict[str, Any]:
        asked = {"ask_id": ask_id, "role": "writer", "seed_id": seed_id}
        asked |= {"prompt": "[]", "sampling": "{}", "sample_index": 0}
        answer = {"completion": "an answer", "accepted_attempt": f"{ask_id}-2", "model": "served"}
        return asked | {"outcome": outcome} | answer | TOKENS

    def _attempts(self, ask_id: str, failed: bool) -> list[dict[str, Any]]:
        base = {"ask_id": ask_id, "run": f"run-{self.name}-{self.policy}", "endpoint": "local/0", "model": "served"}
        base |= {"step": 0, "rung": "first", "started_at": START}
        lost = {"attempt_id": f"{ask_id}-1", "status": "timeout"}
        lost |= {"usage_prompt_tokens": 100, "usage_completion_tokens": 7}
        good = {"attempt_id": f"{ask_id}-2", "status": "ok", "verdict": "accepted"}
        good |= {"usage_prompt_tokens": 100, "usage_completion_tokens": 50}
        ended = START + timedelta(seconds=1)
        return [{**base, **one, "ended_at": ended} for one in ([lost, good] if failed else [good])]

    def _document(self, family: str, seed: dict[str, Any], ask: dict[str, Any], cut: bool) -> dict[str, Any]:
        pieces: list[tuple[rows.PartRole, str]] = [("source", seed["text"])] if family == "qa" else []
        if not cut:
            pieces.append(("generated", f"\nétude by {family} ({self.policy}) of {seed['text']}"))
        text, parts = rows.compose(pieces)
        return {
            "id": rows.document_id(family, [seed["id"]], text + self.policy, 0),
            "family": family,
            "family_version": 1,
            "seed_ids": [seed["id"]],
            "root_id": seed["root_id"],
            "text": text,
            "parts": [{"role": p.role, "start_byte": p.start_byte, "end_byte": p.end_byte} for p in parts],
            "payload": PAYLOAD,
            "axes": '{"audience": "children", "layout": "bold"}',
            "models": ["served"],
            "ask_ids": [ask["ask_id"]],
            "written_by": [ask["ask_id"]],
            "written_tokens": TOKENS["completion_tokens"],
            "generation_depth": 1,
            "license": seed["license"],
            **TOKENS,
        }

    def _findings(self, document: dict[str, Any]) -> list[dict[str, Any]]:
        """Of two candidates the second was taken; three answers of four agreed with it."""
        of = {"selector": "first_valid", "of": 2}
        won, said = document["ask_ids"][0], partial(rows.verdict_row, document["id"], "document")
        return [
            said("selection", "rule", "lost", evidence=of, ask_id=f"{won}, lost"),
            said("selection", "rule", "won", evidence=of, ask_id=won),
            said("consistency", "rule", "passed", score=0.75),
        ]

    def _score(self, partition: str, family: str) -> None:
        """The second document of each family invents a number."""
        documents = self.table(f"generate/{partition}/{family}", "documents")
        scores = [
            {"item_id": row["id"], "family": family, "words": len(row["text"].split()), "symbol_ratio": 0.1}
            | {"opening": f"study {row['id'][:8]}", "canary_obeyed": 0, "foreign_canaries": 0, "self_names": at % 2}
            for at, row in enumerate(documents)
        ]
        verdicts = [
            rows.verdict_row(row["id"], "document", "numbers", "rule", "failed" if at == 1 else "passed")
            for at, row in enumerate(documents)
        ]
        spans = [span(row, "river") for row in documents if "river" in row["text"]]  # labels: no shard masks them
        tables = {"scores.parquet": scores, "verdicts.parquet": verdicts, "spans.parquet": spans}
        self._add(f"score/{partition}/{family}", "score", partition, tables, counts(len(scores)), family=family)

    def _keep(self, partition: str, family: str) -> None:
        """The second document of each family fails three gates; the first of them is its reason."""
        documents = self.table(f"generate/{partition}/{family}", "documents")
        failed = partial(rows.drop_row, documents[1]["id"], "document", "keep")
        drops = [
            failed("symbol_ratio", "too_many_symbols", rule_order=4, score=0.9, threshold=0.5),
            failed("words", "too_short", rule_order=2, score=3, threshold=10),
            failed("numbers_invented", "invented_number", rule_order=5, score=1, evidence="17"),
        ]
        count = counts(len(documents) - 1, {"too_short": 1})
        self._add(f"keep/{partition}/{family}", "keep", partition, {"drops.parquet": drops}, count, family=family)

    def _resolve(self) -> None:
        """The last `distill` document of the first partition is nearly the one before it."""
        left = [row for row in self.documents() if row["id"] not in {drop["item_id"] for drop in self.drops()}]
        mine = [row["id"] for row in left if row["family"] == "distill"]
        partner, gone = mine[0], mine[1]
        evidence = orjson.dumps({"partner_id": partner, "cluster_id": partner}).decode()
        judged = {"item_kind": "document", "rung": "near_duplicate", "judge": "rule", "outcome": "kept"}
        verdicts = [{**judged, "item_id": row["id"]} for row in left if row["id"] != gone]
        verdicts.append({**verdicts[0], "item_id": gone, "outcome": "dropped", "score": 0.8, "evidence": evidence})
        drop = rows.drop_row(
            gone, "document", "resolve", "near_duplicate", "shares 80% of its shingles", score=0.8, partner_id=partner
        )
        tables = {"drops.parquet": [drop], "verdicts.parquet": verdicts}
        self._add("resolve", "resolve", "", tables, counts(len(left), {"near_duplicate": 1}))

    def _shards(self) -> None:
        """The documents of one root go to validation, the others fill two training shards."""
        kept = self.kept()
        apart = kept[0]["root_id"]
        train = [row for row in kept if row["root_id"] != apart]
        cut = {
            "train-00000.arrow": train[: len(train) // 2],
            "train-00001.arrow": train[len(train) // 2 :],
            "validation-00000.arrow": [row for row in kept if row["root_id"] == apart],
        }
        placed = [
            {"doc_id": row["id"], "shard": name, "row": at, "split": name.partition("-")[0], "tokens": 50}
            for name, documents in cut.items()
            for at, row in enumerate(documents)
        ]
        kept[0]["reasoning"] = "a river"
        thoughts = [span(kept[0], "river", "reasoning")]
        tables = {"rows.parquet": placed, "reasoning_spans.parquet": thoughts}
        made = self._add("shards", "shards", "", tables, counts(len(kept)))
        made.shards = {name: [self._shard_row(row) for row in documents] for name, documents in cut.items()}

    def _shard_row(self, document: dict[str, Any]) -> dict[str, Any]:
        shared = {
            name: document[name] for name in ("text", "family", "root_id", "license", "models", "generation_depth")
        }
        return {**shared, "doc_id": document["id"], "seed_id": document["seed_ids"][0], "source_id": "encyclopaedia"}


def audit_inputs(home: Path, wave: Wave) -> tuple[dict[str, list[Path]], list[Path], list[Path]]:
    """Tables, manifests and shards of a written wave, as the audit step is given them: without what a retraction replaced."""
    replaced = {path for one in wave.objects.values() for path in one.config.get("replaces", ())}
    tables: dict[str, list[Path]] = {}
    for one in wave.objects.values():
        for name in one.tables:
            tables.setdefault(name.partition(".")[0].partition("-")[0], []).append(home / one.place / name)
    folders = [home / one.place for one in wave.objects.values()]
    listed = [f"{one.place}/{name}" for one in wave.objects.values() for name in one.shards]
    shards = [home / path for path in listed if path not in replaced]
    return tables, [folder / "manifest.json" for folder in folders], shards


def write_home(home: Path) -> None:
    """An empty home."""
    home.mkdir(parents=True, exist_ok=True)
    (home / "home.json").write_bytes(orjson.dumps({"format_version": 1}))


def write_release(
    home: Path,
    number: int,
    waves: list[Wave],
    *,
    recipe: str = "quickstart",
    continues: int | None = None,
    tombstones: Iterable[str] = (),
    partitions: Iterable[str] | None = None,
) -> None:
    """Release `number`, made of the last of `waves`; its partitions and shards are those of all of them."""
    last = waves[-1]
    every = [file for wave in waves for file in _seed_files(home, wave)]
    value = {
        "format_version": 1,
        "recipe": recipe,
        "number": number,
        "parent": number - 1 or None,
        "continues": continues,
        "policy": digest(last.policy),
        "run": f"run-{last.name}-{last.policy}",
        "created_at": "2026-11-01T00:00:00+00:00",
        "partitions": list(every if partitions is None else partitions),
        "objects": last.places(),
        "shards": [shard for wave in waves for shard in _shard_files(home, wave)],
        "index": [],
        "documents": [],
        "rows": [],
        "tombstones": list(tombstones),
        "accepted": [],
    }
    path = home / "releases" / recipe / f"{number:04d}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(orjson.dumps(value))


def _seed_files(home: Path, wave: Wave) -> list[str]:
    folder = home / wave.objects["ingest"].place
    return [file_sha256(path) for path in sorted(folder.glob("seeds-*"))]


def _shard_files(home: Path, wave: Wave) -> list[dict[str, Any]]:
    one = wave.objects["shards"]
    return [
        {
            "path": f"{one.place}/{name}",
            "split": name.partition("-")[0],
            "rows": len(values),
            "bytes": (home / one.place / name).stat().st_size,
            "sha256": file_sha256(home / one.place / name),
        }
        for name, values in one.shards.items()
    ]


def write_run(
    home: Path,
    wave: Wave,
    *,
    started: int = 0,
    ended: bool = True,
    release: int | None = None,
    sessions: Iterable[dict[str, Any]] = ({},),
) -> str:
    """The run that made a wave. It held two GPUs for half an hour, a third of it idle; `sessions` may say otherwise."""
    name = f"run-{wave.name}-{wave.policy}"
    folder = home / "runs" / name
    folder.mkdir(parents=True)
    per_token = {"usd_per_million_prompt_tokens": 1.0, "usd_per_million_completion_tokens": 10.0}
    price = {"identity": {}, **per_token, "usd_per_gpu_hour": 3.0, "gpus": 2}
    run = {
        "run": name,
        "recipe": "quickstart",
        "recipe_text": "[x]",
        "policy": digest(wave.policy),
        "pinned_release": None,
        "started_at": (START + timedelta(hours=started)).isoformat(),
        "home": str(home),
        "models": {"local": price, "dear": {**price, "usd_per_million_completion_tokens": 40.0}},
        "objects": wave.places(),
    }
    (folder / "run.json").write_bytes(orjson.dumps(run))
    if ended:
        summary = {"outcome": "released", "ended_at": START.isoformat(), "release": release}
        (folder / "summary.json").write_bytes(orjson.dumps(summary))
        session = {"run": name, "endpoint": "local/0", "model": "served", "gpus": 2, "end": "stopped", "asks": 18}
        session |= {"loading_seconds": 5.0, "idle_seconds": 600.0}
        session |= {"started_at": START, "ended_at": START + timedelta(minutes=30)}
        held = [{**session, **one} for one in sessions]
        rows.write_table(rows.table(held, rows.ENGINE_SESSION), folder / "sessions.parquet")
    return name


def rows_of(home: Path, sql: str) -> list[tuple[Any, ...]]:
    """What the catalogue answers."""
    return [tuple(row.values()) for row in query(home, sql).to_pylist()]


def value_of(home: Path, sql: str) -> Any:
    """The same, of one row with one column."""
    ((value,),) = rows_of(home, sql)
    return value
