"""Numbers, dates and named things in an English text, as a comparison of two texts needs them.

What is written in another way but says the same is equal: 60,000 and 60 thousand, twelve and 12, 20% and one fifth,
12 March 1921 and 1921-03-12. Signs and units are no part of a value, so -40 °C and 40 °F are both 40.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction
from typing import Literal, NamedTuple

from synth.text.number_words import SCALES, word_numbers

NumberKind = Literal["number", "day", "month", "century"]


class Number(NamedTuple):
    """A number as a text gives it. Two mentions say the same when `kind` and `value` are equal."""

    value: Fraction  # a percentage is a fraction of 1; a day is 100 x month + day, a month its number in the year
    kind: NumberKind
    text: str  # as written
    start: int  # where, in characters
    exact: bool  # False: a small count or share in words (one to ten, half, twice), which prose uses without counting


class Name(NamedTuple):
    """A named thing: capitalised words, an acronym, or an identifier of code."""

    words: tuple[str, ...]  # case-folded, without possessive 's and particles; never empty
    text: str  # as written
    start: int  # where, in characters


_FUNCTION_WORDS = """
    a about above after again against all almost also although always am an and another any anyone anything are around
    as at away back be because become becomes been before being below between both but by can cannot could did do does
    doing done down during each either else enough even ever every everyone everything few first for from further get
    gets give given gives go goes had has have having he hence her here hers him his how however i if in instead into is
    it its itself just last least less let like made make makes making many may me might mine more most much must my near
    nearly neither never no nobody none nor not nothing now of off often on once one only onto or other others otherwise
    our out over own per perhaps quite rather really same say says second see seen several shall she should since so some
    someone something soon still such take taken takes than that the their them themselves then there therefore these
    they third this those though three through thus to today together too toward towards two under until up upon us use
    used uses using very was way we well went were what whatever when whenever where whereas wherever whether which while
    who whole whom whose why will with within without would yet you your"""
FUNCTION_WORDS = frozenset(_FUNCTION_WORDS.split())
"""English words that name nothing: they are no name when capitalised and no content when texts are compared."""

_MONTH_NAMES = (
    "january jan|february feb|march mar|april apr|may|june jun|july jul|august aug|september sept sep|october oct"
    "|november nov|december dec"
)
_MONTHS = {name: at for at, same in enumerate(_MONTH_NAMES.split("|"), start=1) for name in same.split()}
_MONTH = re.compile(
    r"(?:January|February|March|April|May|June|July|August|September|October|November|December"
    r"|Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept|Sep|Oct|Nov|Dec)(?!\w)"
)
_DAY_BEFORE = re.compile(r"(?<!\w)([0-9]{1,2})(?:st|nd|rd|th)?(?:\s+day)?(?:\s+of)?\s+\Z")
_DAY_AFTER = re.compile(r"\.?\s+(?:the\s+)?([0-9]{1,2})(?:st|nd|rd|th)?(?![\w:]|[.,][0-9])")
_YEAR_AFTER = re.compile(r"[.,]?\s+(?:of\s+)?[0-9]{3,4}(?!\w)")
_BEFORE_MONTH = re.compile(
    r"(?<!\w)(?:in|of|since|by|until|till|from|to|and|or|on|early|late|mid|through|during|between|after|before|last|next"
    r"|every|each|this|that)[\s-]+\Z",
    re.I,
)
_DOUBTFUL_MONTHS = frozenset({"march", "august", *(name for name in _MONTHS if len(name) < 5)} - {"june", "july"})

_MARKER_END = re.compile(r"[.):](?=\s|\*|\Z)")
_MARKER_START = re.compile(
    r"[ \t>*#(-]*(?:(?:step|question|answer|example|exercise|problem|option|part)[ \t]+)?\Z", re.I
)
_LONGEST_MARKER = 24  # characters before its number
_DIGIT = re.compile("[0-9]+")
_DIGITS = re.compile(
    r"(?P<iso>[0-9]{4}-[0-9]{2}-[0-9]{2})(?![\w-])"
    r"|(?P<version>[0-9]{1,9}(?:\.[0-9]{1,9}){2,})"  # a release or an address, not a number: see `names`
    r"|(?<!/)(?P<over>[0-9]{1,15})[/⁄](?P<under>[0-9]{1,15})(?![0-9/])"
    r"|(?P<value>(?:[0-9]{1,3}(?:[,\u00a0\u2009\u202f][0-9]{3}){1,9}(?![0-9])|[0-9]++)(?:\.[0-9]++)?)"
    r"(?P<half>\u00bd)?"
)
_SCALE = r"[\s-](?P<scale>hundred|thousand|million|billion|trillion)(?!\w)"
_PERCENT = r"\s?%|[\s-]per\s?cent(?!\w)"
_AFTER_DIGITS = re.compile(
    rf"(?P<century>(?:st|nd|rd|th)(?=[\s-]centur))|(?:st|nd|rd|th)(?!\w)|(?:{_SCALE})?(?P<percent>{_PERCENT})?"
)
_SHARED_UNIT = re.compile(rf"(?:\s?[-–]\s?|\s(?:to|or)\s)[0-9][0-9.,]{{0,20}}(?:{_SCALE})?(?P<percent>{_PERCENT})?")
_UNIT_LETTERS = re.compile(r"[^\W\d_]{0,3}(?!\w)")  # 30km, 3D, 1920s; more letters make an identifier
_LONGEST_NUMBER = 40  # characters; longer ones are no numbers that a text is about
_SEPARATORS = str.maketrans("", "", ",\u00a0\u2009\u202f")


def numbers(text: str) -> list[Number]:
    """The numbers and dates of a text, in its order.

    Digits with separators, decimals, fractions, percentages, ordinals, decades and centuries; number words; dates as
    their day, month and year. Not the numbers of lists and steps, of releases (3.11.4), inside of words (B1, 0x20), and
    not `one` where it counts nothing.
    """
    dates, taken = _dates(text)
    words = (
        Number(value, "century" if century else "number", text[start:end], start, exact)
        for value, century, exact, start, end in word_numbers(text)
    )
    found = [*dates, *_digit_numbers(text, taken), *words]
    found.sort(key=lambda number: number.start)
    return found


def _dates(text: str) -> tuple[list[Number], set[int]]:
    """Months and days, and the places of the digits that were read as days."""
    found: list[Number] = []
    taken: set[int] = set()
    for match in _MONTH.finditer(text):
        start, end = match.span()
        if start and text[start - 1].isalnum():
            continue
        before = text[max(0, start - 16) : start]
        month = _MONTHS[match[0].lower()]
        day = _DAY_BEFORE.search(before)
        if day:
            begin = start - len(before) + day.start(1)
            taken.add(begin)
            found.append(Number(Fraction(100 * month + int(day[1])), "day", text[begin:end], begin, True))
        elif day := _DAY_AFTER.match(text, end):
            taken.add(day.start(1))
            found.append(Number(Fraction(100 * month + int(day[1])), "day", text[start : day.end()], start, True))
        elif not _is_month(text, match, before):
            continue
        found.append(Number(Fraction(month), "month", match[0], start, True))
    return found, taken


def _is_month(text: str, match: re.Match[str], before: str) -> bool:
    """Whether a month's name without a day is one: most are, May and Jan only where something says so."""
    name = match[0].lower()
    if name not in _DOUBTFUL_MONTHS:
        return True
    return bool(_YEAR_AFTER.match(text, match.end()) or _BEFORE_MONTH.search(before))


