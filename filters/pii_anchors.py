"""The anchors at which personal data or secrets may begin, from one pass over the bytes of a batch. Importing it loads numba.

An anchor is a byte at which a function of `filters.pii_kinds` is worth calling. Anchors may be too many, never too few.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np
from numpy.typing import NDArray

EMAIL, PHONE, IPV4, IPV6, IBAN, CARD, SSN, AWS_KEY, GITHUB_TOKEN, JWT, PRIVATE_KEY, API_KEY = range(12)
FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])
_compiled = cast(Callable[[FunctionT], FunctionT], numba.njit(cache=True, nogil=True))

_DIGIT, _UPPER, _LOWER, _PUNCTUATION = (
    1,
    2,
    4,
    8,
)  # of _CLASSES; _LOWER: those that begin a token; all 0: of no interest
_WORD = 16  # a letter, a digit or _
_CLASSES = np.zeros(256, np.uint8)
_CLASSES[[*range(48, 58), *range(65, 91), *range(97, 123), 95]] = _WORD
_CLASSES[48:58] |= _DIGIT
_CLASSES[65:91] |= _UPPER
_CLASSES[[ord(character) for character in "eghnprsx"]] |= _LOWER
_CLASSES[[ord(character) for character in "@+(-"]] |= _PUNCTUATION
_INTERESTING = np.uint8(_DIGIT | _UPPER | _LOWER | _PUNCTUATION)
_REACH = 40  # bytes that a number of up to 19 digits can take with what stands between them


@_compiled
def anchors(
    data: NDArray[np.uint8], starts: NDArray[np.int64], ends: NDArray[np.int64], room: int
) -> tuple[NDArray[np.int64], NDArray[np.int8], NDArray[np.int64], NDArray[np.bool_], int]:
    """(position in `data`, kind, document) of each anchor, in order; whether each document has anything but blanks; how many
    anchors there are. Where there are more than `room`, the first `room`: call again with as much room as that.

    `starts` and `ends`: where each document lies in `data`.
    """
    positions = np.empty(room, np.int64)
    kinds = np.empty(room, np.int8)
    documents = np.empty(room, np.int64)
    checked = np.zeros(len(starts), np.bool_)
    found = np.zeros(5, np.int8)
    count = 0
    for document in range(len(starts)):
        start, end = starts[document], ends[document]
        before = np.uint8(0)
        for at in range(start, end):
            byte = data[at]
            kind = _CLASSES[byte]
            if byte > 32:
                checked[document] = True
            inside = (kind & _WORD and _CLASSES[before] & _WORD) or (kind & _DIGIT and before == 46)  # a decimal's part
            if kind & _INTERESTING and not inside:
                for each in range(_kinds_at(data, start, at, end, found)):
                    if count < room:
                        positions[count], kinds[count], documents[count] = at, found[each], document
                    count += 1
            before = byte
    kept = min(count, room)
    return positions[:kept], kinds[:kept], documents[:kept], checked, count


@_compiled
def _kinds_at(data: NDArray[np.uint8], start: int, at: int, end: int, found: NDArray[np.int8]) -> int:
    """Writes the kinds that may stand at `at` into `found`; how many."""
    byte = data[at]
    kind = _CLASSES[byte]
    count = 0
    if kind & _DIGIT:
        count = _number_at(data, start, at, end, found)
    elif byte == 64:  # @
        if at > start and at + 1 < end and _CLASSES[data[at + 1]] & _WORD:
            last = data[at - 1]
            if _CLASSES[last] & _WORD or last in (37, 39, 43, 45) or last >= 128:  # % ' + - é
                found[0], count = EMAIL, 1
    elif byte in (40, 43):  # ( +
        if (
            at + 1 < end
            and (_CLASSES[data[at + 1]] & _DIGIT or data[at + 1] in (32, 43))
            and _digits(data, at, end) >= 7
        ):
            found[0], count = PHONE, 1
    else:
        token = _token_at(data, at, end)
        if token >= 0:
            found[0], count = token, 1
    return count


@_compiled
def _digits(data: NDArray[np.uint8], at: int, end: int) -> int:
    """How many digits stand from `at` on, with no more than six bytes of what telephone numbers have between two of them."""
    digits, gap = 0, 0
    for here in range(at, min(end, at + _REACH)):
        byte = data[here]
        if _CLASSES[byte] & _DIGIT:
            digits, gap = digits + 1, 0
        elif byte in (32, 40, 41, 43, 45, 46, 47) and gap < 6:
            gap += 1
        else:
            break
    return digits


@_compiled
def _number_at(data: NDArray[np.uint8], start: int, at: int, end: int, found: NDArray[np.int8]) -> int:
    """As `_kinds_at` where a number begins."""
    count = 0
    first = at
    while first < end and _CLASSES[data[first]] & _DIGIT and first < at + 20:
        first += 1
    length = first - at
    after = data[first] if first < end else np.uint8(0)
    if data[at] in (50, 51) and at + 4 < end and data[at + 4] == 58:
        found[count], count = IPV6, count + 1
    if length <= 3 and after == 46 and _is_ipv4(data, at, end):
        found[count], count = IPV4, count + 1
    digits = _digits(data, at, end)
    if digits < 7 or length > 19:
        return count
    if digits >= 12 and (length == 4 or length >= 12):
        found[count], count = CARD, count + 1
    if (length == 3 and after in (32, 45)) or length == 9:
        found[count], count = SSN, count + 1
    trunk = data[at] == 48
    american = (length == 3 and after in (45, 46)) or (length == 1 and data[at] == 49 and after in (32, 45, 46))
    if trunk or american or _letter_before(data, start, at):
        found[count], count = PHONE, count + 1
    return count


@_compiled
def _is_ipv4(data: NDArray[np.uint8], at: int, end: int) -> bool:
    """Whether a number, three times a dot and a number begin at `at`."""
    dots, gap = 0, True
    for here in range(at, min(end, at + 15)):
        if data[here] == 46 and not gap:
            dots, gap = dots + 1, True
        elif _CLASSES[data[here]] & _DIGIT:
            gap = False
            if dots == 3:
                return True
        else:
            return False
    return False


@_compiled
def _letter_before(data: NDArray[np.uint8], start: int, at: int) -> bool:
    """Whether a letter stands before `at`, but for a few bytes as in `phone": "`."""
    for here in range(at - 1, max(start, at - 8) - 1, -1):
        byte = data[here]
        if _CLASSES[byte] & _WORD:
            return not _CLASSES[byte] & _DIGIT
        if byte not in (32, 34, 35, 39, 40, 46, 58, 61):
            return False
    return False


@_compiled
def _token_at(data: NDArray[np.uint8], at: int, end: int) -> int:
    """The kind of the key, account or address whose first four bytes stand at `at`; -1 when there is none."""
    if at + 15 > end:
        return -1
    a, b, c, d = data[at], data[at + 1], data[at + 2], data[at + 3]
    if _CLASSES[a] & _UPPER:
        if _CLASSES[b] & _UPPER and _CLASSES[c] & _DIGIT and _CLASSES[d] & _DIGIT:
            return IBAN
        if a == 65 and c == 73 and d == 65 and b in (75, 83, 66):  # AKIA ASIA ABIA
            return AWS_KEY
        if a == 65 and b == 67 and c == 67 and d == 65:  # ACCA
            return AWS_KEY
        return API_KEY if a == 65 and b == 73 and c == 122 and d == 97 else -1  # AIza
    if a == 45:
        return PRIVATE_KEY if b == 45 and d == 45 and data[at + 5] == 66 and data[at + 6] == 69 else -1  # -----BE
    if a == 101:
        return JWT if b == 121 and c == 74 else -1  # eyJ
    if a == 103:
        if (b == 104 and d == 95) or (b == 105 and data[at + 6] == 95 and data[at + 10] == 95):  # gh?_ github_pat_
            return GITHUB_TOKEN
        return API_KEY if b == 108 and data[at + 5] == 45 else -1  # glpat-
    api = (
        (a == 120 and b == 111 and c == 120 and data[at + 4] == 45)  # xox?-
        or (a in (115, 114) and b == 107 and c in (95, 45))  # sk_ rk_ sk-
        or (a == 104 and b == 102 and c == 95)  # hf_
        or (a == 110 and b == 112 and c == 109 and d == 95)  # npm_
        or (a == 112 and b == 121 and c == 112 and data[at + 4] == 45)  # pypi-
    )
    return API_KEY if api else -1
