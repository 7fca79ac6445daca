"""A tutorial: the content of a text as ordered steps.

After FinePhrase's tutorial prompt (https://arxiv.org/abs/2604.13977). The answer is plain Markdown, since models write steps
well without a schema; its steps are read out of it, and numbered anew when they are set.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import dropwhile, takewhile
from typing import Any, Literal

from pydantic import Field

from generators import common
from generators.prose import rewritten
from generators.writing import WritingOptions
from synth.ask import Ask, Completion, Family, Message
from synth.registry import Card, Spec
from synth.rows import Defect, Draft, Seed, compose

NAME = "tutorial"
VERSION = 1
RENDERER_VERSION = 2

MIN_STEPS = 3


class Options(WritingOptions):
    """Options of tutorial."""

    vary: tuple[Literal["audience", "genre", "opening"], ...] | None = Field(
        ("audience",), description="Which of the family's axes are sampled by hash; none: all."
    )
    max_tokens: int = Field(1536, ge=1, description="Tokens of an answer: half as much again as a segment.")
    temperature: float = Field(0.6, ge=0.0, le=5.0, description="Softmax temperature.")
    top_p: float = Field(0.95, gt=0.0, le=1.0, description="Nucleus sampling.")


@cache
def prompts() -> common.Prompts:
    """The family's prompts, read once."""
    return common.load_prompts(common.Prompts, NAME)


def spec() -> Spec[Family]:
    """This family for the registry. Reads the prompt file."""
    card = Card("procedural or explanatory prose", "its content as ordered steps", "FinePhrase, arXiv 2604.13977")
    return common.spec(NAME, (VERSION, RENDERER_VERSION), Options, generate, prompts(), card)


async def generate(seed: Seed, ask: Ask, options: Options) -> list[Draft]:
    """One tutorial; a long seed is rewritten part by part, and the numbers of the steps go on through the parts."""
    (draft,) = await rewritten(NAME, prompts(), seed, ask, options, read=read)
    if draft.defect or "segments" not in draft.payload:
        return [draft]
    whole = rendered(seed, draft.payload, draft.axes)
    return [replace(draft, text=whole.text, parts=whole.parts)]


def read(seed: Seed, asked: list[Message], completion: Completion, axes: Mapping[str, str]) -> Draft:
    """The document that this answer makes."""
    axes = {**axes, "layout": common.choose(list(LAYOUTS), NAME, "layout", seed.id)}
    made = common.prose_draft(seed, asked, completion, common.unwrap, axes)
    if made.defect:
        return made
    tutorial = parsed(made.text)
    if defect := steps_defect(tutorial["steps"]):
        return common.failed(completion, made.text, defect, axes)
    whole = rendered(seed, tutorial, axes)
    return replace(made, text=whole.text, parts=whole.parts, payload=tutorial)


def steps_defect(steps: Sequence[str]) -> Defect | None:
    """What is wrong with the steps: too few, an empty one, or one that comes twice."""
    if len(steps) < MIN_STEPS:
        return Defect("few_steps", f"{len(steps)} steps are found in the answer", float(len(steps)), float(MIN_STEPS))
    words = [" ".join(re.findall(r"\w+", step.casefold())) for step in steps]
    if "" in words:
        return Defect("empty_step", f"step {words.index('') + 1} says nothing")
    first = {said: at for at, said in reversed(list(enumerate(words)))}
    if repeated := [step for at, step in enumerate(steps) if first[words[at]] < at]:
        return Defect("repeated_step", "a step comes twice", float(len(repeated)), 0.0, "; ".join(repeated))
    return None


# --- reading

_INDENT = r"(?P<indent>[ \t]*+)"
_OPENING = r"(?P<heading>#{1,6}[ \t]++)?(?P<bold>\*\*|__)?"
_COUNTED = "[0-9]{1,3}|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve"
_WORDED = re.compile(rf"{_INDENT}(?:[-*+•>][ \t]++)?{_OPENING}step[ \t]++(?:{_COUNTED})\b(?P<rest>.*)", re.IGNORECASE)
_NUMBERED = re.compile(rf"{_INDENT}{_OPENING}\(?[0-9]{{1,3}}[.)](?=[\s*_]|\Z)(?P<rest>.*)")
_BULLET = re.compile(rf"{_INDENT}(?P<heading>(?!))?(?P<bold>(?!))?[-*+•](?=\s|\Z)(?P<rest>.*)")
_FORMS = (_WORDED, _NUMBERED, _BULLET)

