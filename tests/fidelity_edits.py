"""Honest rewrites of real paragraphs, and the edits that make them dishonest.

The paragraphs: the 80 packaged passages and 120 of Python's own reference text. The rewrites were written by hand, before
any threshold was chosen; tests/data/honest_rewrites.jsonl keys them by the passage's id or by the SHA-256 of the
documentation's paragraph, which another release of Python may have changed: then it is not among the documents. The
rewrites of the documentation derive from it (PSF-2.0). Paragraphs without a rewrite stand with their sentences reordered.
What counts as a number or a name to change is found here by other means than the rule's own.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

import orjson
import pyarrow as pa

from filters import fidelity
from filters.gates import Gate, apply_gates
from synth.sources_python_docs import topic_passages, topics_file

DOCUMENTATION_PARAGRAPHS = 120
_REPHRASED, _CONDENSED = ("rephrased", "reordered"), ("condensed",)
GATES = (
    Gate(column="numbers_invented", max=0, missing="keep", evidence="invented_numbers", reason="invented_number"),
    Gate(column="names_invented", max=0, missing="keep", evidence="invented_names", reason="invented_name"),
    Gate(column="length_ratio", min=0.6, max=1.5, families=_REPHRASED, missing="keep", reason="wrong_length"),
    Gate(column="length_ratio", min=0.25, max=0.9, families=_CONDENSED, missing="keep", reason="wrong_length"),
    Gate(column="fact_recall", min=0.85, families=_REPHRASED, missing="keep", reason="facts_lost"),
    Gate(column="fact_recall", min=0.6, families=_CONDENSED, missing="keep", reason="facts_lost"),
    Gate(column="content_recall", min=0.45, families=_REPHRASED, missing="keep", reason="content_lost"),
    Gate(column="content_recall", min=0.35, families=_CONDENSED, missing="keep", reason="content_lost"),
    Gate(column="least_half_recall", min=0.25, missing="keep", reason="half_lost"),
)
"""The proposed gates of faithful families; `rephrased`, `reordered` and `condensed` stand for the families' names."""

_ROOT = Path(__file__).parents[1]
_SENTENCE_START = re.compile(r"(?<=[.!?])\s+(?=[A-Z\"“(])")
_DIGITS = re.compile(r"(?<!\w)[0-9](?:[0-9,]*[0-9])?(?!\w)")
_COUNTS = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_COUNT = re.compile(rf"(?<![\w-])(?:{'|'.join(_COUNTS)})(?!\w)")
_NAME = re.compile(r"(?<=[a-z,] )[A-Z][\w-]+(?: [A-Z][\w-]+)*|(?<=[ (])\w*_\w+(?!\w)")
_NO_NAME = re.compile(
    r"(?:The|January|February|March|April|May|June|July|August|September|October|November|December|BC|AD)(?!\w)"
)
_VERB = re.compile(r" (?:is|was|are|were|can|will|may|has been|have been) ")
_WITH_FACTS = (
    "It was first described in detail in 1887 by Harold Winslow.",
    "A survey by the Tillman Institute later put the share at 37 percent.",
    "According to Margaret Osgood, about 2,460 of them are left.",
)
_WITHOUT_FACTS = (
    "Many experts now consider this to be a mistake.",
    "It is generally much cheaper than the alternatives.",
    "This was kept secret for a long time.",
)


@dataclass(frozen=True)
class Document:
    """A paragraph and a text made from it. `text_kind`: passages or python-docs; `family`: how it was made."""

    id: str
    text_kind: str
    family: str
    source: str
    text: str


def documents() -> list[Document]:
    """One honest document per paragraph: at most 200, in a fixed order."""
    rewrites = {row["id"]: row for row in _lines(_ROOT / "tests/data/honest_rewrites.jsonl")}
    found = []
    for key, source in _paragraphs():
        row = rewrites.get(key) or {"kind": "reordered", "rewrite": _reordered(source, key)}
        found.append(Document(key, key.partition("/")[0], row["kind"], source, row["rewrite"]))
    return found


def _paragraphs() -> Iterator[tuple[str, str]]:
    for line in _lines(_ROOT / "synth/data/passages.jsonl"):
        yield f"passages/{line['id']}", line["text"]
    documentation = {hashlib.sha256(text.encode()).hexdigest(): text for _, text in topic_passages(topics_file())}
    for digest in sorted(documentation)[:DOCUMENTATION_PARAGRAPHS]:
        yield f"python-docs/{digest[:16]}", documentation[digest]


def _lines(path: Path) -> list[dict[str, str]]:
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


def sentences(text: str) -> list[str]:
    """The sentences of a text, roughly."""
    return _SENTENCE_START.split(text)


def _reordered(text: str, key: str) -> str:
    parts = sentences(text)
    Random(key).shuffle(parts)
    return " ".join(parts)


