"""A recipe: one TOML file that says what to make. Everything shapes content, except `[run]`, which says how to run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Annotated

from pydantic import Field, PrivateAttr, StringConstraints

from dedup import ResolveConfig
from filters.decontamination import DecontaminationConfig
from filters.pii_policy import PiiConfig
from flows.notify import NotifyConfig
from flows.places import places
from flows.recipe_files import Merged, read_recipe
from flows.steps.generate import FamilyConfig
from flows.steps.ingest import IngestConfig
from flows.steps.keep import KeepConfig
from flows.steps.resolve import DedupRun
from flows.steps.score import ScoreConfig
from flows.steps.scoring import columns_of, trained_rule
from flows.steps.screen import ScreenConfig
from flows.steps.train import QualityConfig
from shards import ShardConfig
from synth.audit.audit import AuditConfig
from synth.config import Config, nearest, parse
from synth.engine.budget import Budget
from synth.engine.roles import ModelConfig, ModelRun, RoleConfig
from synth.errors import RecipeError, fail
from synth.sources import Source

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]


class RunConfig(Config):
    """How to run: nothing here changes a single byte of what is made."""

    home: str | None = Field(
        None,
        description="The home: a folder or s3://bucket/prefix; --home and SYNTH_HOME go before it; default ./corpus.",
    )
    scratch: str | None = Field(
        None,
        description="Local folder for work in progress; default HOME/scratch, of a home on S3 in its local mirror.",
    )
    workers: int = Field(2, ge=1, description="Lots worked on at the same time.")
    open_partitions: int = Field(
        8, ge=1, description="Partitions (of one family) that ask models at the same time: enough that none waits."
    )
    lot_partitions: int = Field(8, ge=1, description="Seed partitions per Prefect task.")
    wave_partitions: int = Field(0, ge=0, description="Seed partitions per release; 0 = all that are there.")
    max_failed_share: float = Field(
        0.02, ge=0, le=1, description="Share of a partition's seeds on which a family's code may fail."
    )
    grace_seconds: float = Field(20.0, ge=0, description="After Ctrl-C: time for answers in flight to arrive.")
    upload_seconds: float = Field(
        60.0,
        ge=1,
        description="A home on S3: how often answers of open partitions are copied up. Another machine can go on from there.",
    )
    models: dict[str, ModelRun] = Field({}, description="Where and how each model runs, and its price.")
    budget: Budget = Field(Budget(), description="What one run may spend, and when there is enough.")
    dedup: DedupRun = Field(DedupRun(), description="Where near-duplicates are looked for, and in how much memory.")
    notify: NotifyConfig = Field(
        NotifyConfig(), description="Whom to tell of a release, a failed gate, a failure: a command or a URL."
    )


class DedupConfig(ResolveConfig):
    """When a document is a duplicate, and of what."""

    against: tuple[str, ...] = Field(
        (),
        description="What else is compared with, relative to the recipe's folder: pools of other texts (folders made by `synth "
        "index`), and releases of other recipes (HOME#RECIPE: the newest; or a release's file). Their texts stay; a document "
        "that one of them covers is dropped.",
    )


class Screened(Config):
    """The tables that say which texts are worked on: of a whole recipe, or all that `synth filter` needs."""

    screen: ScreenConfig = Field(ScreenConfig(), description="Judging seeds before money is spent on them.")
    decontamination: DecontaminationConfig | None = Field(
        None, description="Evaluation sets that must not stand in seeds, documents and shards."
    )
    pii: PiiConfig | None = Field(
        None, description="What happens to personal data, by kind. Without the table nobody looks for it."
    )


class Recipe(Screened):
    """The whole recipe."""

    name: Name = Field(description="Releases of one name follow each other: releases/<name>/0001.json …")
    sources: tuple[Source, ...] = Field(min_length=1, description="Where seeds come from.")
    ingest: IngestConfig = Field(IngestConfig(), description="How seeds are cut into partitions.")
    models: dict[Name, ModelConfig] = Field(min_length=1, description="Models by the name that roles use.")
    roles: dict[Name, RoleConfig] = Field(min_length=1, description="Roles by the name that families ask for.")
    families: tuple[FamilyConfig, ...] = Field(min_length=1, description="What is written from the seeds.")
    quality: QualityConfig | None = Field(
        None, description="A quality model of the recipe's own: trained once, before anything is scored."
    )
    score: ScoreConfig = Field(ScoreConfig(), description="Rules that score documents.")
    keep: KeepConfig = Field(KeepConfig(), description="Bounds on scores.")
    dedup: DedupConfig = Field(DedupConfig(), description="Near-duplicate removal.")
    shards: ShardConfig = Field(ShardConfig(), description="What the trainer gets.")
    audit: AuditConfig = Field(AuditConfig(), description="Limits of the checks before a release.")
    run: RunConfig = Field(RunConfig(), description="How to run; never hashed.")
    _merged: Merged | None = PrivateAttr(None)

    @property
    def merged(self) -> Merged | None:
        """The files that it was read from, as one value; None for a recipe that was made in another way."""
        return self._merged

    def naming_files(self) -> AbstractContextManager[None]:
        """Where several files make the recipe, a RecipeError says in which of them a field stands."""
        return self._merged.naming_files() if self._merged else nullcontext()


def load(path: Path, assignments: Sequence[str] = ()) -> Recipe:
    """Read and check a recipe, or a bundled one by its name; `assignments` are `--set` values. Raises RecipeError with every
    fault it finds."""
    merged = read_recipe(path, assignments)
    with merged.naming_files():
        recipe = parse(Recipe, merged.value, elsewhere=places)
        _check_names(recipe)
    recipe._merged = merged
    return recipe


def _check_names(recipe: Recipe) -> None:
    """Names that point from one table to another, and names that must differ."""
    for name, role in recipe.roles.items():
        for model in role.models:
            _known(f"roles.{name}.models", model, recipe.models, "models")
    for name in recipe.run.models:
        _known("run.models", name, recipe.models, "models")
    for what, names in (
        ("sources.id", [source.id for source in recipe.sources]),
        ("families.name", [family.name for family in recipe.families]),
    ):
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise fail(RecipeError, f"{what}: given twice", given=", ".join(twice), allowed="each name once")


def _known(where: str, name: str, known: Mapping[str, object], table: str) -> None:
    if name not in known:
        raise fail(
            RecipeError,
            f"{where}: no such model{nearest(name, known)}",
            given=name,
            allowed=", ".join(sorted(known)),
            do=f"add [{table}.{name}] or correct the name",
        )


def without_quality(recipe: Recipe) -> Recipe:
    """The recipe where no model is trained: without [quality], and without the gates on its score."""
    if recipe.quality is None:
        return recipe
    columns = columns_of([trained_rule()])
    kept = {
        name: tuple(gate for gate in getattr(recipe.keep, name) if gate.column not in columns)
        for name in ("gates", "more_gates")
    }
    return recipe.model_copy(update={"quality": None, "keep": recipe.keep.model_copy(update=kept)})
