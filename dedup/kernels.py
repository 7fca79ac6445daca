"""Compiled: from the bytes of texts to their normalised bytes, their shingles and their signatures, without the GIL.

Importing this imports numba, half a second: import it where it is used. Compiled code is cached by numba beside this file,
or in the user's cache directory when that is read-only.

A token's hash: from `value = 0` on, for each eight of its UTF-8 bytes, and for the one to eight that are left, read as a
little-endian number, `value = (value ^ number) x FOLD`, `value ^= value >> 32`; then SplitMix64's finaliser. A shingle's
hash is a polynomial in the hashes of its tokens, the first one the highest power of BASE, mixed by the same finaliser: it
covers the tokens, their order and where each ends. All of it modulo 2^64, without a seed: identity is content.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from synth.text.kernels_text import cached, compiled

Bytes = NDArray[np.uint8]
Integers = NDArray[np.int64]
Uint32s = NDArray[np.uint32]
Uint64s = NDArray[np.uint64]

# numba's cache sees changes of this file alone: what is compiled stands here, and nothing of it is imported.
PAGE_BITS = 7
PAGE = 1 << PAGE_BITS  # code points that a table stores together
SEPARATOR, WORD, UNSPACED, MARK, SEVERAL, SLOW = 0, 1, 2, 3, 4, 5  # kinds of code points; see CodePoints
KIND = 7
KIND_BITS = 3
NON_STARTER, SECOND, FIRST = 8, 16, 32  # what matters to its neighbours, one bit each; see CodePoints
CLASS_SHIFT = 8
CLASS = 0xFF
DIFFERENCE_SHIFT = 16

ROOM = 64  # bytes that a text's normalised form may be longer than 3/2 of the text
SPACE = 0x20

FOLD = np.uint64(0xD6E8FEB86659FD93)
BASE = np.uint64(0xC2B2AE3D27D4EB4F)
_MIX_1, _MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_NONE, _ONE, _EIGHT, _30, _27, _31, _32, _64 = (np.uint64(number) for number in (0, 1, 8, 30, 27, 31, 32, 64))
_2, _3, _4, _5, _6, _7 = (np.uint64(number) for number in range(2, 8))
_16, _24, _40, _48, _56 = (np.uint64(number) for number in (16, 24, 40, 48, 56))
_ALL = np.uint64(2**64 - 1)
_FMIX_1, _FMIX_2 = np.uint32(0x85EBCA6B), np.uint32(0xC2B2AE35)
_HALF, _13 = np.uint32(16), np.uint32(13)
_MOST = np.uint32(2**32 - 1)
_FULL_BUCKET = np.uint64(32)  # hashes that one bucket of different ones does not hold by chance; a power of two
_LANES = 64  # hashes that a step of the permutation loop takes


class CodePoints(NamedTuple):
    """What normalisation makes of single code points. The entry of code point c, of page p = c // PAGE, is
    `entries[pages[p] * PAGE + c % PAGE]`. From its lowest bit on:

    - its kind: SEPARATOR; WORD; UNSPACED, a letter of a script without spaces; MARK, a combining mark; SEVERAL, it becomes
      more than one code point; SLOW, only its neighbours tell what it becomes;
    - NON_STARTER: it may change places with marks beside it; SECOND: it may become one with a FIRST before it;
    - in eight bits the canonical combining class that it ends in;
    - above, the difference of what it becomes from it, or for SEVERAL a row of `several`: code points, each above its kind,
      and -1 after the last.
    """

    pages: Integers
    entries: Integers
    several: Integers  # two dimensions
    ascii: Bytes  # 256 places: of each ASCII character what it becomes, SPACE for those that separate


@compiled
def _decode(data: Bytes, start: int) -> tuple[int, int]:
    """The code point, which is not ASCII, at a place of valid UTF-8, and where the next one starts."""
    at = np.uint64(start)
    first, second = np.int64(data[at]), np.int64(data[at + _ONE]) & 0x3F
    if first < 0xE0:
        return int((first & 0x1F) << 6 | second), start + 2
    third = np.int64(data[at + _2]) & 0x3F
    if first < 0xF0:
        return int((first & 0x0F) << 12 | second << 6 | third), start + 3
    fourth = np.int64(data[at + _3]) & 0x3F
    return int((first & 0x07) << 18 | second << 12 | third << 6 | fourth), start + 4


@compiled
def _encode(code: int, out: Bytes, at: int) -> int:
    """Writes a code point as UTF-8; returns where it ends."""
    if code < 0x80:
        out[at] = code
        return at + 1
    if code < 0x800:
        out[at] = 0xC0 | code >> 6
        out[at + 1] = 0x80 | code & 0x3F
        return at + 2
    if code < 0x10000:
        out[at] = 0xE0 | code >> 12
        out[at + 1] = 0x80 | code >> 6 & 0x3F
        out[at + 2] = 0x80 | code & 0x3F
        return at + 3
    out[at] = 0xF0 | code >> 18
    out[at + 1] = 0x80 | code >> 12 & 0x3F
    out[at + 2] = 0x80 | code >> 6 & 0x3F
    out[at + 3] = 0x80 | code & 0x3F
    return at + 4


@compiled
def _copy(data: Bytes, at: int, end: int, out: Bytes, to: int) -> int:
    """Copies a code point's bytes; returns where they end."""
    place, stop, target = np.uint64(at), np.uint64(end), np.uint64(to)
    while place < stop:
        out[target] = data[place]
        place += _ONE
        target += _ONE
    return int(np.int64(target))


