"""Examples for a quality model, made ready for training: flattened, each text once, split by root, as many of either label.

The order in which examples come changes nothing: rows are sorted by the digest of their text, and every choice is a hash.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from filters.fasttext_model import flatten
from synth.digest import digest, hash_share
from synth.errors import UserError, fail

GOOD, BAD = "hq", "lq"
LABELS = (GOOD, BAD)
MAX_LISTED, OTHERS = 50, "(others)"  # of the sources and families in a card
MIN_TRAIN = 50  # texts of each label: below that fastText learns nothing that could be measured
MIN_HELD_OUT = 10  # texts of each label

EXAMPLES = pa.schema(
    [
        ("text", pa.large_string()),
        ("label", pa.string()),  # GOOD or BAD
        ("root", pa.string()),  # what texts of one origin share; null: the text stands alone
        ("family", pa.string()),  # who wrote it, or what was done to it; for the card alone
        ("source", pa.string()),  # where it comes from; for the card alone
    ]
)


@dataclass(frozen=True)
class Part:
    """The texts of one side of the split, as columns of EXAMPLES, texts flattened, sorted by digest."""

    table: pa.Table

    @property
    def texts(self) -> list[str]:
        """Flattened texts."""
        found: list[str] = self.table["text"].to_pylist()
        return found

    @property
    def good(self) -> NDArray[np.bool_]:
        """Which of them are good."""
        return np.asarray(pc.equal(self.table["label"], GOOD).to_numpy(), np.bool_)

    @property
    def roots(self) -> list[str]:
        """The root of each."""
        found: list[str] = self.table["root"].to_pylist()
        return found

    def counts(self, column: str) -> dict[str, dict[str, int]]:
        """Texts of each label by the values of a column: the MAX_LISTED most frequent ones, the rest as OTHERS. Those without
        a value are not listed."""
        values = self.table[column].to_pylist()
        often = Counter(value for value in values if value is not None).most_common(MAX_LISTED)
        listed = {value for value, _ in often}
        named = [value if value is None or value in listed else OTHERS for value in values]
        counted = Counter(zip(named, self.table["label"].to_pylist(), strict=True))
        found = sorted({value for value in named if value is not None})
        return {value: {label: counted[value, label] for label in LABELS} for value in found}

    def size(self, label: str) -> int:
        """Texts of a label."""
        return int(pc.sum(pc.equal(self.table["label"], label)).as_py() or 0)


@dataclass(frozen=True)
class Split:
    """Examples ready for training, and what was left out: empty, equal_text, both_labels (under either), balance."""

    train: Part
    held_out: Part
    left_out: dict[str, int] = field(default_factory=dict)


def is_held_out(root: str, share: float) -> bool:
    """Whether the texts of a root are kept from training. It depends on the root alone, so more data moves no text across."""
    return hash_share("held-out", root) < share


def split(examples: pa.Table, share: float, balance: bool) -> Split:
    """Make examples ready. A text that stands under both labels teaches nothing and is left out under both.

    UserError when too few are left on either side to train on or to judge by.
    """
    table = _with_digest(examples)
    left_out = {"empty": len(examples) - len(table)}
    table, left_out["both_labels"] = _without_contradictions(table)
    table, left_out["equal_text"] = _once(table)
    held = pa.array([is_held_out(root, share) for root in table["root"].to_pylist()], pa.bool_())
    parts = [table.filter(pc.invert(held)), table.filter(held)]
    if balance:
        parts = [_balanced(part) for part in parts]
    left_out["balance"] = len(table) - sum(map(len, parts))
    train, held_out = (Part(part.select(EXAMPLES.names)) for part in parts)
    _check_sizes(train, held_out, left_out)
    return Split(train, held_out, left_out)


def _with_digest(examples: pa.Table) -> pa.Table:
    """Flattened texts that hold anything, with their digests as a column; a text without a root is its own."""
    flat = [flatten(text or "") for text in examples["text"].to_pylist()]
    digests = [digest(text) for text in flat]
    roots = [root or f"text:{own}" for root, own in zip(examples["root"].to_pylist(), digests, strict=True)]
    table = (
        examples.select(EXAMPLES.names)
        .set_column(0, "text", pa.array(flat, pa.large_string()))
        .set_column(2, "root", pa.array(roots, pa.string()))
        .append_column("digest", pa.array(digests, pa.string()))
    )
    return table.filter(pc.not_equal(table["text"], ""))


def _without_contradictions(table: pa.Table) -> tuple[pa.Table, int]:
    labels = table.group_by("digest").aggregate([("label", "count_distinct")])
    both = labels.filter(pc.greater(labels["label_count_distinct"], 1))["digest"].combine_chunks()
    kept = table.filter(pc.invert(pc.is_in(table["digest"], value_set=both)))
    return kept, len(table) - len(kept)


def _once(table: pa.Table) -> tuple[pa.Table, int]:
    """Of equal texts the one with the smallest root, family and source; sorted by digest."""
    ordered = table.sort_by([(name, "ascending") for name in ("digest", "root", "family", "source")])
    digests = np.asarray(ordered["digest"].to_pylist(), dtype=object)
    first = np.r_[True, digests[1:] != digests[:-1]] if len(digests) else np.zeros(0, np.bool_)
    kept = ordered.filter(pa.array(first, pa.bool_()))
    return kept, len(table) - len(kept)


def _balanced(table: pa.Table) -> pa.Table:
    """As many texts of the one label as of the other. The hash is not the one that orders them: else those that stay would
    all come early, and training would end on the other label."""
    labels, digests = table["label"].to_pylist(), table["digest"].to_pylist()
    wanted = min(labels.count(label) for label in LABELS)
    kept = np.zeros(len(labels), np.bool_)
    for label in LABELS:
        mine = [at for at, one in enumerate(labels) if one == label]
        kept[sorted(mine, key=lambda at: (hash_share("balance", digests[at]), digests[at]))[:wanted]] = True
    return table.filter(pa.array(kept, pa.bool_()))


def _check_sizes(train: Part, held_out: Part, left_out: dict[str, int]) -> None:
    sizes = [("to train on", train, MIN_TRAIN), ("held out", held_out, MIN_HELD_OUT)]
    missing = [
        f"{label} {where}: {part.size(label)} of at least {least}"
        for where, part, least in sizes
        for label in LABELS
        if part.size(label) < least
    ]
    if not missing:
        return
    reasons = ", ".join(f"{reason} {number:,}" for reason, number in left_out.items() if number)
    raise fail(
        UserError,
        f"too few texts for a quality model ({GOOD} = good, {BAD} = bad):\n    " + "\n    ".join(missing),
        given=f"{len(train.table)} texts to train on, {len(held_out.table)} held out"
        + (f"; left out: {reasons}" if reasons else ""),
        allowed="texts of both labels from many roots: those of one root are all trained on or all held out",
        do="give more texts, or texts from more roots",
    )


def examples_of(
    texts: Sequence[str | None],
    label: str,
    roots: Sequence[str | None] | None = None,
    family: str | None = None,
    source: str | None = None,
) -> pa.Table:
    """Texts of one label as EXAMPLES."""
    size = len(texts)
    columns = [
        pa.array(texts, pa.large_string()),
        pa.repeat(pa.scalar(label, pa.string()), size),
        pa.array(roots, pa.string()) if roots is not None else pa.nulls(size, pa.string()),
        pa.repeat(pa.scalar(family, pa.string()), size),
        pa.repeat(pa.scalar(source, pa.string()), size),
    ]
    return pa.table(columns, schema=EXAMPLES)
