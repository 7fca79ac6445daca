"""Passages from CPython's own reference text: `pydoc_data/topics.py`, the file behind `help()` (PSF-2.0).

The file is one dict literal from a topic's name to plain text that Sphinx rendered. It is parsed, never executed.
Only unindented prose is taken; grammar, code, lists, definitions and version notes end a passage.
"""

from __future__ import annotations

import ast
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

from synth.errors import SourceError, fail

MIN_WORDS, MAX_WORDS = 80, 180  # of a passage: about what one short answer can cover
MIN_BLOCK_WORDS = 8  # shorter blocks are signatures and labels
MIN_PLAIN_WORDS = 0.75  # share of a block's words that look like words and not like code; judged by reading the blocks

_ENDS_A_SENTENCE = re.compile(r"[.!?][)\"”]?(?: \[\d+\])?$")
_STARTS_PROSE = re.compile(r"[A-Za-z(“\"*](?! )|A ")
_VERSION_NOTE = re.compile(r"(Changed|New|Added|Deprecated|Removed) (in|since)\b|Raises an \*?auditing|See also|Note:$")
_PLAIN_WORD = re.compile(r"[(“‘]*[A-Za-z][a-z]*(?:[-–’'][a-z]+)*[.,;:!?)”’]*")
_MARKUP = re.compile(r'"([^"]*)"|\*\*([^*"]+)\*\*|(?<![\w*])\*(\w(?:[^*"]*\w)?)\*(?![\w*])| ?\[\d+\]')


def topics_file() -> Path:
    """Where this interpreter keeps `pydoc_data/topics.py`. SourceError when its distribution leaves it out."""
    spec = importlib.util.find_spec("pydoc_data")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder, "topics.py")
        if path.is_file():
            return path
    raise fail(
        SourceError,
        "this Python has no pydoc_data/topics.py, which the source kind 'python_docs' reads",
        do="install Python's full standard library, or take the python_docs source out of the recipe",
    )


def topic_passages(file: Path) -> list[tuple[str, str]]:
    """(topic, passage) pairs of a topics.py, in the file's order; a passage that several topics hold comes once."""
    found: dict[str, str] = {}
    for topic, text in _topics(file).items():
        for passage in _cut(text):
            found.setdefault(passage, topic)
    return [(topic, passage) for passage, topic in found.items()]


def _topics(file: Path) -> dict[str, str]:
    """The dict literal assigned to `topics`. SourceError when there is none."""
    try:
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "topics":
                value = ast.literal_eval(node.value)
                return {str(topic): str(text) for topic, text in value.items()}
        reason = "it assigns no dict to `topics`"
    except (SyntaxError, ValueError, AttributeError) as error:
        reason = str(error)
    raise fail(
        SourceError,
        f"{file} is not the topics file of a CPython: {reason}",
        do="repair the Python installation, or take the python_docs source out of the recipe",
    )


def _cut(text: str) -> Iterator[str]:
    """Runs of neighbouring prose blocks, as many whole blocks as make MIN_WORDS to MAX_WORDS words."""
    passage: list[str] = []
    for raw in re.split(r"\n[ \t]*\n", text):
        block = raw.strip("\n")
        if not _is_prose(block):
            passage = []
            continue
        clean = _clean(block)
        if _words([*passage, clean]) > MAX_WORDS:
            passage = []
        passage.append(clean)
        if MIN_WORDS <= _words(passage) <= MAX_WORDS:
            yield "\n\n".join(passage)
            passage = []


def _words(blocks: list[str]) -> int:
    return sum(len(block.split()) for block in blocks)


def _is_prose(block: str) -> bool:
    """Whether a block is sentences, and not a heading, list, signature, grammar, code or version note."""
    words = block.split()
    if len(words) < MIN_BLOCK_WORDS or any(line[0].isspace() for line in block.split("\n") if line):
        return False
    if '""' in block or not _STARTS_PROSE.match(block) or _VERSION_NOTE.match(block):
        return False
    plain = sum(1 for word in _clean(block).split() if _PLAIN_WORD.fullmatch(word))
    return bool(_ENDS_A_SENTENCE.search(block)) and plain >= MIN_PLAIN_WORDS * len(words)


def _clean(block: str) -> str:
    """One line of plain text: line breaks joined, emphasis and footnote marks off, quotes off names that need none."""
    joined = re.sub(r"(?<=\w-)\n(?=\w)", "", block)
    return _MARKUP.sub(_plain, " ".join(joined.split())).replace('“"', "“").replace('"”', "”")


def _plain(match: re.Match[str]) -> str:
    quoted, strong, emphasised = match.groups()
    if quoted is None:
        return strong or emphasised or ""
    is_name = re.fullmatch(r"\w[\w.]*(\(\))?", quoted) and not (quoted.isalpha() and quoted.islower())
    return quoted if is_name else f'"{quoted}"'
