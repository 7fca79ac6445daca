"""Text of the scripted server: pseudo-English, and JSON values for a schema, from a key and nothing else.

The sentences mean nothing; they are made to pass for text: common words, sane lengths, no repetition. A template never
has more than four words in a row without a slot, so that answers to different asks share hardly any word 5-shingle.
"""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from synth.engine.scripted_pattern import UnsupportedSchema, matching
from synth.errors import fail

Writing = Callable[["Draws", str], str]
"""Makes one string of a JSON value from its draws and the name of its field."""


_BLOCK = 128


class Draws:
    """Numbers that depend on a key only: the SHAKE-128 stream of it, two bytes each."""

    def __init__(self, key: str) -> None:
        """`key` is any text; equal keys give equal numbers on every machine."""
        self._key = key
        self._blocks = 0
        self._numbers: tuple[int, ...] = ()
        self._at = 0

    def take(self, count: int) -> tuple[int, ...]:
        """The next `count` numbers, each in [0, 65536); at most 128 at once."""
        if self._at + count > len(self._numbers):
            stream = hashlib.shake_128(f"{self._key}\x1f{self._blocks}".encode()).digest(2 * _BLOCK)
            self._numbers, self._at = struct.unpack(f"<{_BLOCK}H", stream), 0
            self._blocks += 1
        self._at += count
        return self._numbers[self._at - count : self._at]

    def below(self, limit: int) -> int:
        """The next number in [0, limit); `limit` at most 65536."""
        return self.take(1)[0] % limit

    def between(self, least: int, most: int) -> int:
        """The next number in [least, most]."""
        return least + self.below(most - least + 1)


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_ADJECTIVES = _words("""bright broad calm careful central clear close coastal cold common dark deep distant dry early
familiar fertile fine firm formal fresh gentle gradual heavy hidden large late light local long low mild minor modern
narrow natural new northern plain precise private public quiet rare regular remote rich rough rural sharp short simple
slow small soft southern steady strong sudden tall thick thin typical warm weak wide wild young""")
_SINGULAR = _words("""bridge canal castle chapter circle city climate coast colony committee community company culture
current district field forest garden harbour journey kingdom landscape language layer lecture library machine map
market meadow measure message method mountain museum network pattern period plan plant plateau problem process product
project province question record region result river road room route school season service shape shelter signal
society station story stream street structure surface survey system temple theory tower town tradition tunnel valley
village vessel voyage wall winter workshop""")
_PLURAL = _words("""animals artists bees birds books builders buildings children cities clouds colours crops customs
details doctors engineers events examples experts families farmers festivals figures fishermen forests gardens grains
habits houses insects islands leaders letters lines maps markets materials merchants methods minerals models mountains
musicians neighbours numbers observers officials painters papers paths patterns people pieces pilots plants poets
records regions rivers roads rocks rules sailors scholars schools scientists seeds settlers ships singers soldiers
stones stories students symbols teachers tools towns traders travellers trees tribes values vessels villages visitors
waves weavers winds workers writers""")
_VERBS = _words("""absorbs balances borders brings carries changes covers crosses defines describes divides feeds
follows forms gives guides holds improves joins keeps leaves limits marks meets moves needs offers opens protects
raises reaches reflects replaces resembles shapes shows slows splits supports surrounds takes touches turns uses warms""")
_PAST = _words("""accepted admired altered arranged assembled borrowed carried changed collected compared copied
counted crossed described discovered divided examined exchanged explained explored followed founded gathered improved
inspected joined measured moved named noticed observed opened organised painted planned planted prepared preserved
produced protected recorded reduced repaired replaced selected sold stored studied surveyed tested traced translated
transported visited watched widened""")
_ADVERBS = _words("""almost barely carefully clearly constantly directly easily entirely evenly finally firmly freely
gently gradually largely lately mainly mostly nearly normally often openly partly plainly probably quickly quietly
rarely readily regularly roughly seldom sharply simply slowly smoothly soon steadily strongly surely usually widely""")
_TIMES = """after the storm|at dawn|before the harvest|by the end of the century|during the dry months|during the long
war|for many decades|for three generations|from year to year|in early spring|in most seasons|in the following
decade|in the late summer|in the same week|in times of peace|not long ago|on clear nights|on market days|once every
decade|over a few hours|over several centuries|through the cold months|under heavy rain|until the last century|when
the tide was low|while prices were high|with each new generation|within a single year|within living memory|without
much warning""".replace("\n", " ").split("|")

