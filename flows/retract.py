"""Retraction: what a person wants out of a recipe's releases, found, taken out, and kept out.

A retraction is an entry of a release, and every later release of the recipe carries it, whatever its policy:

- **By seed, source, licence, model or family it is a standing rule.** It holds for what is there and for what comes later. A
  retracted seed is dropped by `screen` (step `retract`), so its text is sent to no model again and is trained on by no quality
  model; seeds and canaries that descend from it go with it. Documents of a retracted model or family are dropped by `keep`.
- **By SQL it names documents, one by one.** An id covers its text: the same text never comes back, whatever the policy; another
  text of the same seed is another document. To be rid of a seed, retract the seed.

The new release continues the newest one under its policy. Of its files only those that hold a retracted document are
replaced: the shard is written anew, the table of rows and the index segment too. What is not in the index speaks for nothing
in later comparisons. What was dropped earlier as a near-duplicate of a retracted document stays dropped: partitions that are
released are not compared again; under another policy they are, without what was retracted. A text that ingest has dropped
because it equals that of a retracted seed was never cut, and is not now.

The release before stays, and lists the old files. Texts stay where generate wrote them (documents, answers) and where ingest cut
them (seeds): objects are immutable, so nothing can be taken out of one. `synth gc` tells how old shards are removed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from flows.acceptance import failures, refuse
from flows.release_audit import audit_config, objects_of, release_inputs
from flows.retracted import SEED_KINDS, TOMBSTONE, Retracted, any_in
from flows.steps import audit, retract
from synth import releases, rows
from synth.config import nearest
from synth.digest import file_sha256, short
from synth.driver import Driver, File, Manifest, Work
from synth.errors import IntegrityError, UserError, fail
from synth.releases import Release
from synth.store import make_folders

KINDS = (*SEED_KINDS, "model", "family", "sql")
PREFIX_DIGITS = 8
SAMPLES = 3
_DOCUMENT_COLUMNS = ["id", "family", "seed_ids", "models", "license", "written_tokens"]


@dataclass(frozen=True)
class Named:
    """What a retraction names in a release. `documents` are all that are there, `released` those that a trainer reads."""

    kind: str
    values: tuple[str, ...]
    seeds: int  # 0 where the rule is not about seeds
    documents: pa.Array
    released: pa.Array
    tokens: int  # of the released ones, as generated
    families: Mapping[str, int]  # released documents
    shards: Sequence[Mapping[str, Any]]  # entries of the release that hold some
    rows: Sequence[File]
    index: Sequence[File]
    shielded: int  # documents that were dropped as near-duplicates of released ones
    samples: Sequence[Mapping[str, Any]] = field(default=())


def find(driver: Driver, release: Release, kind: str, values: Sequence[str], ids: pa.Array | None = None) -> Named:
    """Look up what a rule names. `ids` are the documents that a query (`sql`) found. UserError: it names nothing there."""
    cuts = [driver.load(place) for place in driver.store.objects(f"objects/ingest/{release.recipe}")]
    partitions = [file for one in cuts for file in one.tables("seeds")]
    driver.store.fetch(file.path for file in [*partitions, *release.files("documents"), *release.files("rows")])
    values = _known_values(driver, release, kind, values, partitions)
    entry = {"kind": kind, "values": values, "because": ""}
    rule = Retracted([entry], driver.verified, lambda: partitions)
    gone_seeds = [seed_id for file in partitions for seed_id in rule.seeds(file)]
    found = pa.concat_tables(
        [_documents(driver, file, rule, pa.array(gone_seeds, pa.string()), ids) for file in release.files("documents")]
    )
    if not len(found) and not gone_seeds:
        given = f"a query that found {len(ids)} ids" if ids is not None else f"{kind} {', '.join(values)}"
        raise fail(UserError, f"no document of {release.path} is named", given=given)
    return _released(
        driver, release, Named(kind, tuple(values), len(gone_seeds), found["id"].combine_chunks(), *_NOTHING), found
    )


_NOTHING: Any = (pa.array([], pa.string()), 0, {}, (), (), (), 0)


def _documents(driver: Driver, file: File, rule: Retracted, seeds: pa.Array, ids: pa.Array | None) -> pa.Table:
    """The documents of one file that the rule names."""
    table = rows.read_table(driver.verified(file), _DOCUMENT_COLUMNS)
    if ids is not None:
        return table.filter(pc.is_in(table["id"], value_set=ids))
    if len(seeds):
        return table.filter(any_in(table["seed_ids"], seeds))
    return table.filter(pc.is_in(table["id"], value_set=pa.array(list(rule.documents(file)), pa.string())))


def _released(driver: Driver, release: Release, named: Named, found: pa.Table) -> Named:
    """Where in the release's files the named documents stand."""
    placed = _holding(driver, release.files("rows"), named.documents, ["doc_id", "shard"])
    segments = [file for file in release.files("index") if file.path.endswith("/index.parquet")]
    indexed = _holding(driver, segments, named.documents, ["doc_id"])
    standing = pa.concat_tables([rows.ROW.empty_table().select(["doc_id", "shard"]), *placed.values()])
    released = standing["doc_id"].combine_chunks()
    going = found.filter(pc.is_in(found["id"], value_set=released))
    names = set(standing["shard"].to_pylist())
    return replace(
        named,
        released=released,
        tokens=pc.sum(going["written_tokens"]).as_py() or 0,
        families=dict(sorted(Counter(going["family"].to_pylist()).items())),
        shards=_entries(release, names),
        rows=list(placed),
        index=list(indexed),
        shielded=_shielded(driver, release, released),
        samples=_samples(driver, release, going),
    )


