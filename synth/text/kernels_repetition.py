"""Compiled: which lines, paragraphs and n-grams of one text occur again.

Nothing is decided by a hash: equal lines and paragraphs are found by it and then compared, and an n-gram's number is made
of two numbers, so that equal ones mean equal words. An n-gram is looked up only where the two n-grams of one word less
that it consists of both occur again.
"""

from __future__ import annotations

from synth.text.kernels_text import MULTIPLIER, Floats, Integers, Scratch, clear, compiled


@compiled
def _mixed(value: int, seed: int) -> int:
    value = (value ^ seed) * MULTIPLIER
    return value ^ (value >> 29)


@compiled
def ratio(part: int, whole: int) -> float:
    """part / whole; 0 of nothing."""
    return part / whole if whole else 0.0


@compiled
def _same_run(items: Integers, starts: Integers, one: int, other: int) -> bool:
    length = starts[one + 1] - starts[one]
    if length != starts[other + 1] - starts[other]:
        return False
    for at in range(length):  # noqa: SIM110 - numba has no all()
        if items[starts[one] + at] != items[starts[other] + at]:
            return False
    return True


@compiled
def number_runs(items: Integers, starts: Integers, runs: int, numbers: Integers, scratch: Scratch, seed: int) -> int:
    """Numbers runs of items (run k is `items[starts[k] : starts[k + 1]]`) by the first one that is equal, so that a
    run with another number than its own repeats an earlier one; returns how many different ones there are."""
    hashes, slots = scratch.hashes, scratch.slots
    mask = clear(slots, runs)
    different = 0
    for run in range(runs):
        value = seed
        for at in range(starts[run], starts[run + 1]):
            value = _mixed(value ^ items[at], seed)
        hashes[run] = value
        slot = value & mask
        while slots[slot]:
            first = slots[slot] - 1
            if hashes[first] == value and _same_run(items, starts, first, run):
                break
            slot = (slot + 1) & mask
        if not slots[slot]:
            different += 1
            slots[slot] = run + 1
        numbers[run] = slots[slot] - 1
    return different


@compiled
def repeated_line_size(scratch: Scratch, lines: int) -> int:
    """Characters of the lines that repeat an earlier one, by their `numbers`."""
    size = 0
    for line in range(lines):
        if scratch.numbers[line] != line:
            first, last = scratch.lines[line], scratch.lines[line + 1]
            size += scratch.before[last] - scratch.before[first] + last - first - 1
    return size


@compiled
def repeated_paragraph_size(scratch: Scratch, paragraphs: int) -> int:
    """Characters of the paragraphs that repeat an earlier one, by their numbers in `keys`."""
    size = 0
    for paragraph in range(paragraphs):
        if scratch.keys[paragraph] != paragraph:
            first = scratch.lines[scratch.paragraphs[paragraph]]
            last = scratch.lines[scratch.paragraphs[paragraph + 1]]
            size += scratch.before[last] - scratch.before[first] + last - first - 1
    return size


@compiled
def _repeated_words(scratch: Scratch, words: int) -> int:
    """Puts the words that occur again into `places` and `grams`; returns how many."""
    found = 0
    for word in range(words):
        if scratch.times[scratch.words[word]] > 1:
            scratch.places[found] = word
            scratch.grams[found] = scratch.words[word]
            found += 1
    return found


@compiled
def _next_grams(scratch: Scratch, found: int, n: int, vocabulary: int, seed: int) -> tuple[int, int, int]:
    """From the repeated (n-1)-grams in `places` and `grams` those n-grams that may be repeated, with `firsts` and `times`.
    Returns how many, how many different ones, and the characters of the words in one that starts earlier too."""
    before, words, firsts, times = scratch.before, scratch.words, scratch.firsts, scratch.times
    keys, places, grams, slots = scratch.keys, scratch.places, scratch.grams, scratch.slots
    mask = clear(slots, found)
    kept = different = covered = covered_end = 0
    for at in range(found - 1):
        place = places[at]
        if places[at + 1] != place + 1:
            continue
        key = grams[at] * vocabulary + words[place + n - 1]
        slot = _mixed(key, seed) & mask
        while slots[slot] and keys[slots[slot] - 1] != key:
            slot = (slot + 1) & mask
        gram = slots[slot] - 1
        if gram < 0:
            gram = different
            different += 1
            slots[slot] = different
            keys[gram] = key
            firsts[gram] = place
            times[gram] = 1
        else:
            times[gram] += 1
            covered += before[place + n] - before[max(place, covered_end)]
            covered_end = place + n
        places[kept] = place
        grams[kept] = gram
        kept += 1
    return kept, different, covered


@compiled
def _top_size(scratch: Scratch, different: int, n: int, size: int) -> int:
    """Characters of the longest of the most frequent n-grams, times its occurrences; not more than the text has."""
    most, longest = 1, 0
    for gram in range(different):
        times, first = scratch.times[gram], scratch.firsts[gram]
        length = scratch.before[first + n] - scratch.before[first] + n - 1
        if times > most or (times == most and length > longest):
            most, longest = times, length
    return min(most * longest, size) if most > 1 else 0


@compiled
def _repeated_grams(scratch: Scratch, kept: int) -> int:
    """Drops from `places` and `grams` what occurs once; returns how many are left."""
    found = 0
    for at in range(kept):
        if scratch.times[scratch.grams[at]] > 1:
            scratch.places[found] = scratch.places[at]
            scratch.grams[found] = scratch.grams[at]
            found += 1
    return found


@compiled
def ngram_ratios(
    scratch: Scratch,
    words: int,
    vocabulary: int,
    top_words: int,
    duplicate_words: int,
    size: int,
    seed: int,
    ratios: Floats,
) -> None:
    """Fills one place for each n from 2 to `duplicate_words`: up to `top_words` the characters of the top n-gram, then those of
    the words in duplicate ones, each by `size`, the characters of the text. `vocabulary`: how many different words."""
    ratios[:] = 0.0
    found = _repeated_words(scratch, words)
    for n in range(2, duplicate_words + 1):
        kept, different, covered = _next_grams(scratch, found, n, vocabulary, seed)
        if n <= top_words:
            ratios[n - 2] = ratio(_top_size(scratch, different, n, size), size)
        else:
            ratios[n - 2] = ratio(covered, size)
        found = _repeated_grams(scratch, kept)
        if found == 0:
            return
