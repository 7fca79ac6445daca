"""fastText: text that fools the library does not fool us, and no model file is used that is not the one that was named."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import fasttext
import pyarrow as pa
import pytest

from filters import fasttext_model, language, quality
from filters.fasttext_model import assert_provider, flatten, load, probe
from synth import weights
from synth.config import parse
from synth.digest import file_sha256
from synth.errors import RecipeError, UserError

GOOD = ["the river carries fine sand to the sea", "a glacier moves slowly down its valley", "bees make honey of nectar"]
BAD = ["click here and buy cheap now", "free prize winner call this number now", "best price buy buy click click"]


@pytest.fixture(scope="module")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny quality model with the labels hq and lq, trained with one thread."""
    folder = tmp_path_factory.mktemp("quality")
    lines = [f"__label__hq {text}\n" for text in GOOD] + [f"__label__lq {text}\n" for text in BAD]
    (folder / "train.txt").write_text("".join(lines * 20))
    settings = {"dim": 8, "epoch": 20, "lr": 0.5, "wordNgrams": 2, "bucket": 1000, "thread": 1, "verbose": 0}
    fasttext.train_supervised(input=str(folder / "train.txt"), **settings).save_model(str(folder / "model.bin"))
    return folder / "model.bin"


@pytest.fixture
def fresh_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """No model is loaded yet."""
    monkeypatch.setattr(fasttext_model, "_loaded", {})


def options(file: Path, **changes: Any) -> quality.QualityOptions:
    return parse(quality.QualityOptions, {"path": str(file), "sha256": file_sha256(file), "label": "hq"} | changes)


def quality_of(texts: list[str | None], chosen: quality.QualityOptions) -> list[float | None]:
    column = pa.array(texts, pa.large_string())
    table = quality.score(pa.table({"generated": column, "seed_text": pa.nulls(len(texts), column.type)}), chosen)
    assert table.schema == quality.SCORES
    return table["quality_score"].to_pylist()


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        pytest.param(f"{GOOD[0]} </s> {BAD[0]}", f"{GOOD[0]} {BAD[0]}", id="end-of-sentence-mark"),
        pytest.param(f"{GOOD[0]}</s>{BAD[0]}", f"{GOOD[0]} {BAD[0]}", id="mark-inside-a-word"),
        pytest.param(f"{GOOD[0]} <</s>/s> {BAD[0]}", f"{GOOD[0]} < /s> {BAD[0]}", id="nested-mark"),
        pytest.param(f"{GOOD[0]} </\0s> {BAD[0]}", f"{GOOD[0]} </ s> {BAD[0]}", id="mark-hidden-by-nul"),
        pytest.param("__label__click __label__buy river", "click buy river", id="label"),
        pytest.param("__label____label__click river", "click river", id="label-twice"),
        pytest.param(f"{GOOD[0]}\n{BAD[0]}", f"{GOOD[0]} {BAD[0]}", id="line-feed"),
        pytest.param("river\r\nclick\vbuy\fsea\0price", "river click buy sea price", id="all-separators"),
        pytest.param("river\u2028click\u00a0buy\x85sea", "river click buy sea", id="unicode-whitespace"),
    ],
)
def test_marks_change_nothing(model_file: Path, text: str, plain: str) -> None:
    assert flatten(text) == plain
    marked, expected = quality_of([text, plain], options(model_file))
    assert marked == expected


def test_the_traps_are_real(model_file: Path) -> None:
    raw = fasttext.load_model(str(model_file))
    hidden = f"{GOOD[0]} </s> {BAD[0]}"
    assert raw.predict(hidden)[1][0] == raw.predict(GOOD[0])[1][0]  # what follows the mark is not seen
    assert raw.predict("__label__click river")[1][0] == raw.predict("river")[1][0]  # such a word is left out
    with pytest.raises(ValueError, match="one line"):
        raw.predict("river\nsea")
    assert raw.predict("qqq zzz")[1][0] > 0.5  # a prior, given as if it were a score
    ours = load(model_file, file_sha256(model_file), probe_first=False)
    assert ours.probability(hidden, "hq") < 0.6 < 0.9 < ours.probability(GOOD[0], "hq")


@pytest.mark.parametrize(
    "text", [None, "", " \n\t", "\0\0", "</s>", "__label__", "qqq zzz", "…", "</s></s> \0 __label__"], ids=repr
)
def test_a_text_of_which_nothing_is_known_has_no_score(model_file: Path, text: str | None) -> None:
    assert quality_of([text], options(model_file)) == [None]


def test_quality_tells_good_from_bad(model_file: Path) -> None:
    scores = quality_of([*GOOD, *BAD], options(model_file))
    others = quality_of([*GOOD, *BAD], options(model_file, label="__label__lq"))
    assert min(scores[:3]) > 0.9 > 0.1 > max(scores[3:])
    assert [one + other for one, other in zip(scores, others, strict=True)] == pytest.approx([1.0] * 6, abs=1e-4)
    assert max(scores + others) <= 1.0


