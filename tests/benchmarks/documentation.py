"""Real documentation from what any Python installation holds, as texts of about 3 kB: the corpus of the text benchmarks.

Where it is from, in this order: pydoc's topics; the standard library's docstrings; of what is installed, METADATA files,
other prose files (.rst, .md, .txt, licences) and docstrings. A docstring is a string in triple quotes at the start of a
module or after a line that ends in a colon; a text that occurs again (by its first 400 characters) is left out, so is one
of fewer than 40 characters. Files are read in the order of their paths. All texts, joined by blank lines, make one stream,
which is cut at the first line end after 3,000 characters (in a line that goes on to 6,000, there). When the stream is too
short for all texts that are asked for, the rest of them are the second half of one text and the first half of the next.
The same installation gives the same texts.
"""

from __future__ import annotations

import inspect
import re
import sysconfig
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice, pairwise
from pathlib import Path
from pydoc_data.topics import topics
from typing import NamedTuple

TEXT_CHARACTERS = 3000
_DOCSTRING = re.compile(r'(?:\A|:[ \t]*(?:#[^\n]*)?\n)\s*[rRuU]?("""|\'\'\')(.*?)\1', re.DOTALL)
_PROSE = ("*.rst", "*.md", "*.txt", "*LICEN[CS]E*", "*COPYING*", "*AUTHORS*")
_MAX_FILE_BYTES = 1_000_000  # longer files are data
_SAME_CHARACTERS = 400  # texts that agree so far are taken for the same
_LEAST_CHARACTERS = 40


class Documentation(NamedTuple):
    """Texts, all of them different. The first ones are the stream; the others are made of halves of these."""

    texts: list[str]
    streamed: int


def documentation(count: int = 20_000) -> Documentation:
    """So many texts, or twice as many as the stream has where that is fewer."""
    texts = [*islice(_cut("\n\n".join(_different(_sources()))), count)]
    halves = [_halves(text) for text in texts]
    mixed = ("".join((end, start)) for (_, end), (start, _) in pairwise(halves))
    return Documentation(
        [*islice(filter(str.strip, dict.fromkeys(chain(texts, mixed))), count)], len(dict.fromkeys(texts))
    )


def _cut(stream: str) -> Iterator[str]:
    at = 0
    while at + 2 * TEXT_CHARACTERS < len(stream):
        end = stream.find("\n", at + TEXT_CHARACTERS, at + 2 * TEXT_CHARACTERS) + 1 or at + 2 * TEXT_CHARACTERS
        yield stream[at:end]
        at = end


def _halves(text: str) -> tuple[str, str]:
    middle = text.find("\n", len(text) // 2) + 1
    return text[:middle], text[middle:]


def _different(texts: Iterable[str]) -> Iterator[str]:
    seen = set()
    for text in texts:
        start = text[:_SAME_CHARACTERS]
        if len(text) >= _LEAST_CHARACTERS and start not in seen:
            seen.add(start)
            yield text


def _sources() -> Iterator[str]:
    paths = sysconfig.get_paths()
    library, packages = Path(paths["stdlib"]), Path(paths["purelib"])
    yield from (text for _, text in sorted(topics.items()))
    yield from _docstrings(path for path in _files(library, ["*.py"]) if "site-packages" not in path.parts)
    yield from map(_read, _files(packages, ["METADATA"]))
    yield from map(_read, _files(packages, _PROSE))
    yield from _docstrings(_files(packages, ["*.py"]))


def _files(folder: Path, patterns: Sequence[str]) -> list[Path]:
    found = {path for pattern in patterns for path in folder.rglob(pattern) if path.is_file()}
    return sorted(path for path in found if path.stat().st_size <= _MAX_FILE_BYTES)


def _docstrings(files: Iterable[Path]) -> Iterator[str]:
    for path in files:
        for found in _DOCSTRING.finditer(_read(path)):
            yield inspect.cleandoc(found[2])


def _read(path: Path) -> str:
    """Its text; nothing of a file that is not UTF-8."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return ""