@compiled
def _end(out: Bytes, to: int, ends: Integers, count: int) -> tuple[int, int]:
    """Ends a token with a space; returns where the next one may begin, and how many there are."""
    ends[count] = to
    out[to] = SPACE
    return to + 1, count + 1


@compiled
def _add(code: int, kind: int, state: int, out: Bytes, to: int, ends: Integers, count: int) -> tuple[int, int, int]:
    """Adds a code point to the tokens, of which `count` have ended; `state` is the kind of the one before it, SEPARATOR when no
    token is open. Returns the new state, where it ends, and how many tokens have ended."""
    if kind == SEPARATOR or (kind == MARK and state == SEPARATOR):
        if state != SEPARATOR:
            to, count = _end(out, to, ends, count)
        return SEPARATOR, to, count
    if kind != MARK:
        if state == UNSPACED or (state == WORD and kind == UNSPACED):
            to, count = _end(out, to, ends, count)
        state = kind
    return state, _encode(code, out, to), count


@compiled
def _add_ascii(
    data: Bytes, at: int, end: int, table: Bytes, inside: int, out: Bytes, to: int, ends: Integers, count: int
) -> tuple[int, int, int, int]:
    """Adds the ASCII characters from `at` on. Returns where they end, whether a token is open there (as `inside` says before
    them), where the tokens end, and how many have ended. Takes no branch that depends on where words end, and no signed
    index, of which numba asks each time whether it counts from behind."""
    place, stop, target, number = np.uint64(at), np.uint64(end), np.uint64(to), np.uint64(count)
    was_word = np.uint64(inside)
    while place < stop:
        byte = data[place]
        if byte >= 0x80:
            break
        value = table[byte]
        is_word = np.uint64(value != SPACE)
        out[target] = value
        ends[number] = target
        number += was_word & ~is_word
        target += was_word | is_word
        was_word = is_word
        place += _ONE
    return int(np.int64(place)), int(np.int64(was_word)), int(np.int64(target)), int(np.int64(number))