def test_a_label_that_the_model_lacks_is_refused(model_file: Path) -> None:
    with pytest.raises(RecipeError, match=r"no label 'hqq'; did you mean 'hq'[^$]*allowed: hq, lq"):
        quality_of(["river"], options(model_file, label="hqq"))


@pytest.mark.parametrize("sha256", ["", "abc", "G" * 64, "A" * 64], ids=["empty", "short", "no-hex", "upper-case"])
def test_what_is_no_sha256_is_refused(model_file: Path, sha256: str) -> None:
    with pytest.raises(RecipeError, match="sha256: given"):
        options(model_file, sha256=sha256)


def _truncated(raw: bytes, share: float) -> bytes:
    return raw[: int(len(raw) * share)]


def _flipped(raw: bytes, share: float) -> bytes:
    at = int(len(raw) * share)
    return raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]


@pytest.mark.parametrize("damage", [_truncated, _flipped], ids=["truncated", "bit-flipped"])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.1, 0.5, 0.9999])
@pytest.mark.usefixtures("fresh_cache")
def test_a_damaged_file_is_refused(model_file: Path, tmp_path: Path, damage: Any, share: float) -> None:
    damaged = tmp_path / "damaged.bin"
    damaged.write_bytes(damage(model_file.read_bytes(), share))
    with pytest.raises(RecipeError, match="not the model that was named") as error:
        quality_of(["river"], options(model_file, path=str(damaged)))
    for words in (str(damaged), file_sha256(damaged), file_sha256(model_file), f"{damaged.stat().st_size} bytes"):
        assert words in str(error.value)


@pytest.mark.usefixtures("fresh_cache")
def test_a_missing_file_and_another_sha256_are_refused(model_file: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no such model file"):
        quality_of(["river"], options(model_file, path=str(tmp_path / "none.bin")))
    with pytest.raises(RecipeError, match="not the model that was named"):
        quality_of(["river"], options(model_file, sha256="0" * 64))


@pytest.mark.parametrize(
    ("end", "why"),
    [
        pytest.param(0, "wrong file format", id="empty"),
        pytest.param(100, "bad_alloc", id="cut-inside-the-dictionary-takes-all-memory"),
        pytest.param(-100, "size mismatch", id="cut-inside-the-matrix"),
    ],
)
def test_a_damaged_file_that_was_pinned_as_it_is_fails_in_the_child(
    model_file: Path, tmp_path: Path, end: int, why: str
) -> None:
    damaged = tmp_path / "damaged.bin"
    damaged.write_bytes(model_file.read_bytes()[:end])
    with pytest.raises(RecipeError, match=rf"damaged\.bin cannot be used: loading it ended with.*{why}"):
        probe(damaged, memory_bytes=200_000_000)


def test_a_load_that_hangs_is_ended(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "model.bin")  # opening it waits for a writer, forever
    with pytest.raises(RecipeError, match="did not end within 1 s"):
        probe(tmp_path / "model.bin", seconds=1)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda seen: seen[0][0].__setitem__(1, seen[0][0][1] + 3e-6), id="a-probability"),
        pytest.param(lambda seen: seen[0][0].__setitem__(1, float("nan")), id="nan"),
        pytest.param(lambda seen: seen[5][1].__setitem__(0, "__label__other"), id="a-label"),
    ],
)
@pytest.mark.usefixtures("fresh_cache")
def test_other_scores_in_the_child_are_refused(
    model_file: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Any], None]
) -> None:
    seen = probe(model_file)
    assert [len(scores) for scores in seen] == [2] * len(fasttext_model.CANARIES)
    assert load(model_file, file_sha256(model_file), probe_first=True).labels == ("hq", "lq")
    monkeypatch.setattr(fasttext_model, "_loaded", {})
    change(seen)
    monkeypatch.setattr(fasttext_model, "probe", lambda path: seen)
    with pytest.raises(RecipeError, match="scores the same sentences differently"):
        quality_of(["river"], options(model_file))


@pytest.mark.usefixtures("fresh_cache")
def test_the_library_is_not_loaded_to_score(model_file: Path) -> None:
    code = (
        "import sys, pyarrow as pa\n"
        "from pathlib import Path\n"
        "from filters import quality\n"
        "from synth.config import parse\n"
        "chosen = parse(quality.QualityOptions, {'path': sys.argv[1], 'sha256': sys.argv[2]})\n"
        "column = pa.array(['the river'])\n"
        "assert quality.score(pa.table({'generated': column, 'seed_text': column}), chosen)['quality_score'][0].is_valid\n"
        "sys.exit('fasttext' in sys.modules)"
    )
    command = [sys.executable, "-c", code, str(model_file), file_sha256(model_file)]
    subprocess.run(command, cwd=Path(__file__).parent.parent, check=True)