def _holding(driver: Driver, files: Sequence[File], ids: pa.Array, columns: list[str]) -> dict[File, pa.Table]:
    """Of tables with a doc_id those files that hold one of these documents, and their rows that do."""
    found = {}
    for file in files:
        table = rows.read_table(driver.verified(file), columns)
        mine = table.filter(pc.is_in(table["doc_id"], value_set=ids))
        if len(mine):
            found[file] = mine
    return found


def _entries(release: Release, names: set[str]) -> list[Mapping[str, Any]]:
    """The release's shards of these file names."""
    found = [entry for entry in release.shards if entry["path"].rpartition("/")[2] in names]
    if len(found) != len(names):
        what = f"{release.path}: its tables of rows name {len(names)} of its shards, {len(found)} are listed"
        raise fail(IntegrityError, what, do="restore the release's file from a copy")
    return found


def _shielded(driver: Driver, release: Release, released: pa.Array) -> int:
    """How many documents resolve had dropped in favour of these."""
    count = 0
    for one in objects_of(driver.store, driver, release):
        if one.step == "resolve":
            drops = rows.read_table(driver.verified(one.file("drops.parquet")), ["partner_id"])
            count += pc.sum(pc.is_in(drops["partner_id"], value_set=released)).as_py() or 0
    return count


def _samples(driver: Driver, release: Release, going: pa.Table) -> list[dict[str, Any]]:
    """The first documents by id, with their texts."""
    wanted = sorted(going["id"].to_pylist())[:SAMPLES]
    texts: dict[str, dict[str, Any]] = {}
    for file in release.files("documents"):
        if len(texts) == len(wanted):
            break
        table = rows.read_table(driver.verified(file), ["id", "family", "seed_ids", "text"])
        mine = table.filter(pc.is_in(table["id"], value_set=pa.array(wanted, pa.string())))
        texts |= {row["id"]: row for row in mine.to_pylist()}
    return [texts[doc_id] for doc_id in wanted if doc_id in texts]


def _known_values(
    driver: Driver, release: Release, kind: str, values: Sequence[str], partitions: Sequence[File]
) -> tuple[str, ...]:
    """The values as they stand in the tables. UserError: one that is nowhere there."""
    if kind == "sql":
        return tuple(values)
    if kind == "seed":
        return tuple(_seed_id(value, _column(driver, partitions, "id")) for value in values)
    files = partitions if kind in SEED_KINDS else release.files("documents")
    column = {"source": "source_id", "license": "license", "model": "models", "family": "family"}[kind]
    known = sorted(set(_column(driver, files, column)))
    for value in values:
        if value not in known:
            what = f"{release.recipe} has nothing of {kind} {value!r}{nearest(value, known)}"
            raise fail(UserError, what, given=value, allowed=", ".join(known[:20]) or "nothing")
    return tuple(values)


def _column(driver: Driver, files: Sequence[File], column: str) -> Iterator[str]:
    """The distinct values of a column, file by file."""
    for file in files:
        values = rows.read_table(driver.verified(file), [column])[column].combine_chunks()
        flat = pc.list_flatten(values) if pa.types.is_list(values.type) else values
        yield from pc.unique(flat).drop_null().to_pylist()


def _seed_id(value: str, known: Iterator[str]) -> str:
    """The one seed whose id begins like this."""
    found = [seed_id for seed_id in known if seed_id.startswith(value)] if len(value) >= PREFIX_DIGITS else []
    if len(found) == 1:
        return found[0]
    what = f"{len(found)} seeds begin with {value!r}" if found else f"no seed begins with {value!r}"
    if len(value) < PREFIX_DIGITS:
        what = f"{value!r} is too short to name a seed"
    raise fail(
        UserError,
        what,
        given=", ".join(short(one) for one in found[:10]) or value,
        allowed=f"a seed's id, or its first digits ({PREFIX_DIGITS} or more) where no other begins alike",
        do='synth sql "SELECT id, source, meta FROM seeds LIMIT 20" shows some',
    )


