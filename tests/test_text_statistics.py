"""Text statistics: each defined by hand-computed cases, all of them compared with a slow oracle over arbitrary Unicode."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synth.text.marks import (
    COUNTER_WORDS,
    DUPLICATE_NGRAMS,
    LINE_ENDS,
    POLICY_PHRASES,
    TERMINAL_MARKS,
    TOP_NGRAMS,
)
from synth.text.statistics import STATISTICS, text_statistics
from synth.text.words import normal_words


def statistics_of(text: str) -> dict[str, Any]:
    (row,) = text_statistics(pa.array([text])).to_pylist()
    return row


@pytest.mark.parametrize(
    ("column", "text", "expected"),
    [
        pytest.param("bytes", "né…", 6, id="bytes-are-utf8"),
        pytest.param("characters", "né…😀 ", 5, id="characters-are-code-points-with-whitespace"),
        pytest.param("words", " a\u00a0b\u2003c\x1fd\n", 4, id="words-split-on-unicode-whitespace"),
        pytest.param("words", "zero\u200bwidth", 1, id="zero-width-space-is-no-whitespace"),
        pytest.param("words", "你好，世界。", 1, id="words-without-whitespace-are-one"),
        pytest.param("lines", "a\n\n \nb\r\nc\u2028d\x0be", 5, id="lines-of-splitlines-blank-ones-left-out"),
        pytest.param("mean_word_length", "ab abcd", 3.0, id="mean-word-length"),
        pytest.param("mean_word_length", "ab, 😀", 2.0, id="mean-word-length-with-punctuation-in-code-points"),
        pytest.param("symbol_word_ratio", "# a #b c", 2 / 4, id="hashes-per-word"),
        pytest.param("symbol_word_ratio", "wait... what… ok", 2 / 3, id="both-ellipses-per-word"),
        pytest.param("symbol_word_ratio", "# # a...", 2 / 3, id="the-larger-not-the-sum"),
        pytest.param("symbol_word_ratio", "a ......", 2 / 2, id="six-dots-are-two-ellipses"),
        pytest.param("alpha_word_ratio", "abc 123 a1 --", 2 / 4, id="alpha-needs-one-letter"),
        pytest.param("alpha_word_ratio", "été 你 ½ ²", 2 / 4, id="alpha-is-unicode-letters"),
        pytest.param("bullet_line_ratio", "- one\n *  two\n•three\nfour", 3 / 4, id="bullets"),
        pytest.param(
            "bullet_line_ratio", "-5 degrees\n--help\n**bold** word\n*a*", 0.0, id="signs-and-markup-are-no-bullets"
        ),
        pytest.param("ellipsis_line_ratio", "a...\nb\nc … \nd… e", 2 / 4, id="ellipsis-at-the-end-of-lines"),
        pytest.param(
            "stop_words", "The, THE of (and) lands without", 3, id="stop-words-distinct-case-and-punctuation-apart"
        ),
        pytest.param("stop_words", "the be to of and that have with", 8, id="all-stop-words"),
        pytest.param("duplicate_line_ratio", "ab\ncd\nab\n\n  ab ", 2 / 4, id="lines-equal-but-for-whitespace"),
        pytest.param("duplicate_line_char_ratio", "ab\ncd\nab\n\n  ab ", 4 / 11, id="characters-of-duplicate-lines"),
        pytest.param("duplicate_line_char_ratio", "x  y\nx y", 3 / 7, id="inner-whitespace-counts-as-one-space"),
        pytest.param("duplicate_paragraph_ratio", "a b\nc\n\nd\n \na  b\nc", 1 / 3, id="paragraphs-end-at-blank-lines"),
        pytest.param(
            "duplicate_paragraph_char_ratio", "a b\nc\n\nd\n \na  b\nc", 5 / 13, id="characters-of-paragraphs"
        ),
        pytest.param("duplicate_paragraph_ratio", "a\nb\n\na b", 0.0, id="line-breaks-tell-paragraphs-apart"),
        pytest.param("top_2gram_char_ratio", "a b a b c", 6 / 9, id="top-2gram"),
        pytest.param("top_2gram_char_ratio", "a b a b xx yy xx yy", 10 / 19, id="of-equally-frequent-the-longest"),
        pytest.param(
            "top_2gram_char_ratio", "a b a b a b long word long word", 9 / 31, id="the-most-frequent-not-the-largest"
        ),
        pytest.param("top_2gram_char_ratio", "a b c d", 0.0, id="once-is-no-repetition"),
        pytest.param("top_2gram_char_ratio", "a a a a", 1.0, id="overlaps-never-exceed-the-text"),
        pytest.param("top_3gram_char_ratio", "a b c a b c", 10 / 11, id="top-3gram"),
        pytest.param("top_4gram_char_ratio", "a b c d e a b c d", 14 / 17, id="top-4gram"),
        pytest.param(
            "duplicate_5gram_char_ratio", "a b c d e a b c d e", 5 / 19, id="duplicate-5gram-without-the-first"
        ),
        pytest.param("duplicate_5gram_char_ratio", "A b c d e a b c d e", 0.0, id="ngrams-know-case"),
        pytest.param("duplicate_5gram_char_ratio", "a b c d e f a b c d e f", 6 / 23, id="overlap-counted-once"),
        pytest.param("duplicate_6gram_char_ratio", "a b c d e a b c d e", 0.0, id="no-duplicate-6gram"),
        pytest.param("duplicate_6gram_char_ratio", "a b c d e f a b c d e f", 6 / 23, id="duplicate-6gram"),
        pytest.param("duplicate_7gram_char_ratio", "a " * 8, 7 / 15, id="a-duplicate-may-overlap-its-original"),
        pytest.param("duplicate_10gram_char_ratio", "a b c d e f g h i jj " * 2, 11 / 41, id="duplicate-10gram"),
        pytest.param("opening_digest", "foobar", 0x85944171F73967E8, id="fnv-1a-test-vector"),
        pytest.param("opening_digest", "!!! ... --", None, id="no-opening-without-words"),
    ],
)
def test_statistic(column: str, text: str, expected: float | None) -> None:
    assert statistics_of(text)[column] == expected


@pytest.mark.parametrize(
    ("column", "text", "expected"),
    [
        pytest.param("paragraphs", "a\nb\n\nc\n \t\n\n\nd\r\n\r\ne\n", 4, id="runs-between-blank-lines"),
        pytest.param("paragraphs", "\n\n \n", 0, id="blank-lines-are-no-paragraph"),
        pytest.param("normal_words", "a -- 3 *b* … ² é_ _", 5, id="a-letter-or-digit"),
        pytest.param("normal_words", "你好 ½ № ♥", 2, id="letters-and-digits-of-unicode"),
        pytest.param("sentences", "One. Two? Three!", 3, id="end-marks"),
        pytest.param("sentences", "One. Two", 2, id="the-rest-is-one"),
        pytest.param("sentences", "One. -- …", 1, id="the-rest-has-no-normal-word"),
        pytest.param("sentences", "... . ! -", 0, id="marks-alone"),
        pytest.param("sentences", "He said: “Go!” (Now.) Yes.»", 3, id="closing-quotes-and-brackets-aside"),
        pytest.param("sentences", "Wait ... what", 2, id="marks-as-a-word-end-what-is-before"),
        pytest.param("sentences", "v1.0 is out; e.g. here", 2, id="an-abbreviation-ends-one-a-number-does-not"),
        pytest.param("sentences", "これは文。 あれも文！ هل؟ वाक्य।", 4, id="marks-of-other-scripts"),
        pytest.param("sentences", "one\ntwo\n\nthree. four", 2, id="lines-end-no-sentence"),
        pytest.param("punctuated_line_ratio", "a.\nb?\n c! \nd…\ne。\nf:\ng,\nh", 5 / 8, id="terminal-marks"),
        pytest.param("punctuated_line_ratio", 'a."\nb.)\nc."\nd.', 1 / 4, id="the-mark-is-last"),
        pytest.param(
            "short_line_ratio", f"{'a' * 30}\n{'b' * 31}\n  {'c' * 30}  \n", 2 / 3, id="thirty-without-padding"
        ),
        pytest.param("short_line_ratio", f"{'é' * 28}   é\n{'é ' * 16}", 1 / 2, id="characters-spaces-as-one"),
        pytest.param("newline_word_ratio", "a\n\nb\r\nc\rd\u2028e f\n", 4 / 6, id="line-feeds-alone"),
        pytest.param("lorem_ipsum", "Lorem ipsum dolor LOREM  IPSUM, lorem\n\nipsum", 3, id="any-case-and-whitespace"),
        pytest.param("lorem_ipsum", "dolorem ipsums lorem-ipsum loremipsum ipsum lorem", 1, id="part-of-words"),
        pytest.param("lorem_ipsum", "lorem dolor ipsum", 0, id="words-between"),
        pytest.param("curly_brackets", "{a} {{ }b{", 4, id="opening-ones"),
        pytest.param("c4_line_ratio", "a b c.\na b c\na b\nA b c d?\n", 2 / 4, id="end-and-three-words"),
        pytest.param("c4_line_ratio", "a b c...\na b c…\na b c..", 1 / 3, id="no-ellipsis"),
        pytest.param("c4_line_ratio", "a b c.”\na b c.)\na b c。\na b c.[1]\na b c:", 0.0, id="only-c4s-ends"),
        pytest.param("c4_line_ratio", f"a b {'x' * 1000}.\na b {'é' * 999}.\na b .", 2 / 3, id="a-long-word"),
        pytest.param(
            "c4_line_ratio", "Use JavaScript here now.\nnojavascripts at all.\na java script.", 1 / 3, id="script"
        ),
        pytest.param(
            "c4_line_ratio", "Read our TERMS  of Use now.\nterms of a use.\nterms\nof use b.", 2 / 4, id="policy"
        ),
        pytest.param("c4_line_ratio", "we house cookiesX b.\nuse the cookies b.", 1 / 2, id="policy-as-part-of-words"),
        pytest.param("c4_line_ratio", "a of\nuse cookies", 0.0, id="phrases-end-with-the-line"),
        pytest.param("c4_sentences", "One a b. Two. Three\nFour a. b c.\nx y.", 2, id="of-kept-lines"),
        pytest.param("c4_sentences", "One a b! Two? Three.\nFour a b.", 4, id="each-line-by-itself"),
        pytest.param("c4_sentences_any_end", "One a b. Two. Three\nFour a. b c.\nx y.", 5, id="without-the-end"),
        pytest.param("c4_sentences_any_end", "a b c javascript. d.\na b c d\na b", 1, id="other-line-rules-hold"),
        pytest.param("stop_word_occurrences", "The, THE of (and) lands without the", 5, id="not-unique"),
        pytest.param("bare_characters", "a, b!\u3000c\t(é) «½»", 5, id="no-whitespace-no-punctuation"),
        pytest.param("bare_characters", "$ + < = > ^ ` | ~ © € × 、。", 3, id="symbols-of-ascii-are-punctuation"),
    ],
)
def test_published_counts(column: str, text: str, expected: float) -> None:
    assert statistics_of(text)[column] == expected


@pytest.mark.parametrize(
    ("line", "removed"),
    [
        pytest.param("SALE NOW on", True, id="upper-case"),
        pytest.param("AB c d", False, id="less-than-half-upper-case-spaces-counted"),
        pytest.param("ABC d f", False, id="three-of-seven"),
        pytest.param("ABCD ef", True, id="four-of-seven"),
        pytest.param("ABC def", False, id="half-at-most-with-the-space"),
        pytest.param("ÀÉÎ ⅧⒶ x", True, id="upper-case-of-unicode"),
        pytest.param("12 34 ٣", True, id="all-digits"),
        pytest.param("12 3.4", False, id="a-dot-is-no-digit"),
        pytest.param("Home", True, id="one-word"),
        pytest.param("Home page", False, id="two-words"),
        pytest.param("3 likes", True, id="counter"),
        pytest.param("· 1,204.5K Followers!", True, id="counter-thousands-and-marks-around"),
        pytest.param("(7m) — views.", True, id="counter-edges-apart"),
        pytest.param("3 like", False, id="counter-is-plural"),
        pytest.param("3kb likes", False, id="counter-one-unit"),
        pytest.param("k likes", False, id="counter-needs-a-digit"),
        pytest.param("3 more likes", False, id="counter-two-words"),
        pytest.param("likes 3", False, id="counter-in-this-order"),
        pytest.param("٣ likes", False, id="counter-digits-are-ascii"),
        pytest.param("Sign-in to see more", True, id="starts-with-sign-in"),
        pytest.param("Please sign-in here", False, id="sign-in-elsewhere"),
        pytest.param("a b c Read  more...", True, id="ends-in-read-more"),
        pytest.param("spread More…", True, id="read-more-with-an-ellipsis-as-part-of-a-word"),
        pytest.param("read more.... now", False, id="read-more-elsewhere"),
        pytest.param("read more", False, id="read-more-without-dots"),
        pytest.param("you have 3 items in carts now", True, id="items-in-cart"),
        pytest.param("items in the cart", False, id="items-in-the-cart"),
        pytest.param("a b c d e f g items in cart", True, id="ten-words"),
        pytest.param("a b c d e f g h items in cart", False, id="eleven-words"),
    ],
)
def test_refinedweb_line_rules(line: str, removed: bool) -> None:
    words = len(line.split())
    found = statistics_of(f"an ordinary line\n{line}\nand another one")["refinedweb_removed_word_ratio"]
    assert found == (words if removed else 0) / (words + 6)


@pytest.mark.parametrize("word", COUNTER_WORDS)
def test_counter_words(word: str) -> None:
    assert statistics_of(f"12 {word}")["refinedweb_removed_word_ratio"] == 1.0


@pytest.mark.parametrize("phrase", POLICY_PHRASES)
def test_policy_phrases(phrase: str) -> None:
    assert statistics_of(f"See {phrase.title()} a b.\nSee {phrase[:-1]} a b.")["c4_line_ratio"] == 1 / 2


@pytest.mark.parametrize("mark", LINE_ENDS)
def test_line_ends_of_c4(mark: str) -> None:
    assert statistics_of(f"a b c{mark}")["c4_line_ratio"] == 1.0


def test_every_terminal_mark_ends_lines_and_sentences() -> None:
    found = text_statistics(pa.array([f"a{mark} b c{mark}" for mark in sorted(TERMINAL_MARKS)]))
    assert set(found["sentences"].to_pylist()) == {2}
    assert set(found["punctuated_line_ratio"].to_pylist()) == {1.0}


@pytest.mark.parametrize("text", [pytest.param("", id="empty"), pytest.param(" \n\t\u3000", id="whitespace")])
def test_nothing_gives_zeros(text: str) -> None:
    sizes = {"bytes": len(text.encode()), "characters": len(text), "opening_digest": None}
    assert statistics_of(text) == dict.fromkeys(STATISTICS.names, 0) | sizes


def test_opening_is_the_first_eight_normal_words() -> None:
    openings = [
        "In this article, we will look at how bees",
        "  in THIS article we — will (look at) \n\n how WASPS live",
        "In this article, we will look at why bees",
        "In this article, we will look at",
    ]
    first, same, other, shorter = text_statistics(pa.array(openings))["opening_digest"].to_pylist()
    assert first == same
    assert len({first, other, shorter}) == 3


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("“Well,” she said: it's 3.5%", ["well", "she", "said", "it's", "3.5"], id="edges"),
        pytest.param("__init__ -- _ snake_case!", ["init", "snake_case"], id="underscores-are-edges-too"),
        pytest.param("Straße ΣΊΣΥΦΟΣ", ["strasse", "σίσυφοσ"], id="case-folded"),
        pytest.param("\x00 … ", [], id="none"),
    ],
)
def test_normal_words(text: str, expected: list[str]) -> None:
    assert normal_words(text) == expected


TEXTS = ["a b a b", "", None, "é…\n- x\n- x", "one\n\ntwo\n\none", "the of " * 12]


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: pa.array(TEXTS, pa.string()), id="string"),
        pytest.param(lambda: pa.array(TEXTS, pa.large_string()), id="large-string"),
        pytest.param(lambda: pa.array(["zzz", *TEXTS, "zzz"]).slice(1, len(TEXTS)), id="sliced"),
        pytest.param(lambda: pa.chunked_array([TEXTS[:2], [], TEXTS[2:]], pa.large_string()), id="chunked"),
        pytest.param(lambda: pa.chunked_array([["zzz", *TEXTS[:4]], TEXTS[4:]]).slice(1), id="sliced-chunks"),
    ],
)
def test_every_container_gives_the_same_rows(make: Callable[[], Any]) -> None:
    found = text_statistics(make())
    assert found.schema == STATISTICS
    assert found.to_pylist() == [statistics_of(text or "") for text in TEXTS]


def test_more_texts_than_one_batch_keep_their_order() -> None:
    found = text_statistics(pa.array(["x " * (number % 7) for number in range(2500)]))
    assert found["words"].to_pylist() == [number % 7 for number in range(2500)]


def test_no_texts() -> None:
    assert text_statistics(pa.array([], pa.string())) == STATISTICS.empty_table()


def test_other_types_are_refused() -> None:
    with pytest.raises(TypeError, match="string or large_string, not int64"):
        text_statistics(pa.array([1, 2]))


def oracle(text: str) -> dict[str, Any]:
    """The definitions again, one character and one n-gram at a time."""
    words, lines, paragraphs = [], [], [[]]
    for raw in text.splitlines():
        line = "".join(" " if char.isspace() else char for char in raw).split(" ")
        line = [word for word in line if word]
        words += line
        if line:
            lines.append(line)
            paragraphs[-1].append(" ".join(line))
        else:
            paragraphs.append([])
    blocks = ["\n".join(paragraph) for paragraph in paragraphs if paragraph]
    rows = [" ".join(line) for line in lines]
    size = len(" ".join(words))
    per = lambda part, whole: part / whole if whole else 0.0  # noqa: E731
    result = {
        "bytes": len(text.encode()),
        "characters": len(text),
        "words": len(words),
        "lines": len(lines),
        "mean_word_length": per(sum(len(word) for word in words), len(words)),
        "symbol_word_ratio": per(max(text.count("#"), text.count("...") + text.count("…")), len(words)),
        "alpha_word_ratio": per(len([word for word in words if any(char.isalpha() for char in word)]), len(words)),
        "bullet_line_ratio": per(len([x for x in lines if x[0] in list("-*+–") or x[0][0] in "•‣◦▪●"]), len(lines)),
        "ellipsis_line_ratio": per(len([x for x in rows if x.endswith(("…", "..."))]), len(lines)),
    }
    for kind, items in (("line", rows), ("paragraph", blocks)):
        again = [item for position, item in enumerate(items) if item in items[:position]]
        result[f"duplicate_{kind}_ratio"] = per(len(again), len(items))
        result[f"duplicate_{kind}_char_ratio"] = per(sum(map(len, again)), size)
    for n in (*TOP_NGRAMS, *DUPLICATE_NGRAMS):
        grams = [tuple(words[start : start + n]) for start in range(len(words) - n + 1)]
        if n in TOP_NGRAMS:
            best = max(((times, len(" ".join(gram))) for gram, times in Counter(grams).items()), default=(0, 0))
            result[f"top_{n}gram_char_ratio"] = per(min(best[0] * best[1], size), size) if best[0] > 1 else 0.0
        else:
            repeats = [start for start, gram in enumerate(grams) if gram in grams[:start]]
            covered = {start + offset for start in repeats for offset in range(n)}
            result[f"duplicate_{n}gram_char_ratio"] = per(sum(len(words[at]) for at in covered), size)
    return result


def greedy_duplicates(words: list[str], n: int) -> int:
    """Characters of duplicate n-grams as datatrove's Gopher filter walks: a duplicate found, its words are jumped over."""
    seen, at, found = set(), 0, 0
    while at + n <= len(words):
        gram = tuple(words[at : at + n])
        if gram in seen:
            found += sum(map(len, gram))
            at += n
        else:
            seen.add(gram)
            at += 1
    return found


