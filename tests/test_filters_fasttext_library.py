"""Our scores are the fastText library's, for every kind of model and whatever the text, and those of a plain-Python oracle; they
depend on nothing but the text."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import fasttext
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters import fasttext_arrays
from filters.fasttext_file import SOFTMAX, map_file, read_model
from filters.fasttext_model import LABEL_PREFIX, FastTextModel, flatten
from synth import weights
from tests.conftest import ROOT
from tests.fasttext_models import KINDS, texts, train
from tests.fasttext_oracle import Oracle

TEXTS = texts(400)
TOLERANCE = 1e-6


@pytest.fixture(scope="module")
def model_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[FastTextModel, Any, Path]]:
    """A model of a kind: ours, the library's, its file."""
    folder = tmp_path_factory.mktemp("models")

    @cache
    def made(kind: str) -> tuple[FastTextModel, Any, Path]:
        path = weights.locate(kind) if kind == "lid.176.ftz" else train(folder, kind)
        return ours(path), fasttext.load_model(str(path)), path

    return made


def ours(path: Path) -> FastTextModel:
    return FastTextModel(read_model(path, map_file(path)))


def is_known(library: Any, flat: str) -> bool:
    """Whether the library knows a word of the text, or a part of one."""
    return any(
        library.get_word_id(word) >= 0 or len(library.get_subwords(word)[1]) > 0 for word in flat.split(" ") if word
    )


def assert_same(model: FastTextModel, library: Any, given: Sequence[str], labels: Sequence[str]) -> None:
    """Every score of ours is the library's for the flat text, and null where the library knows nothing of it."""
    column = pa.array(given, pa.large_string())
    best, confidence = (found.to_pylist() for found in model.best_all(column))
    scores = {label: model.probabilities(column, label).to_pylist() for label in labels}
    for at, text in enumerate(given):
        flat = flatten(text)
        if not is_known(library, flat):
            assert [best[at], confidence[at], *(values[at] for values in scores.values())] == [None] * (2 + len(scores))
            continue
        names, probabilities = library.predict(flat, k=-1)
        found = {
            name.removeprefix(LABEL_PREFIX): min(float(value), 1.0)
            for name, value in zip(names, probabilities, strict=True)
        }
        for label in labels:  # a hierarchical softmax leaves out what is near 0
            assert scores[label][at] == pytest.approx(found.get(label, 0.0), abs=TOLERANCE, rel=0), text
        assert confidence[at] == pytest.approx(max(found.values()), abs=TOLERANCE, rel=0)
        assert best[at] == library.predict(flat)[0][0].removeprefix(LABEL_PREFIX)


@pytest.mark.parametrize("kind", KINDS)
def test_scores_are_the_librarys(kind: str, model_of: Any) -> None:
    model, library, _ = model_of(kind)
    assert len(model.labels) >= 5
    assert_same(model, library, TEXTS, model.labels[:5])


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind.startswith("quantised")])
def test_codes_that_are_not_decoded_give_the_same_scores(kind: str, model_of: Any, monkeypatch: Any) -> None:
    model, _, path = model_of(kind)
    monkeypatch.setattr(fasttext_arrays, "DECODED_BYTES", 0)
    coded = ours(path)
    column = pa.array(TEXTS)
    for label in model.labels[:2]:
        assert coded.probabilities(column, label).equals(model.probabilities(column, label))


@pytest.mark.parametrize("kind", ["softmax-trigrams-subwords", "quantised-pruned", "quantised-odd", "quantised-output"])
def test_scores_are_the_oracles(kind: str, model_of: Any) -> None:
    model, _, path = model_of(kind)
    oracle = Oracle(path.read_bytes())
    assert oracle.loss == SOFTMAX
    given = TEXTS[::4] + TEXTS[-12:]
    columns = {label: model.probabilities(pa.array(given), label).to_pylist() for label in model.labels[:5]}
    for at, text in enumerate(given):
        expected = oracle.scores(flatten(text))
        for label, scores in columns.items():
            assert (scores[at] is None) == (expected is None), text
            if expected is not None:
                assert scores[at] == pytest.approx(expected[label], abs=2e-5)  # float32 against float64


def test_languages_are_the_librarys(model_of: Any) -> None:
    model, library, path = model_of("lid.176.ftz")
    words = path.read_bytes()[100:40000].split(b"\0")  # of the dictionary, with bytes between that mean nothing
    odd = [b" ".join(words[at : at + 9]).decode(errors="ignore") for at in range(0, 3000, 30)]
    assert_same(model, library, [*TEXTS, *odd], ["en", "de", "zh", "ru"])


@pytest.mark.parametrize("kind", ["softmax-bigrams", "one-vs-all-subwords", "quantised-pruned", "lid.176.ftz"])
def test_a_megabyte(kind: str, model_of: Any) -> None:
    model, library, _ = model_of(kind)
    long = " ".join(TEXTS * 8)[:1_000_000]
    assert_same(
        model,
        library,
        [long, "river " * 170_000, "水" * 333_000, "a" * 1_000_000, "</s>\n" * 200_000],
        model.labels[:2],
    )


MARKS = st.sampled_from(
    ["</s>", "__label__", "__label__hq", "</", "s>", "__label", "\0", "\n", "\u2028", "\x1f", "river", "水"]
)