@compiled
def _normalise(
    data: Bytes, at: int, end: int, points: CodePoints, out: Bytes, begin: int, ends: Integers, first_end: int
) -> tuple[int, int]:
    """Writes a text's tokens with a space between them from `begin` on, and where each ends to `ends`. Returns where they end,
    or -1 when the table cannot tell, and how many there are. It cannot tell where code points depend on their neighbours,
    and where the tokens need more room than 3/2 of the text and ROOM."""
    to, count, state, combining, first = begin, first_end, SEPARATOR, 0, 0
    spare = begin + ROOM - 16 - 3 * at // 2
    while at < end:
        if data[at] < 0x80:
            if state == UNSPACED and points.ascii[data[at]] != SPACE:
                to, count = _end(out, to, ends, count)
            at, inside, to, count = _add_ascii(data, at, end, points.ascii, state != SEPARATOR, out, to, ends, count)
            state, combining, first = inside * WORD, 0, points.entries[data[at - 1]] & FIRST
            continue
        code, behind = _decode(data, at)
        entry = points.entries[points.pages[code >> PAGE_BITS] << PAGE_BITS | code & (PAGE - 1)]
        plain = entry & ~FIRST
        if plain in (WORD, UNSPACED):  # most of what is not ASCII: as few tests as can be
            if state == UNSPACED or (state == WORD and plain == UNSPACED):
                to, count = _end(out, to, ends, count)
            to = _copy(data, at, behind, out, to)
            state, combining, first, at = plain, 0, entry & FIRST, behind
            continue
        at = behind
        kind, last = entry & KIND, entry >> CLASS_SHIFT & CLASS
        if kind == SLOW or (entry & SECOND and first) or (entry & NON_STARTER and last < combining):
            return -1, 0
        combining = last
        first = first if entry & NON_STARTER else entry & FIRST
        if kind != SEVERAL:
            state, to, count = _add(code + (entry >> DIFFERENCE_SHIFT), kind, state, out, to, ends, count)
        else:
            for one in points.several[entry >> DIFFERENCE_SHIFT]:
                if one < 0 or to > spare + 3 * at // 2:
                    break
                state, to, count = _add(one >> KIND_BITS, one & KIND, state, out, to, ends, count)
        if to > spare + 3 * at // 2:
            return -1, 0
    if state != SEPARATOR:
        ends[count] = to
        return to, count + 1 - first_end
    return max(to - 1, begin), count - first_end


class Tokens(NamedTuple):
    """Normalised texts, and where in them each token ends. Text k is `data[begins[k] : stops[k]]`; its tokens, which one space
    parts, end at `ends[firsts[k] : firsts[k] + counts[k]]`."""

    data: Bytes
    ends: Integers
    begins: Integers
    stops: Integers
    firsts: Integers
    counts: Integers


@cached
def normalise_all(data: Bytes, starts: Integers, ends: Integers, points: CodePoints, tokens: Tokens) -> None:
    """Fills `tokens` with the texts `data[starts[k] : ends[k]]`; their `stops` are -1 where the table cannot tell. For each
    text its `data` has ROOM and 3/2 of its bytes, its `ends` half as many."""
    to = first = 0
    for text in range(starts.size):
        tokens.begins[text], tokens.firsts[text] = to, first
        stop, count = _normalise(data, starts[text], ends[text], points, tokens.data, to, tokens.ends, first)
        tokens.stops[text], tokens.counts[text] = stop, count
        to, first = max(to, stop), first + count


@compiled
def _mixed(value: np.uint64) -> np.uint64:
    """SplitMix64's finaliser."""
    value = (value ^ (value >> _30)) * _MIX_1
    value = (value ^ (value >> _27)) * _MIX_2
    return value ^ (value >> _31)


@compiled
def _eight(data: Bytes, at: np.uint64) -> np.uint64:
    """Eight bytes as a little-endian number: one instruction, where the processor is one that reads so."""
    low = np.uint64(data[at]) | np.uint64(data[at + _ONE]) << _EIGHT
    low |= np.uint64(data[at + _2]) << _16 | np.uint64(data[at + _3]) << _24
    high = np.uint64(data[at + _4]) << _32 | np.uint64(data[at + _5]) << _40
    return low | high | np.uint64(data[at + _6]) << _48 | np.uint64(data[at + _7]) << _56


@compiled
def _token_hash(data: Bytes, begin: np.uint64, end: np.uint64) -> np.uint64:
    """The hash of a token. Reads up to seven bytes after it, and leaves them out."""
    value = _NONE
    while end - begin > _EIGHT:
        value = (value ^ _eight(data, begin)) * FOLD
        value ^= value >> _32
        begin += _EIGHT
    number = _eight(data, begin) & (_ALL >> (_64 - _EIGHT * (end - begin)))
    value = (value ^ number) * FOLD
    return _mixed(value ^ (value >> _32))


