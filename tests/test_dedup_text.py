"""Normalisation: which texts are equal, what their shingles are, and that the kernel gives what the definition says."""

from __future__ import annotations

import hashlib
import sys
import unicodedata
from collections.abc import Sequence

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dedup import NORMALISATION_VERSION, exact_digest, exact_digests, normalise, word_shingles
from dedup.code_points import code_points
from dedup.columns import Workspace, tokens_of
from dedup.kernels import KIND, PAGE, SEVERAL
from dedup.text import compatible, fold
from synth.text.buffers import text_bytes

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


def by_kernel(texts: Sequence[str]) -> list[str]:
    """The normalised form of each text as the compiled code gives it; its tokens end where it says."""
    made = []
    for batch in text_bytes(pa.array(texts, pa.large_string())):
        tokens = tokens_of(batch, Workspace())
        for begin, stop, first, count in zip(tokens.begins, tokens.stops, tokens.firsts, tokens.counts, strict=True):
            data = tokens.data[begin:stop].tobytes()
            ends = tokens.ends[first : first + count].tolist()
            assert ends == [begin + at for at, byte in enumerate(data) if byte == 0x20] + [stop][: len(data)]
            made.append(data.decode())
    return made


# Letters, marks of several classes, jamo, vowel signs that compose, scripts without spaces, modifiers, NUL.
MIXED = st.sampled_from(
    "aBçÉßİ1_= \n.-’\0\u0301\u0323\u0345\u0308\u0338\ufe0f北京カｶﾞไทยน้ำहिंदीक़\u093cதொ\u0bc6\u0bbe"
    "한글\u1100\u1161\u11a8가각שָּ\u200d🙂👍🏽ﷺ½"
)
ANY = st.text(MIXED, max_size=40) | st.text(max_size=40)


@given(ANY)
def test_tokens_are_those_of_the_definition(text: str) -> None:
    assert normalise(text).split(" ") == (slow_tokens(text) or [""])


@settings(max_examples=400, deadline=None)
@given(st.lists(ANY, max_size=5), st.sampled_from([None, "NFC", "NFD", "NFKC", "NFKD"]))
def test_the_kernel_gives_what_the_definition_says(texts: list[str], form: str | None) -> None:
    texts = [unicodedata.normalize(form, text) if form else text for text in texts]
    assert by_kernel(texts) == [normalise(text) for text in texts]


