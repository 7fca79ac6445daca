"""Training a fastText quality model: from examples to a model file and a card that says what it is worth.

The same examples give the same bytes, in whatever order they come: they are sorted by digest, one thread trains, in a child
process. Another version of the library may give other bytes: ship the file, not the settings.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import Field

from filters import baselines
from filters.fasttext_model import LABEL_PREFIX, PROVIDER, assert_provider, flatten, load
from filters.training_card import write_card
from filters.training_rows import BAD, GOOD, LABELS, OTHERS, Part, Split, split
from synth.config import Config
from synth.digest import file_sha256
from synth.errors import WorldError, fail

SEED = 1  # of fastText's own random numbers
MODEL, QUANTIZED = "model.bin", "model.ftz"
QUANTIZED_ROWS = 256  # what product quantisation needs at least
CHILD_BASE_BYTES = 1 << 30  # Python, numpy, and 0.12 GB that fastText's dictionary takes whatever it holds
CHILD_BASE_SECONDS = 60
CHILD_BYTES_PER_SECOND = 100_000  # of text and epoch; a slow core does ten times that
WORD_BYTES = 4  # of text per distinct word, at least: a bound on the dictionary before it is read
THRESHOLDS = (0.1, 0.25, 0.5, 0.75, 0.9)
KEPT_GOOD = 0.9  # of the good held-out texts: what the gate that is proposed lets pass


class TrainingConfig(Config):
    """How a quality model is trained. The defaults are those of DCLM (Li et al. 2024, https://arxiv.org/abs/2406.11794)."""

    lr: float = Field(0.1, gt=0, le=10, description="Learning rate; 0.1 is fastText's default for classifiers.")
    dim: int = Field(100, ge=2, le=1000, description="Numbers per word; 100 is fastText's default, which DCLM keeps.")
    word_ngrams: int = Field(
        2, ge=1, le=5, description="Longest word n-gram; 2 scored CORE 41.0, 1 scored 40.0 (DCLM)."
    )
    epochs: int = Field(5, ge=1, le=1000, description="Passes over the texts; 5 is fastText's default.")
    min_count: int = Field(1, ge=1, description="Words seen less often are unknown; 1 is fastText's default here.")
    bucket: int = Field(
        2_000_000,
        ge=1,
        le=2**31 - 1,
        description="Slots for hashed n-grams; 2 million is fastText's default. The file takes bucket x dim x 4 bytes.",
    )
    quantize: bool = Field(
        False, description="Write a compressed model.ftz: about an eighth of the bytes, somewhat other scores."
    )
    held_out_share: float = Field(
        0.1, gt=0, lt=1, description="Share of the roots whose texts are kept from training, to judge by."
    )
    balance: bool = Field(
        True, description="Take as many texts of either label, chosen by hash, as DCLM does (200k of each)."
    )

    def arguments(self) -> dict[str, Any]:
        """As fastText names them."""
        return {
            "lr": self.lr,
            "dim": self.dim,
            "wordNgrams": self.word_ngrams,
            "epoch": self.epochs,
            "minCount": self.min_count,
            "bucket": self.bucket,
            "seed": SEED,
        }


@dataclass(frozen=True)
class Trained:
    """What training gave: the model file, its digest, and the card (a JSON value)."""

    model: Path
    sha256: str
    card: dict[str, Any]


def train(
    examples: pa.Table,
    config: TrainingConfig,
    out: Path,
    files: Sequence[Mapping[str, Any]] = (),
    pairs: tuple[Sequence[str], Sequence[str]] | None = None,
) -> Trained:
    """Train on EXAMPLES, judge by what is held out, write the model, card.json and card.md into the folder `out`.

    `files`: what the examples were read from, for the card (name, sha256). `pairs`: texts that tell the same in two styles.
    UserError: too few texts. WorldError: training ran into a limit or died.
    """
    assert_provider()
    parts = split(examples, config.held_out_share, config.balance)
    model = fit(parts.train, config, out)
    figures = judge(model, parts, pairs)
    card = {
        "model": {"file": model.name, "sha256": file_sha256(model), "bytes": model.stat().st_size, "label": GOOD},
        "data": _data(parts, files),
        "settings": {**config.content(), "seed": SEED, "threads": 1},
        "versions": {name: metadata.version(name) for name in (PROVIDER, "numpy")},
        **figures,
    }
    return Trained(model, card["model"]["sha256"], write_card(card, out))


def fit(part: Part, config: TrainingConfig, out: Path) -> Path:
    """The model file, trained in a child process on one thread; `out` gets nothing else."""
    target = out / (QUANTIZED if config.quantize else MODEL)
    with tempfile.TemporaryDirectory(prefix="train-", dir=out) as scratch:
        lines = Path(scratch) / "train.txt"
        with lines.open("w", encoding="utf-8", newline="\n") as file:
            for text, label in zip(part.texts, part.table["label"].to_pylist(), strict=True):
                file.write(f"{LABEL_PREFIX}{label} {text}\n")
        _run_child(lines, target, config)
    return target


def _run_child(lines: Path, target: Path, config: TrainingConfig) -> None:
    size = lines.stat().st_size
    seconds = CHILD_BASE_SECONDS + config.epochs * size // CHILD_BYTES_PER_SECOND
    job = {
        "input": str(lines),
        "output": str(target),
        "settings": config.arguments(),
        "quantize": config.quantize,
        "memory_bytes": memory_limit(size, config),
        "seconds": seconds,
    }
    # -P keeps this folder off the child's path, where a module of ours could hide one of the standard library.
    command = [sys.executable, "-P", str(Path(__file__).with_name("training_child.py"))]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}  # its threads' stacks would count as memory
    try:  # in a session of its own: a first Ctrl-C lets what was begun end
        child = subprocess.run(
            command,
            input=json.dumps(job).encode(),
            capture_output=True,
            timeout=seconds,
            env=environment,
            start_new_session=True,
        )
    except subprocess.TimeoutExpired:
        raise _not_trained(f"it did not end within {seconds} s") from None
    if child.returncode != 0 or not target.is_file():
        said = child.stderr.decode(errors="replace").strip().splitlines()
        raise _not_trained(f"it ended with {child.returncode}: {said[-1] if said else 'no message'}")


