"""Compiled: what the rules of C4, FineWeb and RefinedWeb ask of each line of one text, and its sentences."""

from __future__ import annotations

from typing import NamedTuple

from synth.text.kernels_text import (
    ALPHANUMERIC,
    DIGITS,
    ENDS,
    ENDS_LINE,
    LONG,
    NORMAL,
    SCRIPT,
    SHAPE_BITS,
    Bytes,
    CharacterTables,
    Integers,
    Scratch,
    compiled,
    decode,
    kind_of,
    lower,
    stands_at,
)
from synth.text.marks import END, ITEM, LOREM, POLICY, START, Marks, Phrases

_BOILERPLATE = ITEM | START | END
_DOT, _COMMA, _ZERO, _NINE = 0x2E, 0x2C, 0x30, 0x39
_THOUSANDS, _MILLIONS, _BILLIONS = 0x6B, 0x6D, 0x62


class Lines(NamedTuple):
    """Counts of one text. C4's are of the lines that its rules keep."""

    sentences: int
    punctuated: int
    short: int
    bullets: int
    ellipses: int
    c4_kept: int
    c4_sentences: int
    c4_sentences_any_end: int
    lorem_ipsum: int
    removed_words: int  # of lines that RefinedWeb's rules remove


class Line(NamedTuple):
    """What the words of one line say."""

    sentences: int
    continued: int  # sentences that end here, when the text before belongs to the first
    open: int  # whether the last one goes on, so that the next line's may
    normal_words: int
    uppers: int
    shapes: int  # what holds of a word of the line
    digits: int  # whether all of its words are digits
    phrases: int
    lorem_ipsum: int


@compiled
def _among(code: int, codes: Integers) -> bool:
    """Whether the code point is one of these."""
    for at in range(codes.size):  # noqa: SIM110 - numba has no any()
        if codes[at] == code:
            return True
    return False


@compiled
def _phrase_ends(data: Bytes, word: int, first: int, phrases: Phrases, phrase: int, scratch: Scratch) -> bool:
    """Whether the words from `first` to `word` end in a phrase: its first piece ends a word (or starts it, when it is the
    only one), its last one starts `word`, and what is between them are words."""
    starts, ends, text, pieces = scratch.starts, scratch.ends, phrases.text, phrases.pieces
    last = phrases.firsts[phrase + 1] - 1
    if not stands_at(data, starts[word], ends[word], text, pieces[last], pieces[last + 1]):
        return False
    for back in range(1, last - phrases.firsts[phrase] + 1):
        if word - back < first:
            return False
        piece, at, end = last - back, starts[word - back], ends[word - back]
        start = end - (pieces[piece + 1] - pieces[piece])
        if start < at or (start > at and piece > phrases.firsts[phrase]):
            return False
        if not stands_at(data, start, end, text, pieces[piece], pieces[piece + 1]):
            return False
    return True


@compiled
def _phrases_at(
    data: Bytes, word: int, first: int, last: int, candidates: int, phrases: Phrases, scratch: Scratch
) -> int:
    """The kinds of phrases that end at this word of the line from word `first` to `last`."""
    found = 0
    for phrase in range(phrases.kinds.size):
        if not candidates >> phrase & 1:
            continue
        kind = phrases.kinds[phrase]
        if kind == START and word != first:
            continue
        piece = phrases.firsts[phrase + 1] - 1
        size = phrases.pieces[piece + 1] - phrases.pieces[piece]
        if kind == END and (word != last or scratch.ends[word] - scratch.starts[word] != size):
            continue
        if _phrase_ends(data, word, 0 if kind == LOREM else first, phrases, phrase, scratch):
            found |= kind
    return found


@compiled
def _read_line(data: Bytes, first: int, last: int, opened: int, phrases: Phrases, scratch: Scratch) -> Line:
    """The line from word `first` to `last`. `opened`: whether the text before has a normal word since its last sentence."""
    starts, shapes, triggers = scratch.starts, scratch.shapes, phrases.triggers
    sentences = continued = normal_words = uppers = some = found = lorem_ipsum = here = 0
    digits = DIGITS
    for word in range(first, last + 1):
        shape = shapes[word]
        normal = shape & NORMAL
        normal_words += normal
        uppers += shape >> SHAPE_BITS
        some |= shape
        digits &= shape
        here |= normal
        opened |= normal
        if shape & ENDS:
            sentences += here
            continued += opened
            here = opened = 0
        at = starts[word]
        candidates = triggers[0, data[at]] & triggers[1, data[at + 1]] if scratch.ends[word] > at + 1 else 0
        if candidates:
            kinds = _phrases_at(data, word, first, last, candidates, phrases, scratch)
            found |= kinds
            lorem_ipsum += (kinds & LOREM) != 0
    return Line(sentences + here, continued, opened, normal_words, uppers, some, digits, found, lorem_ipsum)