_SEPARATORS = ("", ":", ".", ")", "-", "–", "—")  # between the number of a worded step and its text

_FENCE = re.compile(r"[ \t]*+(?:```|~~~)[^`]*\Z")
_LISTED = re.compile(r"[ \t]*+(?:[-*+•>|#]|\(?[0-9]{1,3}[.)])(?=\s|\Z)")
_HEADING = re.compile(r"#{1,6}[ \t]++(?P<words>\S.*)|(?P<mark>\*\*|__)(?P<bold>[^*_]+)(?P=mark):?")
_LABEL = re.compile(r"[\W_]*(?:steps?|instructions|method|directions|procedure|tutorial)[\W_]*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Marker:
    """A line that begins a step: its place, its indentation in characters, and what stands in it after the number."""

    line: int
    indent: int
    rest: str
    is_head: bool  # `rest` is the step's heading; the step itself follows


def parsed(text: str) -> dict[str, Any]:
    """The tutorial as {title, intro, steps, outro}; texts, empty where there is none. Its steps are lines that say `Step 3:`,
    else numbered lines, else bullets; lines inside of fenced code are none.
    """
    lines = [line.rstrip() for line in text.splitlines()]
    code = _in_code(lines)
    if code and code[-1] and not _FENCE.match(lines[-1]):
        opening = next(line for line in reversed(lines) if _FENCE.match(line))
        # Code that was never closed ends with the answer.
        lines, code = [*lines, opening.replace(opening.lstrip(), "```")], [*code, True]
    markers = _markers(lines, code)
    starts = [marker.line for marker in markers] + [len(lines)]
    title, intro = _title_and_intro(lines[: starts[0]])
    if not markers:
        return {"title": title, "intro": intro, "steps": [], "outro": ""}
    end = _end_of_steps(lines, code, markers[-1])
    starts[-1] = end
    steps = [_step(marker, lines[marker.line + 1 : stop]) for marker, stop in zip(markers, starts[1:], strict=True)]
    return {"title": title, "intro": intro, "steps": steps, "outro": _unnumbered(lines[end:])}


def _in_code(lines: Sequence[str]) -> list[bool]:
    """Whether each line belongs to fenced code, the fences included."""
    found, inside = [], False
    for line in lines:
        fence = _FENCE.match(line) is not None
        found.append(inside or fence)
        inside ^= fence
    return found


def _markers(lines: Sequence[str], code: Sequence[bool]) -> list[Marker]:
    """The steps' first lines in the first form that has enough of them, else in the form that has most."""
    best: list[Marker] = []
    for form in _FORMS:
        found = [
            marker
            for at, line in enumerate(lines)
            if not code[at] and (match := form.fullmatch(line)) and (marker := _marker(at, match, form is _WORDED))
        ]
        found = [marker for marker in found if marker.indent <= found[0].indent + 1]
        if len(found) >= MIN_STEPS:
            return found
        best = max(best, found, key=len)
    return best


def _marker(line: int, match: re.Match[str], worded: bool) -> Marker | None:
    """The marker; None for prose such as "Step 2 is the longest"."""
    bold, rest = match["bold"], match["rest"].strip()
    closed = bool(bold) and rest.startswith(bold)
    rest = rest[2:].lstrip() if closed else rest
    is_head = bool(match["heading"])
    if worded and rest[:1] in _SEPARATORS:
        rest = rest[1:].lstrip()
    elif worded and not closed and not is_head:
        return None
    if bold and not closed and rest.startswith(bold):
        rest = rest[2:].lstrip()
    elif bold and not closed and rest.endswith(bold) and rest.count(bold) == 1:
        rest, is_head = rest[:-2].rstrip(), True
    elif bold and not closed and bold in rest:
        rest = bold + rest
    return Marker(line, len(match["indent"]), rest, is_head)


def _end_of_steps(lines: Sequence[str], code: Sequence[bool], last: Marker) -> int:
    """The line after the last step: a heading, or a paragraph after it that is not set in."""
    has_body, after_blank = bool(last.rest) and not last.is_head, False
    for at in range(last.line + 1, len(lines)):
        line = lines[at]
        if not line:
            after_blank = True
            continue
        is_paragraph = after_blank and has_body and not line[0].isspace()
        if not code[at] and (is_paragraph or _HEADING.fullmatch(line)):
            return at
        has_body, after_blank = True, False
    return len(lines)


def _title_and_intro(lines: Sequence[str]) -> tuple[str, str]:
    """The heading that the text begins with, and what follows it up to the steps without their heading."""
    rest = [line for line in lines if line and not _LABEL.fullmatch(line)]
    heading = _HEADING.fullmatch(rest[0]) if rest else None
    title = _without_marker(f"# {_heading_words(heading)}") if heading else ""
    after = list(lines[lines.index(rest[0]) + 1 :] if heading else lines)
    kept = [line for line in after if not _LABEL.fullmatch(line)]
    while kept and (not kept[-1] or _HEADING.fullmatch(kept[-1])):
        kept.pop()
    return title.strip(" *_#:"), _unnumbered(kept)


def _heading_words(heading: re.Match[str]) -> str:
    return str(heading["words"] or heading["bold"]).strip(" *_#:")


def _unnumbered(lines: Sequence[str]) -> str:
    """Lines before or after the steps, without numbers that would make steps of them."""
    pairs = zip(lines, _in_code(lines), strict=True)
    return "\n".join(line if code else _without_marker(line) for line, code in pairs).strip()


def _without_marker(line: str) -> str:
    """The line without the numbers of steps before it: one, or more ("1. Step 1: Mix")."""
    while marker := next(filter(None, map(_marked, (_NUMBERED, _WORDED), [line] * 2)), None):
        line = marker.rest
    return line


def _marked(form: re.Pattern[str], line: str) -> Marker | None:
    """What this form of marker leaves of the line; None where it begins with none."""
    match = form.fullmatch(line)
    return _marker(0, match, form is _WORDED) if match else None


def _step(marker: Marker, body: Sequence[str]) -> str:
    """A step's text: its heading and its first paragraph in one line, then its other lines without their common indentation."""
    first, lines = marker.rest, list(body)
    if marker.is_head or not first:
        lines = list(dropwhile(lambda line: not line, lines))
        if first and lines and _is_running(lines[0]) and first[-1] not in ".:!?":
            first += "."
        elif lines and not first and not _FENCE.match(lines[0]):
            first = lines.pop(0).strip()
    heading = _HEADING.fullmatch(first)
    first = _without_marker(_heading_words(heading) if heading else first)
    running = list(takewhile(_is_running, lines)) if first else []
    first = " ".join([first, *(line.strip() for line in running)])
    return "\n".join([first, *_dedented(lines[len(running) :])]).strip()


def _is_running(line: str) -> bool:
    """Whether a line goes on with a paragraph: neither blank nor an item of a list nor a fence."""
    return bool(line) and not _LISTED.match(line) and not _FENCE.match(line)


def _dedented(lines: Sequence[str]) -> list[str]:
    margin = min((len(line) - len(line.lstrip()) for line in lines if line), default=0)
    return [line[margin:] for line in lines]


# --- rendering

LAYOUTS = {  # what stands before a step, so that rules on numbers see that it is none of the text's
    "bold": "**Step {number}.** ",
    "brackets": "{number}) ",
    "headings": "### Step {number}:\n\n",
    "numbered": "{number}. ",
    "words": "Step {number}: ",
}


def rendered(seed: Seed, payload: Mapping[str, Any], axes: Mapping[str, str]) -> Draft:
    """The tutorial in the layout of `axes`. The parts of a long one follow each other, their steps numbered through."""
    parts = [piece["answer"] for piece in payload["segments"]] if "segments" in payload else [payload]
    blocks: list[str] = []
    number = 1
    for tutorial in parts:
        title = f"# {tutorial['title']}" if tutorial["title"] else ""
        listed = _listed(tutorial["steps"], LAYOUTS[axes["layout"]], number)
        blocks += [title, tutorial["intro"], listed, tutorial["outro"]]
        number += len(tutorial["steps"])
    text, spans = compose([("generated", "\n\n".join(filter(None, blocks)))])
    return Draft(text, spans, (), payload=dict(payload), axes=axes)


def _listed(steps: Sequence[str], layout: str, number: int) -> str:
    compact = layout.startswith("{number}")
    between = "\n" if compact and not any("\n" in step for step in steps) else "\n\n"
    return between.join(_set_in(step, layout.format(number=at)) for at, step in enumerate(steps, number))


def _set_in(step: str, mark: str) -> str:
    """A step after its mark; its further lines are set in, so that Markdown and `parsed` take them for the step's."""
    indent = " " * len(mark) if mark[0].isdigit() else "   "
    first, *others = ["", *step.split("\n")] if _FENCE.match(step.split("\n")[0]) else step.split("\n")
    lines = [f"{mark}{first}".rstrip(), *(f"{indent}{line}".rstrip() for line in others)]
    return "\n".join(lines)