@settings(max_examples=300)
@given(st.lists(st.text() | MARKS | st.sampled_from(["buy", "the river", " "]), max_size=12).map("".join))
def test_scores_are_the_librarys_for_any_text(model_of: Any, text: str) -> None:
    for kind in ("softmax-trigrams-subwords", "quantised-hierarchical", "softmax"):
        model, library, _ = model_of(kind)
        assert_same(model, library, [text], model.labels[:2])


def test_every_character_separates_words_or_does_not(model_of: Any) -> None:
    model, _, _ = model_of("softmax")
    assert model.probability("qqqq", "hq") is None
    characters = [chr(code) for code in range(sys.maxunicode + 1) if not 0xD800 <= code < 0xE000]
    column = pa.array([f"q{character}river" for character in characters], pa.string())
    separated = np.array(model.probabilities(column, "hq").is_valid())
    expected = [len(flatten(f"q{character}river").split(" ")) == 2 for character in characters]
    assert sum(expected) == 30  # 29 of whitespace, and NUL
    assert [
        character for character, one, other in zip(characters, separated, expected, strict=True) if one != other
    ] == []


def test_words_that_are_labels_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("L_hq the river carries sand\nL_lq click here and buy\n" * 50)
    trained = fasttext.train_supervised(
        str(tmp_path / "train.txt"), label="L_", dim=8, wordNgrams=2, minn=2, maxn=3, bucket=500, thread=1, verbose=0
    )
    trained.save_model(str(tmp_path / "model.bin"))
    library = fasttext.load_model(str(tmp_path / "model.bin"))  # the file does not say what labels began with
    model = ours(tmp_path / "model.bin")
    assert model.labels == ("L_hq", "L_lq")
    assert_same(model, library, ["river L_hq buy", "L_lq river", "L_hqq", "river buy"], model.labels)
    assert model.probability("river L_hq buy", "L_hq") == model.probability("river buy", "L_hq")
    assert model.best("L_hq L_lq") is None


@pytest.fixture(params=["softmax-bigrams", "hierarchical-subwords", "quantised-pruned"])
def scored(request: pytest.FixtureRequest, model_of: Any) -> tuple[FastTextModel, pa.Array, Path]:
    model, _, path = model_of(request.param)
    return model, model.probabilities(pa.array(TEXTS, pa.large_string()), "hq"), path


def test_scores_do_not_depend_on_order_chunks_slices_or_types(scored: tuple[FastTextModel, pa.Array, Path]) -> None:
    model, expected, _ = scored
    order = np.random.default_rng(3).permutation(len(TEXTS))
    shuffled = [TEXTS[at] for at in order]
    assert model.probabilities(pa.array(shuffled), "hq").equals(expected.take(pa.array(order)))
    for size in (1, 7, 100):
        chunks = [pa.array(TEXTS[at : at + size], pa.string()) for at in range(0, len(TEXTS), size)]
        assert model.probabilities(pa.chunked_array([pa.array([], pa.string()), *chunks]), "hq").equals(expected)
    sliced = pa.array(["", None, *TEXTS, "river"], pa.large_string()).slice(2, len(TEXTS))
    assert model.probabilities(sliced, "hq").equals(expected)
    nulls = pa.array([text if at % 3 else None for at, text in enumerate(TEXTS)])
    assert model.probabilities(nulls, "hq").to_pylist() == [
        value if at % 3 else None for at, value in enumerate(expected.to_pylist())
    ]
    assert model.probabilities(pa.chunked_array([], pa.string()), "hq").to_pylist() == []


def test_scores_do_not_depend_on_what_is_remembered(
    scored: tuple[FastTextModel, pa.Array, Path], monkeypatch: Any
) -> None:
    model, expected, _ = scored
    monkeypatch.setattr(fasttext_arrays, "KNOWN_WORDS", 4)  # words drive each other out
    monkeypatch.setattr(fasttext_arrays, "KNOWN_ROWS", 300)  # room for one long word
    assert model.probabilities(pa.array(TEXTS), "hq").equals(expected)


def test_scores_do_not_depend_on_threads(scored: tuple[FastTextModel, pa.Array, Path]) -> None:
    model, expected, _ = scored
    column = pa.array(TEXTS)
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: model.probabilities(column, "hq"), range(40)):
            assert found.equals(expected)


def test_another_process_gives_the_same_bytes(scored: tuple[FastTextModel, pa.Array, Path]) -> None:
    _, expected, path = scored
    code = (
        "import sys, pyarrow as pa\n"
        "from pathlib import Path\n"
        "from filters.fasttext_file import map_file, read_model\n"
        "from filters.fasttext_model import FastTextModel\n"
        "from tests.fasttext_models import texts\n"
        "path = Path(sys.argv[1])\n"
        "model = FastTextModel(read_model(path, map_file(path)))\n"
        "sys.stdout.write(model.probabilities(pa.array(texts(400)), 'hq').to_numpy(zero_copy_only=False).tobytes().hex())"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], cwd=ROOT, capture_output=True, check=True)
    assert done.stdout.decode() == expected.to_numpy(zero_copy_only=False).tobytes().hex()
