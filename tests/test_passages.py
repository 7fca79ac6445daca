"""The passages that ship with the package: enough of them, varied, plain, and readable as a source."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import orjson
import pytest

from synth.rows import SEED, seeds_from
from synth.sources import Source, read_source, source_files

SOURCE = Source(id="passages", kind="passages")
PLAIN = re.compile(r"[A-Za-zçèéøöüłÉ0-9 .,;:?'\"()/-]+")


@pytest.fixture(scope="module")
def passages() -> list[dict[str, str]]:
    (file,) = source_files(SOURCE, Path("nowhere"))
    return [orjson.loads(line) for line in file.read_bytes().splitlines()]


def test_there_are_enough_and_each_is_whole(passages: list[dict[str, str]]) -> None:
    assert len(passages) >= 80
    assert {tuple(passage) for passage in passages} == {("id", "topic", "title", "text")}
    assert all(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", passage["id"]) for passage in passages)


def test_lengths(passages: list[dict[str, str]]) -> None:
    words = {passage["id"]: len(passage["text"].split()) for passage in passages}
    assert {name: count for name, count in words.items() if not 80 <= count <= 150} == {}


@pytest.mark.parametrize("key", ["id", "title", "text"])
def test_nothing_comes_twice(passages: list[dict[str, str]], key: str) -> None:
    assert [value for value, count in Counter(passage[key] for passage in passages).items() if count > 1] == []


def test_topics_are_spread(passages: list[dict[str, str]]) -> None:
    topics = Counter(passage["topic"] for passage in passages)
    assert len(topics) >= 8
    assert max(topics.values()) <= 0.2 * len(passages)


def test_openings_and_texts_differ(passages: list[dict[str, str]]) -> None:
    openings = Counter(" ".join(passage["text"].lower().split()[:3]) for passage in passages)
    assert [opening for opening, count in openings.items() if count > 3] == []
    shingles = [_shingles(passage["text"]) for passage in passages]
    overlaps = [len(one & other) for at, one in enumerate(shingles) for other in shingles[:at]]
    assert max(overlaps) <= 2, "two passages share more than two runs of five words"


def _shingles(text: str) -> set[tuple[str, ...]]:
    words = re.findall(r"\w+", text.lower())
    return set(zip(*(words[start:] for start in range(5)), strict=False))


def test_plain_prose_in_one_paragraph(passages: list[dict[str, str]]) -> None:
    assert [passage["id"] for passage in passages if not PLAIN.fullmatch(passage["text"])] == []
    assert [passage["id"] for passage in passages if not re.fullmatch(r"\S+( \S+)*\.", passage["text"])] == []
    assert [passage["id"] for passage in passages if len(re.findall(r"[.?] [A-Z]", passage["text"])) < 4] == []


def test_each_holds_facts_that_can_be_checked(passages: list[dict[str, str]]) -> None:
    def facts(text: str) -> int:
        names = re.findall(r"(?<![.?:] )(?<!^)\b[A-ZÉ]\w+", text)  # capitals that do not just open a sentence
        numbers = re.findall(r"\d[\d,.]*|\b(?:two|three|four|five|six|seven|eight|nine|ten|twelve|half)\b", text)
        return len(numbers) + len(set(names))

    assert [passage["id"] for passage in passages if facts(passage["text"]) < 3] == []


def test_read_as_a_source(passages: list[dict[str, str]]) -> None:
    (file,) = source_files(SOURCE, Path("nowhere"))
    (table,) = read_source(SOURCE, file)
    assert table.schema.equals(SEED, check_metadata=True)
    seeds = seeds_from(table)
    assert [seed.text for seed in seeds] == [passage["text"] for passage in passages]
    assert [seed.source for seed in seeds] == [passage["title"] for passage in passages]
    assert [seed.meta for seed in seeds] == [{"id": passage["id"]} for passage in passages]
    assert {(seed.license, seed.language, seed.generation_depth) for seed in seeds} == {("CC0-1.0", "en", 0)}
    assert all(seed.root_id == seed.id for seed in seeds)
