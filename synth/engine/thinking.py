"""The thinking and the answer of a chat completion's message, told apart in this one place.

Servers deliver thinking in fields of its own, or as parts of the content; models write it between tags, or into channels.
Two rules keep thinking out of answers. Thinking that was opened and not closed is thinking to its end. And what is not
certainly thinking stays in the answer together with its tag, where the judge of outcomes finds the tag and drops the answer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_PAIRS = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<reasoning>", "</reasoning>"),
    ("<thought>", "</thought>"),
    ("<seed:think>", "</seed:think>"),
    ("[THINK]", "[/THINK]"),  # Mistral
    ("◁think▷", "◁/think▷"),  # Kimi
    ("<|begin_of_thought|>", "<|end_of_thought|>"),  # Sky-T1, OpenThinker
    ("<|START_THINKING|>", "<|END_THINKING|>"),  # Cohere
    ("<|channel>thought", "<channel|>"),  # Gemma
)
_OPENINGS = tuple(opening for opening, _ in _PAIRS)


def _pattern(delimiter: str) -> str:
    """A delimiter in any case. Its first character stands by itself, so that a search for many can jump from one to the next."""
    return f"{re.escape(delimiter[0])}(?i:{re.escape(delimiter[1:])})"


# `lastindex` of a match of _OPENING is one more than the pair's place in _PAIRS.
_OPENING = re.compile(rf"\s*(?:{'|'.join(f'({_pattern(opening)})' for opening in _OPENINGS)})")
_CLOSING = re.compile("|".join(_pattern(closing) for _, closing in _PAIRS))
_EITHER = tuple(re.compile(f"({_pattern(opening)})|{_pattern(closing)}") for opening, closing in _PAIRS)
TAG = re.compile("|".join(_pattern(delimiter) for pair in _PAIRS for delimiter in pair))
"""Any opening or closing delimiter of thinking."""

_ANSWER_PAIRS = (
    ("<|begin_of_solution|>", "<|end_of_solution|>"),
    ("<|START_RESPONSE|>", "<|END_RESPONSE|>"),
)
_CUT_OPENINGS = tuple(opening.lower() for opening in (*_OPENINGS, "<|start|>assistant<|channel|>", "<|channel|>"))
_LONGEST_OPENING = max(map(len, _CUT_OPENINGS))

# Harmony: messages of one turn, each with a channel; only the channel `final` is the answer.
_CHANNELS = re.compile(r"\s*(?:<\|start\|>assistant[^<]*)?<\|channel\|>")
_HEADER = re.compile(
    r"\s*(?:<\|start\|>assistant(?: to=[^\s<]+)?)?<\|channel\|>(analysis|commentary|final)(?: to=[^\s<]+)?"
    r"\s*(?:<\|constrain\|>\w+)?<\|message\|>"
)
_MESSAGE_END = re.compile(r"<\|(?:end|return|call)\|>|(?=<\|(?:start|channel)\|>)")
# The same with its special tokens stripped: glued words. An English sentence after `analysis` shows that it is a channel.
_GLUED_SENTENCE = re.compile(r"analysis[A-Z][a-z'’]*[,:]? [A-Za-z]")
_GLUED_FINAL = "assistantfinal"
_GLUED_OTHER = re.compile(r"assistant(?:analysis|commentary)")

_QUOTES = frozenset("`'\"“”‘’«»()*")
_BLANKS = frozenset(" \t")
_AFTER_A_WORD = frozenset(" \t.,;:?!")


@dataclass(frozen=True, slots=True)
class Separated:
    """A message taken apart, both texts stripped. `reasoning` is None when there is none.

    `closed` is False when thinking was begun in the content and never ended: all the content is then reasoning.
    """

    answer: str
    reasoning: str | None
    closed: bool


def separate(message: Mapping[str, Any], asked: bool = True) -> Separated:
    """Tell thinking and answer of a chat completion's message apart. Never raises; no text is lost, only delimiters.

    A closing tag without an opening one (the template put that into the prompt) ends thinking only if the server
    delivered none by itself, no opening tag stands before it, and it is not quoted: neither between quotation marks,
    nor between blanks in the middle of a line. Where nobody `asked` for thinking it ends none: it is a leak.
    """
    content, given = _content(message.get("content"))
    given = [_plain(message.get("reasoning")), _plain(message.get("reasoning_content")), *given]
    given = [piece for piece in dict.fromkeys(map(str.strip, given)) if piece]
    if _CHANNELS.match(content):
        answer, written, closed = _by_channel(content)
    elif content.startswith("analysis") and (_GLUED_FINAL in content or _GLUED_SENTENCE.match(content)):
        answer, written, closed = _by_glued_channel(content)
    elif "<" in content or "[" in content or "◁" in content:
        answer, written, closed = _by_tag(content, bool(given) or not asked)
    else:
        answer, written, closed = content, [], True
    pieces = [*given, *(stripped for piece in written if (stripped := piece.strip()))]
    return Separated(answer.strip(), "\n".join(pieces) or None, closed)


def _content(value: object) -> tuple[str, list[str]]:
    """The text of a message's content, and the thinking that stands in parts of its own."""
    if not isinstance(value, list):
        return _plain(value), []
    texts, thoughts = [], []
    for part in value:
        kind = part.get("type") if isinstance(part, Mapping) else None
        if kind in ("thinking", "reasoning"):
            thoughts.append(_plain(part.get(kind)) or _plain(part.get("text")))
        else:
            texts.append(_plain([part]))
    return "".join(texts), thoughts