@compiled
def _edges(data: Bytes, at: int, end: int, tables: CharacterTables) -> tuple[int, int]:
    """A word without what is neither letter nor digit at its ends."""
    start = stop = end
    while at < end:
        code, width = decode(data, at)
        if kind_of(tables.kinds, tables.kind_pages, code) & ALPHANUMERIC:
            start = min(start, at)
            stop = at + width
        at += width
    return start, stop


@compiled
def _is_count(data: Bytes, at: int, end: int) -> bool:
    """Whether it is a digit, and then digits, dots and commas, and perhaps k, m or b."""
    if end > at + 1:
        byte = lower(data[end - 1])
        end -= byte in (_THOUSANDS, _MILLIONS, _BILLIONS)
    for place in range(at, end):
        byte = data[place] & 0xFF
        digit = _ZERO <= byte <= _NINE
        if not digit and (place == at or byte not in (_DOT, _COMMA)):
            return False
    return end > at


@compiled
def _is_counted(data: Bytes, at: int, end: int, counters: Phrases) -> bool:
    """Whether it is one of the counter words."""
    for word in range(counters.kinds.size):
        first, last = counters.pieces[word], counters.pieces[word + 1]
        if end - at == last - first and stands_at(data, at, end, counters.text, first, last):
            return True
    return False


@compiled
def _is_counter(
    data: Bytes, first: int, last: int, tables: CharacterTables, counters: Phrases, scratch: Scratch
) -> bool:
    """Whether the normal words of this line, two of them, are a count and what is counted."""
    seen = 0
    for word in range(first, last + 1):
        if scratch.shapes[word] & NORMAL:
            start, stop = _edges(data, scratch.starts[word], scratch.ends[word], tables)
            if not (_is_counted(data, start, stop, counters) if seen else _is_count(data, start, stop)):
                return False
            seen += 1
    return True


@compiled
def _ends_in_dots(data: Bytes, at: int, end: int) -> bool:
    return end - at >= 3 and data[end - 3] == _DOT and data[end - 2] == _DOT and data[end - 1] == _DOT


@compiled
def _is_bullet(data: Bytes, at: int, end: int, marks: Marks) -> bool:
    code, width = decode(data, at)
    return _among(code, marks.bullet_starts) or (at + width == end and _among(code, marks.bullet_words))


@compiled
def _is_removed(
    data: Bytes, first: int, last: int, size: int, line: Line, tables: CharacterTables, marks: Marks, scratch: Scratch
) -> bool:
    """Whether RefinedWeb's line rules remove a line of so many characters."""
    if last == first or 2 * line.uppers > size or line.digits:
        return True
    if line.phrases & _BOILERPLATE and last - first < marks.boilerplate_words:
        return True
    return line.normal_words == 2 and _is_counter(data, first, last, tables, marks.counters, scratch)


@compiled
def read_lines(data: Bytes, lines: int, tables: CharacterTables, marks: Marks, scratch: Scratch) -> Lines:
    """All lines of a text whose words and lines are in `scratch`."""
    sentences = punctuated = short = bullets = ellipses = kept = 0
    kept_sentences = any_sentences = lorem_ipsum = removed = opened = 0
    starts, ends, before = scratch.starts, scratch.ends, scratch.before
    for at in range(lines):
        first, last = scratch.lines[at], scratch.lines[at + 1] - 1
        size = before[last + 1] - before[first] + last - first
        line = _read_line(data, first, last, opened, marks.phrases, scratch)
        opened = line.open
        sentences += line.continued
        lorem_ipsum += line.lorem_ipsum
        punctuated += (scratch.shapes[last] & ENDS_LINE) != 0
        short += size <= marks.short_line_characters
        bullets += _is_bullet(data, starts[first], ends[first], marks)
        end, length = ends[last], ends[last] - starts[last]
        dots = _ends_in_dots(data, end - length, end)
        ellipses += dots or (length >= 3 and data[end - 3] == 0xE2 and data[end - 2] == 0x80 and data[end - 1] == 0xA6)
        plain = not (line.shapes & (LONG | SCRIPT) or line.phrases & POLICY)
        if last - first + 1 >= marks.line_words and plain:
            any_sentences += line.sentences
            if _among(data[end - 1] & 0xFF, marks.line_ends) and not dots:
                kept += 1
                kept_sentences += line.sentences
        if _is_removed(data, first, last, size, line, tables, marks, scratch):
            removed += last - first + 1
    return Lines(
        sentences + opened,
        punctuated,
        short,
        bullets,
        ellipses,
        kept,
        kept_sentences,
        any_sentences,
        lorem_ipsum,
        removed,
    )
