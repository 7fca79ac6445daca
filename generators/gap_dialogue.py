"""A dialogue about a passage in which one speaker lacks what the other knows.

After MIND (https://arxiv.org/abs/2410.12881): of its styles those with a gap of knowledge help, two professors who agree do
not. Which two people talk is an axis, and so is how they begin.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache, partial
from typing import Any

from pydantic import Field

from generators import common
from generators.segments import Segment
from generators.verify.judge import sentences
from generators.writing import Question, WritingOptions, per_segment, write
from synth.ask import Ask, Completion, Family, Message
from synth.registry import Card, Spec
from synth.rows import Defect, Draft, Part, Seed, compose
from synth.text.words import normal_words

NAME = "gap_dialogue"
VERSION = 1
RENDERER_VERSION = 1

MIN_TURNS = 6
SPEAKERS = (2, 3)  # least, most
TURN_SHARE = 0.25  # of the turns, that each of the two who speak most must have
WORD_SHARE = 0.1  # of the words, likewise: one who only nods has no gap to close


class Options(WritingOptions):
    """Options of gap_dialogue."""

    vary: tuple[str, ...] | None = Field(
        ("style", "opening"),
        description="Which of the family's axes are sampled by hash: style (who talks), opening, place; none: all.",
    )
    max_tokens: int = Field(2048, ge=1, description="Tokens of an answer.")
    temperature: float = Field(0.9, ge=0.0, le=5.0, description="Softmax temperature. MIND: 1.0.")
    top_p: float = Field(0.95, gt=0.0, le=1.0, description="Nucleus sampling. MIND: 0.9.")
    segment_tokens: int = Field(
        500, ge=50, description="A longer seed is cut on whole lines under this cap (tokens). MIND: about 500."
    )


@cache
def prompts() -> common.Prompts:
    """The family's prompts, read once."""
    return common.load_prompts(common.Prompts, NAME)


def spec() -> Spec[Family]:
    """This family for the registry. Reads the prompt file."""
    card = Card("maths, science, explanations", "a dialogue that closes a gap of knowledge", "MIND, arXiv 2410.12881")
    return common.spec(NAME, (VERSION, RENDERER_VERSION), Options, generate, prompts(), card)


async def generate(seed: Seed, ask: Ask, options: Options) -> list[Draft]:
    """A dialogue; of a long seed one for each of its parts."""

    async def document(part: Seed, segment: Segment) -> Draft:
        return await write(ask, options, partial(question, part, options), claims=claims)

    return await per_segment(seed, options, document)


def claims(draft: Draft) -> list[str]:
    """What the speakers claim: their sentences that are no questions."""
    said = (sentence for turn in draft.payload["turns"] for sentence in sentences(turn["text"]))
    return [sentence for sentence in said if not sentence.endswith("?")]


def question(seed: Seed, options: Options, sample: int = 0) -> Question:
    """What is asked, and how the answer is read."""
    request, axes = common.worded(NAME, prompts(), seed.id, sample, options.vary, options.languages)
    axes["layout"] = common.choose(sorted(LAYOUTS), NAME, "layout", seed.id)
    asked = common.instructed(prompts().system, request, seed.text)
    return Question(seed, asked, partial(draft, seed, asked, axes), criteria=prompts().criteria)


def draft(seed: Seed, asked: Sequence[Message], axes: Mapping[str, str], completion: Completion) -> Draft:
    """The document that this answer makes."""
    if defect := completion.defect():
        return common.failed(completion, completion.text, defect, axes)
    payload = {"turns": parsed(common.unwrap(completion.text))}
    text, parts = rendered(seed, payload, axes)
    found = (
        dialogue_fault(payload["turns"])
        or common.prompt_echo(text, asked, seed.text)
        or talk_fault(completion.text, text, seed.text)
    )
    if found:
        return common.failed(completion, completion.text, found, axes)
    return Draft(text, parts, (completion.ask_id,), payload=payload, axes=axes, reasoning=completion.reasoning)


# --- parsing


_WORD = r"[\w.'’-]{1,30}"
_LABEL = re.compile(
    r"(?:[-•>][ \t]+|\d{1,3}[.)][ \t]+)?(?P<mark>\*\*|__)?"
    rf"(?P<name>[^\W\d_][\w.'’-]{{0,29}}(?:[ \t]{_WORD}){{0,3}})(?:[ \t]\([^()]{{1,30}}\))?"
    r"(?(mark)(?:[:：][ \t]?(?P=mark)|(?P=mark)[ \t]?[:：])|(?:[ \t]?(?::(?![\d/])|：)|[ \t]+—(?=\s|\Z)))(?P<said>.*)"
)
_RULE = re.compile(r"[-*_=~ ]{3,}")
_NO_SPEAKER = re.compile(
    r"(?:answer|conclusion|definition|equation|example|fact|formula|given|hint|important|key|note|problem|question|reminder"
    r"|result|rule|solution|step|summary|tip|title|topic|warning)s?\b",
    re.IGNORECASE,
)


def parsed(answer: str) -> list[dict[str, str]]:
    """The turns: [{"speaker", "text"}]. A name begins a turn where it does so twice or more; what stands before the first
    turn is left out, other lines belong to the turn they follow.
    """
    lines = [" ".join(line.split()) for line in answer.splitlines()]
    labels = [_label(line) for line in lines]
    counts = Counter(label[0].casefold() for label in labels if label)
    spelling: dict[str, str] = {}
    turns: list[tuple[str, list[str]]] = []
    for line, label in zip(lines, labels, strict=True):
        if label and counts[label[0].casefold()] > 1:
            turns.append((spelling.setdefault(label[0].casefold(), label[0]), [label[1]]))
        elif turns:
            turns[-1][1].append(line)
    return [
        {"speaker": speaker, "text": "\n".join(line for line in said if line and not _RULE.fullmatch(line))}
        for speaker, said in turns
    ]