@compiled
def _shingles(texts: Tokens, text: int, size: int, tokens: Uint64s, hashes: Uint64s) -> int:
    """Fills `tokens` with the hashes of a text's tokens, and `hashes` with those of its shingles, in their order; returns how
    many these are."""
    count, first = texts.counts[text], texts.firsts[text]
    begin = np.uint64(texts.begins[text])
    for token in range(count):
        end = np.uint64(texts.ends[first + token])
        tokens[token] = _token_hash(texts.data, begin, end)
        begin = end + _ONE
    power, rolling = _ONE, _NONE
    for token in range(min(size, count)):
        power *= BASE
        rolling = rolling * BASE + tokens[token]
    for start in range(count - size):
        hashes[start] = _mixed(rolling)
        rolling = rolling * BASE + tokens[start + size] - tokens[start] * power
    if count >= size:
        hashes[count - size] = _mixed(rolling)
    return max(int(count) - size + 1, 0)


@compiled
def _distinct(hashes: Uint64s, count: int, slots: Uint64s, seed: np.uint64) -> int:
    """Leaves the first `count` hashes each once, at the front; returns how many. `slots` is room for four times as many."""
    bits, has_zero, kept = 2, False, 0
    while 1 << bits < 2 * count:
        bits += 1
    mask, shift = (1 << bits) - 1, np.uint64(64 - bits)
    slots[: mask + 1] = _NONE
    for at in range(count):
        value = hashes[at]
        if value == _NONE:  # an empty slot looks the same
            is_new, has_zero = not has_zero, True
        else:
            slot = int(np.int64(value * seed >> shift))
            while slots[slot] != _NONE and slots[slot] != value:
                slot = slot + 1 & mask
            is_new = slots[slot] == _NONE
            slots[slot] = value
        hashes[kept] = value
        kept += is_new
    return kept


class Scratch(NamedTuple):
    """Room for one text of T tokens."""

    tokens: Uint64s  # T: their hashes
    hashes: Uint64s  # T: those of its shingles
    lanes: Uint32s  # T + _LANES: their lower halves, mixed
    slots: Uint64s  # 4 T + 4: a hash table of shingles, or room for them
    places: Uint64s  # 4 T + 4: of buckets


@compiled
def _sort_distinct(scratch: Scratch, count: int, seed: np.uint64, out: Uint64s) -> int:
    """Writes the first `count` of `scratch.hashes` to `out`, each once, sorted; returns how many. They go into twice as many
    buckets by their upper bits, hashes being spread evenly, and then each to its place among those before it. A text that says
    the same again and again would fill few buckets: where one is so full, copies are taken out first. No index is signed, as
    in `_add_ascii`."""
    if count < 1:
        return 0
    bits, hashes, room, places = _ONE, scratch.hashes, scratch.slots, scratch.places
    while _ONE << bits < np.uint64(count):
        bits += _ONE
    shift = _64 - bits - _ONE
    if _begin_buckets(hashes, np.uint64(count), shift, places) >= _FULL_BUCKET:
        count = _distinct(hashes, count, scratch.slots, seed)
        _begin_buckets(hashes, np.uint64(count), shift, places)
    stop, at = np.uint64(count), _NONE
    while at < stop:
        value = hashes[at]
        bucket = value >> shift
        place = places[bucket]
        places[bucket] = place + _ONE
        room[place] = value
        at += _ONE
    out[_NONE] = room[_NONE]
    kept, at = _ONE, _ONE
    while at < stop:
        value = room[at]
        if out[kept - _ONE] < value:  # nearly always
            out[kept] = value
            kept += _ONE
        else:
            kept = _insert(out, kept, value)
        at += _ONE
    return int(np.int64(kept))


@compiled
def _begin_buckets(hashes: Uint64s, count: np.uint64, shift: np.uint64, places: Uint64s) -> np.uint64:
    """Sets `places` to where the bucket of each number begins that is left of a hash; returns all their sizes, or-ed."""
    buckets, at, begin, sizes = _ONE << (_64 - shift), _NONE, _NONE, _NONE
    while at < buckets:
        places[at] = _NONE
        at += _ONE
    at = _NONE
    while at < count:
        places[hashes[at] >> shift] += _ONE
        at += _ONE
    at = _NONE
    while at < buckets:
        size = places[at]
        places[at] = begin
        begin += size
        sizes |= size
        at += _ONE
    return sizes