def memory_limit(text_bytes: int, config: TrainingConfig) -> int:
    """The most that training may map: the matrix of words and n-grams three times (trained, compressed, written)."""
    rows = config.bucket + text_bytes // WORD_BYTES + QUANTIZED_ROWS
    return CHILD_BASE_BYTES + 3 * 4 * config.dim * rows + 2 * text_bytes


def _not_trained(why: str) -> Exception:
    return fail(
        WorldError,
        f"the quality model was not trained: {why}",
        do="give it more memory or time, or a smaller bucket or dim; quantize needs at least 256 buckets",
    )


def probabilities(model: Path, texts: Sequence[str]) -> baselines.Floats:
    """The probability that each text is good, by a model of ours; NaN where it knows no word."""
    loaded = load(model, file_sha256(model), probe_first=False)
    found = loaded.probabilities(pa.array(texts, pa.large_string()), GOOD)
    return np.asarray(found.to_numpy(zero_copy_only=False), np.float64)


def judge(model: Path, parts: Split, pairs: tuple[Sequence[str], Sequence[str]] | None = None) -> dict[str, Any]:
    """What the model is worth on the held-out texts, beside what length and words alone tell of them."""
    train, held_out = parts.train, parts.held_out
    scores, good = probabilities(model, held_out.texts), held_out.good
    lengths = baselines.length_scores(train.texts, train.good, held_out.texts)
    unigrams = baselines.unigram_scores(train.texts, train.good, held_out.texts)
    compared = {"model": scores, **{f"length_{name}": one for name, one in lengths.items()}, "unigrams": unigrams}
    found = baselines.intervals(compared, good, held_out.roots)
    best = max((name for name in found if name.startswith("length_")), key=lambda name: found[name]["auc"])
    figures = {
        "model": found["model"],
        "length": {**found[best], "by": best.removeprefix("length_")},
        "unigrams": found["unigrams"],
        "unscorable": int(np.isnan(scores).sum()),
        "by_family": _by_family(scores, held_out),
    }
    flips = None
    if pairs is not None:
        first, second = (probabilities(model, [flatten(text) for text in side]) for side in pairs)
        flips = {
            "pairs": len(first),
            "shares": [
                {"threshold": one, "flipped": baselines.flip_share(first, second, one)}
                for one in sorted({*THRESHOLDS, _proposed(scores, good)})
            ],
        }
    return {
        "held_out": figures,
        "reliability": baselines.reliability(scores, good),
        "thresholds": baselines.at_thresholds(scores, good, sorted({*THRESHOLDS, _proposed(scores, good)})),
        "proposed_threshold": _proposed(scores, good),
        "style_flips": flips,
    }


def _proposed(scores: baselines.Floats, good: baselines.Flags) -> float:
    """A threshold that lets KEPT_GOOD of the good held-out texts pass: where to begin, until it is calibrated."""
    ordered = np.sort(np.where(np.isnan(scores), -1.0, scores)[good])
    at = int(len(ordered) * (1 - KEPT_GOOD))
    below = ordered[ordered < ordered[at]]
    return max(baselines.shortest_between(float(below[-1]) if len(below) else -1.0, float(ordered[at])), 0.0)


def _by_family(scores: baselines.Floats, part: Part) -> dict[str, dict[str, Any]]:
    """For each family that has bad texts, how well they are told from all good ones."""
    families = np.array(part.table["family"].to_pylist(), dtype=object)
    found = {}
    for family in [name for name, counts in part.counts("family").items() if counts[BAD] and name != OTHERS]:
        chosen = part.good | (families == family)
        found[family] = {
            "bad_texts": int((~part.good & chosen).sum()),
            "auc": baselines.auc(scores[chosen], part.good[chosen]),
        }
    return found


def _data(parts: Split, files: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What it was trained on and judged by."""
    sides = {"train": parts.train, "held_out": parts.held_out}
    return {
        **{
            name: {
                "texts": {label: part.size(label) for label in LABELS},
                "roots": len(set(part.roots)),
                "by_source": part.counts("source"),
                "by_family": part.counts("family"),
            }
            for name, part in sides.items()
        },
        "left_out": parts.left_out,
        "files": [dict(one) for one in files],
    }