def _digit_numbers(text: str, taken: set[int]) -> Iterator[Number]:
    year, end = 0, -1
    for place in _DIGIT.finditer(text):  # much faster than to search for _DIGITS
        start, last_end = place.start(), end
        if start < last_end:
            continue
        match = _DIGITS.match(text, start)
        assert match is not None  # a digit is a number
        end = match.end()
        if start in taken or match["version"] or (start and _is_inside(text, start)) or _is_marker(text, start, end):
            continue
        if match["iso"]:
            yield from _iso_date(match[0], start)
            continue
        after = _AFTER_DIGITS.match(text, end)
        value = _value(match)
        if value is None or after is None or (after.end() == end and not _UNIT_LETTERS.match(text, end)):
            continue
        if last_end == start - 1 and text[last_end] in "-–" and len(match[0]) == 2 and value > year % 100:
            value += year - year % 100  # 1914–18
        year = int(match[0]) if len(match[0]) == 4 and match[0].isdigit() else 0
        unit = after if after["scale"] or after["percent"] else _SHARED_UNIT.match(text, end) or after
        if unit["scale"]:
            value *= SCALES[unit["scale"]]
        if unit["percent"]:
            value /= 100
        yield Number(value, "century" if after["century"] else "number", text[start : after.end()], start, True)


