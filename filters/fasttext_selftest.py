"""Whether the fastText library that is installed trains and predicts right: some forks crash, lie or leave memory unset."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from filters.fasttext_model import CANARIES, LABEL_PREFIX, flatten, probe
from filters.training import TrainingConfig, fit
from filters.training_rows import BAD, EXAMPLES, GOOD, Part
from synth.digest import file_sha256

_REPEATS = 20
_SUM_TOLERANCE = 1e-3
_TINY = TrainingConfig(dim=10, bucket=1000, epochs=20, lr=1.0, word_ngrams=1)


def self_test(folder: Path) -> list[str]:
    """What is wrong, in words; nothing when all is right. Two tiny models are trained in child processes, and the best two
    labels of their own training texts asked for. `folder` gets the models. WorldError, RecipeError: a child died."""
    labels = [GOOD if number % 2 else BAD for number in range(len(CANARIES))]
    part = _part(labels)
    models = []
    for name in ("first", "second"):
        (folder / name).mkdir()
        models.append(fit(part, _TINY, folder / name))
    wrong = [] if file_sha256(models[0]) == file_sha256(models[1]) else ["the same training gave two different models"]
    return wrong + wrong_scores(probe(models[0]), labels)


def wrong_scores(scores: list[list[list[object]]], labels: list[str]) -> list[str]:
    """What cannot be in the best two labels of texts that were trained under these labels."""
    wrong = []
    for pairs, label in zip(scores, labels, strict=True):
        names = [str(name) for name, _ in pairs]
        found = [float(str(probability)) for _, probability in pairs]
        if len(set(names)) != 2:
            wrong.append(f"two labels were asked for, and {names} came")
        elif not abs(sum(found) - 1) <= _SUM_TOLERANCE:
            wrong.append(
                f"the probabilities of both labels are {found[0]:.3f} and {found[1]:.3f}: they do not add up to 1"
            )
        elif names[0] != f"{LABEL_PREFIX}{label}":
            wrong.append(f"a training text of {label!r} is taken for {names[0].removeprefix(LABEL_PREFIX)!r}")
    return wrong


def _part(labels: list[str]) -> Part:
    rows = [
        {"text": flatten(text), "label": label}
        for text, label in zip(CANARIES, labels, strict=True)
        for _ in range(_REPEATS)
    ]
    return Part(pa.Table.from_pylist(rows, schema=EXAMPLES))
