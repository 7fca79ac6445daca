"""Training a quality model: the same examples give the same bytes, no root is on both sides, and the card tells the truth."""

from __future__ import annotations

import itertools
import json
import random
import tomllib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters import baselines, training, training_rows
from filters.gates import Gate
from filters.quality import QualityOptions
from filters.training import Trained, TrainingConfig, memory_limit, probabilities, train
from filters.training_card import card_rows
from filters.training_damage import KINDS, damaged_examples, sentences
from filters.training_rows import BAD, EXAMPLES, GOOD, LABELS, examples_of, is_held_out, split
from synth.config import parse
from synth.digest import file_sha256
from synth.errors import UserError, WorldError
from tests.corpora import passage

SMALL = {"dim": 8, "bucket": 2000, "epochs": 10, "lr": 0.5}


def config(**changes: Any) -> TrainingConfig:
    return parse(TrainingConfig, SMALL | changes)


def ordered_and_scrambled() -> pa.Table:
    """Texts whose labels only the order of words tells: as long, and of the same words."""
    return damaged_examples(
        [(passage(n), f"root{n}", "made") for n in range(60)], ("scramble",), (2, 3, 4), 0.1, 10_000
    )


def long_and_short() -> pa.Table:
    """Texts whose labels only their length tells: all words are drawn alike."""
    draw = random.Random(7)
    words = [f"word{n}" for n in range(60)]

    def text(low: int, high: int) -> str:
        return " ".join(draw.choice(words) for _ in range(draw.randint(low, high)))

    good = examples_of([text(40, 60) for _ in range(400)], GOOD)
    return pa.concat_tables([good, examples_of([text(10, 30) for _ in range(400)], BAD)])


def trained(examples: pa.Table, folder: Path, **changes: Any) -> Trained:
    folder.mkdir(parents=True)
    return train(examples, config(**changes), folder)


@pytest.fixture(scope="module")
def by_order(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return trained(ordered_and_scrambled(), tmp_path_factory.mktemp("order") / "out")


@pytest.fixture(scope="module")
def by_length(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return trained(long_and_short(), tmp_path_factory.mktemp("length") / "out")


# --- the same examples, the same bytes


@pytest.mark.parametrize("quantize", [False, True], ids=["bin", "ftz"])
def test_order_and_environment_change_no_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quantize: bool) -> None:
    examples = ordered_and_scrambled()
    first = trained(examples, tmp_path / "a", quantize=quantize)
    for name, value in (("OMP_NUM_THREADS", "3"), ("LC_ALL", "C"), ("PYTHONHASHSEED", "5")):
        monkeypatch.setenv(name, value)
    again = trained(examples.take(pa.array(range(len(examples) - 1, -1, -1))), tmp_path / "b", quantize=quantize)
    assert first.model.name == ("model.ftz" if quantize else "model.bin")
    assert file_sha256(first.model) == file_sha256(again.model) == first.sha256
    assert (tmp_path / "a/card.json").read_bytes() == (tmp_path / "b/card.json").read_bytes()
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["card.json", "card.md", first.model.name]


@pytest.mark.parametrize(
    "changes",
    [{"dim": 9}, {"epochs": 11}, {"lr": 0.4}, {"bucket": 2001}, {"word_ngrams": 1}, {"min_count": 5}],
    ids=str,
)
def test_every_setting_reaches_the_library(by_order: Trained, tmp_path: Path, changes: dict[str, Any]) -> None:
    part = split(ordered_and_scrambled(), 0.1, True).train
    assert file_sha256(training.fit(part, config(), tmp_path)) == by_order.sha256
    assert file_sha256(training.fit(part, config(**changes), tmp_path)) != by_order.sha256


def test_words_that_look_like_labels_are_words(tmp_path: Path) -> None:
    """A text that says `__label__hq` neither gets that label nor hides what follows `</s>`."""
    clean = ordered_and_scrambled()
    texts, labels = clean["text"].to_pylist(), clean["label"].to_pylist()

    def spoilt(mark: str) -> pa.Table:
        changed = [f"{mark} {text}" if label == BAD else text for text, label in zip(texts, labels, strict=True)]
        return clean.set_column(0, "text", pa.array(changed, pa.large_string()))

    plain = trained(spoilt("hq news"), tmp_path / "plain")
    poisoned = trained(spoilt("__label__hq\0\n</s>news"), tmp_path / "poisoned")
    assert plain.sha256 == poisoned.sha256
    assert poisoned.card["data"]["train"]["texts"].keys() == {GOOD, BAD}


def test_what_training_cannot_do_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    part = split(ordered_and_scrambled(), 0.1, True).train
    with pytest.raises(WorldError, match="256 buckets"):
        training.fit(part, config(quantize=True, bucket=1, min_count=100), tmp_path)
    monkeypatch.setattr(training, "memory_limit", lambda *_: 200_000_000)
    with pytest.raises(WorldError, match="not trained: it ended with"):
        training.fit(part, config(dim=1000, bucket=2_000_000), tmp_path)
    assert memory_limit(0, config(bucket=2_000_000, dim=100)) > 3 * 2_000_000 * 100 * 4
    assert not list(tmp_path.iterdir())


# --- what goes in


def table(rows: Sequence[tuple[str | None, str, str | None]]) -> pa.Table:
    return pa.Table.from_pylist(
        [{"text": text, "label": label, "root": root} for text, label, root in rows], schema=EXAMPLES
    )


@given(
    st.lists(st.tuples(st.text("ab \n", max_size=3), st.sampled_from(LABELS), st.sampled_from([*"pqrstuvw", None]))),
    st.randoms(),
    st.booleans(),
)
def test_split_against_an_oracle(rows: list[tuple[str, str, str | None]], order: random.Random, balance: bool) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training_rows, "MIN_TRAIN", 0)
        patch.setattr(training_rows, "MIN_HELD_OUT", 0)
        found = split(table(rows), 0.4, balance)
        shuffled = split(table(order.sample(rows, len(rows))), 0.4, balance)
    assert found.train.table.equals(shuffled.train.table)
    assert found.held_out.table.equals(shuffled.held_out.table)
    labels: dict[str, set[str]] = {}
    for text, label, _ in rows:
        labels.setdefault(" ".join(text.split()), set()).add(label)
    wanted = {text: min(own) for text, own in labels.items() if text and len(own) == 1}
    assert not set(found.train.roots) & set(found.held_out.roots)
    both = [*found.train.texts, *found.held_out.texts]
    assert len(both) == len(set(both)) == len(rows) - sum(found.left_out.values())
    if not balance:
        assert set(both) == wanted.keys()
    for part in (found.train, found.held_out):
        assert part.good.tolist() == [wanted[text] == GOOD for text in part.texts]
        assert not balance or part.size(GOOD) == part.size(BAD)