def _is_inside(text: str, start: int) -> bool:
    """Whether the digit belongs to a word or to an address."""
    before = text[start - 1]
    return (
        before.isalnum()
        or before == "_"
        or (before in "/=&" and "://" in text[max(0, start - 80) : start].rpartition(" ")[2])
    )


def _is_marker(text: str, start: int, end: int) -> bool:
    """Whether it is the number of a list or of a step, or a reference mark."""
    if end - start > 3:
        return False
    if text[end : end + 1] == "]":
        return text[start - 1 : start] == "["
    if not _MARKER_END.match(text, end):
        return False
    before = text[max(0, start - _LONGEST_MARKER) : start]
    line = before.rpartition("\n")
    return bool(line[1] or start == len(before)) and bool(_MARKER_START.match(line[2]))


def _value(match: re.Match[str]) -> Fraction | None:
    if match["over"]:
        return Fraction(int(match["over"]), int(match["under"])) if int(match["under"]) else None
    if len(match["value"]) > _LONGEST_NUMBER:
        return None
    whole, _, decimals = match["value"].translate(_SEPARATORS).partition(".")
    value = Fraction(int(whole + decimals), 10 ** len(decimals)) if decimals else Fraction(int(whole))
    return value + Fraction(1, 2) if match["half"] else value


def _iso_date(text: str, start: int) -> Iterator[Number]:
    year, month, day = map(int, text.split("-"))
    yield Number(Fraction(year), "number", text, start, True)
    yield Number(Fraction(month), "month", text, start, True)
    yield Number(Fraction(100 * month + day), "day", text, start, True)


_CAPITALS = "".join(filter(str.isupper, map(chr, range(0x530))))  # Latin, Greek and Cyrillic
_CAPITALISED = re.compile(rf"[{_CAPITALS}](?:[\w'’-]*\w)?+")
_PARTICLE = re.compile(
    r" (?:(?:of(?: the)?|de(?: la| los)?|del|della|da|di|do|dos|du|la|le|van(?: de[nr]?)?|von(?: der)?|ter|ibn|bin|al|el) )?"
    r"(?:[dl]['’])?|-(?:(?:de|en|la|le|sur|sous|of|on|upon|al|el)-)?"
)
_LONGEST_PARTICLE = 10  # characters, with its spaces
_OPENERS = " \t\"'“”‘’([*_#>•-–—"
_TITLE = re.compile(r"(?<!\w)(?:Dr|Mr|Mrs|Ms|Prof|St|Mt|Gen|Col|Capt|Lt|Rev|Gov|Sen)\.\Z")
_HEADING = re.compile(
    r"^(?:#{1,6} .*$|[ \t]*+(?:(?:[-+*•]|[0-9]{1,3}[.)])[ \t]++)?\*\*[^*\n]{1,80}\*\*|[^\n.!?]{1,80}$)", re.M
)
_HEADING_WORD = re.compile(r"[^\W\d_]{4,}")
_ERAS = frozenset({"bc", "ad", "bce", "ce", "am", "pm", "ok"})
_IDENTIFIER = re.compile(
    r"`([^`\n]{1,80})`|[a-z]{1,10}://[^\s)>\]]+"
    r"|[^\W_]*+_\w*+(?:\.\w++)*+"  # co_flags, __main__
    r"|[^\W_]++(?:\.\w++)++"  # os.path, 3.11.4
    r"|[^\W_]++(?=\(\))"  # exec()
    r"|0[box][0-9A-Fa-f]++(?!\w)"
)
_IN_IDENTIFIER = re.compile(r"`|_|://|\.(?=[^\W\d]|[0-9]++\.[0-9])|\(\)|0[box](?=[0-9A-Fa-f])")  # quick to search for
_LONGEST_IDENTIFIER = 80  # characters, before and after what tells that it is one; longer ones are cut
_NO_IDENTIFIER = re.compile(r"[^\W\d_](?:\.[^\W\d_])+|_+")  # e.g, U.S; a blank to fill in
_WORD = re.compile(r"\w+")
_NO_NAMES = FUNCTION_WORDS | _MONTHS.keys() | _ERAS


