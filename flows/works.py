"""Works: what each step of a recipe would do to which files. Pure: nothing is read but registries, nothing is started."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filters import decontamination, pii_policy
from filters.gates import Gate, check_gates
from flows.against import OtherRelease, open_all
from flows.families import asked_roles, check_route, load_family, rivals
from flows.places import places
from flows.pools import POOL, Pool
from flows.recipe import Recipe, Screened
from flows.retracted import Retracted
from flows.steps import audit, generate, ingest, keep, resolve, score, screen, shards, sign, train
from flows.steps.routing import OWN_QUALITY
from flows.steps.scoring import (
    RuleConfig,
    RuleWork,
    columns_of,
    number_columns_of,
    rule_works,
    trained_rule,
    warm_rules,
    with_model,
    with_presets,
    with_rule,
)
from flows.steps.verdicts import COLUMNS as VERDICT_COLUMNS
from synth.ask import Family
from synth.config import Config, parse
from synth.digest import digest, file_sha256, short
from synth.driver import File, Manifest, Work
from synth.engine.engine import policies
from synth.errors import RecipeError, fail
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

    def __init__(self, recipe: Recipe, maker: generate.Maker | None = None, retracted: Retracted | None = None) -> None:
        self._retracted = retracted or Retracted((), lambda file: Path(file.path))
        with recipe.naming_files():
            self._make(recipe, maker)

    def _make(self, recipe: Recipe, maker: generate.Maker | None) -> None:
        self.recipe = recipe
        self._roles = policies(recipe.models, recipe.roles)
        self._screen = screen.ScreenWork(
            rules=rule_works(seed_rules(recipe), "screen.rules"),
            gates=seed_gates(recipe),
        )
        self._score = score.ScoreWork(
            rules=(*rule_works(_document_rules(recipe), "score.rules"), *([trained_rule()] if recipe.quality else [])),
        )
        self._train_files = _train_files(recipe)
        self._train = _train_work(recipe, self._train_files)
        check_gates(self._screen.gates, columns_of(self._screen.rules))
        self._keep = keep.KeepWork(gates=_document_gates(recipe))
        check_gates(self._keep.gates, [*columns_of(self._score.rules), *VERDICT_COLUMNS])
        self._sign = sign.SignWork(minhash=recipe.dedup.minhash)
        self._pools, self._others = open_all(recipe.dedup.against, recipe.dedup.minhash)
        self._resolve = _resolve_work(recipe, self._pools, self._others)
        recipe.run.dedup.check()
        self._shards = _shard_work(recipe)
        allow = recipe.screen.allow_unknown_license
        limits = recipe.audit.content()
        self._audit = audit.AuditWork(**limits, checks_digest=audit.checks_digest(), allow_unknown_license=allow)
        self._generate: dict[str, tuple[Step[Any], generate.GenerateWork]] = {}
        for config in recipe.families:
            spec = load_family(config.name, config.file)
            work = self._generate_work(config, spec)
            self._generate[spec.name] = (generate.step(maker, spec, recipe.run.max_failed_share), work)
        _check_templates(recipe.dedup.max_per_template, self.families)

    def _generate_work(self, config: generate.FamilyConfig, spec: Spec[Family]) -> generate.GenerateWork:
        where = f"families.{config.name}"
        options = parse(spec.Options, config.options, f"{where}.options", places)
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

    def generate_config(self, family: str) -> generate.GenerateWork:
        """What shapes a family's documents."""
        return self._generate[family][1]

    @property
    def others(self) -> list[OtherRelease]:
        """Releases of other recipes that documents are compared with."""
        return self._others

    @property
    def families(self) -> list[str]:
        """Names of the recipe's families, sorted."""
        return sorted(self._generate)

    @property
    def seed_judge(self) -> tuple[tuple[RuleWork, ...], tuple[Gate, ...]]:
        """What scores seeds, and what drops them."""
        return self._screen.rules, self._screen.gates

    @property
    def document_judge(self) -> tuple[tuple[RuleWork, ...], tuple[Gate, ...]]:
        """What scores documents, and what drops them."""
        return self._score.rules, self._keep.gates

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
            *([(train.STEP, self._train)] if self._train else []),
        ]
        return digest(sorted([step.name, step.version, digest(config.content())] for step, config in [*fixed, *made]))

    def warm(self, say: Callable[[str], None]) -> None:
        """Load and compile what the steps between asking and releasing need."""
        warm_rules([*self._screen.rules, *self._score.rules, *self._shards.thoughts, *self._shards.rendered], say)
        sign.warm(self._sign)

    def warm_trained(self, model: Path) -> None:
        """The same of the quality model that the recipe trains, once it is there."""
        warm_rules(with_model([trained_rule()], model), lambda said: None)

    def ingest(self, files: Mapping[str, File], known: Sequence[Manifest]) -> Work:
        """Cut what is new in `files` (named source/<id>/<digest>), given what earlier cuts hold."""
        wanted = {name.split("/")[1] for name in files}
        sources = tuple(source for source in self.recipe.sources if source.id in wanted)
        config = ingest.IngestWork(**{**_fields(self.recipe.ingest), "sources": sources})
        held = {f"known/{short(one.key)}": one.file("known.parquet") for one in known}
        return Work(ingest.STEP, config, {**files, **held}, self.recipe.name)

    def screen(self, seeds: File) -> Work:
        """Judge one partition of seeds."""
        config = self._screen.model_copy(update={"retracted": self._retracted.seeds(seeds)})
        return Work(screen.STEP, config, {"seeds": seeds}, short(seeds.sha256))

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

    @property
    def trains_on(self) -> int:
        """Seed partitions of the first cut that the quality model is trained on; 0 without one, or with files."""
        return self._train.partitions if self._train and self._train.damage else 0

    def train(self, first: Mapping[File, Manifest]) -> Work | None:
        """The quality model, on the first partitions and their screens; None when the recipe trains none."""
        if self._train is None:
            return None
        inputs = dict(self._train_files)
        for seeds, screened in first.items():
            inputs[f"seeds/{short(seeds.sha256)}"] = seeds
            inputs[f"drops/{short(seeds.sha256)}"] = screened.file("drops.parquet")
        return Work(train.STEP, self._train, inputs, self.recipe.name)

    def score(self, group: str, seeds: File, generated: Manifest, trained: Manifest | None = None) -> Work:
        """All rules over one object's documents; `trained` holds the quality model, where the recipe trains one."""
        inputs = {
            "documents": generated.file("documents.parquet"),
            "verdicts": generated.file("verdicts.parquet"),
            "seeds": seeds,
        }
        if trained is not None:
            inputs["model"] = train.model_of(trained)
        return Work(score.STEP, self._score, inputs, group)

    def keep(self, group: str, generated: Manifest, scored: Manifest) -> Work:
        """Gates over one object's scores."""
        inputs = {"scores": scored.file("scores.parquet"), "drops": generated.file("drops.parquet")}
        gone = self._retracted.documents(generated.file("documents.parquet"))
        return Work(keep.STEP, self._keep.model_copy(update={"retracted": gone}), inputs, group)

    def sign(self, group: str, generated: Manifest) -> Work:
        """Signatures of one object's documents."""
        return Work(sign.STEP, self._sign, {"documents": generated.file("documents.parquet")}, group)

    def resolve(self, chains: Sequence[Chain], index: Sequence[File], released: Sequence[File]) -> Work:
        """Near-duplicates of a wave, against the index segments of the pinned release and the documents they point to."""
        inputs = _documents_and_drops(chains)
        inputs |= {f"signatures/{chain.tag}": chain.sign.file("signatures.parquet") for chain in chains}
        for file in index:  # of each wave its index and, beside it, its boilerplate
            kind = "boilerplate" if file.path.endswith("/boilerplate.parquet") else "index"
            inputs[f"released_{kind}/{short(file.sha256)}"] = file
        inputs |= {f"released_documents/{short(file.sha256)}": file for file in released}
        for other in self._others:
            inputs |= {f"released_boilerplate/{short(file.sha256)}": file for file in other.boilerplate}
            inputs |= {f"release_index/{other.name}/{short(file.sha256)}": file for file in other.index}
            inputs |= {f"release_documents/{other.name}/{short(file.sha256)}": file for file in other.documents}
        places: dict[str, File] = {}
        lost: dict[str, tuple[str, ...]] = {}
        for pool in self._pools:
            inputs[f"pool_index/{pool.name}"] = _outside(pool.index, pool.config.index_sha256)
            place = pool.index.with_name(POOL)
            places[f"pool/{pool.name}"] = _outside(place, file_sha256(place))
            if gone := pool.out_of_reach():
                lost[pool.name] = tuple(gone)
        config = self._resolve.model_copy(update={"out_of_reach": lost})
        return Work(resolve.step(self.recipe.run.dedup), config, inputs, self.recipe.name, places)

    def shards(self, chains: Sequence[Chain], resolved: Manifest) -> Work:
        """The wave's shards."""
        inputs = _documents_and_drops(chains)
        inputs |= {f"seeds/{short(chain.seeds.sha256)}": chain.seeds for chain in chains}
        inputs["resolve_drops/all"] = resolved.file("drops.parquet")
        if self._shards.masks:
            inputs |= {f"spans/{chain.tag}": chain.score.file("spans.parquet") for chain in chains}
        return Work(shards.STEP, self._shards, inputs, self.recipe.name)

    def audit(
        self,
        objects: Sequence[Manifest],
        seeds: Sequence[File],
        released_rows: Sequence[File],
        tombstones: Sequence[File] = (),
    ) -> Work:
        """The checks over everything a wave made."""
        inputs = audit_inputs(objects, seeds, released_rows, tombstones)
        return Work(audit.STEP, self._audit, inputs, self.recipe.name)