_TOPIC = "topic"
_SLOTS: dict[str, Sequence[str]] = {
    "a": _ADJECTIVES, "s": _SINGULAR, "p": _PLURAL, "v": _VERBS, "w": _PAST, "r": _ADVERBS, "t": _TIMES, "n": (_TOPIC,),
}  # fmt: skip

_SENTENCES = """The {a} {n} of the {s} {r} {v} a {a} {s} {t}.
Most {p} {w} the {n} {t}, and the {a} {p} {r} {w} it too.
In the {a} {s}, {p} have {w} many {a} {p} {t}.
A {a} {s} with its own {n} {v} the {s} that {p} once {w}.
{T}, the {p} {r} {w} a {a} {s} near the {n}.
It is the {n} that {r} {v} the {a} {s}, not the {p}.
Because the {s} {v} every {n}, {p} {w} their {a} {p} {t}.
The {p} {w} both the {n} and a {a} {s} {t}.
What the {p} {r} {w} {t} was a {a} {s} of {n}.
No {s} {v} the {n} as {r} as the {a} {p} do.
{T} a {a} {s} was {r} {w} by the {n} {p}.
Some {p} have {r} {w} the {a} {n}, but {p} of the {s} did not.
To reach the {a} {s}, {p} {w} some {n} and {r} {w} it {t}.
The {s} {r} {v} {a} {p}, and the {n} {v} {a} ones.
Each {a} {n} has a {s} which {r} {v} the {p}.
{P} and {p} {w} the {a} {n} {t} with {a} {p}.
The {n} was {w} {t}, so the {a} {s} {r} {v} its {p}.
From the {s} to the {n}, {a} {p} were {r} {w} {t}.
Although {p} {r} {w} the {s}, the {n} still {v} a {a} {s}.
Its {a} {n} {v} the {s}, while {p} {r} {w} the {a} {s}.
There are {p} that {r} {w} {n} and {a} {p} {t}.
{T} the {n} {v} a {s}, and {p} {r} have {a} {p}.
That {a} {s} of {p} {v} whatever the {n} {r} {v}.
Many {a} {p} were {w} when the {n} {v} a {a} {s}.
Without the {n}, the {a} {s} {r} {v} neither {p} nor {p}.
{P} of the {s} {w} it {t}, yet the {n} {r} {v} it.
The {a} {p} and their {n} have {r} {w} that {s} {t}.
If the {n} {v} the {s}, then {a} {p} {r} need {p}.
{P} {r} {w} by the {n} are {a} {p} with a {a} {s}.
One {s} {v} {p}; a second {r} {v} the {a} {n}.
The {s} where {p} {w} the {n} {r} {v} a {a} {s}.
Unlike the {n}, this {a} {s} {v} {p} {t} and {r} {v} a {s}.
{P} who {w} the {n} {t} {r} {w} its {a} {s} too.
Near the {a} {s} some {n} {r} {v} {p} of the {s}.
Both {p} and {a} {p} {r} {w} what the {n} {v} {t}.
With {a} {p}, a {s} of the {n} {r} {v} {p} {t}.
The {n} and the {a} {s} were {w} {t} by {p}.
So the {p} {r} {w} their {n}, and the {s} {v} {a} {p}.
{T}, {a} {p} from the {s} {w} {n} to a {s}.
Only {a} {p} {r} {w} the {s} that the {n} {v}.
The {s} and its {p} {v} nothing, but the {a} {n} {r} {v} a {s}.""".splitlines()

_QUESTIONS = """Which {a} {s} {r} {v} the {n} of the {p}?
Why have {a} {p} {r} {w} the {n} {t}?
What did the {p} of the {s} {w} {t} near the {n}?
How does the {n} of a {a} {s} {r} change the {p}?
When were the {a} {p} {r} {w} by the {n}?
Who {r} {w} the {n} and the {a} {s} {t}?
Where does a {a} {s} {v} the {n} and its {p}?
Is it the {n} or the {a} {s} that {r} {v} {p}?
In what {s} have {p} {w} a {a} {n}?
For which {p} is the {n} a {a} {s} of {p}?
Does the {n} {r} need {a} {p} {t}?""".splitlines()