def _plain(value: object) -> str:
    """A text, or the texts of a list of parts; nothing of anything else."""
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        return ""
    texts = (part.get("text") if isinstance(part, Mapping) else part for part in value)
    return "".join(text for text in texts if isinstance(text, str))


def _by_channel(content: str) -> tuple[str, list[str], bool]:
    answers: list[str] = []
    thoughts: list[str] = []
    at = resume = 0
    while header := _HEADER.match(content, resume):
        end = _MESSAGE_END.search(content, header.end())
        at, resume = (end.start(), end.end()) if end else (len(content), len(content))
        (answers if header[1] == "final" else thoughts).append(content[header.end() : at])
    if not answers:
        return "", [*thoughts, content[resume:]], False
    if content[resume:].strip():  # not a message: it stays with the delimiter before it, as a leak
        answers.append(content[at:])
    return "\n".join(answers), thoughts, True


def _by_glued_channel(content: str) -> tuple[str, list[str], bool]:
    thinking, final, answer = content.removeprefix("analysis").partition(_GLUED_FINAL)
    return answer, _GLUED_OTHER.split(thinking), bool(final)


def _by_tag(content: str, delivered: bool) -> tuple[str, list[str], bool]:
    thoughts: list[str] = []
    at = 0
    while opening := _OPENING.match(content, at):
        thought, end = _block(content, opening)
        thoughts.append(thought)
        if end is None:
            return "", thoughts, False
        at = end
    if _is_cut_opening(content[at:].strip()):
        return "", [*thoughts, content[at:]], False
    if not thoughts and not delivered and (closing := _lone_closing(content)):
        thoughts, at = [content[: closing.start()]], closing.end()
    answer = content[at:].strip()
    for opening_answer, closing_answer in _ANSWER_PAIRS:
        if answer.startswith(opening_answer):
            answer = answer.removeprefix(opening_answer).removesuffix(closing_answer)
    return answer, thoughts, True


def _block(content: str, opening: re.Match[str]) -> tuple[str, int | None]:
    """The thinking after `opening`, and where it ends: None if nowhere. Nested tags count.

    Opening tags in a row are one, written by template and model both, unless each has its closing tag.
    """
    pair = (opening.lastindex or 1) - 1
    start = opening.end()
    extra = 0
    while (again := _OPENING.match(content, start)) and again.lastindex == opening.lastindex:
        start = again.end()
        extra += 1
    depth = 1 + extra
    first_end = None
    for tag in _EITHER[pair].finditer(content, start):
        if tag[1] and first_end:
            break  # of what follows nothing is sure; and a loop of opening tags stays linear in its length
        depth += 1 if tag[1] else -1
        if depth == extra and first_end is None:
            first_end = tag
        if depth == 0:
            break
    if first_end is None:
        return content[start:], None
    if depth:
        return content[start : first_end.start()], first_end.end()
    only_tags = not _EITHER[pair].sub("", content[first_end.end() : tag.start()]).strip()
    return content[start : (first_end if only_tags else tag).start()], tag.end()


def _is_cut_opening(text: str) -> bool:
    """Whether a text is the beginning of an opening delimiter and nothing else."""
    if not 1 < len(text) < _LONGEST_OPENING:
        return False
    beginning = text.lower()
    return any(opening.startswith(beginning) and opening != beginning for opening in _CUT_OPENINGS)


def _lone_closing(content: str) -> re.Match[str] | None:
    """The closing tag that ends thinking which the prompt opened, if there is one."""
    for tag in TAG.finditer(content):
        if not _CLOSING.fullmatch(tag[0]):
            return None
        before, after = content[tag.start() - 1 : tag.start()], content[tag.end() : tag.end() + 1]
        quoted = before in _QUOTES and after in _QUOTES
        if not quoted and not (before in _BLANKS and after in _AFTER_A_WORD):
            return tag
    return None
