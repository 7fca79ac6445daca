"""Works: what each step of a recipe would do to which files. Pure: nothing is read but registries, nothing is started."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from filters.gates import Gate, check_gates
from flows.families import asked_roles, check_route, load_family, rivals
from flows.recipe import Recipe
from flows.steps import audit, generate, ingest, keep, resolve, score, screen, shards, sign
from flows.steps.routing import OWN_QUALITY
from flows.steps.scoring import columns_of, number_columns_of, rule_works
from flows.steps.verdicts import COLUMNS as VERDICT_COLUMNS
from synth.ask import Family
from synth.config import Config, parse
from synth.digest import digest, short
from synth.driver import File, Manifest, Work
from synth.engine.engine import policies
from synth.registry import Spec
from synth.step import Step
from synth.weights import identity


@dataclass(frozen=True)
class Chain:
    """The objects of one (seed partition, family), in the order of the steps."""

    seeds: File
    screen: Manifest
    generate: Manifest
    score: Manifest
    keep: Manifest
    sign: Manifest

    @property
    def tag(self) -> str:
        """What the reduces name this chain's files by: the digest of its documents."""
        return short(self.generate.file("documents.parquet").sha256)


class Works:
    """Makes the Work of every step for one recipe. Without a maker (an engine) they can be planned, not run."""

    def __init__(self, recipe: Recipe, maker: generate.Maker | None = None) -> None:
        self.recipe = recipe
        self._roles = policies(recipe.models, recipe.roles)
        self._screen = screen.ScreenWork(
            rules=rule_works((*recipe.screen.rules, *recipe.screen.more_rules), "screen.rules"),
            gates=_seed_gates(recipe),
        )
        self._score = score.ScoreWork(rules=rule_works((*recipe.score.rules, *recipe.score.more_rules), "score.rules"))
        check_gates(self._screen.gates, columns_of(self._screen.rules))
        self._keep = keep.KeepWork(gates=recipe.keep.chosen())
        check_gates(self._keep.gates, [*columns_of(self._score.rules), *VERDICT_COLUMNS])
        self._sign = sign.SignWork(minhash=recipe.dedup.minhash)
        self._resolve = resolve.ResolveWork(**_fields(recipe.dedup))
        self._shards = _shard_work(recipe)
        allow = recipe.screen.allow_unknown_license
        limits = recipe.audit.content()
        self._audit = audit.AuditWork(**limits, checks_digest=audit.checks_digest(), allow_unknown_license=allow)
        self._generate: dict[str, tuple[Step[Any], generate.GenerateWork]] = {}
        for config in recipe.families:
            spec = load_family(config.name, config.file)
            work = self._generate_work(config, spec)
            self._generate[spec.name] = (generate.step(maker, spec, recipe.run.max_failed_share), work)

    def _generate_work(self, config: generate.FamilyConfig, spec: Spec[Family]) -> generate.GenerateWork:
        where = f"families.{config.name}"
        options = parse(spec.Options, config.options, f"{where}.options")
        options.check()
        check_route(config, number_columns_of(self._screen.rules))
        return generate.GenerateWork(
            family=spec.name,
            family_version=spec.version,
            renderer_version=spec.renderer_version,
            family_digest=spec.content_digest,
            options=options.content(),
            share=config.share if config.weight is None else 1.0,
            route=config.route,
            rivals=rivals(self.recipe.families) if config.weight is not None else (),
            retry_dead_letters=config.retry_dead_letters,
            roles={name: self._roles[name] for name in asked_roles(config.name, options, self._roles)},
        )

    @property
    def families(self) -> list[str]:
        """Names of the recipe's families, sorted."""
        return sorted(self._generate)

    def policy(self) -> str:
        """Digest of everything that shapes content, except where the seeds come from."""
        made = [(step, config) for step, config in self._generate.values()]
        fixed: list[tuple[Step[Any], Config]] = [
            (screen.STEP, self._screen),
            (score.STEP, self._score),
            (keep.STEP, self._keep),
            (sign.STEP, self._sign),
            (resolve.STEP, self._resolve),
            (shards.STEP, self._shards),
        ]
        return digest(sorted([step.name, step.version, digest(config.content())] for step, config in [*fixed, *made]))

    def ingest(self, files: Mapping[str, File], known: Sequence[Manifest]) -> Work:
        """Cut what is new in `files` (named source/<id>/<digest>), given what earlier cuts hold."""
        wanted = {name.split("/")[1] for name in files}
        sources = tuple(source for source in self.recipe.sources if source.id in wanted)
        config = ingest.IngestWork(**{**_fields(self.recipe.ingest), "sources": sources})
        held = {f"known/{short(one.key)}": one.file("known.parquet") for one in known}
        return Work(ingest.STEP, config, {**files, **held}, self.recipe.name)

    def screen(self, seeds: File) -> Work:
        """Judge one partition of seeds."""
        return Work(screen.STEP, self._screen, {"seeds": seeds}, short(seeds.sha256))

    def generate(self, family: str, seeds: File, screened: Manifest, memo: Mapping[str, File]) -> Work:
        """One family over one partition. Objects of one (partition, family) share a folder, so that answers are found."""
        step, config = self._generate[family]
        inputs = {"seeds": seeds, "drops": screened.file("drops.parquet")}
        if any(
            route and route.column != OWN_QUALITY for route in (config.route, *(one.route for one in config.rivals))
        ):
            inputs["scores"] = screened.file("seed_scores.parquet")
        return Work(
            step, config, inputs, f"{short(seeds.sha256)}/{family}", {f"memo/{name}": memo[name] for name in memo}
        )

    def score(self, group: str, seeds: File, generated: Manifest) -> Work:
        """All rules over one object's documents."""
        inputs = {
            "documents": generated.file("documents.parquet"),
            "verdicts": generated.file("verdicts.parquet"),
            "seeds": seeds,
        }
        return Work(score.STEP, self._score, inputs, group)

    def keep(self, group: str, generated: Manifest, scored: Manifest) -> Work:
        """Gates over one object's scores."""
        inputs = {"scores": scored.file("scores.parquet"), "drops": generated.file("drops.parquet")}
        return Work(keep.STEP, self._keep, inputs, group)

    def sign(self, group: str, generated: Manifest) -> Work:
        """Signatures of one object's documents."""
        return Work(sign.STEP, self._sign, {"documents": generated.file("documents.parquet")}, group)

    def resolve(self, chains: Sequence[Chain], index: Sequence[File], released: Sequence[File]) -> Work:
        """Near-duplicates of a wave, against the index segments of the pinned release and the documents they point to."""
        inputs = _documents_and_drops(chains)
        inputs |= {f"signatures/{chain.tag}": chain.sign.file("signatures.parquet") for chain in chains}
        inputs |= {f"released_index/{short(file.sha256)}": file for file in index}
        inputs |= {f"released_documents/{short(file.sha256)}": file for file in released}
        return Work(resolve.STEP, self._resolve, inputs, self.recipe.name)

    def shards(self, chains: Sequence[Chain], resolved: Manifest) -> Work:
        """The wave's shards."""
        inputs = _documents_and_drops(chains)
        inputs |= {f"seeds/{short(chain.seeds.sha256)}": chain.seeds for chain in chains}
        inputs["resolve_drops/all"] = resolved.file("drops.parquet")
        return Work(shards.STEP, self._shards, inputs, self.recipe.name)

    def audit(self, objects: Sequence[Manifest], seeds: Sequence[File], released_rows: Sequence[File]) -> Work:
        """The checks over everything a wave made."""
        return Work(audit.STEP, self._audit, audit_inputs(objects, seeds, released_rows), self.recipe.name)