def changed_numbers(document: Document, others: list[Document]) -> Iterator[Document]:
    """One digit of one number changed: one document per number in digits, years included."""
    for match in _DIGITS.finditer(document.text):
        random = Random(f"{document.id} {match.start()}")
        place = random.choice([at for at in range(*match.span()) if document.text[at].isdigit()])
        old = document.text[place]
        first = place == match.start() and len(match[0]) > 1
        digit = random.choice([digit for digit in "0123456789"[first:] if digit != old])
        yield replace(document, text=document.text[:place] + digit + document.text[place + 1 :])


def changed_counts(document: Document, others: list[Document]) -> Iterator[Document]:
    """One small number in words replaced by another: one document per number word from two to ten."""
    for match in _COUNT.finditer(document.text):
        random = Random(f"{document.id} {match.start()}")
        new = random.choice([word for word in _COUNTS if word != match[0]])
        yield replace(document, text=document.text[: match.start()] + new + document.text[match.end() :])


def swapped_names(document: Document, others: list[Document]) -> Iterator[Document]:
    """A name of the source, wherever the text has it, replaced by one of another paragraph: one document per name."""
    for name in sorted(_names(document.source)):
        here = re.compile(rf"(?<!\w){re.escape(name)}(?!\w)")
        if here.search(document.text):
            random = Random(f"{document.id} {name}")
            new = _foreign_name(document, others, random)
            yield replace(document, text=here.sub(lambda _, new=new: new, document.text))  # type: ignore[misc]


def swapped_within(document: Document, others: list[Document]) -> Iterator[Document]:
    """Two names of the text changed places."""
    here = [name for name in sorted(_names(document.source)) if name in document.text]
    if len(here) > 1:
        one, two = Random(document.id).sample(here, 2)
        parts = re.split(f"({re.escape(one)}|{re.escape(two)})", document.text)
        yield replace(document, text="".join({one: two, two: one}.get(part, part) for part in parts))


def _names(text: str) -> set[str]:
    return {name for name in _NAME.findall(text) if not _NO_NAME.match(name)}


def _foreign_name(document: Document, others: list[Document], random: Random) -> str:
    while True:
        other = random.choice(others)
        if other.text_kind == document.text_kind:
            names = [name for name in sorted(_names(other.source)) if name not in document.source]
            if names:
                return random.choice(names)


def half_removed(document: Document, others: list[Document]) -> Iterator[Document]:
    """The sentences of the second half gone, where whole sentences allow to keep 35 to 65% of the words."""
    parts = sentences(document.text)
    if len(parts) > 1:
        words = len(document.text.split())
        kept = min(range(1, len(parts)), key=lambda count: abs(len(" ".join(parts[:count]).split()) - words / 2))
        text = " ".join(parts[:kept])
        if 0.35 <= len(text.split()) / words <= 0.65:
            yield replace(document, text=text)


def negated(document: Document, others: list[Document]) -> Iterator[Document]:
    """A `not` behind one verb."""
    verbs = list(_VERB.finditer(document.text))
    if verbs:
        end = Random(document.id).choice(verbs).end()
        yield replace(document, text=f"{document.text[:end]}not {document.text[end:]}")


def invented_with_facts(document: Document, others: list[Document]) -> Iterator[Document]:
    """A sentence with a number or a name put behind the text."""
    yield replace(document, text=f"{document.text} {Random(document.id).choice(_WITH_FACTS)}")


def invented_without_facts(document: Document, others: list[Document]) -> Iterator[Document]:
    """A sentence without numbers and names put behind the text."""
    yield replace(document, text=f"{document.text} {Random(document.id).choice(_WITHOUT_FACTS)}")


EDITS: dict[str, Callable[[Document, list[Document]], Iterator[Document]]] = {
    "changed number": changed_numbers,
    "changed count": changed_counts,
    "swapped name": swapped_names,
    "swapped within": swapped_within,
    "half removed": half_removed,
    "negation": negated,
    "invented, with facts": invented_with_facts,
    "invented, without": invented_without_facts,
}


def edited(edit: str, honest: list[Document]) -> list[Document]:
    """All documents that an edit makes of the honest ones."""
    return [changed for document in honest for changed in EDITS[edit](document, honest)]


def scores(made: list[Document]) -> pa.Table:
    """The rule's columns, with the keys that gates need."""
    table = pa.table(
        {
            "generated": pa.array([document.text for document in made], pa.large_string()),
            "seed_text": pa.array([document.source for document in made], pa.large_string()),
        }
    )
    found = fidelity.score(table, fidelity.FidelityOptions())
    found = found.add_column(0, "family", pa.array([document.family for document in made]))
    return found.add_column(0, "item_id", pa.array([f"{place:06d}" for place in range(len(made))]))


def flagged(made: list[Document], gates: tuple[Gate, ...] = GATES) -> list[list[str]]:
    """Per document the reasons of the gates that drop it; an empty list when all let it pass."""
    reasons: list[list[str]] = [[] for _ in made]
    for drop in apply_gates(scores(made), gates, "document", "score", ()).to_pylist():
        reasons[int(drop["item_id"])].append(drop["reason"])
    return reasons
