"""A labelled set of documents made of real text, to see what near-duplicate removal finds and what it must not touch.

Of each kind it is known by construction who is a copy of whom (`group`); whether a pair is a duplicate by the rules of
`dedup.ResolveConfig` is for `tests.duplicates_oracle` to say, by comparing all pairs. Everything is drawn with fixed seeds
from passages that the caller gives, no two of which overlap.
"""

from __future__ import annotations

import ast
import json
import random
import re
import sysconfig
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from pydoc_data.topics import topics

import pyarrow as pa

PASSAGE_WORDS = 300
_FAMILY = 110  # documents in which a shingle must stand 100 times to be boilerplate
EDITS = (1, 2, 5, 10, 20)  # percent of all words
DISTINCT_KINDS = ("template", "boilerplate", "table", "rewrite")
"""Kinds whose documents say different things: none may be lost."""

_SCHEMA = pa.schema([(name, pa.string()) for name in ("doc_id", "kind", "group", "family", "root_id", "text")])
_PLAIN = re.compile(r"(?<!\S)[a-z]{3,}(?!\S)")
_LANGUAGES = (
    "der fluss brücke maß über straße wohnt heute später leise grün fährt kinder wald zwischen unter höher während",
    "la forêt été garçon près rivière où déjà école lumière rouge doucement après marché fenêtre petite grande voilà",
    "река мост через улица сегодня позже тихо зелёный дети лес между выше дом окно вечер дорога старый новый",
    "नदी पुल घर आज बाद धीरे हरा बच्चे जंगल बीच ऊपर खिड़की शाम सड़क पुराना नया पानी आकाश",
    "نهر جسر بيت اليوم لاحقا ببطء أخضر أطفال غابة بين فوق نافذة مساء طريق قديم جديد ماء سماء",
    "강 다리 집 오늘 나중 천천히 초록 아이들 숲 사이 위 창문 저녁 길 오래된 새로운 물 하늘",
    "河 桥 房子 今天 以后 慢慢 绿色 孩子们 森林 之间 上面 窗户 晚上 道路 古老 新的 清水 天空",
    "川 橋 家は 今日も 後で ゆっくり 緑の 子供たち 森へ 間に 上の 窓から 夕方 道を 古い 新しい 水と 空が",
)
_UNSPACED = _LANGUAGES[-2:]
_FIRST_NAMES = (
    "Anna",
    "Boris",
    "Clara",
    "Dmitri",
    "Elena",
    "Farid",
    "Greta",
    "Hugo",
    "Irene",
    "Jonas",
    "Katja",
    "Louis",
)
_LAST_NAMES = (
    "Abel",
    "Brandt",
    "Costa",
    "Dvorak",
    "Ek",
    "Fischer",
    "Grant",
    "Hansen",
    "Ito",
    "Jensen",
    "Kovacs",
    "Lund",
)
_TOWNS = (
    "Aarhus",
    "Brno",
    "Cork",
    "Delft",
    "Evora",
    "Faro",
    "Ghent",
    "Haifa",
    "Izmir",
    "Jena",
    "Kiel",
    "Lviv",
    "Malmo",
)


@dataclass
class Source:
    """Passages that are used once each, and a vocabulary of plain words from them."""

    passages: Iterator[str]
    vocabulary: list[str]
    rng: random.Random

    def words(self, count: int) -> list[str]:
        """So many words of text that nobody else gets."""
        found: list[str] = []
        while len(found) < count:
            found += next(self.passages).split()
        return found[:count]

    def passage(self) -> str:
        """PASSAGE_WORDS of it."""
        return " ".join(self.words(PASSAGE_WORDS))


def labelled(passages: Iterable[str], per_kind: int, template: int, seed: int = 1) -> pa.Table:
    """Documents with `kind`, `group`, `family` and `root_id`: `per_kind` originals or distinct documents of each kind, and
    `template` documents in one template. Raises StopIteration when there are too few passages (RuntimeError inside)."""
    rng = random.Random(seed)
    texts = list(passages)
    vocabulary = sorted({word for text in texts[:2000] for word in _PLAIN.findall(text)})
    source = Source(iter(texts), vocabulary, rng)
    kinds: dict[str, Callable[[Source, int], list[list[str]]]] = {
        "exact": _exact,
        **{f"edit_{percent:02d}": partial(_edited, percent=percent) for percent in EDITS},
        "half": _halves,
        "cut_off": _cut_off,
        "multilingual": _multilingual,
        "template": _template,
        "boilerplate": _boilerplate,
        "table": _tables,
        "rewrite": _rewrites,
    }
    rows = []
    for kind, make in kinds.items():
        for number, group in enumerate(make(source, template if kind == "template" else per_kind)):
            for place, text in enumerate(group):
                root = f"{kind}-{number}" if kind == "rewrite" else None
                family = f"{kind}-{place}" if kind == "rewrite" else kind
                name = f"{rng.getrandbits(64):016x}"
                rows.append((name, kind, f"{kind}-{number}", family, root, text))
    rng.shuffle(rows)
    return pa.table(dict(zip(_SCHEMA.names, map(list, zip(*rows, strict=True)), strict=True)), schema=_SCHEMA)