def audit_inputs(
    objects: Sequence[Manifest], seeds: Sequence[File], released_rows: Sequence[File], tombstones: Sequence[File] = ()
) -> dict[str, File]:
    """What the checks read: every table of every object, the manifests themselves, where earlier documents lie, and which
    documents were retracted."""
    inputs = {f"seeds/{short(file.sha256)}": file for file in seeds}
    inputs |= {f"released_rows/{short(file.sha256)}": file for file in released_rows}
    inputs |= {f"tombstones/{short(file.sha256)}": file for file in tombstones}
    for one in objects:
        inputs[f"manifests/{short(one.key)}"] = one.itself()
        for name in one.files:
            if name.endswith(".arrow"):
                inputs[f"shards/{short(one.key)}-{name}"] = one.file(name)
            elif name.endswith(".parquet") and not name.startswith("seeds-"):
                inputs[f"{name.split('.')[0]}/{short(one.key)}"] = one.file(name)
    return inputs


def _fields(config: Config) -> dict[str, Any]:
    return {name: getattr(config, name) for name in type(config).model_fields}


def _check_templates(limits: Mapping[str, int], families: Sequence[str]) -> None:
    unknown = sorted(set(limits) - set(families))
    if unknown:
        what, allowed = "dedup.max_per_template names no family of this recipe", ", ".join(families)
        raise fail(RecipeError, what, given=unknown[0], allowed=allowed)


