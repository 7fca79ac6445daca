"""The bounds of datatrove's four filters one by one, and what each would say with one definition exchanged for ours.

A rule's value is computed as datatrove 0.10 computes it (with its own helpers and word tokenizer), except for the exchanges
that are named: with all of a rule's exchanges it is the value of our column. `first_reasons` runs the filters
themselves, to check that the rules say what they say.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, groupby
from typing import Any, NamedTuple

from synth.text.marks import BULLET_STARTS, BULLET_WORDS, STOP_WORDS, TERMINAL_MARKS
from synth.text.words import normal_words
from tests.oracle_statistics import ascii_lower, sentences

Exchanges = frozenset[str]
_THEIR_LINE_ENDS = (".", "?", "!", '"', "'")
_CITATION = re.compile(r"\[\d*]|\[edit]|\[citation needed]")

EXPLANATIONS = {
    "words": "words by whitespace, not spaCy's tokens, which split off punctuation",
    "size": "divided by the characters of the words joined by one space, not by those of the text as it is",
    "breaks": "lines end where str.splitlines says, not at \\n alone",
    "blank lines": "lines without words are no lines",
    "padding": "indentation, space at the end of lines and runs of spaces are not text",
    "paragraphs": "a line of spaces ends a paragraph too",
    "once": "an n-gram that occurs once is no repetition",
    "ties": "of equally frequent n-grams the longest counts, not the first",
    "overlaps": "all words of repeated n-grams count, not those that a walk from left to right meets",
    "symbols": "a word has a letter or digit, not a character beyond datatrove's list of punctuation",
    "all words": "the mean length is that of all words, not of those without symbols",
    "bullets": "bullets are *, + and – too, and a dash only when it stands alone",
    "normal form": "stop words in any case, punctuation around them apart",
    "marks": "the ellipsis character and later additions to Unicode are terminal marks; three Khmer signs are not",
    "anywhere": "looked for in the whole text, not only in lines that other rules kept",
    "sentences": "sentences by marks at the ends of words, not spaCy's",
    "citations": 'citations such as "[1]" are not cut out first',
}


@dataclass
class View:
    """One text, as both sides see it."""

    text: str

    @cached_property
    def tokens(self) -> list[str]:
        """datatrove's words."""
        from datatrove.utils.text import split_into_words

        found: list[str] = split_into_words(self.text)
        return found

    @cached_property
    def size(self) -> int:
        """Characters of the text's words joined by one space."""
        return len(" ".join(self.text.split()))

    def words(self, exchanged: Exchanges) -> list[str]:
        """Ours or datatrove's."""
        return self.text.split() if "words" in exchanged else self.tokens

    def lines(self, exchanged: Exchanges, theirs: Sequence[str]) -> list[str]:
        """`theirs` are datatrove's lines, which differ between its filters."""
        lines = self.text.splitlines() if "breaks" in exchanged else list(theirs)
        lines = [line for line in lines if line.strip()] if "blank lines" in exchanged else lines
        return [" ".join(line.split()) for line in lines] if "padding" in exchanged else lines

    def filled_lines(self, exchanged: Exchanges) -> list[str]:
        """The lines of FineWeb's filter, which are never blank."""
        return self.lines(exchanged | {"blank lines"}, self.text.split("\n"))

    def paragraphs(self, exchanged: Exchanges) -> list[str]:
        """Ours or datatrove's."""
        if "paragraphs" in exchanged:
            runs = groupby(self.text.splitlines(), key=lambda line: bool(line.split()))
            found = ["\n".join(run) for filled, run in runs if filled]
        else:
            found = re.split(r"\n{2,}", self.text.strip())
        return [*map(_squeezed, found)] if "padding" in exchanged else found

    def length(self, exchanged: Exchanges, theirs: int) -> int:
        """What characters are divided by."""
        return self.size if "size" in exchanged else theirs


class Rule(NamedTuple):
    """One bound of a filter. It drops below `low` or above `high`; None: no bound."""

    name: str
    preset: str
    column: str
    low: float | None
    high: float | None
    exchanges: tuple[str, ...]
    value: Callable[[View, Exchanges], float]

    def drops(self, value: float) -> bool:
        """Whether a text of this value is dropped."""
        return (self.low is not None and value < self.low) or (self.high is not None and value > self.high)

    def explain(self, view: View, ours: bool) -> str:
        """The fewest exchanges, the first such ones in the order of `exchanges`, after which the rule decides as we do."""
        for count in range(1, len(self.exchanges) + 1):
            for chosen in combinations(self.exchanges, count):
                if self.drops(self.value(view, frozenset(chosen))) == ours:
                    return " + ".join(chosen)
        return "unexplained"