def audit_inputs(objects: Sequence[Manifest], seeds: Sequence[File], released_rows: Sequence[File]) -> dict[str, File]:
    """What the checks read: every table of every object, the manifests themselves, and where earlier documents lie."""
    inputs = {f"seeds/{short(file.sha256)}": file for file in seeds}
    inputs |= {f"released_rows/{short(file.sha256)}": file for file in released_rows}
    for one in objects:
        inputs[f"manifests/{short(one.key)}"] = one.itself()
        for name in one.files:
            if name.endswith(".arrow"):
                inputs[f"shards/{short(one.key)}-{name}"] = one.file(name)
            elif not name.startswith("seeds-"):
                inputs[f"{name.split('.')[0]}/{short(one.key)}"] = one.file(name)
    return inputs


def _fields(config: Config) -> dict[str, Any]:
    return {name: getattr(config, name) for name in type(config).model_fields}


def _seed_gates(recipe: Recipe) -> tuple[Gate, ...]:
    gates = (*recipe.screen.gates, *recipe.screen.more_gates)
    return gates if recipe.screen.allow_unknown_license else (screen.LICENSE_GATE, *gates)


def _shard_work(recipe: Recipe) -> shards.ShardWork:
    tokenizer = recipe.shards.tokenizer
    known = identity(tokenizer) if tokenizer else None
    return shards.ShardWork(**_fields(recipe.shards), tokenizer_identity=known)


def _documents_and_drops(chains: Sequence[Chain]) -> dict[str, File]:
    inputs: dict[str, File] = {}
    for chain in chains:
        inputs[f"documents/{chain.tag}"] = chain.generate.file("documents.parquet")
        inputs[f"generate_drops/{chain.tag}"] = chain.generate.file("drops.parquet")
        inputs[f"keep_drops/{chain.tag}"] = chain.keep.file("drops.parquet")
    return inputs