def seed_rules(recipe: Screened) -> tuple[RuleConfig, ...]:
    """What scores seeds."""
    chosen = with_presets((*recipe.screen.rules, *recipe.screen.more_rules), recipe.screen.presets)
    chosen = with_rule(chosen, pii_policy.RULE) if recipe.pii and recipe.pii.seeds != "none" else chosen
    return (*chosen, *_contamination_rule(recipe, chosen, "screen"))


def _document_rules(recipe: Recipe) -> tuple[RuleConfig, ...]:
    chosen = with_presets((*recipe.score.rules, *recipe.score.more_rules), recipe.keep.presets)
    chosen = with_rule(chosen, pii_policy.RULE) if recipe.pii else chosen
    return (*chosen, *_contamination_rule(recipe, chosen, "score"))


def _contamination_rule(recipe: Screened, beside: Sequence[RuleConfig], step: str) -> tuple[RuleConfig, ...]:
    """The rule that looks for the recipe's evaluation sets. RecipeError when the step names it too."""
    if recipe.decontamination is None:
        return ()
    if decontamination.RULE in {config.name for config in beside}:
        what = f"{step} names the rule {decontamination.RULE!r}, and so does [decontamination]"
        raise fail(RecipeError, what, do="name all evaluation sets in [decontamination]")
    return (RuleConfig(name=decontamination.RULE, options=recipe.decontamination.options()),)