def test_quality_of_a_source_and_the_difference(model_file: Path) -> None:
    generated, sources = [GOOD[0], BAD[0], GOOD[1], "", None], [BAD[0], GOOD[0], None, GOOD[2], GOOD[2]]
    table = pa.table({"generated": generated, "seed_text": pa.array(sources, pa.large_string())})
    found = quality.score(table, options(model_file)).to_pydict()
    assert [value is None for value in found["quality_score"]] == [False, False, False, True, True]
    assert [value is None for value in found["quality_source"]] == [False, False, True, False, False]
    assert [value is None for value in found["quality_delta"]] == [False, False, True, True, True]
    assert found["quality_delta"][0] > 0.8 > -0.8 > found["quality_delta"][1]
    assert found["quality_delta"][0] == pytest.approx(found["quality_score"][0] - found["quality_source"][0], abs=1e-7)
    assert found["quality_source"][:2] == quality_of([BAD[0], GOOD[0]], options(model_file))


def test_the_size_is_checked_before_anything_runs_and_names_no_content(model_file: Path) -> None:
    size = model_file.stat().st_size
    options(model_file, bytes=size).check()
    with pytest.raises(RecipeError, match=f"allowed: sha256 [0-9a-f]{{64}}, {size - 1} bytes"):
        options(model_file, bytes=size - 1).check()
    with pytest.raises(RecipeError, match="bytes: given 0"):
        options(model_file, bytes=0)
    assert options(model_file, bytes=size).content() == options(model_file).content()


@pytest.mark.usefixtures("fresh_cache")
def test_a_model_is_loaded_once(model_file: Path, tmp_path: Path) -> None:
    copy, sha256 = tmp_path / "copy.bin", file_sha256(model_file)
    copy.write_bytes(model_file.read_bytes())
    first = load(copy, sha256, probe_first=False)
    copy.unlink()
    assert load(copy, sha256, probe_first=False) is first


@pytest.mark.parametrize(
    ("owners", "words"),
    [
        pytest.param([], "no distribution provides it", id="none"),
        pytest.param(["fasttext-wheel"], "pip uninstall -y fasttext-wheel", id="another"),
        pytest.param(["fasttext_predict", "fasttext_community"], "pip uninstall -y fasttext-predict", id="two"),
    ],
)
def test_another_provider_is_refused(monkeypatch: pytest.MonkeyPatch, owners: list[str], words: str) -> None:
    assert_provider()
    monkeypatch.setattr(metadata, "packages_distributions", lambda: {"fasttext": owners})
    with pytest.raises(UserError) as error:
        assert_provider()
    assert words in str(error.value)
    assert "pip install fasttext-community" in str(error.value)


SENTENCES = {
    "en": "The glacier moves slowly down the valley and grinds the rock beneath it.",
    "fr": "Le glacier descend lentement la vallée et polit la roche sous son poids.",
    "de": "Der Gletscher bewegt sich langsam durch das Tal und schleift den Fels ab.",
    "es": "El glaciar baja despacio por el valle y pule la roca que hay debajo.",
    "ru": "Ледник медленно движется по долине и стирает скалу под собой.",
    "zh": "冰川沿着山谷缓慢移动，磨蚀下面的岩石。",
}


def languages_of(texts: list[str | None]) -> list[tuple[str | None, float | None]]:
    found = language.score(pa.table({"generated": pa.array(texts, pa.large_string())}), language.LanguageOptions())
    assert found.schema == language.SCORES
    return list(zip(found["language"].to_pylist(), found["language_confidence"].to_pylist(), strict=True))


def test_languages() -> None:
    found = languages_of(list(SENTENCES.values()))
    assert [name for name, _ in found] == list(SENTENCES)
    assert all(0.6 < confidence <= 1.0 for _, confidence in found)


def test_language_is_of_the_whole_text_whatever_marks_it_holds() -> None:
    mostly_german = f"{SENTENCES['en']}</s>{SENTENCES['de']}\n\0__label__en {SENTENCES['de']}"
    assert languages_of([mostly_german]) == languages_of(
        [mostly_german.replace("</s>", " ").replace("\n\0__label__", " ")]
    )
    assert languages_of([mostly_german])[0][0] == "de"


@pytest.mark.parametrize("text", [None, "", "\n", "\0", "</s>", "__label__", "!!! ???", "12345", "☃ ⟦⟧"], ids=repr)
def test_no_language_is_guessed_from_nothing(text: str | None) -> None:
    assert languages_of([text]) == [(None, None)]


def test_the_weights_are_the_named_ones() -> None:
    assert file_sha256(weights.locate(language.WEIGHTS)) == language.weights_sha256()