_TITLES = ["{A} {n} and the {s} of {p}", "The {n} of {a} {p}", "{P}, {n} and the {a} {s}", "A {a} {s} for {n}"]

Template = tuple[str, tuple[tuple[Sequence[str], int], ...]]
"""A %-format, and the words of each slot with their number; a topic slot has none."""


def _capitalised(words: Sequence[str]) -> tuple[str, ...]:
    return tuple(word[0].upper() + word[1:] for word in words)


def _compiled(template: str) -> Template:
    slots: list[tuple[Sequence[str], int]] = []

    def slot(found: re.Match[str]) -> str:
        name = found[1]
        words = _SLOTS[name.lower()]
        chosen: Sequence[str] = () if name == "n" else words if name.islower() else _capitalised(words)
        slots.append((chosen, len(chosen)))
        return "%s"

    return re.sub(r"\{(\w)\}", slot, template), tuple(slots)


_SENTENCE = tuple(map(_compiled, _SENTENCES))
_QUESTION = tuple(map(_compiled, _QUESTIONS))
_TITLE = tuple(map(_compiled, _TITLES))


def _fill(template: Template, draws: Draws, topics: Sequence[str]) -> str:
    text, slots = template
    topics_number = len(topics)
    chosen = [
        words[drawn % number] if number else topics[drawn % topics_number]
        for (words, number), drawn in zip(slots, draws.take(len(slots)), strict=True)
    ]
    return text % tuple(chosen)


# Too common in any text to be what it is about.
_STOP_WORDS = frozenset(
    _words("""about above after again against also although always among another around because been before being below
    between both cannot come could does doing down during each either enough even every first from further give given goes
    have having here into itself just keep like made make many more most much must near neither never next none nothing once
    only other ought over same several shall should since some such take than that their them then there these they thing
    this those though through thus together toward under until upon used using very want were what when where whether which
    while whom whose will with within without would write yours""")
)
_TOPICS = 64
_TOPIC_WORD = re.compile(r"\b[a-z]{4,12}\b")
_OTHERS_AS_SPACES = bytes(byte if chr(byte).isalnum() or byte == ord("_") else 0x20 for byte in range(128)) + bytes(128)


def _topic_words(text: str) -> list[str]:
    """What `_TOPIC_WORD` finds in a text in lower case; in ASCII words are easily told, without its cost."""
    if not text.isascii():
        return _TOPIC_WORD.findall(text)
    words = text.encode().translate(_OTHERS_AS_SPACES).decode().split()
    return [word for word in words if 4 <= len(word) <= 12 and word.isalpha()]


def topics_of(text: str) -> list[str]:
    """Up to 64 different words that the text is about, in order; filled up with common nouns when there are few."""
    found = dict.fromkeys(_topic_words(text[:20_000].lower()))
    words = [word for word in found if word not in _STOP_WORDS][:_TOPICS]
    return words if len(words) >= 12 else [*words, *_SINGULAR[: 24 - len(words)]]


def passage_of(text: str) -> str:
    """The longest block between blank lines, without lines of a single word (tags, headings) at its ends: most likely the
    text that a prompt is about."""
    lines = max(re.split(r"\n[ \t]*\n", text), key=len).split("\n")
    while len(lines) > 1 and len(lines[0].split()) < 2:
        del lines[0]
    while len(lines) > 1 and len(lines[-1].split()) < 2:
        del lines[-1]
    return "\n".join(lines).strip()


def prose(draws: Draws, topics: Sequence[str], least_words: int, most_words: int) -> str:
    """Sentences of `least_words` to `most_words` words; `most_words` at least `least_words` + 22. Long ones in two paragraphs."""
    wanted = draws.between(least_words, most_words - 22)
    start, stride = draws.below(len(_SENTENCE)), draws.between(1, len(_SENTENCE) - 1)
    sentences: list[str] = []
    words = 0
    while words < wanted:
        # The number of templates is prime: every stride visits all of them before one comes again.
        template = _SENTENCE[(start + len(sentences) * stride) % len(_SENTENCE)]
        sentences.append(_fill(template, draws, topics))
        words += sentences[-1].count(" ") + 1
    half = len(sentences) // 2 if len(sentences) >= 6 else 0
    paragraphs = [sentences[:half], sentences[half:]] if half else [sentences]
    return "\n\n".join(" ".join(each) for each in paragraphs)