def _label(line: str) -> tuple[str, str] | None:
    """The name that a line begins with, and what follows it; None where it begins otherwise."""
    found = _LABEL.match(line)
    if found is None or found["name"][0].islower() or _NO_SPEAKER.match(found["name"]):
        return None
    return found["name"], found["said"].strip()


# --- gates


_STAGE_VERBS = (
    r"(?:laugh(?:s|ing|ter)|smil(?:es|ing)|nod(?:s|ding)|sigh(?:s|ing)|paus(?:e|es|ing)|chuckl(?:es|ing)|grin(?:s|ning)"
    r"|shrug(?:s|ging)|giggl(?:es|ing)|frown(?:s|ing)|gestur(?:es|ing)|point(?:s|ing) (?:at|to)|draw(?:s|ing) on"
    r"|writ(?:es|ing) (?:on|down)|lean(?:s|ing)|think(?:s|ing)|looks?|looking|silence|applause|whisper(?:s|ing)"
    r"|excited(?:ly)?|curious(?:ly)?|confused|puzzled|enters|leaves|exits)"
)
_STAGE = re.compile(
    rf"(?:\[|\(|(?<![\w*])\*)(?:[\w'’]{{1,20}}[ ,]{{1,2}}){{0,2}}{_STAGE_VERBS}\b[^\[\]()*\n]{{0,60}}[\])*]"
    r"|^[-•>*_ \t]{0,6}(?:narrator|scene|setting|stage)\b[^\n:]{0,20}:",
    re.IGNORECASE | re.MULTILINE,
)
_MACHINE_TALK = re.compile(
    r"\bas an? (?:ai|artificial intelligence|language model)\b|\bi(?:['’]m| am) (?:just |only )?an? (?:ai|language model)\b"
    r"|\b(?:large )?language model\b|\bai (?:assistant|model)\b",
    re.IGNORECASE,
)
_SOURCE_TALK = re.compile(
    r"\b(?:the|this|that|your|our) (?:passage|excerpt|paragraph|source text|given text|text (?:says|states|above|mentions))\b"
    r"|\bthe user(?:['’]s)?\b",
    re.IGNORECASE,
)


def dialogue_fault(turns: Sequence[Mapping[str, str]]) -> Defect | None:
    """Why these turns are no dialogue with a gap in it; None when they are one."""
    if len(turns) < MIN_TURNS:
        return Defect("few_turns", f"{len(turns)} turns", float(len(turns)), float(MIN_TURNS))
    spoken = Counter(turn["speaker"] for turn in turns)
    if not SPEAKERS[0] <= len(spoken) <= SPEAKERS[1]:
        names = "; ".join(spoken)
        return Defect("speakers", f"{len(spoken)} speakers", float(len(spoken)), float(SPEAKERS[1]), names)
    said = [" ".join(normal_words(turn["text"])) for turn in turns]
    if "" in said:
        return Defect("empty_turn", "a turn says nothing", evidence=turns[said.index("")]["speaker"])
    twice = [text for text, count in Counter(said).items() if count > 1]
    if twice:
        return Defect("repeated_turn", "a turn stands twice", evidence="; ".join(twice))
    return _balance_fault(turns, spoken)


def _balance_fault(turns: Sequence[Mapping[str, str]], spoken: Counter[str]) -> Defect | None:
    words: Counter[str] = Counter()
    for turn in turns:
        words[turn["speaker"]] += len(turn["text"].split())
    for counts, least, what in ((spoken, TURN_SHARE, "turns"), (words, WORD_SHARE, "words")):
        for speaker, _ in spoken.most_common(2):
            share = counts[speaker] / counts.total()
            if share < least:
                return Defect("unbalanced", f"a speaker has few of the {what}", share, least, speaker)
    return None


def talk_fault(answer: str, dialogue: str, source: str) -> Defect | None:
    """A defect where stage directions stand in the answer, or where a speaker is a machine or speaks of the source."""
    known = source.casefold()
    for rule, pattern, text in (
        ("stage_talk", _STAGE, answer),
        ("machine_talk", _MACHINE_TALK, dialogue),
        ("task_talk", _SOURCE_TALK, dialogue),
    ):
        found = next((one.group() for one in pattern.finditer(text) if one.group().casefold() not in known), None)
        if found:
            return Defect(rule, f"not something that a speaker would say: {found!r}", evidence=found)
    return None


# --- rendering


LAYOUTS = {  # name -> (one turn, what stands between two)
    "bold": ("**{speaker}:** {text}", "\n\n"),
    "bullets": ("- {speaker}: {text}", "\n"),
    "dash": ("{speaker} — {text}", "\n"),
    "lines": ("{speaker}: {text}", "\n"),
    "spaced": ("{speaker}: {text}", "\n\n"),
}


def rendered(seed: Seed, payload: Mapping[str, Any], axes: Mapping[str, str]) -> tuple[str, tuple[Part, ...]]:
    """The dialogue as text, in the layout that the axes name."""
    turn, between = LAYOUTS[axes["layout"]]
    return compose([("generated", between.join(turn.format(**one) for one in payload["turns"]))])