def edited(text: str, percent: int, vocabulary: list[str], rng: random.Random) -> str:
    """With so many percent of all words replaced; only words in lower case without digits are, by others like them."""
    words = text.split()
    plain = [at for at, word in enumerate(words) if _PLAIN.fullmatch(word)]
    for at in rng.sample(plain, min(len(plain), max(1, len(words) * percent // 100))):
        words[at] = rng.choice(vocabulary)
    return " ".join(words)


@cache
def standard_passages() -> tuple[str, ...]:
    """Paragraphs that any machine has: our packaged passages, pydoc's topics, the standard library's docstrings; each of them
    once (by its first 60 characters), of 20 words at least."""
    found: dict[str, str] = {}
    for text in [*_packaged(), *(topics[name] for name in sorted(topics)), *_docstrings()]:
        for paragraph in re.split(r"\n\s*\n", text):
            line = " ".join(paragraph.split())
            if line.count(" ") >= 19:
                found.setdefault(line[:60], line)
    return tuple(found.values())


def _packaged() -> list[str]:
    import synth.data

    path = Path(synth.data.__file__).with_name("passages.jsonl")
    return [json.loads(line)["text"] for line in path.read_text(encoding="utf-8").splitlines()]


def _docstrings() -> Iterator[str]:
    nodes = (ast.Module, ast.ClassDef, ast.FunctionDef)
    for path in sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py")):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, nodes):
                yield ast.get_docstring(node) or ""


def _exact(source: Source, count: int) -> list[list[str]]:
    """In another layout."""
    texts = [source.passage() for _ in range(count)]
    return [[text, text.replace(", ", " , ").replace(" ", "\n", 40)] for text in texts]


def _edited(source: Source, count: int, percent: int) -> list[list[str]]:
    texts = [source.passage() for _ in range(count)]
    return [[text, edited(text, percent, source.vocabulary, source.rng)] for text in texts]


def _halves(source: Source, count: int) -> list[list[str]]:
    """A long document and its first, middle or last half."""
    groups = []
    for number in range(count):
        words = source.words(2 * PASSAGE_WORDS)
        start = number % 3 * PASSAGE_WORDS // 2
        groups.append([" ".join(words), " ".join(words[start : start + PASSAGE_WORDS])])
    return groups


def _cut_off(source: Source, count: int) -> list[list[str]]:
    """An answer that ran out of tokens: 60 to 90 % of a text, cut anywhere, in words and numbers too."""
    texts = [source.passage() for _ in range(count)]
    return [[text, text[: int(len(text) * source.rng.uniform(0.6, 0.9))]] for text in texts]


def _multilingual(source: Source, count: int) -> list[list[str]]:
    """Sentences of words of eight languages, and the same with one word in a hundred replaced."""
    groups = []
    for number in range(count):
        words = _LANGUAGES[number % len(_LANGUAGES)].split()
        space = "" if _LANGUAGES[number % len(_LANGUAGES)] in _UNSPACED else " "
        text = [source.rng.choice(words) for _ in range(PASSAGE_WORDS)]
        other = list(text)
        for at in source.rng.sample(range(PASSAGE_WORDS), 3):
            other[at] = source.rng.choice(words)
        groups.append([_sentences(text, space), _sentences(other, space)])
    return groups


def _sentences(words: list[str], space: str) -> str:
    return " ".join(space.join(words[at : at + 12]) + ("." if space else "。") for at in range(0, len(words), 12))


def _template(source: Source, count: int) -> list[list[str]]:
    """Letters with one opening, one closing and one wording, each about another person, place, sum and year."""
    opening, middle, closing = (" ".join(source.words(60)) for _ in range(3))
    rng, letters = source.rng, []
    for number in range(count):
        name = f"{rng.choice(_FIRST_NAMES)} {rng.choice(_LAST_NAMES)}"
        town, year, sum_ = rng.choice(_TOWNS), rng.randrange(1700, 1990), f"{rng.randrange(1, 99)},{number:03d}"
        letters.append(
            f"{opening} In the spring of {year} the clerk wrote that {name} of {town} had paid {sum_} crowns for the "
            f"house at the river. {middle} The receipt for {name} names {sum_} crowns. {closing}"
        )
    return [[letter] for letter in letters]


def _boilerplate(source: Source, count: int) -> list[list[str]]:
    """Two passages that the prompt gives to all, around few words of each document's own: raw similarity about 0.8."""
    opening, closing = source.passage(), source.passage()
    return [[f"{opening} {' '.join(source.words(60))} {closing}"] for _ in range(max(count, _FAMILY))]


def _tables(source: Source, count: int) -> list[list[str]]:
    """Tables of one form that differ from the first one in one number each."""
    head = " | ".join(_PLAIN.findall(" ".join(source.words(PASSAGE_WORDS)))[:8])
    labels = [" ".join(source.rng.sample(source.vocabulary, 3)) for _ in range(20)]
    cells = [[source.rng.randrange(10, 99) for _ in range(7)] for _ in labels]
    tables = []
    for number in range(count):
        values = [list(row) for row in cells]
        values[number % 20][number // 20 % 7] += 100 + number
        lines = [f"{label} | " + " | ".join(map(str, row)) for label, row in zip(labels, values, strict=True)]
        tables.append(["\n".join([head, *lines])])
    return tables


def _rewrites(source: Source, count: int) -> list[list[str]]:
    """Two families' documents of one seed: its facts in their order, one in twelve of the other words changed."""
    texts = [source.passage() for _ in range(count)]
    return [[edited(text, 8, source.vocabulary, source.rng) for _ in range(2)] for text in texts]