def stands(release: Release, named: Named) -> Mapping[str, Any] | None:
    """The entry by which all of this was retracted before, if there is one and nothing is left of it."""
    same = (one for one in release.retractions if one["kind"] == named.kind and {*named.values} <= {*one["values"]})
    return None if len(named.released) else next(same, None)


def retract_named(driver: Driver, release: Release, named: Named, signed: Mapping[str, str], run: str) -> Release:
    """Write what has to be written anew, check the whole release to be, commit it. GateError: the data contradict themselves."""
    made = driver.run(_work(driver, release, named, signed["because"]))
    _named_file(driver, release).unlink(missing_ok=True)
    objects = [*objects_of(driver.store, driver, release), made]
    draft = _draft(release, named, made, signed, run)
    limits = audit_config(driver.store, driver, release).model_copy(update={"checks_digest": audit.checks_digest()})
    audited = driver.run(Work(audit.STEP, limits, release_inputs(objects, draft), release.recipe))
    failed = failures(driver.store, audited)
    passed = [one for one in failed if one.acceptable]  # a limit of the recipe does not hold up what has to go
    refuse(failed, audited, [one.check for one in passed])
    because = f"retraction: {signed['because']}"
    accepted = [{"check": one.check, "violations": one.violations, **signed, "because": because} for one in passed]
    final = replace(draft, objects={**draft.objects, audited.step: [audited.place]}, accepted=accepted)
    releases.commit(driver.store, final)
    return final


def _work(driver: Driver, release: Release, named: Named, because: str) -> Work:
    """The retraction as a step. What it replaces are the files that hold a released document."""
    shards = [File(one["path"], one["sha256"], one["bytes"]) for one in named.shards]
    holders = [driver.load(file.path.rpartition("/")[0]) for file in shards or release.files("shards")[:1]]
    config = retract.RetractWork(
        kind=named.kind,
        values=named.values,
        because=because,
        replaces=tuple(sorted(file.path for file in [*shards, *named.rows, *named.index])),
        batch_rows=max([one.config["batch_rows"] for one in holders], default=1),
        masks=tuple(sorted({rule for one in holders for rule in one.config.get("masks") or ()})),
    )
    inputs = {"tombstones/all": _tombstones(driver, release, named)}
    inputs |= {f"shards/{file.path.rpartition('/')[2]}": file for file in shards}
    inputs |= {f"rows/{short(file.sha256)}": file for file in named.rows}
    inputs |= {f"index/{short(file.sha256)}": file for file in named.index}
    return Work(retract.STEP, config, inputs, release.recipe)


def _tombstones(driver: Driver, release: Release, named: Named) -> File:
    """The documents' ids as a file: those that go; of a query all that it named, so that they never come."""
    path = _named_file(driver, release)
    make_folders(path.parent)
    ids = pa.array(sorted((named.documents if named.kind == "sql" else named.released).to_pylist()), pa.string())
    rows.write_table(pa.table([ids], TOMBSTONE), path)
    return File(str(path.absolute()), file_sha256(path), path.stat().st_size)


def _named_file(driver: Driver, release: Release) -> Path:
    return driver.scratch / "retract" / f"{release.recipe}-{release.number}.parquet"


def _draft(release: Release, named: Named, made: Manifest, signed: Mapping[str, str], run: str) -> Release:
    """The release to be, before its audit."""
    tombstones = releases.listed([made.file("tombstones.parquet")])[0]
    entry = {
        "kind": named.kind,
        "values": list(named.values),
        **signed,
        "release": release.number + 1,
        "documents": len(named.released),
        "tombstones": tombstones,
    }
    written = [made.file(name) for name in sorted(made.files) if name.endswith(".arrow")]
    shards = [
        releases.listed([file], split=_name(file).split("-")[0], rows=made.files[_name(file)]["rows"])[0]
        for file in written
    ]
    return replace(
        release,
        number=release.number + 1,
        parent=release.number,
        continues=release.number,
        run=run,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        objects={made.step: [made.place]},
        shards=_replaced(release.shards, made, shards),
        index=_replaced(release.index, made, _full(made, "index.parquet")),
        rows=_replaced(release.rows, made, _full(made, "rows.parquet", "rows_elsewhere.parquet")),
        accepted=(),
        retractions=[*release.retractions, entry],
    )


def _name(file: File) -> str:
    return Path(file.path).name


def _replaced(
    listed: Sequence[Mapping[str, Any]], made: Manifest, new: Sequence[Mapping[str, Any]]
) -> list[Mapping[str, Any]]:
    """The entries of a release, those that were replaced exchanged for the new ones."""
    return [*(one for one in listed if one["path"] not in set(made.config["replaces"])), *new]


def _full(made: Manifest, *names: str) -> list[dict[str, Any]]:
    """Entries of those tables that hold anything."""
    return releases.listed([made.file(name) for name in names if made.files[name]["rows"]])