def names(text: str) -> list[Name]:
    """The named things of a text: identifiers of code first, then capitalised names, each in the text's order.

    A word that is capitalised only where a sentence, a line or a heading begins is none: nothing tells `Light` from
    `Lyon` there. When it stands capitalised inside some sentence too, it is. Months are dates, see `numbers`. Languages
    that capitalise every noun are not understood.
    """
    return [*_identifiers(text), *_capitalised(text)]


def _identifiers(text: str) -> Iterator[Name]:
    end = 0
    for sign in _IN_IDENTIFIER.finditer(text):
        start = sign.start()
        if start < end:
            continue
        if sign[0] != "`":
            first = max(end, start - _LONGEST_IDENTIFIER)
            while start > first and (text[start - 1].isalnum() or text[start - 1] in "_."):
                start -= 1
        match = _IDENTIFIER.match(text, start, sign.end() + _LONGEST_IDENTIFIER)
        if match:
            end = match.end()
            written = match[1] or match[0]
            words = tuple(_WORD.findall(written.casefold()))
            if words and not _NO_IDENTIFIER.fullmatch(written):
                yield Name(words, written, match.start(match.lastindex or 0))


def _capitalised(text: str) -> Iterator[Name]:
    lines = _HEADING.finditer(text) if "\n" in text or text.startswith(("#", "**")) else ()
    headings = (match.span() for match in lines if _is_title(match[0]))
    heading = next(headings, (len(text), len(text)))
    found: list[tuple[re.Match[str], tuple[str, ...], bool]] = []
    inside: set[str] = set()
    for match in _CAPITALISED.finditer(text):
        written, start = match[0], match.start()
        words = _name_words(written)
        if not words or _continues_word(text, start):
            continue
        while heading[1] < start:
            heading = next(headings, (len(text), len(text)))
        opens = heading[0] <= start or (written[1:].islower() and _opens_sentence(text, start))  # NASA opens none
        found.append((match, words, opens))
        if not opens:
            inside.update(words)
    yield from _runs(text, [(match, words) for match, words, opens in found if not opens or inside.issuperset(words)])


def _name_words(written: str) -> tuple[str, ...]:
    if written.isalpha():  # nearly always
        word = written.casefold()
        return () if len(word) == 1 or word in _NO_NAMES else (word,)
    parts = [part for part in written.removesuffix("'s").removesuffix("’s").split("-") if part[:1].isupper()]
    words = _WORD.findall(" ".join(parts).casefold())  # of Mars-sized, Mars
    return tuple(word for word in words if len(word) > 1 and word not in _NO_NAMES)


def _is_title(line: str) -> bool:
    """Whether a line's capitals say nothing: a marked heading, or one in which every longer word has a capital."""
    words = _HEADING_WORD.findall(line)
    return line.startswith("#") or (len(words) > 1 and all(word[0].isupper() for word in words))


def _continues_word(text: str, start: int) -> bool:
    return start > 0 and (text[start - 1].isalnum() or text[start - 1] in "_@#/.")


def _opens_sentence(text: str, start: int) -> bool:
    if start > 1 and text[start - 1] == " " and text[start - 2].isalnum():  # nearly always
        return False
    before = text[max(0, start - 8) : start].rstrip(_OPENERS)
    if not before or before[-1] not in ".!?:…\n":
        return start <= 8 and not before
    return not _TITLE.search(before)


def _runs(text: str, found: list[tuple[re.Match[str], tuple[str, ...]]]) -> Iterator[Name]:
    """Neighbouring names joined: Marie + Curie, Charles-Michel de l'Épée, University of Illinois."""
    start, end = 0, 0
    words: list[str] = []
    for match, more in found:
        near = match.start() - end <= _LONGEST_PARTICLE
        if words and not (near and _PARTICLE.fullmatch(text, end, match.start())):
            yield Name(tuple(words), text[start:end], start)
            words = []
        if not words:
            start = match.start()
        end = match.end()
        words.extend(more)
    if words:
        yield Name(tuple(words), text[start:end], start)