REPETITIVE = st.lists(
    st.sampled_from(["a", "bb", "é…", "- ", "#", "...", "•x", " ", "\n", "\n\n", "\u2028", "\x1d", "1"])
)
LOOPING = st.lists(st.sampled_from(["a", "bb", "ccc", "\n"]), max_size=40)
SPACED = REPETITIVE.map(" ".join) | REPETITIVE.map("".join) | LOOPING.map(" ".join)


@settings(max_examples=200, deadline=None)
@given(st.text() | SPACED)
def test_statistics_equal_the_oracle(text: str) -> None:
    found = statistics_of(text)
    expected = oracle(text)
    assert {name: found[name] for name in expected} == expected


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from("abc"), max_size=60), st.sampled_from(DUPLICATE_NGRAMS))
def test_duplicate_ngrams_are_never_fewer_than_datatroves_and_fall_with_n(words: list[str], n: int) -> None:
    found = statistics_of(" ".join(words))
    shares = [found[f"duplicate_{length}gram_char_ratio"] for length in DUPLICATE_NGRAMS]
    assert shares == sorted(shares, reverse=True)
    assert greedy_duplicates(words, n) <= found[f"duplicate_{n}gram_char_ratio"] * len(" ".join(words)) + 1e-9


def test_a_long_text_of_one_word_is_scored() -> None:
    found = statistics_of("loop " * 40_000)
    assert found["duplicate_10gram_char_ratio"] == pytest.approx(0.8, abs=1e-3)  # four of five characters are no spaces
    assert found["top_2gram_char_ratio"] == 1.0
