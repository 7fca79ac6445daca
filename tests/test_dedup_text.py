"""Normalisation: which texts are equal, and what their shingles are."""

from __future__ import annotations

import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dedup import NORMALISATION_VERSION, exact_digest, normalise, word_shingles

# By name, where the code goes by block.
UNSPACED_NAMES = (
    "CJK UNIFIED IDEOGRAPH",
    "CJK COMPATIBILITY IDEOGRAPH",
    "IDEOGRAPHIC ITERATION",
    "IDEOGRAPHIC NUMBER",
    "IDEOGRAPHIC CLOSING",
    "VERTICAL IDEOGRAPHIC",
    "HANGZHOU NUMERAL",
    "VERTICAL KANA REPEAT",
    "MASU MARK",
    "HIRAGANA",
    "KATAKANA",
    "HENTAIGANA",
    "BOPOMOFO",
    "YI SYLLABLE",
    "THAI",
    "LAO",
    "MYANMAR",
    "KHMER",
    "TAI LE",
    "NEW TAI LUE",
    "TAI THAM",
    "TAI VIET",
)


def is_word(char: str) -> bool:
    return char.isalnum() or char == "_"


def is_mark(char: str) -> bool:
    return unicodedata.category(char).startswith("M")


def is_unspaced(char: str) -> bool:
    return unicodedata.name(char, "").startswith(UNSPACED_NAMES)


def slow_tokens(text: str) -> list[str]:
    """The definition, character by character."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    tokens: list[str] = []
    inside = False
    for char in folded:
        if is_mark(char) and inside:
            tokens[-1] += char
        elif is_word(char):
            if inside and not is_unspaced(char) and not is_unspaced(tokens[-1][0]):
                tokens[-1] += char
            else:
                tokens.append(char)
            inside = True
        else:
            inside = False
    return tokens


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("Hello,  World!\n", "hello world", id="case, punctuation, layout"),
        pytest.param("", "", id="empty"),
        pytest.param(" \n\t—!?… 🙂", "", id="no word"),
        pytest.param("in 1984, 3.5 km", "in 1984 3 5 km", id="numbers stay"),
        pytest.param("don't re-do", "don t re do", id="apostrophe and hyphen break"),
        pytest.param("snake_case", "snake_case", id="underscore joins"),
        pytest.param("Ｆｕｌｌ　Ｗｉｄｔｈ ①", "full width 1", id="compatibility forms"),
        pytest.param("STRASSE Straße", "strasse strasse", id="casefold"),
        pytest.param("cafe\u0301", "caf\u00e9", id="composed"),
        pytest.param("İstanbul", "i\u0307stanbul", id="casefolding leaves a mark in the word"),
        pytest.param("हिन्दी में", "हिन्दी में", id="vowel signs stay in their word"),
        pytest.param("\u0301 \ufe0f", "", id="a mark alone is no word"),
        pytest.param("北京 你好，世界", "北 京 你 好 世 界", id="han"),
        pytest.param("ｶﾞｷﾞ", "ガ ギ", id="half-width kana"),
        pytest.param("我用Python写", "我 用 python 写", id="han and latin"),
        pytest.param("ที่นี่", "ที่ นี่", id="thai keeps vowels and tones with their consonant"),
        pytest.param("한국어 문장", "한국어 문장", id="korean has spaces"),
    ],
)
def test_normalise(text: str, expected: str) -> None:
    assert normalise(text) == expected


@given(
    st.text(st.sampled_from("aBçÉß1_ \n.-’\u0301\ufe0f北京カﾞไทยน้ำहिंदी한글שָ\u200d🙂"), max_size=40)
    | st.text(max_size=40)
)
def test_tokens_are_those_of_the_definition(text: str) -> None:
    assert normalise(text).split(" ") == (slow_tokens(text) or [""])


@given(st.text())
def test_normalising_twice_changes_nothing(text: str) -> None:
    assert normalise(normalise(text)) == normalise(text)


@given(st.text(), st.sampled_from(["NFC", "NFD", "NFKC", "NFKD"]))
def test_unicode_form_does_not_matter(text: str, form: str) -> None:
    assert exact_digest(unicodedata.normalize(form, text)) == exact_digest(text)


def test_every_mark_stays_with_its_letter() -> None:
    marks = [char for char in map(chr, range(sys.maxunicode + 1)) if is_mark(char)]
    assert len(marks) > 2000
    differing = [f"U+{ord(mark):04X}" for mark in marks if normalise(f"a{mark}b").split() != slow_tokens(f"a{mark}b")]
    assert differing == []


def test_unspaced_blocks_hold_the_unspaced_scripts_and_no_other() -> None:
    """Two letters in a row are two tokens in a script without spaces, one word in any other."""
    for code in [*range(0x4000), *range(0x9F00, 0x20100)]:
        char = unicodedata.normalize("NFKC", chr(code).casefold())
        if len(char) == 1 and char.isalnum():
            expected = 2 if is_unspaced(char) else 1
            assert len(normalise(char * 2).split()) == expected, f"U+{code:04X} {unicodedata.name(char, '')}"


@given(st.lists(st.sampled_from(["a", "bb", "é", "北", "京"]), max_size=12), st.integers(1, 6))
def test_shingles_are_runs_of_tokens(words: list[str], size: int) -> None:
    runs = {" ".join(words[at : at + size]).encode() for at in range(len(words) - size + 1)}
    assert word_shingles(" ".join(words), size) == runs


@pytest.mark.parametrize(
    ("text", "count"),
    [
        pytest.param("one two three four", 0, id="four words"),
        pytest.param("one two three four five", 1, id="five words"),
        pytest.param("", 0, id="empty"),
        pytest.param("?!", 0, id="no word"),
        pytest.param("人工智能改变世界", 4, id="eight han characters"),
        pytest.param("人工智能", 0, id="four han characters"),
    ],
)
def test_short_texts_have_no_shingles(text: str, count: int) -> None:
    assert len(word_shingles(text)) == count


def test_scripts_without_spaces_give_character_shingles() -> None:
    assert word_shingles("人工智能改变") == {"人 工 智 能 改".encode(), "工 智 能 改 变".encode()}
    assert word_shingles("人工智\n能改变") == word_shingles("人工智能改变")


def test_golden_digest() -> None:
    """Stored digests and signatures rest on this: when it fails on purpose, raise NORMALISATION_VERSION."""
    text = "Straße №5: Ｐｒｉｃｅ 3,50 € — हिन्दी, 北京ガ!"
    assert normalise(text) == "strasse no5 price 3 50 हिन्दी 北 京 ガ"
    assert exact_digest(text) == "093d34eb06cdaca21f8409a6a43f89afdb2cc2f527bff98cce89c4db11443b53"
    assert NORMALISATION_VERSION == 1