def test_siblings_stay_together_and_about_a_tenth_is_held_out() -> None:
    rows = [(f"text {n} of {root}", LABELS[n % 2], f"root{root}") for root in range(1000) for n in range(4)]
    found = split(table(rows), 0.1, True)
    assert not set(found.train.roots) & set(found.held_out.roots)
    assert 0.08 < len(set(found.held_out.roots)) / 1000 < 0.12
    more = split(table([*rows, *((f"new {n}", LABELS[n % 2], f"new{n}") for n in range(500))]), 0.1, False)
    assert set(found.held_out.roots) <= set(more.held_out.roots)  # more data moves no root


def test_balance_leaves_neither_label_for_the_end() -> None:
    """Those left out of the larger label are not those whose digests are large: the rest would all come first."""
    part = split(table([(f"text {n}", BAD if n % 10 else GOOD, None) for n in range(8000)]), 0.1, True).train
    half = part.good[: len(part.good) // 2].mean()
    assert part.size(GOOD) == part.size(BAD)
    assert 0.4 < half < 0.6


def test_too_few_examples_are_refused_with_numbers() -> None:
    rows = [(f"text {n}", LABELS[n % 2], "one root") for n in range(200)]
    with pytest.raises(UserError) as error:
        split(table(rows), 0.1, True)
    assert "held out: 0 of at least 10" in str(error.value) or "to train on: 0 of at least 50" in str(error.value)
    assert "more roots" in str(error.value)


# --- damage


PASSAGES = [
    (passage(n).replace(".", f" (district {n})."), f"root{n}", "made") for n in range(40)
]  # no two share a sentence


@pytest.mark.parametrize("kind", KINDS)
def test_damage(kind: Any) -> None:
    found = damaged_examples(PASSAGES, (kind,), (3,), 0.3, 10_000)
    assert found.equals(damaged_examples(PASSAGES[::-1], (kind,), (3,), 0.3, 10_000))
    pairs = [(one, two) for one, two in itertools.pairwise(found.to_pylist()) if (one["label"], two["label"]) == LABELS]
    assert len(pairs) > 80
    own = {root: sentences(text) for text, root, _ in PASSAGES}
    for good, bad in pairs:
        assert (good["root"], bad["family"], good["family"]) == (bad["root"], kind, None)
        before, after = Counter(good["text"].split()), Counter(bad["text"].split())
        repeated = max(Counter(sentences(bad["text"])).values())
        foreign = [one for one in sentences(bad["text"]) if one not in own[good["root"]]]
        if kind == "scramble":
            assert before == after and good["text"] != bad["text"]
        elif kind == "cut":
            assert after < before and len(foreign) == 1
        elif kind == "loop":
            assert repeated >= 3
        else:
            strangers = {root for root, texts in own.items() if foreign[0] in texts}
            assert strangers and {is_held_out(root, 0.3) for root in strangers} == {is_held_out(good["root"], 0.3)}


def test_at_most_so_many_pairs_and_all_lengths() -> None:
    assert len(damaged_examples(PASSAGES, KINDS, (2, 3), 0.1, 30)) <= 60
    lengths = Counter(
        len(sentences(one["text"])) for one in damaged_examples(PASSAGES, ("scramble",), (2, 4), 0.1, 9999).to_pylist()
    )
    assert set(lengths) == {2, 4}


# --- what the card says


def test_a_set_that_only_length_tells_gives_a_card_that_says_so(by_length: Trained) -> None:
    figures = by_length.card["held_out"]
    assert figures["length"]["auc"] > 0.99
    assert figures["length"]["gain_low"] <= 0
    assert figures["unigrams"]["auc"] < 0.7
    assert by_length.card["worth"].startswith("It is no better than the length of a text")
    assert by_length.card["worth"] in by_length.model.with_name("card.md").read_text()


def test_a_set_that_order_tells_is_learnt_and_neither_baseline_sees_it(by_order: Trained) -> None:
    figures = by_order.card["held_out"]
    assert figures["model"]["auc_low"] > 0.9
    assert 0.4 < figures["length"]["auc"] < 0.65 and 0.4 < figures["unigrams"]["auc"] < 0.65
    assert figures["length"]["gain_low"] > 0.2 and figures["unigrams"]["gain_low"] > 0.2
    assert by_order.card["worth"].startswith("It tells good from bad better than")
    assert figures["by_family"]["scramble"]["auc"] == pytest.approx(figures["model"]["auc"])


def test_a_set_that_nothing_tells_is_worth_nothing(tmp_path: Path) -> None:
    draw = random.Random(3)
    texts = [" ".join(draw.choices("abcdefghijklmnop", k=12)) for _ in range(600)]
    examples = pa.concat_tables([examples_of(texts[:300], GOOD), examples_of(texts[300:], BAD)])
    assert "worth nothing" in trained(examples, tmp_path / "out").card["worth"]


def test_the_card_counts_what_it_was_trained_on(by_order: Trained) -> None:
    card, examples = by_order.card, ordered_and_scrambled()
    sides = [card["data"]["train"], card["data"]["held_out"]]
    assert sum(sum(side["texts"].values()) for side in sides) + sum(card["data"]["left_out"].values()) == len(examples)
    assert sum(side["by_family"]["scramble"][BAD] for side in sides) <= examples["family"].to_pylist().count("scramble")
    assert sides[0]["by_source"].keys() == {"made"}
    assert sides[0]["roots"] + sides[1]["roots"] == 60
    assert card["model"] == {
        "file": "model.bin",
        "sha256": file_sha256(by_order.model),
        "bytes": by_order.model.stat().st_size,
        "label": GOOD,
    }
    assert json.loads(by_order.model.with_name("card.json").read_text()) == card
    named = {row["name"]: row["value"] for row in card_rows(card)}
    assert named["held_out.model.auc"] == card["held_out"]["model"]["auc"]


def test_a_card_lists_the_largest_sources_and_counts_the_rest() -> None:
    rows_of = [(f"text {n}", LABELS[n % 2], f"root{n}") for n in range(1200)]
    sources = [f"s{min(n // 10, 100)}" for n in range(1200)]
    examples = table(rows_of).set_column(4, "source", pa.array(sources, pa.string()))
    counts = split(examples, 0.1, False).train.counts("source")
    assert len(counts) == 51 and "s100" in counts
    assert sum(sum(one.values()) for one in counts.values()) == len(split(examples, 0.1, False).train.table)


def test_the_lines_for_a_recipe_are_one(by_order: Trained) -> None:
    value = tomllib.loads(by_order.card["recipe"])
    (rule,), (gate,) = value["score"]["more_rules"], value["keep"]["more_gates"]
    options = parse(QualityOptions, rule["options"])
    assert (options.sha256, options.bytes, options.label) == (by_order.sha256, by_order.model.stat().st_size, GOOD)
    bound = parse(Gate, gate).min
    held_out = split(ordered_and_scrambled(), 0.1, True).held_out
    scores = probabilities(by_order.model, held_out.texts)
    assert bound is not None and (scores[held_out.good] >= bound).mean() >= 0.9


def test_style_flips_of_pairs(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    scrambled = ordered_and_scrambled().to_pylist()
    one, other = ([row["text"] for row in scrambled if row["label"] == label] for label in LABELS)
    same = train(ordered_and_scrambled(), config(), out, pairs=(one, one)).card["style_flips"]
    assert same["pairs"] == len(one) and {share["flipped"] for share in same["shares"]} == {0.0}
    flips = training.judge(out / "model.bin", split(ordered_and_scrambled(), 0.1, True), (one, other[: len(one)]))
    at_half = next(share for share in flips["style_flips"]["shares"] if share["threshold"] == 0.5)
    assert at_half["flipped"] > 0.9


# --- the figures against slow oracles

SCORES = st.lists(
    st.tuples(st.sampled_from([0.0, 0.25, 0.5, 0.75, float("nan")]), st.booleans(), st.integers(0, 3)), min_size=1
)


@given(SCORES)
def test_auc_against_all_pairs(rows: list[tuple[float, bool, int]]) -> None:
    expanded = [(-1.0 if np.isnan(score) else score, good) for score, good, times in rows for _ in range(times)]
    pairs = [
        1.0 if high > low else 0.5 if high == low else 0.0
        for high, is_good in expanded
        for low, other in expanded
        if is_good and not other
    ]
    scores, good, times = (np.array(column) for column in zip(*rows, strict=True))
    found = baselines.auc(scores, good.astype(bool), times.astype(float))
    assert found == pytest.approx(np.mean(pairs)) if pairs else np.isnan(found)


@given(st.floats(-2, 2), st.floats(-2, 2))
def test_shortest_decimal_between(one: float, other: float) -> None:
    low, high = min(one, other), max(one, other)
    if low == high:
        return
    found = baselines.shortest_between(low, high)
    assert low < found <= high
    digits = len(repr(found).partition(".")[2]) if "e" not in repr(found) and not float(found).is_integer() else 0
    if 0 < digits < 16:
        coarser = np.floor(high * 10 ** (digits - 1)) / 10 ** (digits - 1)
        assert not low < coarser <= high


def test_reliability_and_thresholds_count_every_text_once() -> None:
    scores = np.array([0.05, 0.15, 0.15, 0.95, 1.0, np.nan])
    good = np.array([False, False, True, True, True, True])
    bins = baselines.reliability(scores, good)
    assert [one["texts"] for one in bins] == [1, 2, 0, 0, 0, 0, 0, 0, 0, 2]
    assert (bins[1]["observed"], bins[1]["predicted"], bins[2]["observed"]) == (0.5, pytest.approx(0.15), None)
    (half,) = baselines.at_thresholds(scores, good, [0.15])
    assert half == {"threshold": 0.15, "kept": 4 / 6, "precision": 0.75, "recall": 0.75}


def test_intervals_draw_whole_roots() -> None:
    """Ten roots of a hundred equal texts are ten texts, not a thousand."""
    generator = np.random.Generator(np.random.PCG64(1))
    scores, good = generator.random(1000), np.arange(1000) % 2 == 0
    few = baselines.intervals(
        {"model": np.repeat(scores[:10], 100)}, np.repeat(good[:10], 100), [f"r{n // 100}" for n in range(1000)]
    )
    many = baselines.intervals({"model": scores}, good, [f"r{n}" for n in range(1000)])
    assert few["model"]["auc_high"] - few["model"]["auc_low"] > 4 * (
        many["model"]["auc_high"] - many["model"]["auc_low"]
    )
    assert many == baselines.intervals({"model": scores}, good, [f"r{n}" for n in range(1000)])
