"""Train: a quality model of the recipe's own, made once, before anything is scored.

It reads the first cut of seeds (or files that the recipe names) and never a later one: more seeds train no other model, and
all documents of a policy are scored by the same one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import orjson
import pyarrow as pa
from pydantic import Field, model_validator

from filters.training import MODEL, QUANTIZED, TrainingConfig, train
from filters.training_card import card_rows
from filters.training_damage import Damage, damaged_examples
from filters.training_files import read_sides
from synth import rows
from synth.config import Config
from synth.driver import File, Manifest
from synth.step import Counts, Step


class QualityWork(Config):
    """What shapes the model, beside the texts that it is trained on."""

    damage: tuple[Damage, ...] = Field(
        (), description="Train on the recipe's seeds against the same seeds damaged: cut, loop, scramble, mix."
    )
    windows: tuple[int, ...] = Field(
        (2, 3, 4, 5), min_length=1, description="Lengths of the stretches of seeds that are examples (sentences)."
    )
    max_pairs: int = Field(20_000, ge=1, description="Stretches that are taken at most, chosen by hash.")
    partitions: int = Field(8, ge=1, description="Seed partitions of the first cut that are read, in hash order.")
    text: str = Field("text", description="Column of the text in files.")
    root: str | None = Field(None, description="Column of what texts of one origin share, in files.")
    training: TrainingConfig = Field(TrainingConfig(), description="How the model is trained.")


class QualityConfig(QualityWork):
    """A quality model that is trained from files, or from the recipe's own seeds. It gives the rule `quality`."""

    positives: tuple[str, ...] = Field((), description="Files of good texts, relative to the recipe's folder.")
    negatives: tuple[str, ...] = Field((), description="Files of bad texts, relative to the recipe's folder.")

    @model_validator(mode="after")
    def _one_kind_of_examples(self) -> Self:
        if bool(self.damage) == bool(self.positives or self.negatives):
            raise ValueError('either damage, such as ["scramble"], or positives and negatives (files)')
        if bool(self.positives) != bool(self.negatives):
            raise ValueError("positives and negatives: files of both")
        if any(window < 1 for window in self.windows):
            raise ValueError("windows of at least one sentence")
        return self


class TrainWork(QualityWork):
    """The same with files by their digests. Which seeds are read is said by the inputs."""

    positives: tuple[str, ...]
    negatives: tuple[str, ...]


def run(inputs: Mapping[str, Path], config: TrainWork, out: Path) -> Counts:
    """Inputs: `seeds/<tag>` and `drops/<tag>` (of screen), or `positives/<sha256>` and `negatives/<sha256>`.
    Out: model.bin or model.ftz, card.json, card.md, quality_card."""
    if config.damage:
        share = config.training.held_out_share
        examples = damaged_examples(_seeds(inputs), config.damage, config.windows, share, config.max_pairs)
        files: list[dict[str, Any]] = []
    else:
        good, bad = (
            [path for name, path in sorted(inputs.items()) if name.startswith(side)]
            for side in ("positives", "negatives")
        )
        examples, files = read_sides(good, bad, config.text, config.root)
    card = train(examples, config.training, out, files).card
    rows.write_table(rows.table(card_rows(card), rows.QUALITY_CARD), out / "quality_card.parquet")
    left_out = {name: number for name, number in card["data"]["left_out"].items() if number}
    return Counts(items=len(examples), kept=len(examples), notes=left_out)


def _seeds(inputs: Mapping[str, Path]) -> Iterator[tuple[str, str, str | None]]:
    """Text, root and source of every seed that passed the screen, holds a text and carries no planted instruction."""
    for name, path in sorted(inputs.items()):
        kind, _, tag = name.partition("/")
        if kind != "seeds":
            continue
        dropped = set(rows.read_table(inputs[f"drops/{tag}"], ["item_id"])["item_id"].to_pylist())
        table = rows.read_table(path, ["id", "text", "root_id", "source_id", "meta"])
        for row in table.filter(pa.array([one not in dropped for one in table["id"].to_pylist()])).to_pylist():
            meta = orjson.loads(row["meta"]) if row["meta"] else {}
            if not (meta.get("topic_only") or meta.get("canary")):
                yield row["text"], row["root_id"], row["source_id"]


def model_of(trained: Manifest) -> File:
    """The model among a train object's files."""
    return trained.file(QUANTIZED if QUANTIZED in trained.files else MODEL)


STEP = Step("train", 1, TrainWork, run)