def entry(char: str) -> int:
    points = code_points()
    return int(points.entries[points.pages[ord(char) // PAGE] * PAGE + ord(char) % PAGE])


ALL = [chr(code) for code in range(sys.maxunicode + 1) if not 0xD800 <= code < 0xE000]
PLAIN = [char for char in ALL if entry(char) & ~KIND == 0 and entry(char) & KIND < SEVERAL]
"""Code points that stay what they are, whatever stands beside them."""
OTHERS = [char for char in sorted({*ALL} - {*PLAIN}) if not "각" < char <= "힣"]  # of the Hangul syllables a few


def test_every_plain_code_point_is_what_the_definition_says() -> None:
    """Between letters, so that separators, letters and marks give different tokens."""
    texts = ["\n".join(f"x{char}x" for char in PLAIN[at : at + 5000]) for at in range(0, len(PLAIN), 5000)]
    assert asked(texts) == 0
    assert by_kernel(texts) == [normalise(text) for text in texts]


# What stands before may be composed with what follows, reordered with it, folded away, or nothing.
@pytest.mark.parametrize(
    "before", ["", "A", "=", "A\u0323", "İ", "\u03b1\u0345", "\u1100", "가", "\u0bc6", "क", "\u05d1\u05bc", "カ"]
)
@pytest.mark.parametrize("after", ["", "\u0316\u0345"])
def test_beside_any_other_the_rest_is_what_the_definition_says(before: str, after: str) -> None:
    texts = [before + char + after for char in OTHERS]
    assert len(texts) > 7_000
    pairs = zip(texts, by_kernel(texts), strict=True)
    assert [f"{text!a}: {made!a}" for text, made in pairs if made != normalise(text)] == []


def asked(texts: Sequence[str]) -> int:
    """How many of the texts the table cannot tell, so that Python is asked."""
    with pytest.MonkeyPatch.context() as patch:
        calls: list[str] = []
        patch.setattr("dedup.columns.fold", lambda text: calls.append(text) or fold(text))
        by_kernel(texts)
    return len(calls)


def test_the_table_tells_composed_texts_of_many_scripts() -> None:
    """Python is asked only where neighbours matter."""
    texts = [
        "Zürich, Crème brûlée; Straße, ﬁne: ½",
        "Việt Nam",
        "ที่นี่น้ำ",
        "हिन्दी में ड़",
        "தமிழ் மொழி",
        "한국어 문장",
        "北京カ",
        "العَرَبِيَّة",
        "👍🏽 ❤️ e\u0302\u200d",
        "x\u20d7 y\u0316",
    ]
    composed = [unicodedata.normalize("NFC", text) for text in texts]
    assert asked(composed) == 0
    assert by_kernel(composed) == [normalise(text) for text in composed]
    assert asked([unicodedata.normalize("NFD", text) for text in texts[:2]]) == 2


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("ﷺ" * 50 + " end", id="becomes 18 characters"),
        pytest.param("ΐ" * 200, id="becomes three"),
        pytest.param("字a" * 200, id="each character a token"),
        pytest.param("\U00020000" * 200, id="four bytes and a space"),
    ],
)
def test_texts_that_grow_find_room(text: str) -> None:
    assert by_kernel(["before", text, "after"]) == ["before", normalise(text), "after"]


# Marks of several classes, some of one class, some that become two, and some that only compatibility makes marks.
MARKS = st.sampled_from("\u0301\u0302\u0308\u0316\u0317\u0323\u0327\u0345\u0344\u0f73\u05b0\u05b1\u3099ﾞ")


@settings(deadline=None)
@given(st.lists(st.sampled_from(["", "a", "é", "カ", "ᾂ"]), max_size=3), st.data())
def test_putting_marks_in_order_first_changes_no_form(letters: list[str], data: st.DataObject) -> None:
    text = "".join(letter + "".join(data.draw(st.lists(MARKS, min_size=25, max_size=90))) for letter in letters)
    assert compatible(text) == unicodedata.normalize("NFKC", text)
    assert by_kernel([text]) == [normalise(text)] == [" ".join(slow_tokens(text))]


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "text",
    [
        pytest.param("a" + "\u0301\u0316" * 1_000_000, id="marks out of order"),
        pytest.param("\u0f40" + "\u0f73" * 1_000_000, id="marks that become two"),
        pytest.param("\u1100\u1161\u11a8" * 500_000, id="jamo"),
        pytest.param("b\u0301" * 1_000_000, id="a mark on each letter"),
    ],
)
def test_any_text_takes_linear_time(text: str) -> None:
    """Ordered by insertion, as `unicodedata` does it alone, the first would take hours."""
    made = by_kernel([text])[0]
    assert len(made) <= 2 * len(text)
    assert sum(char in "\u0301\u0316" for char in made) == sum(char in "\u0301\u0316" for char in text) - made.count(
        "á"
    )


def test_digests_are_those_of_the_definition_whatever_the_layout() -> None:
    texts = ["Hello, World!", None, "", "cafe\u0301", "a\0b", "北京 " * 1000, "…"]
    expected = [exact_digest(text or "") for text in texts]
    assert expected[0] == hashlib.sha256(b"hello world").hexdigest()
    assert exact_digests(pa.array(texts)).to_pylist() == expected
    assert exact_digests(pa.array(["other", *texts], pa.large_string()).slice(1)).to_pylist() == expected
    chunked = pa.chunked_array([pa.array(texts[:3]), pa.array([], pa.string()), pa.array(texts[3:])])
    assert exact_digests(chunked).to_pylist() == expected
    assert exact_digests(pa.chunked_array([texts * 300]), workers=3).to_pylist() == expected * 300
    assert exact_digests(pa.array([], pa.string())).to_pylist() == []


def test_what_is_no_text_is_refused() -> None:
    with pytest.raises(TypeError, match="string or large_string"):
        exact_digests(pa.array([b"bytes"]))
    with pytest.raises(ValueError, match="UTF"):
        exact_digests(pa.array([b"\xff"]).view(pa.string()))


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
