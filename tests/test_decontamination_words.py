"""Words and n-grams of evaluation sets: the kernels find what a slow search finds, whatever the spelling, and always end."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import partial
from itertools import cycle
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from filters import decontamination_kernels as kernels
from filters.decontamination_grams import Item
from filters.decontamination_index import Found, Index
from filters.decontamination_words import code_point_table, plain, plain_table, spans_of, words_of


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("Don't STOP", "dont stop", id="case"),
        pytest.param("don’t don‘t don＇t donʼt", "dont dont dont dont", id="apostrophes"),
        pytest.param("$1,000.50 and 1,2", "1000 50 and 12", id="numbers keep their digits"),
        pytest.param("a,b 1,b a,1", "a b 1 b a 1", id="commas between letters separate"),
        pytest.param("well-known—and_so \t\n on…", "well known and so on", id="punctuation separates"),
        pytest.param("'quoted' rock''n''roll", "quoted rock n roll", id="apostrophes outside words separate"),
        pytest.param("cafe\N{COMBINING ACUTE ACCENT} CAFÉ", "café café", id="composed"),
        pytest.param("ﬁnd Ｆｕｌｌ x² ½", "find full x2 1 2", id="compatible forms"),
        pytest.param("soft\xadhyphen zero\u200bwidth \ufeff", "softhyphen zerowidth", id="what cannot be seen"),
        pytest.param("STRASSE Straße ΣΑΣ", "strasse strasse σασ", id="folded"),
        pytest.param("z" + "\u0301" * 30, "ź", id="thirty marks"),
        pytest.param("z" + "\u0323" * 30 + "\u0301", "ẓ", id="the thirty-first mark is left out"),
        pytest.param(" ... !? ", "", id="no words"),
    ],
)
def test_words(text: str, words: str) -> None:
    assert words_of(text) == words.split()


# Many letters, and many that depend on their neighbours, with what matters to the kernel between them.
ODD = "aZ09'’ʼ＇,，_-.\n \xad\u200b\ufe0fßſİıΣςﬁ²½éÉ\u0301\u0327ेกา한ᄒ\u1161\u11ab각ｶﾞ·ǅ😀𝐀𝟙\U00020000\0<\u0338…、"
TEXTS = st.text(st.one_of(st.sampled_from(ODD), st.characters(codec="utf-8")), max_size=30)


def kernel_prefixes(data: bytes, table: Any = None) -> list[int] | None:
    """The hashes of the words that the kernel sees; None where it cannot tell them."""
    table = code_point_table() if table is None else table
    prefixes, spans = np.zeros(len(data) // 2 + 2, np.uint64), np.zeros((len(data) // 2 + 2, 2), np.int64)
    values = np.frombuffer(b"." + data, np.uint8)
    count = kernels._text_prefixes(values, 1, len(values), table, prefixes, spans)
    if count < 0:
        return None
    for first, end in spans[:count]:
        assert len(words_of(data[first:end].decode())) == 1
    return prefixes[: count + 1].tolist()  # type: ignore[no-any-return]


def word_prefixes(words: Sequence[str]) -> list[int]:
    codes = np.frombuffer("".join(words).encode("utf-32-le"), np.uint32)
    bounds = np.concatenate(([0], np.cumsum([len(word) for word in words]))).astype(np.int64)
    return kernels.word_prefixes(kernels.Words(codes, bounds)).tolist()  # type: ignore[no-any-return]


@given(TEXTS)
@settings(max_examples=500, deadline=None)
def test_the_kernel_sees_the_same_words(text: str) -> None:
    wanted = word_prefixes(words_of(text))
    found = kernel_prefixes(text.encode())
    assert found in (None, wanted)
    if text.isascii():
        assert found is not None
    assert kernel_prefixes(plain(text).encode(), plain_table()) == wanted


@given(TEXTS)
@settings(max_examples=300, deadline=None)
def test_each_word_stands_in_its_piece(text: str) -> None:
    words, spans = words_of(text), spans_of(text)
    assert len(spans) == len(words)
    assert all(
        word in words_of(text.encode()[low:high].decode()) for word, (low, high) in zip(words, spans, strict=True)
    )
    assert spans == sorted(spans)


def test_the_kernel_sees_each_character_between_others_as_python_does() -> None:
    """Every assigned one, before and after letters, digits and the marks that join words."""
    told = 0
    for code in range(0x80, 0x20000):
        if unicodedata.category(chr(code)) in ("Cn", "Cs", "Co") or 0x3400 < code < 0x9FF0 or 0xAC10 < code < 0xD7A0:
            continue
        if 0x12000 < code < 0x1D000:
            continue
        text = f"a{chr(code)}b 1{chr(code)}2 {chr(code)} 'x{chr(code)}'y"
        found = kernel_prefixes(text.encode())
        told += found is not None
        assert found in (None, word_prefixes(words_of(text))), hex(code)
    assert told > 10_000


NOT_UTF8 = [
    b"\xff",
    b"a\xc3",
    b"\xc3(",
    b"\xe2\x28\xa1",
    b"\xc0\x80",
    b"\xe0\x80\x80",
    b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80",
]


@pytest.mark.parametrize("data", NOT_UTF8)
def test_bytes_that_are_not_utf8_are_refused(data: bytes) -> None:
    assert kernel_prefixes(data) is None
    offsets = np.array([0, len(data)], np.int64).tobytes()
    texts = pa.LargeStringArray.from_buffers(1, pa.py_buffer(offsets), pa.py_buffer(data))
    with pytest.raises(UnicodeDecodeError):
        Index([Item("x", "x/0", ("a",) * 8, ())]).look_up(texts)


# The rules, against a slow search


def slow(items: Sequence[Item], text: str) -> dict[int, tuple[str | None, float]]:
    """Item -> rule and coverage, of the items that the text touches, by the definitions."""
    words = tuple(words_of(text))

    def stands(run: tuple[str, ...]) -> list[int]:
        return [at for at in range(len(words) - len(run) + 1) if words[at : at + len(run)] == run]

    eights, thirteens = ({words[at : at + size] for at in range(len(words) - size + 1)} for size in (8, 13))
    found: dict[int, tuple[str | None, float]] = {}
    for number, item in enumerate(items):
        covered: set[int] = set()
        for at in range(len(item.prompt) - 7):
            if item.prompt[at : at + 8] in eights:
                covered |= set(range(at, at + 8))
        coverage = len(covered) / max(len(item.prompt), 1)
        full = item.prompt + item.answer
        if coverage >= 0.5:
            found[number] = "A", coverage
        elif any(full[at : at + 13] in thirteens for at in range(len(full) - 12)):
            found[number] = "B", coverage
        elif 0 < len(item.prompt) < 8 and item.answer and is_near(stands(item.prompt), stands(item.answer), item):
            found[number] = "C", 1.0
        elif covered:
            found[number] = None, coverage
    return found


def is_near(prompts: list[int], answers: list[int], item: Item) -> bool:
    for prompt in prompts:
        for answer in answers:
            ends = prompt + len(item.prompt), answer + len(item.answer)
            apart = ends[0] <= answer or ends[1] <= prompt
            if apart and max(ends) - min(prompt, answer) <= 200:
                return True
    return False


def longest(words: Sequence[str], grams: set[tuple[str, ...]], length: int) -> tuple[int, int]:
    """The first longest part of the words that these n-grams cover without a gap: its beginning and its length."""
    best, begin, end = (-1, 0), -1, -1
    for at in range(len(words) - length + 1):
        if tuple(words[at : at + length]) in grams:
            begin = at if at >= end else begin
            end = at + length
            best = (begin, end - begin) if end - begin > best[1] else best
    return best


def check_stretch(item: Item, hit: Any, text: str) -> None:
    words = words_of(text)
    here = words[hit.at_word :][: hit.words]
    shown = words_of(text.encode()[hit.start_byte : hit.end_byte].decode())
    assert " ".join(here) in " ".join(shown)
    if unicodedata.normalize("NFC", text) == text:
        assert here == shown, "exactly these words, where no character depends on its neighbours"
    if hit.rule == "C":
        assert len(here) <= 200 and " ".join(item.prompt) == hit.ngram
        assert {*item.prompt, *item.answer} <= set(here)
        assert tuple(here[: len(item.prompt)]) == item.prompt or tuple(here[: len(item.answer)]) == item.answer
        return
    size, run = (8, item.prompt) if hit.rule == "A" else (13, item.prompt + item.answer)
    assert here[:size] == hit.ngram.split()
    grams = {run[at : at + size] for at in range(len(run) - size + 1)}
    assert longest(words, grams, size) == (hit.at_word, hit.words)


WORDS = st.sampled_from(("a", "b", "é", "1"))


def runs(least: int, most: int) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(WORDS, min_size=least, max_size=most).map(tuple)


ITEMS = st.lists(
    st.builds(Item, st.just("x"), st.just("x/0"), runs(0, 3) | runs(5, 20), runs(0, 2) | runs(3, 16)), max_size=4
)
PIECES = st.tuples(
    st.integers(0, 3), st.integers(0, 12), st.integers(0, 40), st.sampled_from((0, 1, 178, 195)), runs(0, 3)
)
BLANKS = st.sampled_from((" ", "  ", ", ", " - ", "\n", "…"))
SPELLINGS = st.sampled_from((str.upper, str.lower, partial(unicodedata.normalize, "NFD")))


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[Item], list[str]]:
    """Items, and texts that hold pieces of them, in other cases and with other marks, some with a combining mark."""
    items = draw(ITEMS)
    texts = []
    for pieces in draw(st.lists(st.lists(PIECES, max_size=4), min_size=1, max_size=3)):
        words: list[str] = []
        for which, start, length, fillers, others in pieces:
            if which < len(items):
                words += (items[which].prompt + items[which].answer)[start * (which > 1) :][:length]
            words += ["filler"] * fillers + list(others)
        ways = cycle(draw(st.lists(st.tuples(SPELLINGS, BLANKS), min_size=1, max_size=4)))
        texts.append("".join(spell(word) + blank for word, (spell, blank) in zip(words, ways, strict=False)))
    return items, texts


def look_up(items: Sequence[Item], texts: Sequence[str], hash_bits: int = 64) -> Found:
    return Index(items, hash_bits).look_up(pa.array(texts, pa.large_string()))


@given(cases(), st.sampled_from((64, 64, 5, 1)))
@settings(max_examples=250, deadline=None)
def test_what_is_found_is_what_a_slow_search_finds(case: tuple[list[Item], list[str]], hash_bits: int) -> None:
    """Also where most n-grams share their hash with others: a hash alone is no hit."""
    items, texts = case
    found = look_up(items, texts, hash_bits)
    assert found.has_words.tolist() == [bool(words_of(text)) for text in texts]
    assert set(found.hits) == {
        row for row, text in enumerate(texts) if any(rule for rule, _ in slow(items, text).values())
    }
    for row, text in enumerate(texts):
        wanted = slow(items, text)
        for rule, _ in wanted.values():
            event(f"rule {rule}")
        hits = found.hits.get(row, [])
        assert {hit.item: (hit.rule, hit.coverage) for hit in hits} == {
            item: (rule, coverage) for item, (rule, coverage) in wanted.items() if rule
        }
        assert found.coverage[row] == max([coverage for _, coverage in wanted.values()], default=0.0)
        assert hits == sorted(hits, key=lambda hit: (hit.rule, -hit.coverage, hit.item))
        for hit in hits:
            check_stretch(items[hit.item], hit, text)


@given(cases())
@settings(max_examples=50, deadline=None)
def test_hits_do_not_depend_on_their_neighbours(case: tuple[list[Item], list[str]]) -> None:
    items, texts = case
    index = Index(items)
    together = index.look_up(pa.array(["before", *texts, "after"], pa.large_string()).slice(1, len(texts)))
    for row, text in enumerate(texts):
        alone = index.look_up(pa.array([text], pa.large_string()))
        assert together.hits.get(row, []) == alone.hits.get(0, [])


# Spellings

ITEM_WORDS = "anna’s café sold 1,250 crème tarts in 3 weeks for 7.50 each".replace("’", "'")
LEAK = Item("x", "x/0", tuple(words_of(ITEM_WORDS)), ("9375",))
MARKS = st.sampled_from(
    (" ", "  ", "\t", "\n", "\r\n", "\N{NO-BREAK SPACE}", "\N{IDEOGRAPHIC SPACE}", " — ", "; ", ' "', "_", "…\u2028")
)


def full_width(text: str) -> str:
    return "".join(chr(ord(one) + 0xFEE0) if "!" <= one <= "~" else one for one in text)


WAYS = st.sampled_from(
    (
        str.upper,
        str.lower,
        str.title,
        full_width,
        lambda word: word.replace("'", "’"),
        lambda word: "\u200b".join(word),
        *(partial(unicodedata.normalize, form) for form in ("NFC", "NFD", "NFKC", "NFKD")),
    )
)


@given(st.lists(st.tuples(WAYS, MARKS), min_size=12, max_size=12))
@settings(max_examples=150, deadline=None)
def test_a_leak_is_found_in_every_spelling(ways: list[tuple[Any, str]]) -> None:
    """Case, punctuation, blanks, Unicode form and width say nothing."""
    text = "".join(way(word) + mark for word, (way, mark) in zip(ITEM_WORDS.split(" "), ways, strict=True))
    (hit,) = look_up([LEAK], [f"Before it. {text}"]).hits[0]
    assert (hit.rule, hit.coverage, hit.at_word, hit.words) == ("A", 1.0, 2, len(LEAK.prompt))


@given(st.integers(0, 12), st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_digits_are_kept(which: int, digit: int) -> None:
    """Another number is another word: no n-gram goes over it."""
    at = [place for place, word in enumerate(LEAK.prompt) if word.isdigit()][which % 4]
    words = list(LEAK.prompt)
    words[at] = words[at][:-1] + str(digit)
    found = look_up([LEAK], [" ".join(words)])
    whole = words == list(LEAK.prompt)
    runs_left = [at, len(words) - at - 1]
    assert found.coverage[0] == (1.0 if whole else sum(run for run in runs_left if run >= 8) / len(words))


# Hostile texts

NASTY = [
    pytest.param("\u0301", id="one mark"),
    pytest.param("\u0301\u0316", id="marks in the wrong order"),
    pytest.param("a\u0301\u0316\ufe0f", id="marks, letters, and what cannot be seen"),
    pytest.param("\uff9e\u0f73", id="characters that become marks"),
    pytest.param("\u1100\u1161\u11a8", id="letters that join"),
    pytest.param("x\u0345", id="a mark that becomes a letter"),
]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("piece", NASTY)
def test_texts_without_an_end_of_marks_end(piece: str) -> None:
    """Putting marks into canonical order takes quadratic time in Python: two megabytes would take many hours."""
    text = piece * (2_000_000 // len(piece.encode()))
    found = look_up([LEAK], [f"{text} {ITEM_WORDS}"])
    assert [hit.rule for hit in found.hits[0]] == ["A"]