def _squeezed(paragraph: str) -> str:
    lines = [" ".join(line.split()) for line in paragraph.splitlines()]
    return "\n".join(line for line in lines if line)


def _per(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def _duplicates(items: Sequence[str]) -> tuple[int, int]:
    """How many repeat an earlier one, and their characters."""
    from datatrove.pipeline.filters.gopher_repetition_filter import find_duplicates

    found: tuple[int, int] = find_duplicates(items)
    return found


def _duplicate_lines(view: View, exchanged: Exchanges) -> float:
    lines = view.lines(exchanged, re.split("\n+", view.text))
    return _per(_duplicates(lines)[0], len(lines))


def _duplicate_line_characters(view: View, exchanged: Exchanges) -> float:
    lines = view.lines(exchanged, re.split("\n+", view.text))
    return _per(_duplicates(lines)[1], view.length(exchanged, len(view.text)))


def _duplicate_paragraphs(view: View, exchanged: Exchanges) -> float:
    paragraphs = view.paragraphs(exchanged)
    return _per(_duplicates(paragraphs)[0], len(paragraphs))


def _duplicate_paragraph_characters(view: View, exchanged: Exchanges) -> float:
    return _per(_duplicates(view.paragraphs(exchanged))[1], view.length(exchanged, len(view.text)))


def _top(n: int) -> Callable[[View, Exchanges], float]:
    def value(view: View, exchanged: Exchanges) -> float:
        words = view.words(exchanged)
        grams = Counter(" ".join(words[at : at + n]) for at in range(len(words) - n + 1))
        if not grams:
            return 0.0
        first, most = grams.most_common(1)[0]
        if most == 1 and "once" in exchanged:
            return 0.0
        ties = (len(gram) for gram, times in grams.items() if times == most)
        whole = view.length(exchanged, len(view.text))
        characters = most * (max(ties) if "ties" in exchanged else len(first))
        return _per(min(characters, whole) if "size" in exchanged else characters, whole)

    return value


def _repeated(n: int) -> Callable[[View, Exchanges], float]:
    def value(view: View, exchanged: Exchanges) -> float:
        from datatrove.pipeline.filters.gopher_repetition_filter import find_all_duplicate

        words = view.words(exchanged)
        found = _covered(words, n) if "overlaps" in exchanged else find_all_duplicate(words, n)
        return _per(found, view.length(exchanged, len(view.text)))

    return value


def _covered(words: Sequence[str], n: int) -> int:
    seen: set[tuple[str, ...]] = set()
    covered: set[int] = set()
    for at in range(len(words) - n + 1):
        gram = tuple(words[at : at + n])
        if gram in seen:
            covered.update(range(at, at + n))
        seen.add(gram)
    return sum(len(words[at]) for at in covered)


def _non_symbols(view: View, exchanged: Exchanges) -> list[str]:
    from datatrove.utils.text import PUNCTUATION_SET

    words = view.words(exchanged)
    if "symbols" in exchanged:
        return [word for word in words if any(map(str.isalnum, word))]
    return [word for word in words if any(char not in PUNCTUATION_SET for char in word)]


def _mean_length(view: View, exchanged: Exchanges) -> float:
    words = view.words(exchanged) if "all words" in exchanged else _non_symbols(view, exchanged)
    return _per(sum(map(len, words)), len(words))


def _symbols(view: View, exchanged: Exchanges) -> float:
    ellipses = view.text.count("...") + view.text.count("…")
    return _per(max(view.text.count("#"), ellipses), len(view.words(exchanged)))


def _bullets(view: View, exchanged: Exchanges) -> float:
    lines = [line.lstrip() for line in view.lines(exchanged, view.text.splitlines())]
    if "bullets" not in exchanged:
        return _per(sum(line.startswith(("•", "-")) for line in lines), len(lines))
    firsts = [line.split()[0] for line in lines if line]
    return _per(sum(word in BULLET_WORDS or word.startswith(BULLET_STARTS) for word in firsts), len(lines))


def _ellipses(view: View, exchanged: Exchanges) -> float:
    lines = view.lines(exchanged, view.text.splitlines())
    return _per(sum(line.rstrip().endswith(("...", "…")) for line in lines), len(lines))


def _alphabetic(view: View, exchanged: Exchanges) -> float:
    words = view.words(exchanged)
    return _per(sum(any(map(str.isalpha, word)) for word in words), len(words))


def _stop_words(view: View, exchanged: Exchanges) -> float:
    words = view.words(exchanged)
    return len(STOP_WORDS & {*(normal_words(" ".join(words)) if "normal form" in exchanged else words)})


def _c4_lines(view: View, exchanged: Exchanges) -> Iterator[tuple[str, str]]:
    """Lines that the rules about length and end keep: as they are then, and in lower case."""
    for raw in view.text.splitlines():
        words = raw.split()
        line = " ".join(words) if "padding" in exchanged else raw.strip()
        line = line if "citations" in exchanged else _CITATION.sub("", line)
        if any(len(word) > 1000 for word in words) or len(words) < 3:
            continue
        if line.endswith(_THEIR_LINE_ENDS) and not line.endswith("..."):
            yield line, ascii_lower(line) if "padding" in exchanged else line.lower()


def _lorem_ipsum(view: View, exchanged: Exchanges) -> float:
    if "anywhere" in exchanged:
        return ascii_lower(" ".join(view.text.split())).count("lorem ipsum")
    return sum("lorem ipsum" in low for _, low in _c4_lines(view, exchanged))


def _curly_brackets(view: View, exchanged: Exchanges) -> float:
    if "anywhere" in exchanged:
        return view.text.count("{")
    return sum("{" in line for line, low in _c4_lines(view, exchanged) if "javascript" not in low)


def _c4_sentences(view: View, exchanged: Exchanges) -> float:
    from datatrove.pipeline.filters.c4_filters import POLICY_SUBSTRINGS
    from datatrove.utils.text import split_into_sentences

    banned = ("javascript", *POLICY_SUBSTRINGS)
    lines = [line for line, low in _c4_lines(view, exchanged) if not any(phrase in low for phrase in banned)]
    if "sentences" in exchanged:
        return sum(sentences(line.split()) for line in lines)
    return sum(len(split_into_sentences(line)) for line in lines)


def _punctuated(view: View, exchanged: Exchanges) -> float:
    from datatrove.utils.text import TERMINAL_PUNCTUATION

    marks = tuple(TERMINAL_MARKS if "marks" in exchanged else TERMINAL_PUNCTUATION)
    lines = view.filled_lines(exchanged)
    return _per(sum(line.endswith(marks) for line in lines), len(lines)) if lines else 0.0


def _short(view: View, exchanged: Exchanges) -> float:
    lines = view.filled_lines(exchanged)
    return _per(sum(len(line) <= 30 for line in lines), len(lines))


def _repeated_lines(view: View, exchanged: Exchanges) -> float:
    whole = len(view.text.replace("\n", ""))
    return _per(_duplicates(view.filled_lines(exchanged))[1], view.length(exchanged, whole))


def _line_feeds(view: View, exchanged: Exchanges) -> float:
    return _per(view.text.count("\n"), len(view.words(exchanged)))


_LINES, _PARAGRAPHS = ("blank lines", "padding", "breaks"), ("paragraphs", "padding")
_TOP_BOUNDS = {2: 0.20, 3: 0.18, 4: 0.16}
_REPEATED_BOUNDS = {5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.10}


def _rules() -> Iterator[Rule]:
    """In the order of the filters and of the bounds in them."""
    kinds: tuple[str, ...]
    name = "gopher_repetition"
    yield Rule("dup_para_frac", name, "duplicate_paragraph_ratio", None, 0.3, _PARAGRAPHS, _duplicate_paragraphs)
    kinds = (*_PARAGRAPHS, "size")
    column = "duplicate_paragraph_char_ratio"
    yield Rule("dup_para_char_frac", name, column, None, 0.2, kinds, _duplicate_paragraph_characters)
    yield Rule("dup_line_frac", name, "duplicate_line_ratio", None, 0.3, _LINES, _duplicate_lines)
    kinds = (*_LINES, "size")
    yield Rule("dup_line_char_frac", name, "duplicate_line_char_ratio", None, 0.2, kinds, _duplicate_line_characters)
    for n, bound in _TOP_BOUNDS.items():
        kinds = ("words", "size", "once", "ties")
        yield Rule(f"top_{n}_gram", name, f"top_{n}gram_char_ratio", None, bound, kinds, _top(n))
    for n, bound in _REPEATED_BOUNDS.items():
        kinds = ("words", "size", "overlaps")
        yield Rule(f"duplicated_{n}_n_grams", name, f"duplicate_{n}gram_char_ratio", None, bound, kinds, _repeated(n))
    name, kinds = "gopher_quality", ("words", "symbols")
    yield Rule("gopher_short_doc", name, "normal_words", 50, None, kinds, lambda *a: len(_non_symbols(*a)))
    yield Rule("gopher_long_doc", name, "normal_words", None, 100_000, kinds, lambda *a: len(_non_symbols(*a)))
    kinds = ("words", "all words")
    yield Rule("gopher_below_avg_threshold", name, "mean_word_length", 3, None, kinds, _mean_length)
    yield Rule("gopher_above_avg_threshold", name, "mean_word_length", None, 10, kinds, _mean_length)
    yield Rule("gopher_too_many_symbols", name, "symbol_word_ratio", None, 0.1, ("words",), _symbols)
    yield Rule("gopher_too_many_bullets", name, "bullet_line_ratio", None, 0.9, ("blank lines", "bullets"), _bullets)
    yield Rule("gopher_too_many_end_ellipsis", name, "ellipsis_line_ratio", None, 0.3, ("blank lines",), _ellipses)
    yield Rule("gopher_below_alpha_threshold", name, "alpha_word_ratio", 0.8, None, ("words",), _alphabetic)
    yield Rule("gopher_enough_stop_words", name, "stop_words", 2, None, ("words", "normal form"), _stop_words)
    name = "c4"
    yield Rule("lorem_ipsum", name, "lorem_ipsum", None, 0, ("anywhere",), _lorem_ipsum)
    yield Rule("curly_bracket", name, "curly_brackets", None, 0, ("anywhere",), _curly_brackets)
    kinds = ("sentences", "citations", "padding")
    yield Rule("too_few_sentences", name, "c4_sentences", 5, None, kinds, _c4_sentences)
    name = "fineweb"
    kinds = ("padding", "marks", "breaks")
    yield Rule("line_punct_ratio", name, "punctuated_line_ratio", 0.12, None, kinds, _punctuated)
    yield Rule("short_line_ratio", name, "short_line_ratio", None, 0.67, ("padding", "breaks"), _short)
    kinds = ("padding", "size", "breaks")
    yield Rule("char_dup_ratio", name, "duplicate_line_char_ratio", None, 0.01, kinds, _repeated_lines)
    yield Rule("list_ratio", name, "newline_word_ratio", None, 0.3, ("words",), _line_feeds)


RULES = tuple(_rules())


def filters() -> dict[str, Any]:
    """datatrove's four filters as they come, by the names of our presets."""
    from datatrove.pipeline.filters import (
        C4QualityFilter,
        FineWebQualityFilter,
        GopherQualityFilter,
        GopherRepetitionFilter,
    )

    kinds = (GopherRepetitionFilter, GopherQualityFilter, C4QualityFilter, FineWebQualityFilter)
    return dict(zip(("gopher_repetition", "gopher_quality", "c4", "fineweb"), (kind() for kind in kinds), strict=True))


def first_reasons(text: str, made: dict[str, Any]) -> dict[str, str | None]:
    """What the filters themselves say: by preset, the name of the rule that dropped the text, or None."""
    from datatrove.data import Document

    said = {name: one.filter(Document(text=text, id="")) for name, one in made.items()}
    return {name: None if isinstance(result, bool) else result[1] for name, result in said.items()}


def expected_reasons(view: View) -> dict[str, set[str | None]]:
    """What they say by our account: the first rule that drops; where C4's order depends on lines, either of two."""
    found: dict[str, set[str | None]] = {}
    for preset, rules in groupby(RULES, key=lambda rule: rule.preset):
        dropping = [rule.name for rule in rules if rule.drops(rule.value(view, frozenset()))]
        both = preset == "c4" and dropping[:2] == ["lorem_ipsum", "curly_bracket"]
        found[preset] = {*dropping[: 2 if both else 1]} or {None}
    return found
