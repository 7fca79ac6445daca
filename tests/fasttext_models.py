"""Tiny fastText models of every kind that its format knows, and texts to score with them."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import fasttext

_SENTENCES = {
    "hq": "the river carries fine sand to the sea and a glacier moves slowly down its valley höhle ночь 水 冰川",
    "lq": "click here and buy cheap now free prize winner call this number best price !!! $$$ 日本語 été",
    "faq": "how do bees make honey of nectar what is a hive why does a queen lay eggs where мёд",
    "code": "def total values return sum for v in values import os print ( ) { } == += self.name",
    "other": "one two three four five six seven eight nine ten naïve œuvre 東京 кот",
}
VOCABULARIES = {name: sentence.split() for name, sentence in _SENTENCES.items()}
KINDS: dict[str, dict[str, Any]] = {
    "softmax": {"wordNgrams": 1},
    "softmax-bigrams": {"wordNgrams": 2, "dim": 37},
    "softmax-trigrams-subwords": {"wordNgrams": 3, "minn": 2, "maxn": 4},
    "single-characters": {"minn": 1, "maxn": 2},
    "hierarchical": {"loss": "hs", "wordNgrams": 2},
    "hierarchical-subwords": {"loss": "hs", "minn": 2, "maxn": 4, "lr": 2.0},
    "one-vs-all": {"loss": "ova", "wordNgrams": 2},
    "one-vs-all-subwords": {"loss": "ova", "minn": 3, "maxn": 3},
    "negative-sampling": {"loss": "ns", "wordNgrams": 2},
    "quantised": {"wordNgrams": 2, "quantize": {"qnorm": True}},
    "quantised-odd": {"dim": 7, "minn": 2, "maxn": 3, "quantize": {"dsub": 2}},
    "quantised-pruned": {"wordNgrams": 2, "minn": 2, "maxn": 4, "quantize": {"cutoff": 300, "qnorm": True}},
    "quantised-pruned-words": {"quantize": {"cutoff": 260, "qnorm": True}, "words": 600},
    "quantised-hierarchical": {"loss": "hs", "minn": 2, "maxn": 4, "quantize": {"cutoff": 280}},
    "quantised-one-vs-all": {"loss": "ova", "wordNgrams": 2, "quantize": {"cutoff": 280, "qnorm": True}},
    "quantised-output": {"wordNgrams": 2, "labels": 300, "quantize": {"qout": True, "qnorm": True}},
    "quantised-output-one-vs-all": {"loss": "ova", "wordNgrams": 2, "labels": 300, "quantize": {"qout": True}},
}


def train(folder: Path, kind: str) -> Path:
    """The model file of this kind, trained with one thread: the same each time."""
    settings = {"dim": 8, "epoch": 8, "lr": 0.5, "bucket": 1500, "wordNgrams": 1, **KINDS[kind]}
    quantize, labels, words = settings.pop("quantize", None), settings.pop("labels", 0), settings.pop("words", 0)
    source = folder / f"{kind}.txt"
    source.write_text("".join(_lines(labels, words)), encoding="utf-8")
    model = fasttext.train_supervised(input=str(source), thread=1, verbose=0, **settings)
    if quantize is not None:
        model.quantize(input=str(source), thread=1, **quantize)
    path = folder / (kind + (".ftz" if quantize is not None else ".bin"))
    model.save_model(str(path))
    return path


def _lines(labels: int, words: int) -> list[str]:
    rng, names = random.Random(7), [*VOCABULARIES]
    lines = []
    for number in range(max(400, 3 * labels)):
        name = names[int(len(names) * rng.random() ** 2)]  # of different frequency, for a tree that is not balanced
        chosen = rng.choices(VOCABULARIES[name] + [f"w{rng.randrange(words)}" for _ in range(words and 5)], k=9)
        lines.append(f"__label__{f'{name}{number % labels}' if labels else name} {' '.join(chosen)}\n")
    return lines


def texts(count: int, seed: int = 1) -> list[str]:
    """Texts of words that the models know, words that they do not know, marks, and separators of all kinds."""
    rng = random.Random(seed)
    known = [word for vocabulary in VOCABULARIES.values() for word in vocabulary]
    odd = [
        "</s>",
        "__label__hq",
        "__label__",
        "<",
        "</s",
        "_",
        "qqq",
        "Zebra",
        "ы",
        "🙂🙃",
        "ﬁ",
        "a" * 70,
        "é" * 40,
        "0",
    ]
    gaps = [" "] * 12 + [
        "",
        "\n",
        "\r\n",
        "\t",
        "\v",
        "\f",
        "\0",
        "\x1c",
        "\x85",
        "\u00a0",
        "\u2003",
        "\u2028",
        "\u3000",
    ]
    made = [
        "".join(rng.choice(known if rng.random() < 0.8 else odd) + rng.choice(gaps) for _ in range(rng.randrange(40)))
        for _ in range(count)
    ]
    return [*made, "", " ", "\0", "</s>", "__label__", "qqq zzz", "\n\n", "river", "<", "_", "🙂", "水" * 300]
