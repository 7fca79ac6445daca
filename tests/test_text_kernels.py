"""The compiled statistics against plain Python, bit for bit, over arbitrary Unicode and every form of Arrow column."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synth.text import buffers, kernels, kernels_text, statistics
from synth.text.marks import BULLET_STARTS, BULLET_WORDS, STOP_WORDS, TERMINAL_MARKS, marks
from synth.text.statistics import STATISTICS, text_statistics
from synth.text.unicode_tables import character_tables
from tests.oracle_statistics import is_closing, is_punctuation, oracle_statistics

ROOT = Path(__file__).parent.parent
SPACES = [" ", "\n", "\n\n", "\r\n", "\r", "\n\r", "\t", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x1f", "\x85", "\xa0"]
SPACES += ["\u2028", "\u2029", "\u3000", "\n \n", "\r\n\r\n", "  "]
FOLDING = ["K", "ſ", "ß", "ẖ", "ǰ", "ŉ", "İ", "ΐ", "ͅ", "Ⓐ", "ﬃ", "ﬆ", "Σς", "ᾧ", "𐐀", "Ꭰ", "ꭰ", "witẖ", "ofͅ", "tḧe"]
ODD = ["\x00", "\u200b", "\u0301", "e\u0301", "😀", "👩‍👧", "你好", "½", "²", "٣", "_", "__a__", "#", ".", "...", "…"]
ODD += ["a…", "b...."]
PLAIN = ["a", "bb", "ccc", "A", "1", "3.5%", "-5", "(The)", "“and”", "be,", "that"]
ENDED = ["end.", "end?”", "End!)", "(end…)»", "“End.", "終。」", ".", "”", ".)", "e.g.", "end.x", "it's'", "a…'"]
ENDED += ["...'", "‽", "؟"]
PHRASED = ["terms", "TERMS", "of", "use", "Use", "privacy", "Policy", "policyx", "xcookie", "cookies", "COOKIES."]
PHRASED += ["uses", "ofx", "lorem", "doLOREM", "ipsum", "Ipsum,", "ipsu", "sign-in", "SIGN-INS", "sign-", "read"]
PHRASED += ["Read", "more...", "more…", "more....", "items", "xitems", "in", "cart", "carts", "JavaScript"]
PHRASED += ["xjavascript!", "javascrip", "jjavascript"]
COUNTED = ["3", "1,204", "12.5K", "7m", "9b", "9bb", ",5", "(8)", "k", "3\u212a", "٣", "likes", "(Views)"]
COUNTED += ["followers,", "liKes", "li\u212aes", "upvotes", "upvote", "·", "--"]
SHAPED = ["ALL", "CAPS", "ÀÉÎ", "ⒶⒷ", "Ⅷ", "𝐀", "Ab", "aB", "²³", "٣٤", "42", "007", "4-2", "{", "{{}}"]
LENGTHY = ["x" * 1000, "é" * 1001, "x" * 999 + ".", "a", "b."]
WORDS = (
    FOLDING + ODD + PLAIN + ENDED + PHRASED + COUNTED + SHAPED + sorted(STOP_WORDS | BULLET_WORDS) + [*BULLET_STARTS]
)
GROUPS = [
    WORDS,
    PLAIN + sorted(STOP_WORDS),
    ENDED,
    PHRASED,
    COUNTED,
    SHAPED,
    ENDED + PLAIN,
    PHRASED + PLAIN,
    LENGTHY,
    ["lorem", "ipsum", "Lorem"],
    ["{", "a"],
]
TOKENS = st.sampled_from(SPACES + WORDS)
UNICODE = st.text() | st.text(st.characters(max_codepoint=0x500)) | st.lists(TOKENS, max_size=60).map("".join)


@st.composite
def repetitive(draw: st.DrawFn) -> str:
    """Words, lines and paragraphs drawn from so few that they, and long n-grams of them, occur again."""
    few = draw(st.lists(st.text(max_size=3) | TOKENS, min_size=1, max_size=4))
    phrases = draw(st.lists(st.lists(st.sampled_from(few), max_size=12).map(" ".join), min_size=1, max_size=4))
    lines = draw(st.lists(st.sampled_from(phrases), min_size=1, max_size=5))
    pieces = draw(st.lists(st.sampled_from(lines) | st.sampled_from(SPACES), max_size=30))
    return draw(st.sampled_from(["", " ", "\n", "\r\n\r\n"])).join(pieces)


@st.composite
def ruled(draw: st.DrawFn) -> str:
    """Lines that the rules about lines look at: short ones, of words that they look for."""
    words = draw(st.sampled_from(GROUPS))
    line = st.lists(st.sampled_from(words) | st.text(max_size=2), max_size=4 if words is LENGTHY else 12).map(" ".join)
    lines = draw(st.lists(line, max_size=8))
    return draw(st.sampled_from(["\n", "\r\n", "\u2028", "\n\n"])).join(lines)


def assert_equal_bits(found: pa.Table, expected: pa.Table) -> None:
    assert found.schema == expected.schema == STATISTICS
    for name in STATISTICS.names:
        one, other = found[name].combine_chunks(), expected[name].combine_chunks()
        assert one.is_null().equals(other.is_null()), name
        kind = np.dtype(f"{'f' if pa.types.is_floating(one.type) else 'u' if name == 'opening_digest' else 'i'}8")
        bits = [np.asarray(values.fill_null(0)).astype(kind).view(np.uint64).tolist() for values in (one, other)]
        assert bits[0] == bits[1], name


def assert_like_the_oracle(texts: Sequence[str | None], kind: pa.DataType | None = None) -> None:
    assert_equal_bits(text_statistics(pa.array(texts, kind or pa.string())), oracle_statistics(texts))


@settings(max_examples=100, deadline=None)
@given(st.lists(UNICODE | repetitive() | st.none(), min_size=1, max_size=12))
def test_arbitrary_texts(texts: list[str | None]) -> None:
    assert_like_the_oracle(texts, pa.large_string())


@settings(max_examples=100, deadline=None)
@given(st.lists(ruled(), min_size=4, max_size=8))
def test_lines_that_rules_look_at(texts: list[str]) -> None:
    assert_like_the_oracle(texts)


@settings(max_examples=80, deadline=None)
@given(st.lists(repetitive(), min_size=4, max_size=8))
def test_repetitive_texts(texts: list[str]) -> None:
    assert_like_the_oracle(texts)


def test_many_texts_of_words_that_rules_look_for() -> None:
    draw = random.Random(5)
    breaks = [" "] * 30 + SPACES

    def text() -> str:
        group = draw.choice(GROUPS)
        few = draw.sample(group, draw.randint(1, len(group)))
        words = draw.choices(few, k=draw.randint(0, 80))
        return "".join(word + draw.choice(["", *breaks]) for word in words) * draw.choice([1, 1, 1, 2, 3])

    texts = [text() for _ in range(2000)]
    expected = oracle_statistics(texts)
    assert_equal_bits(text_statistics(pa.array(texts)), expected)
    for name in STATISTICS.names[:-1]:
        assert len(set(expected[name].to_pylist())) > 8, f"{name} is hardly tested"


def test_code_points_alone_within_and_at_the_edges_of_words() -> None:
    """All of the first two planes, and some of the others; the tables are compared for each one below."""
    codes = [code for code in range(0x110000) if not 0xD800 <= code < 0xE000]
    characters = [*map(chr, codes[:0x1F800] + codes[0x1F800::61])]
    some = [c for c in characters if c.isspace() or c.casefold() != c or ord(c) < 0x100]
    assert_like_the_oracle([form.format(c) for c in some for form in ("{0}", "a{0}b {0}x {0}", "the{0} {0}of\n{0}{0}")])
    blocks = ["".join(characters[start : start + 512]) for start in range(0, len(characters), 512)]
    assert_like_the_oracle([form for block in blocks for form in (block, " ".join(block))])


def test_every_pair_of_spaces_between_equal_lines() -> None:
    forms = (
        "a{0}a",
        "a{0}{1}a",
        "a b{0}a b{1}a b",
        "a{0}b{1}{0}a{0}b{1}c",
        "{0}{1}a b{1}{0}a b{0}",
        "a{0}{0}b{1}a{1}{1}b",
    )
    assert_like_the_oracle([form.format(one, other) for one in SPACES for other in SPACES for form in forms])


def test_the_tables_say_what_str_says() -> None:
    tables = character_tables()
    characters = [*map(chr, range(0x110000))]
    pages, within = np.divmod(np.arange(0x110000), kernels_text.PAGE)
    kinds = tables.kinds[tables.kind_pages[pages] * kernels_text.PAGE + within]
    for bit, says in (
        (kernels_text.WHITESPACE, str.isspace),
        (kernels_text.LETTER, str.isalpha),
        (kernels_text.ALPHANUMERIC, str.isalnum),
        (kernels_text.DIGIT, str.isdigit),
        (kernels_text.UPPER, str.isupper),
        (kernels_text.PUNCTUATION, is_punctuation.__wrapped__),
        (kernels_text.TERMINAL, TERMINAL_MARKS.__contains__),
        (kernels_text.CLOSING, is_closing.__wrapped__),
    ):
        assert ((kinds & bit) > 0).tolist() == [*map(says, characters)]
    others = "".join(
        c for c, kind in zip(characters, kinds.tolist(), strict=True) if not kind & kernels_text.LINE_BREAK
    )
    assert len(others.splitlines()) == 1
    folds = tables.folds[tables.fold_pages[pages] * kernels_text.PAGE + within].tolist()
    longer = [[code for code in row if code >= 0] for row in tables.longer.tolist()]
    for code, fold in enumerate(folds):
        codes = longer[fold - kernels_text.LONGER] if fold >= kernels_text.LONGER else [code + fold]
        assert "".join(map(chr, codes)) == chr(code).casefold()


MIXED = ["a b a b", "", None, "é…\n- x\n- x", "one\n\ntwo\n\none", "the of " * 12, "  ", None, "loop " * 30, "😀\r\n😀"]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()], ids=str)
@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda kind: pa.array(MIXED, kind), id="whole"),
        pytest.param(lambda kind: pa.array(["zz", *MIXED, "é"], kind).slice(1, len(MIXED)), id="sliced"),
        pytest.param(lambda kind: pa.chunked_array([MIXED[:3], [], MIXED[3:]], kind), id="chunked"),
        pytest.param(lambda kind: pa.chunked_array([["x", *MIXED[:4]], MIXED[4:]], kind).slice(1), id="sliced-chunks"),
        pytest.param(lambda kind: pa.array(MIXED, kind).take(pa.array(range(len(MIXED)))), id="taken"),
    ],
)
def test_every_container(make: Callable[[pa.DataType], Any], kind: pa.DataType) -> None:
    assert_equal_bits(text_statistics(make(kind)), oracle_statistics(MIXED))


@pytest.mark.parametrize("texts", [[], [None], [""], [None, "", None]], ids=str)
@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()], ids=str)
def test_nothing_to_read(texts: list[str | None], kind: pa.DataType) -> None:
    assert_like_the_oracle(texts, kind)


def column(data: bytes, edges: Sequence[int], validity: bytes | None = None) -> pa.Array:
    """A string array of these bytes, whatever they are."""
    offsets = pa.array(edges, pa.int32()).buffers()[1]
    return pa.Array.from_buffers(
        pa.string(), len(edges) - 1, [pa.py_buffer(validity) if validity else None, offsets, pa.py_buffer(data)]
    )


def test_bytes_under_a_null_are_no_text() -> None:
    texts = column(b"one two\xff\xfe", [0, 3, 9], validity=b"\x01")
    assert_equal_bits(text_statistics(texts), oracle_statistics(["one", None]))


@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(b"\xff", id="no-lead"),
        pytest.param(b"a\xe2\x80", id="cut-off"),
        pytest.param(b"\xc0\x80", id="overlong"),
        pytest.param(b"\xed\xa0\x80", id="surrogate"),
        pytest.param(b"\xf4\x90\x80\x80", id="beyond-unicode"),
    ],
)
def test_invalid_utf8_is_refused(wrong: bytes) -> None:
    texts = column(b"good" + wrong, [0, 4, 4 + len(wrong)])
    with pytest.raises(ValueError, match=r"text 1 of the column \(counted from 0\) is not UTF-8"):
        text_statistics(texts)
    chunks = pa.chunked_array([pa.array(["a"] * 3), texts])
    with pytest.raises(ValueError, match="text 4 of the column"):
        [*buffers.text_bytes(chunks, batch_texts=1)]


def test_a_slice_is_refused_for_its_own_bytes_only() -> None:
    texts = column(b"\xffgood", [0, 1, 5])
    assert_equal_bits(text_statistics(texts.slice(1)), oracle_statistics(["good"]))


def test_a_batch_copies_no_text_and_bounds_its_texts() -> None:
    texts = pa.array(["é" * 10, None, "b"] * 4, pa.large_string())
    batches = [*buffers.text_bytes(texts, batch_texts=5)]
    assert [len(batch.starts) for batch in batches] == [5, 5, 2]
    assert {batch.data.ctypes.data for batch in batches} == {texts.buffers()[2].address}
    read = [bytes(b.data[start:end]) for b in batches for start, end in zip(b.starts, b.ends, strict=True)]
    assert read == [text.encode() for text in ["é" * 10, "", "b"] * 4]


def test_scratch_is_for_the_longest_text_not_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    make = kernels._scratch
    asked: list[int] = []

    def scratch(longest_bytes: int) -> kernels_text.Scratch:
        asked.append(longest_bytes)
        return make(longest_bytes)

    monkeypatch.setattr(kernels, "_scratch", scratch)
    text_statistics(pa.array(["a b", "é" * 40, "c"] * 5000))
    assert asked == [80, 80]  # two batches
    assert sum(part.nbytes for part in make(1000)) < 73 * 1000 + 300


CORPUS = [f"{'one two three ' * (number % 9)}{number}\n\n- {'ab ' * (number % 5)}…" for number in range(400)]


@pytest.mark.parametrize("batch_texts", [1, 7, 399, 401])
def test_batches_change_nothing(batch_texts: int, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = oracle_statistics(CORPUS)
    cut = buffers.text_bytes
    monkeypatch.setattr(statistics, "text_bytes", lambda texts: cut(texts, batch_texts))
    assert_equal_bits(text_statistics(pa.array(CORPUS)), expected)


def test_threads_change_nothing() -> None:
    texts = pa.array(CORPUS)
    with ThreadPoolExecutor(8) as pool:
        parts = [*pool.map(text_statistics, [texts.slice(start, 50) for start in range(0, 400, 50)] * 3)]
    expected = oracle_statistics(CORPUS)
    for again in range(3):
        assert_equal_bits(pa.concat_tables(parts[again * 8 : again * 8 + 8]), expected)


def test_other_threads_run_while_texts_are_measured() -> None:
    """No thread is ever made to hand over the GIL here, so this one can only see a measurement under way without it."""
    (batch,) = buffers.text_bytes(pa.array(["one two three " * 500_000]))
    arguments = (*batch, character_tables(), marks(), 1)
    kernels.measure(*arguments)  # compiled or loaded now: that hands over the GIL
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1000)
    try:
        assert any(under_way(lambda: kernels.measure(*arguments)) for _ in range(5))
    finally:
        sys.setswitchinterval(interval)


def under_way(work: Callable[[], object]) -> bool:
    """Whether this thread runs after another one started `work` and before it is done."""
    started, done = threading.Event(), threading.Event()

    def worker() -> None:
        started.set()
        work()
        done.set()

    thread = threading.Thread(target=worker)
    thread.start()
    started.wait()
    seen = not done.is_set()
    thread.join()
    return seen


@settings(max_examples=60, deadline=None)
@given(repetitive(), st.sampled_from([0, 1, -1, 2**62]))
def test_the_seed_of_the_hashes_changes_nothing(text: str, seed: int) -> None:
    (batch,) = buffers.text_bytes(pa.array([text]))
    one, other = (kernels.measure(*batch, character_tables(), marks(), value) for value in (seed, 7))
    assert one.counts.tolist() == other.counts.tolist()
    assert one.ratios.tolist() == other.ratios.tolist()


def test_equal_hashes_are_not_taken_for_equality() -> None:
    """Words whose hashes are all equal: with this seed, the first letter makes the state 0 and each NUL keeps it there."""
    seed = ord("q") ^ kernels._VERSION
    words = ["q" + "\x00" * count for count in range(40)]
    text = "\n".join(words)
    (batch,) = buffers.text_bytes(pa.array([text, "\n".join(words + words)]))
    measures = kernels.measure(*batch, character_tables(), marks(), seed)
    ratios = dict(zip(kernels.RATIOS, measures.ratios.tolist(), strict=False))
    assert ratios["duplicate_line_ratio"] == [0.0, 0.5]
    assert measures.ratios[len(kernels.RATIOS)].tolist()[0] == 0.0


LONG = 1 << 17


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("a " * (LONG // 2), id="one-letter"),
        pytest.param("a" * LONG, id="one-word"),
        pytest.param("\n" * LONG, id="newlines"),
        pytest.param("a\n" * (LONG // 2), id="one-line"),
        pytest.param("a\n\n" * (LONG // 3), id="one-paragraph"),
        pytest.param("a b\n" * (LONG // 4), id="two-words"),
        pytest.param("." * LONG, id="dots"),
        pytest.param("ΐ" * (LONG // 2), id="folds-to-three"),
        pytest.param("!" * LONG, id="marks"),
        pytest.param("{" * LONG, id="curly-brackets"),
        pytest.param("j" * LONG, id="starts-of-the-script-word"),
        pytest.param("javascript" * (LONG // 10), id="script-words"),
        pytest.param("use " * (LONG // 4), id="starts-of-phrases"),
        pytest.param("lorem ipsum " * (LONG // 12), id="phrases"),
        pytest.param("." * (LONG // 2) + '")' * (LONG // 4), id="closing-marks"),
        pytest.param("3 likes\n" * (LONG // 8), id="counters"),
        pytest.param("\x00 " * (LONG // 2), id="nuls"),
        pytest.param(" ".join(map(str, range(20_000))), id="all-different"),
        pytest.param(" ".join("ab"[number.bit_count() % 2] for number in range(LONG // 2)), id="aperiodic"),
    ],
)
def test_long_texts_of_anything(text: str) -> None:
    assert_like_the_oracle([text])


def run(code: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | environment,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_the_module_imports_no_compiler() -> None:
    """Nor does measuring no rows, which is how the columns of a rule are found."""
    run(
        "import sys, pyarrow as pa, filters.rules; from synth.text.statistics import text_statistics; "
        "text_statistics(pa.array([], pa.string())); assert not {'numba', 'llvmlite'} & {*sys.modules}"
    )


def test_without_a_folder_for_the_cache_it_still_loads() -> None:
    code = "from synth.text import kernels; print(kernels._measure_all.stats.cache_path)"
    assert run(code, NUMBA_CACHE_LOCATOR_CLASSES="IPythonCacheLocator").strip() == "None"
    assert run(code).strip() != "None"


USES = """
import pyarrow as pa
from synth.text import kernels
from synth.text.statistics import text_statistics
text_statistics(pa.array(["a b"])); text_statistics(pa.array(["a b"], pa.large_string()))
stats = kernels._measure_all.stats
print(kernels.__file__, sum(stats.cache_hits.values()), sum(stats.cache_misses.values()), stats.cache_path)
"""


def test_a_second_process_compiles_nothing(tmp_path: Path) -> None:
    text_statistics(pa.array(["compiled now if it was not before"]))
    _, hits, misses, _ = run(USES).split()
    assert (int(hits), int(misses)) == (1, 0)