def _resolve_work(recipe: Recipe, pools: Sequence[Pool], others: Sequence[OtherRelease]) -> resolve.ResolveWork:
    fields = {name: value for name, value in _fields(recipe.dedup).items() if name != "against"}
    return resolve.ResolveWork(
        **fields,
        pools=tuple(pool.config.index_sha256 for pool in pools),
        releases=tuple(other.policy for other in others),
    )


def _outside(path: Path, sha256: str) -> File:
    return File(str(path.absolute()), sha256, path.stat().st_size)


def _train_files(recipe: Recipe) -> dict[str, File]:
    """The files that [quality] names, by their bytes."""
    named = {"positives": recipe.quality.positives, "negatives": recipe.quality.negatives} if recipe.quality else {}
    found = {}
    for side, paths in named.items():
        for path in map(Path, paths):
            if not path.is_file():
                what = f"quality.{side}: no such file: {path}"
                raise fail(RecipeError, what, do="paths are relative to the recipe's folder")
            sha256 = file_sha256(path)
            found[f"{side}/{sha256}"] = _outside(path, sha256)
    return found


def _train_work(recipe: Recipe, files: Mapping[str, File]) -> train.TrainWork | None:
    if recipe.quality is None:
        return None
    if "quality" in {rule.name for rule in (*recipe.score.rules, *recipe.score.more_rules)}:
        do = "leave out [quality], or the rule quality of [score]"
        raise fail(RecipeError, "two quality models: that of [quality] and that of a rule", do=do)
    sides = {
        side: tuple(sorted(file.sha256 for name, file in files.items() if name.startswith(side)))
        for side in ("positives", "negatives")
    }
    return train.TrainWork(**{**_fields(recipe.quality), **sides})


def seed_gates(recipe: Screened) -> tuple[Gate, ...]:
    """What drops seeds."""
    gates = (*recipe.screen.chosen(), *(recipe.pii.seed_gates() if recipe.pii else ()))
    gates = (*gates, *(recipe.decontamination.seed_gates() if recipe.decontamination else ()))
    return gates if recipe.screen.allow_unknown_license else (screen.LICENSE_GATE, *gates)


def _document_gates(recipe: Recipe) -> tuple[Gate, ...]:
    gates = (*recipe.keep.chosen(), *(recipe.pii.gates() if recipe.pii else ()))
    return (*gates, *(recipe.decontamination.gates() if recipe.decontamination else ()))


def _shard_work(recipe: Recipe) -> shards.ShardWork:
    tokenizer = recipe.shards.tokenizer
    known = identity(tokenizer) if tokenizer else None
    masks = recipe.pii.hidden() if recipe.pii else ()
    thoughts = rule_works([RuleConfig(name=pii_policy.RULE)], "pii") if masks else ()
    return shards.ShardWork(
        **_fields(recipe.shards),
        tokenizer_identity=known,
        masks=masks,
        thoughts=thoughts,
        rendered=rule_works(_contamination_rule(recipe, (), "shards"), "decontamination"),
        contaminated=recipe.decontamination.documents if recipe.decontamination else "label",
    )


def _documents_and_drops(chains: Sequence[Chain]) -> dict[str, File]:
    inputs: dict[str, File] = {}
    for chain in chains:
        inputs[f"documents/{chain.tag}"] = chain.generate.file("documents.parquet")
        inputs[f"generate_drops/{chain.tag}"] = chain.generate.file("drops.parquet")
        inputs[f"keep_drops/{chain.tag}"] = chain.keep.file("drops.parquet")
    return inputs
