"""A session: one run of one recipe on one home. What is pinned, what is to do, and each piece of the work as a call.

The calls that lots make take and give small JSON values, so that any orchestrator can pass them around.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pyarrow.compute as pc

from flows.acceptance import accepted_checks, failures, refuse
from flows.against import refuse_itself
from flows.display import say
from flows.recipe import Recipe
from flows.retracted import Retracted, tombstones_of
from flows.steps import train
from flows.steps.generate import Maker
from flows.works import Chain, Works
from synth import releases, rows
from synth.digest import file_sha256, short
from synth.driver import Driver, File, Manifest, Work
from synth.errors import RecipeError, fail
from synth.releases import Release
from synth.sources import Source, check_files, files_waiting, source_files
from synth.store import Store


@dataclass
class Session:
    """One run. `base` is the folder that the recipe's relative paths start from."""

    recipe: Recipe
    base: Path
    store: Store
    driver: Driver
    works: Works
    run_id: str
    policy: str
    pinned: Release | None
    made: dict[str, set[str]] = field(default_factory=dict)  # step -> objects this run made or used
    ended: str | None = None  # the budget that ended the run, once one did
    released: int = 0  # releases that this run made
    fetches: bool = False  # seed files at an address, when they are wanted
    on_release: list[Callable[[Release], None]] = field(default_factory=list)  # called after each commit
    _warm: bool = False
    _trained: Manifest | None = None
    _only: set[str] | None = None  # partitions of a wave that was cut short
    _begun: set[str] = field(default_factory=set)
    _tokens: int | None = None  # kept in the pinned release and in this wave so far
    _guard: threading.Lock = field(default_factory=threading.Lock)
    _chains: dict[tuple[str, str], Chain] = field(default_factory=dict)
    _digests: dict[tuple[Path, int, int], str] = field(default_factory=dict)
    _checked: set[tuple[Any, ...]] = field(default_factory=set)  # files of sources whose heads fit the recipe

    @classmethod
    def open(
        cls,
        recipe: Recipe,
        base: Path,
        store: Store,
        run_id: str = "",
        maker: Maker | None = None,
        watch: Callable[[Work, Manifest], None] | None = None,
    ) -> Session:
        """A session over a home. Without a maker it can plan, not run; `watch` hears of every object made or found."""
        scratch = Path(recipe.run.scratch) if recipe.run.scratch else store.root / "scratch"
        driver = Driver(store, scratch, watch)
        pinned = releases.newest(store, recipe.name)
        # The seeds are wanted, if at all, once there is a session.
        retracted = Retracted(pinned.retractions if pinned else (), driver.verified, lambda: session.partitions())
        works = Works(recipe, maker, retracted)
        refuse_itself(works.others, store.root, recipe.name)
        session = cls(recipe, base, store, driver, works, run_id, works.policy(), pinned)
        session.fetches = maker is not None
        return session

    # What there is to do

    def ingested(self) -> list[Manifest]:
        """This recipe's cuts so far."""
        return [self.driver.load(place) for place in self.store.objects(f"objects/ingest/{self.recipe.name}")]

    def new_files(self) -> dict[str, File]:
        """Seed files whose bytes no earlier cut has read, named source/<id>/<digest>. A query reads all its files anew when one
        is new. A session that can only plan fetches nothing: a file at an address stands for itself, without a digest."""
        cuts = [set(one.inputs) for one in self.ingested()]
        seen = set().union(*cuts)
        settings = {source["id"]: source for one in self.ingested() for source in one.config["sources"]}
        new: dict[str, File] = {}
        for source in self.recipe.sources:
            held = settings.get(source.id)
            if held is not None and held != source.content():
                raise _changed_source(source.id, held, source.content())
            start = f"source/{source.id}/"
            found = {start + (file.sha256 or file.path): file for file in self._seed_files(source)}
            if source.kind != "sql":
                new.update({name: file for name, file in found.items() if name not in seen})
            elif not any({name for name in cut if name.startswith(start)} == found.keys() for cut in cuts):
                new.update(found)
        return new

    def _seed_files(self, source: Source) -> list[File]:
        """The files of a source, their heads checked before they are read to compute their digests."""
        paths = source_files(source, self.base, self.fetches, say)
        statuses = {path: path.stat() for path in paths}
        seen = (source.id, *((path, status.st_mtime_ns, status.st_size) for path, status in statuses.items()))
        if seen not in self._checked:
            check_files(source, paths)
            self._checked.add(seen)
        files = [File(str(path.absolute()), self._digest(path), status.st_size) for path, status in statuses.items()]
        return files + [File(address, "", 0) for address in ([] if self.fetches else files_waiting(source))]

    def _digest(self, path: Path) -> str:
        """A seed file's digest, read once per session while the file stays as it is."""
        status = path.stat()
        seen = (path, status.st_mtime_ns, status.st_size)
        if seen not in self._digests:
            self._digests[seen] = file_sha256(path)
        return self._digests[seen]

    def ingest(self) -> Manifest | None:
        """Cut what is new; None when there is nothing new."""
        new = self.new_files()
        return self._run(self.works.ingest(new, self.ingested())) if new else None

    def partitions(self) -> list[File]:
        """All seed partitions of this recipe, in hash order."""
        found = {file.sha256: file for one in self.ingested() for file in one.tables("seeds")}
        return [found[sha256] for sha256 in sorted(found)]

    def first_partitions(self) -> list[File]:
        """What a quality model is trained on: the first partitions, in hash order, of the first cut that has any. Later
        cuts know of earlier ones, so more seeds change nothing here."""
        cuts = [one for one in self.ingested() if one.tables("seeds")] if self.works.trains_on else []
        if not cuts:
            return []
        first = min(cuts, key=lambda one: (sum(name.startswith("known/") for name in one.inputs), one.key))
        return sorted(first.tables("seeds"), key=lambda file: file.sha256)[: self.works.trains_on]

    def trained(self) -> Manifest | None:
        """The quality model of this policy, made when it is first needed; None when the recipe trains none."""
        if self.recipe.quality and self._trained is None:
            first = {seeds: self._run(self.works.screen(seeds)) for seeds in self.first_partitions()}
            work = self.works.train(first)
            assert work is not None
            self._trained = self._run(work)
            self.works.warm_trained(self.store.local(train.model_of(self._trained).path))
        return self._trained

    def seeds_in(self, partitions: Sequence[File]) -> int:
        """How many seeds these partitions hold, from the manifests."""
        rows_of = self.seeds_by_partition()
        return sum(rows_of[file.sha256] for file in partitions)

    def seeds_by_partition(self) -> dict[str, int]:
        """How many seeds each partition holds, by its digest."""
        return {one.file(name).sha256: entry["rows"] for one in self.ingested() for name, entry in one.files.items()}

    def continues(self) -> bool:
        """Whether the pinned release was made under the same policy, so that its content stays."""
        return self.pinned is not None and self.pinned.policy == self.policy

    def pending(self) -> list[File]:
        """Partitions that the pinned release does not cover, in hash order."""
        covered = set(self.pinned.partitions) if self.pinned and self.continues() else set()
        return [file for file in self.partitions() if file.sha256 not in covered]

    def wave(self) -> list[File]:
        """The partitions of the next release."""
        size, pending = self.recipe.run.wave_partitions, self.pending()
        if self._only is not None:
            return [file for file in pending if file.sha256 in self._only]
        if not self._begun and self._enough():
            return []
        return pending[:size] if size else pending

    def made_wave(self) -> list[File]:
        """Of the next wave the partitions whose documents are all made: what can be released without a model."""
        found = []
        for seeds in self.wave():
            screened = self.driver.find(self.works.screen(seeds))
            asked = (screened and self.works.generate(family, seeds, screened, {}) for family in self.works.families)
            if all(work and self.driver.find(work) for work in asked):
                found.append(seeds)
        self._only = {file.sha256 for file in found}
        return found

    def lots(self, wave: Sequence[File]) -> list[list[str]]:
        """A wave cut into lots of partition digests: what one task handles. At most some hundreds."""
        size = max(self.recipe.run.lot_partitions, -(-len(wave) // 400))
        return [[file.sha256 for file in wave[start : start + size]] for start in range(0, len(wave), size)]

    def needs_models(self) -> bool:
        """Whether asks are certain: a partition that is new, or one that no policy has ever asked models about."""
        if self.new_files():
            return True
        for seeds in self.pending():
            for family in self.works.families:
                if not self.store.objects(f"objects/generate/{short(seeds.sha256)}/{family}"):
                    return True
        return False

    # The pieces of work

    def warm(self, say: Callable[[str], None] = lambda text: None) -> None:
        """Load and compile what scores texts, before models are asked; `say` hears of it when that takes long."""
        if not self._warm:
            self.works.warm(say)
            self._warm = True

    def make_documents(self, lot: Sequence[str]) -> dict[str, Any]:
        """Screen, then generate, score, keep and sign for every family, for the partitions of one lot."""
        seeds = [file for file in self.partitions() if file.sha256 in set(lot)]
        pairs = list(itertools.product(seeds, self.works.families))
        with ThreadPoolExecutor(self.recipe.run.open_partitions, thread_name_prefix="lot") as pool:
            chains = [made for made in pool.map(lambda pair: self._wanted_chain(*pair), pairs) if made]
        done = {"documents": sum(chain.generate.counts["items"] for chain in chains)}
        target = self.recipe.run.budget.target_kept_tokens
        return done if len(chains) == len(pairs) else {**done, "budget": f"target_kept_tokens = {target}"}

    def _wanted_chain(self, seeds: File, family: str) -> Chain | None:
        """The chain, unless enough is kept already and the partition was not begun."""
        with self._guard:
            if seeds.sha256 not in self._begun and self._enough():
                return None
            self._begun.add(seeds.sha256)
        chain = self.chain(seeds, family)
        if self.recipe.run.budget.target_kept_tokens:
            tokens = _kept_tokens(self.store, chain)
            with self._guard:
                self._tokens = self.tokens() + tokens
        return chain

    def _enough(self) -> bool:
        target = self.recipe.run.budget.target_kept_tokens
        return bool(target) and self.tokens() >= target

    def tokens(self) -> int:
        """Generated tokens kept: in the pinned release if it goes on, and in this wave so far."""
        if self._tokens is None:
            self._tokens = _released_tokens(self.store, self.pinned) if self.pinned and self.continues() else 0
        return self._tokens

    def cut_short(self, limit: str) -> bool:
        """A budget ended the wave: it is now what is complete. Whether that is anything."""
        self.ended = f"the budget is reached ({limit})"
        complete = {
            sha256 for sha256 in self._begun if all((sha256, name) in self._chains for name in self.works.families)
        }
        self._only = {file.sha256 for file in self.wave() if file.sha256 in complete}
        return bool(self._only)

    def chain(self, seeds: File, family: str) -> Chain:
        """One family over one partition, through the map steps; what exists is found, not made."""
        known = self._chains.get((seeds.sha256, family))
        if known:
            return known
        group = f"{short(seeds.sha256)}/{family}"
        screened = self._run(self.works.screen(seeds))
        generated = self._run(self.works.generate(family, seeds, screened, self._earlier_asks(group)))
        scored = self._run(self.works.score(group, seeds, generated, self.trained()))
        kept = self._run(self.works.keep(group, generated, scored))
        signed = self._run(self.works.sign(group, generated))
        chain = Chain(seeds, screened, generated, scored, kept, signed)
        self._chains[seeds.sha256, family] = chain
        return chain

    def chains(self, wave: Iterable[File]) -> list[Chain]:
        """All chains of a wave."""
        return [self.chain(seeds, family) for seeds in wave for family in self.works.families]

    def _earlier_asks(self, group: str) -> dict[str, File]:
        """Answers in other objects of the same partition and family: asked under another policy, still paid for."""
        places = self.store.objects(f"objects/generate/{group}")
        return {short(self.driver.load(place).key): self.driver.load(place).file("asks.parquet") for place in places}

    def resolve(self, wave: Sequence[File]) -> Manifest:
        """Near-duplicates of the wave."""
        index = self.pinned.files("index") if self.pinned and self.continues() else []
        documents = self.pinned.files("documents") if self.pinned and self.continues() else []
        return self._run(self.works.resolve(self.chains(wave), index, documents))

    def shards(self, wave: Sequence[File]) -> Manifest:
        """The wave's shards."""
        return self._run(self.works.shards(self.chains(wave), self.resolve(wave)))

    def audit(self, wave: Sequence[File]) -> Manifest:
        """The checks over the wave's release to be."""
        released = self.pinned.files("rows") if self.pinned and self.continues() else []
        gone = [File(**tombstones_of(entry)) for entry in self.pinned.retractions] if self.pinned else []
        return self._run(self.works.audit(self._objects(wave), wave, released, gone))

    def release(self, wave: Sequence[File], accepted: Sequence[Mapping[str, Any]] = ()) -> Release:
        """Commit, unless a check failed that is not accepted. The new release is pinned from here on."""
        audited = self.audit(wave)
        refuse(failures(self.store, audited), audited, accepted_checks(accepted))
        made = self._release(wave, [*self._objects(wave), audited], accepted)
        releases.commit(self.store, made)
        self.pinned = made
        self.released += 1
        for told in self.on_release:
            told(made)
        return made

    def _objects(self, wave: Sequence[File]) -> list[Manifest]:
        """Everything that a wave consists of, before its audit."""
        cut = {file.path.rpartition("/")[0] for file in wave}
        chains = self.chains(wave)
        maps = [one for chain in chains for one in (chain.screen, chain.generate, chain.score, chain.keep, chain.sign)]
        unique = {one.place: one for one in maps}
        ingested = [one for one in self.ingested() if one.place in cut]
        if trained := self.trained():
            unique[trained.place] = trained
        return [*ingested, *(unique[place] for place in sorted(unique)), self.resolve(wave), self.shards(wave)]

    def _release(
        self, wave: Sequence[File], objects: Sequence[Manifest], accepted: Sequence[Mapping[str, Any]]
    ) -> Release:
        before = self.pinned if self.continues() else None
        by_step: dict[str, list[str]] = {}
        for one in objects:
            by_step.setdefault(one.step, []).append(one.place)
        sharded, resolved = self.shards(wave), self.resolve(wave)
        documents = [chain.generate.file("documents.parquet") for chain in self.chains(wave)]
        return Release(
            recipe=self.recipe.name,
            number=self.pinned.number + 1 if self.pinned else 1,
            parent=self.pinned.number if self.pinned else None,
            continues=before.number if before else None,
            policy=self.policy,
            run=self.run_id,
            created_at=datetime.now(UTC).isoformat(timespec="seconds"),
            partitions=sorted({*(before.partitions if before else ()), *(file.sha256 for file in wave)}),
            objects=by_step,
            shards=[*(before.shards if before else ()), *_shard_entries(sharded)],
            index=[*(before.index if before else ()), *releases.listed(_remembered(resolved))],
            documents=[*(before.documents if before else ()), *releases.listed(documents)],
            rows=[*(before.rows if before else ()), *releases.listed([sharded.file("rows.parquet")])],
            tombstones=before.tombstones if before else (),
            accepted=accepted,
            retractions=self.pinned.retractions if self.pinned else (),
        )

    def _run(self, work: Work) -> Manifest:
        made = self.driver.run(work)
        self.made.setdefault(made.step, set()).add(made.place)
        return made


def _remembered(resolved: Manifest) -> list[File]:
    """What later waves are compared by: the survivors, and the boilerplate that was taken out of them."""
    return [resolved.file("index.parquet"), resolved.file("boilerplate.parquet")]


def _kept_tokens(store: Store, chain: Chain) -> int:
    """Generated tokens of the documents that no step up to `keep` dropped."""
    documents = rows.read_table(store.local(chain.generate.file("documents.parquet").path), ["id", "written_tokens"])
    drops = [chain.generate.file("drops.parquet"), chain.keep.file("drops.parquet")]
    dropped = rows.read_tables([store.local(one.path) for one in drops], rows.DROP, ["item_id"])["item_id"]
    kept = pc.invert(pc.is_in(documents["id"], value_set=dropped.combine_chunks()))
    return pc.sum(documents["written_tokens"].filter(kept)).as_py() or 0


def _released_tokens(store: Store, release: Release) -> int:
    """Generated tokens of the documents that a release holds."""
    index = [store.local(file.path) for file in release.files("index") if file.path.endswith("/index.parquet")]
    held = rows.read_tables(index, rows.SIGNATURE, ["doc_id"])["doc_id"].combine_chunks()
    total = 0
    for file in release.files("documents"):
        documents = rows.read_table(store.local(file.path), ["id", "written_tokens"])
        total += pc.sum(documents["written_tokens"].filter(pc.is_in(documents["id"], value_set=held))).as_py() or 0
    return total


def _shard_entries(sharded: Manifest) -> list[dict[str, Any]]:
    entries = []
    for name in sorted(sharded.files):
        if name.endswith(".arrow"):
            file, split = sharded.file(name), name.split("-")[0]
            entries.extend(releases.listed([file], split=split, rows=sharded.files[name]["rows"]))
    return entries


def _changed_source(source_id: str, held: dict[str, Any], now: dict[str, Any]) -> Exception:
    changed = sorted(name for name in {*held, *now} if held.get(name) != now.get(name))
    return fail(
        RecipeError,
        f"sources.{source_id}: {', '.join(changed)} changed after its seeds were cut, and seeds are never cut again",
        given=orjson.dumps({name: now.get(name) for name in changed}, default=str).decode(),
        allowed=orjson.dumps({name: held.get(name) for name in changed}, default=str).decode(),
        do="change it back, or give the recipe a new name to start anew",
    )