def question(draws: Draws, topics: Sequence[str]) -> str:
    """A question; it ends with a question mark."""
    return _fill(_QUESTION[draws.below(len(_QUESTION))], draws, topics)


def title(draws: Draws, topics: Sequence[str]) -> str:
    """A few words without a full stop."""
    return _fill(_TITLE[draws.below(len(_TITLE))], draws, topics)


_LONG_FIELD = re.compile(r"text|passage|document|article|body|content|explanation|section|rewrit|summary|essay|story")
_SHORT_FIELD = re.compile(r"title|topic|keyword|term|name|label|heading|subject")


def is_question_field(name: str) -> bool:
    """Whether strings of a field with this name are questions: `q`, `question`, `follow_up_questions` …"""
    return name.lower() == "q" or "question" in name.lower()


def field_text(draws: Draws, name: str, topics: Sequence[str]) -> str:
    """A string for the field `name`: a question, a title, prose or, for any other name, a sentence or two."""
    if is_question_field(name):
        return question(draws, topics)
    if _LONG_FIELD.search(name.lower()):
        return prose(draws, topics, 60, 140)
    if _SHORT_FIELD.search(name.lower()):
        return title(draws, topics)
    return prose(draws, topics, 20, 46).replace("\n\n", " ")


def change_words(text: str, draws: Draws, changes: int) -> str:
    """The text with `changes` of its words replaced by others, at places that depend on the draws."""
    words = text.split(" ")
    for _ in range(changes):
        words[draws.below(len(words))] = _ADJECTIVES[draws.below(len(_ADJECTIVES))]
    return " ".join(words)


_MARKS = b"".join(bytes([byte]) for byte in range(0x21, 0x7F) if not chr(byte).isalnum() and byte != ord("_"))
_TOKEN = re.compile(rf"[A-Za-z0-9_\x80-\U0010ffff]+|[{re.escape(_MARKS.decode())}]")
_MARKS_AS_SPACES = bytes(0x20 if byte in _MARKS or byte <= 0x20 or byte == 0x7F else byte for byte in range(256))


def tokens_of(text: str) -> list[str]:
    """The text's tokens by a rule of our own: a run of letters, digits, underscores and characters outside ASCII, or one of
    ASCII's other visible characters."""
    return _TOKEN.findall(text)


def count_tokens(text: str) -> int:
    """The number of `tokens_of(text)`, without making them."""
    raw = text.encode()
    return len(raw.translate(_MARKS_AS_SPACES).split()) + len(raw) - len(raw.translate(None, _MARKS))


def cut_tokens(text: str, limit: int) -> str:
    """The text up to the end of its token number `limit`."""
    if limit <= 0:
        return ""
    for number, token in enumerate(_TOKEN.finditer(text), 1):
        if number == limit:
            return text[: token.end()]
    return text