@compiled
def _insert(hashes: Uint64s, kept: np.uint64, value: np.uint64) -> np.uint64:
    """Puts a hash, which is not above the last, among the first `kept`, which are sorted, if it is not there; returns how many
    they are then."""
    to = kept - _ONE
    while to > _NONE and hashes[to - _ONE] >= value:
        to -= _ONE
    if hashes[to] == value:
        return kept
    at = kept
    while at > to:
        hashes[at] = hashes[at - _ONE]
        at -= _ONE
    hashes[to] = value
    return kept + _ONE


@compiled
def _fmix32(value: np.uint32) -> np.uint32:
    """MurmurHash3's 32-bit finaliser."""
    value = np.uint32((value ^ (value >> _HALF)) * _FMIX_1)
    value = np.uint32((value ^ (value >> _13)) * _FMIX_2)
    return np.uint32(value ^ (value >> _HALF))


@compiled
def _lower(lanes: Uint32s, count: int, multipliers: Uint32s, offsets: Uint32s, signature: Uint32s) -> None:
    """The least value of each permutation, of `count` hashes, which is a multiple of _LANES."""
    for row in range(signature.size):
        multiplier, offset, least = multipliers[row], offsets[row], _MOST
        for at in range(count):
            least = min(least, np.uint32(lanes[at] * multiplier + offset))
        signature[row] = least


@compiled
def _sign(
    hashes: Uint64s, count: int, multipliers: Uint32s, offsets: Uint32s, lanes: Uint32s, signature: Uint32s
) -> None:
    """Fills the signature of the first `count` hashes, of which there is one at least."""
    for at in range(count):
        lanes[at] = _fmix32(np.uint32(hashes[at]))
    padded = count
    while padded % _LANES:  # one more of the same changes no minimum
        lanes[padded] = lanes[0]
        padded += 1
    _lower(lanes, padded, multipliers, offsets, signature)


@cached
def sign_sets(
    hashes: Uint64s, counts: Integers, multipliers: Uint32s, offsets: Uint32s, lanes: Uint32s, signatures: Uint32s
) -> None:
    """Fills the signature of each set that is not empty, as `sign_all` does; the sets lie one after the other. `lanes` is that
    of a Scratch for the largest of them."""
    at = 0
    for text in range(counts.size):
        if counts[text]:
            _sign(hashes[at:], counts[text], multipliers, offsets, lanes, signatures[text])
        at += counts[text]


@cached
def sign_all(
    texts: Tokens,
    size: int,
    multipliers: Uint32s,
    offsets: Uint32s,
    scratch: Scratch,
    seed: np.uint64,
    signatures: Uint32s,
    counts: Integers,
) -> None:
    """Fills the signature of each text that has a shingle, and, where there is room in `counts`, the number of its distinct
    ones."""
    lanes = scratch.lanes
    for text in range(texts.begins.size):
        count = _shingles(texts, text, size, scratch.tokens, scratch.hashes)
        if counts.size:
            count = _distinct(scratch.hashes, count, scratch.slots, seed)
            counts[text] = count
        if count == 0:
            continue
        _sign(scratch.hashes, count, multipliers, offsets, lanes, signatures[text])


@cached
def shingle_all(texts: Tokens, size: int, scratch: Scratch, seed: np.uint64, hashes: Uint64s, counts: Integers) -> int:
    """Writes the sorted distinct shingle hashes of each text to `hashes`, one text after the other, and how many it has to
    `counts`; returns how many all have. `hashes` has room for every token."""
    at = 0
    for text in range(texts.begins.size):
        count = _shingles(texts, text, size, scratch.tokens, scratch.hashes)
        counts[text] = _sort_distinct(scratch, count, seed, hashes[at:])
        at += counts[text]
    return at


def scratch_for(tokens: int) -> Scratch:
    """Room for a text of at most so many tokens."""
    return Scratch(
        np.empty(tokens, np.uint64),
        np.empty(tokens, np.uint64),
        np.empty(tokens + _LANES, np.uint32),
        np.empty(4 * tokens + 4, np.uint64),
        np.empty(4 * tokens + 4, np.uint64),
    )


# Of the files whose parts are compiled into these kernels, see tests/test_kernel_caches.py: 58b9638f