_ANNOTATIONS = {
    "title",
    "description",
    "default",
    "examples",
    "$schema",
    "$id",
    "$defs",
    "definitions",
    "$comment",
    "deprecated",
}
_KEYWORDS = {
    "object": {"properties", "required", "additionalProperties"},
    "array": {"items", "minItems", "maxItems"},
    "string": {"minLength", "maxLength", "pattern"},
    "integer": {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"},
    "number": {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"},
    "boolean": set(),
    "null": set(),
}


_DEEPEST = 32


def conforming_value(schema: Mapping[str, Any], key: str, write: Writing, words: Sequence[str] = ()) -> Any:
    """A value that conforms to a JSON schema; `write` makes its strings. UnsupportedSchema where a keyword is not known.

    Every property is there. Known beside the keywords of `_KEYWORDS`: type (a list too), enum, const, anyOf, oneOf, and
    $ref to a place in the same schema. `words` fill the running text of patterns.
    """
    return _Maker(schema, write, words).value(schema, key, "", 0)


class _Maker:
    """Walks one schema. `key` names the place in the value and so decides every choice made there."""

    def __init__(self, root: Mapping[str, Any], write: Writing, words: Sequence[str]) -> None:
        self._root = root
        self._words = words
        self._write = write

    def value(self, schema: Any, key: str, name: str, depth: int) -> Any:
        """A value for `schema`; `name` is the nearest field's name."""
        if schema is True:
            schema = {}
        if not isinstance(schema, dict) or depth > _DEEPEST:
            raise fail(UnsupportedSchema, f"no value can be made for {name or 'the schema'!r}", given=str(schema)[:80])
        if "const" in schema:
            return schema["const"]
        draws = Draws(key)
        if "$ref" in schema:
            return self.value(self._target(schema["$ref"]), key, name, depth + 1)
        for choices in ("anyOf", "oneOf"):
            if choices in schema:
                return self.value(_one_of(schema[choices], draws), key, name, depth + 1)
        return _one_of(schema["enum"], draws) if "enum" in schema else self._typed(schema, draws, key, name, depth)

    def _target(self, reference: str) -> Any:
        at: Any = self._root
        for part in filter(None, reference.removeprefix("#").split("/")):
            at = at.get(part) if isinstance(at, dict) else None
        if at is None or not reference.startswith("#"):
            raise fail(UnsupportedSchema, "$ref leads nowhere in this schema", given=reference)
        return at

    def _typed(self, schema: Mapping[str, Any], draws: Draws, key: str, name: str, depth: int) -> Any:
        kind = schema.get("type", "object" if "properties" in schema else "array" if "items" in schema else "string")
        kind = _one_of(kind, draws) if isinstance(kind, list) else kind
        unknown = set(schema) - _ANNOTATIONS - _KEYWORDS.get(kind, set()) - {"type"}
        if kind not in _KEYWORDS or unknown:
            raise fail(UnsupportedSchema, f"type {kind!r} with {sorted(unknown)} is not scripted")
        if kind == "object":
            fields = {**dict.fromkeys(schema.get("required", []), True), **schema.get("properties", {})}
            return {field: self.value(inner, f"{key}.{field}", field, depth + 1) for field, inner in fields.items()}
        if kind == "array":
            least = schema.get("minItems", min(1, schema.get("maxItems", 1)))
            size = draws.between(least, max(least, schema.get("maxItems", least + 3)))
            return [self.value(schema.get("items", True), f"{key}[{at}]", name, depth + 1) for at in range(size)]
        if "pattern" in schema:
            return matching(schema["pattern"], draws.below, self._words)
        if kind == "string":
            return _fitted(self._write, draws, name, schema.get("minLength", 0), schema.get("maxLength"))
        return _scalar(kind, schema, draws)


def _one_of(choices: Sequence[Any], draws: Draws) -> Any:
    return choices[draws.below(len(choices))]


def _fitted(write: Writing, draws: Draws, name: str, least: int, most: int | None) -> str:
    """A string of `least` to `most` characters, cut between words where the limits allow it."""
    text = write(draws, name)
    while len(text) < least:
        text += " " + (write(draws, name) or "text")
    if most is None or len(text) <= most:
        return text
    mark = "?" if is_question_field(name) and most > least else ""
    cut = text[: most - len(mark)]
    at_word = cut.rsplit(" ", 1)[0]
    return (at_word if len(at_word) + len(mark) >= max(least, 1) else cut).rstrip(" ,;") + mark


def _scalar(kind: str, schema: Mapping[str, Any], draws: Draws) -> Any:
    if kind == "null":
        return None
    if kind == "boolean":
        return draws.below(2) == 1
    step = 1 if kind == "integer" else 0.001
    least, most = schema.get("minimum"), schema.get("maximum")
    if "exclusiveMinimum" in schema:
        least = schema["exclusiveMinimum"] + step
    if "exclusiveMaximum" in schema:
        most = schema["exclusiveMaximum"] - step
    if least is None:
        least = 0 if most is None or most > 0 else most - 100
    if most is None:
        most = least + 100
    if kind == "integer":
        return draws.between(int(least), min(int(most), int(least) + 65_535))
    return min(most, max(least, round(least + (most - least) * draws.below(1001) / 1000, 3)))
