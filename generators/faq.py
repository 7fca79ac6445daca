"""Frequently asked questions about a passage's subject, from basic to advanced, each answer to be read alone.

After FinePhrase's FAQ prompt (https://arxiv.org/abs/2604.13977). The text is the questions and answers without the passage.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import Any, Literal

from pydantic import Field, model_validator

from generators import common, pairs
from generators.segments import Segment
from generators.writing import Question, per_segment, write
from synth.ask import Ask, Completion, Family, Message
from synth.registry import Card, Spec
from synth.rows import Draft, Seed, compose

NAME = "faq"
VERSION = 1
RENDERER_VERSION = 1

WORDS_PER_PAIR = 25  # about a sentence, which holds one fact
QUESTION_CHARS = 120
ANSWER_CHARS = 300
SHORTEST_ANSWER_CHARS = 20  # an answer that can be read alone is a sentence


class Options(pairs.PairOptions):
    """Options of faq."""

    min_pairs: int = Field(3, ge=1, le=20, description="Fewer good pairs than this drop the document.")
    max_pairs: int = Field(6, ge=1, le=20, description="Most pairs asked for per passage.")
    vary: tuple[Literal["audience", "persona", "style"], ...] | None = Field(
        ("audience",), description="Which of the family's axes are sampled by hash; none: all."
    )
    max_tokens: int = Field(1536, ge=1, description="Tokens of an answer. 1536 holds ten pairs of this length.")
    temperature: float = Field(0.6, ge=0.0, le=5.0, description="Softmax temperature.")
    top_p: float = Field(0.95, gt=0.0, le=1.0, description="Nucleus sampling.")

    @model_validator(mode="after")
    def _bounds_agree(self) -> Options:
        if self.max_pairs < self.min_pairs:
            raise ValueError(f"max_pairs ({self.max_pairs}) is below min_pairs ({self.min_pairs})")
        return self


class Prompts(common.Prompts):
    """`prompts/faq.toml`."""

    openers: dict[Literal["basic", "middle", "advanced"], tuple[str, ...]] = Field(
        min_length=3, description="How questions of each level begin."
    )


@cache
def prompts() -> Prompts:
    """The family's prompts, read once."""
    return common.load_prompts(Prompts, NAME)


def spec() -> Spec[Family]:
    """This family for the registry. Reads the prompt file."""
    card = Card(
        "informative prose", "readers' questions, basic to advanced, with full answers", "FinePhrase, arXiv 2604.13977"
    )
    return common.spec(NAME, (VERSION, RENDERER_VERSION), Options, generate, prompts(), card)


async def generate(seed: Seed, ask: Ask, options: Options) -> list[Draft]:
    """A list of questions with answers; of a long seed one for each of its parts."""

    async def document(part: Seed, segment: Segment) -> Draft:
        async def finish(draft: Draft) -> Draft:
            def again(judged: Sequence[Mapping[str, Any]]) -> Draft:
                return gated(part, judged, draft.axes, options.min_pairs)

            return await pairs.check_round_trip(ask, options, part, draft, again)

        return await write(ask, options, partial(question, part, options), claims=claims, finish=finish)

    return await per_segment(seed, options, document)


def claims(draft: Draft) -> list[str]:
    """What the document claims: each question with its answer."""
    return [f"{pair['question']} {pair['answer']}" for pair in pairs.kept(draft.payload)]


# --- asking


def question(seed: Seed, options: Options, sample: int = 0) -> Question:
    """What is asked, and how the answer is read."""
    request, axes = common.worded(NAME, prompts(), seed.id, sample, options.vary, options.languages)
    asked = common.messages(prompts().system, request, seed.text)
    axes["layout"] = common.choose(list(LAYOUTS), NAME, "layout", seed.id)
    axes["heading"] = common.choose(list(HEADINGS), NAME, "heading", seed.id)
    asked_levels = levels(seed, options)
    read = partial(draft, seed, asked, asked_levels, axes, options.min_pairs)
    return Question(seed, asked, read, schema(asked_levels), prompts().criteria)


def levels(seed: Seed, options: Options) -> list[Literal["basic", "middle", "advanced"]]:
    """The level of each question that is asked for: as many as the passage has room for, and never fewer than have to be kept."""
    wanted = max(options.min_pairs, min(options.max_pairs, len(seed.text.split()) // WORDS_PER_PAIR))
    third = -(-wanted // 3)
    return [
        "basic" if place < third else "advanced" if place >= wanted - wanted // 3 else "middle"
        for place in range(wanted)
    ]


def schema(asked: Sequence[Literal["basic", "middle", "advanced"]]) -> dict[str, Any]:
    """The JSON schema of the answer: q1, a1, q2, a2 and so on, each question with an opener of its level."""
    fields: dict[str, Any] = {}
    for number, level in enumerate(asked, 1):
        openers = "|".join(prompts().openers[level])
        fields[f"q{number}"] = {"type": "string", "pattern": rf'^({openers}) [^?"\\\n]{{5,{QUESTION_CHARS}}}\?$'}
        answer = rf'^[^ "\\\n][^"\\\n]{{{SHORTEST_ANSWER_CHARS},{ANSWER_CHARS}}}$'
        fields[f"a{number}"] = {"type": "string", "pattern": answer}
    return {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}


# --- reading


def draft(
    seed: Seed,
    asked: Sequence[Message],
    asked_levels: Sequence[str],
    axes: dict[str, str],
    min_pairs: int,
    completion: Completion,
) -> Draft:
    """The document that this answer makes."""
    if defect := completion.defect():
        return common.failed(completion, completion.text, defect, axes)
    found = [
        {"level": level, "question": completion.parsed[f"q{number}"], "answer": completion.parsed[f"a{number}"]}
        for number, level in enumerate(asked_levels, 1)
    ]
    said = "\n".join(f"{pair['question']} {pair['answer']}" for pair in found)
    if echo := common.prompt_echo(said, asked, seed.text):
        return common.failed(completion, completion.text, echo, axes)
    made = gated(seed, judged(found, seed.text), axes, min_pairs)
    if made.defect:
        return common.failed(completion, completion.text, made.defect, axes)
    return replace(made, ask_ids=(completion.ask_id,), reasoning=completion.reasoning)


def judged(found: Sequence[Mapping[str, Any]], passage: str) -> list[dict[str, Any]]:
    """The pairs tidied, each with its fault, among them `cross_reference`: an answer that cannot be read alone."""
    tidied = pairs.judged(found, passage, ANSWER_CHARS)
    for pair in tidied:
        if is_cross_reference(f"{pair['question']} {pair['answer']}", passage):
            pair["fault"] = "cross_reference"
    return tidied


_TOLD = r"(?:mentioned|noted|stated|explained|described|discussed|listed|shown|said|answered)"
_CROSS_REFERENCE = re.compile(
    rf"\b{_TOLD} (?:just )?(?:above|below|earlier|previously|in the (?:previous|earlier|first|last|next) \w+)\b"
    rf"|\b{_TOLD} before(?=[.,;:!?)])|\bas (?:we |I )?(?:have )?(?:just |already |previously )?{_TOLD}(?=[.,;:])"
    r"|\b(?:see|as|like|refer to|in the (?:question|answer)) (?:above|below)(?=[.,;:!?)]|\Z)"
    r"|\b(?:previous|preceding|earlier|next|following|above) (?:question|answer)s?\b"
    r"|\b(?:question|answer) (?:(?:number |no\. ?|#)?[0-9]+|above|below)\b"
    r"|\baforementioned\b|\babove-mentioned\b",
    re.IGNORECASE,
)


def is_cross_reference(text: str, passage: str) -> bool:
    """Whether a text points to another question ("as mentioned above", "see question 2") in words that the passage lacks."""
    found = _CROSS_REFERENCE.search(text)
    return found is not None and found.group().casefold() not in passage.casefold()


# --- rendering

LAYOUTS = {  # name -> (one pair, what stands between two)
    "answer_below": ("{question}\n{answer}", "\n\n"),
    "bold": ("**{question}**\n\n{answer}", "\n\n"),
    "headings": ("### {question}\n\n{answer}", "\n\n"),
    "letters": ("Q: {question}\nA: {answer}", "\n\n"),
    "numbered": ("{number}. {question}\n\n   {answer}", "\n\n"),
    "words": ("Question: {question}\nAnswer: {answer}", "\n\n"),
}
MARKDOWN_LAYOUTS = ("bold", "headings", "numbered")

HEADINGS = {
    "none": "",
    "short": "FAQ",
    "full": "Frequently asked questions",
    "common": "Common questions",
    "plain": "Questions and answers",
    "title": "{title}",
    "about": "Questions about {title}",
}


def gated(seed: Seed, judged: Sequence[Mapping[str, Any]], axes: Mapping[str, str], min_pairs: int) -> Draft:
    """The document of those pairs that have no fault; a defect when they are fewer than `min_pairs`."""
    if few := pairs.none_left(judged, min_pairs):
        return replace(rendered(seed, judged, axes), defect=few)
    return rendered(seed, judged, axes)


def rendered(seed: Seed, judged: Sequence[Mapping[str, Any]], axes: Mapping[str, str]) -> Draft:
    """Those pairs that have no fault, under the heading and in the layout of `axes`."""
    said = pairs.render(pairs.kept(judged), axes["layout"], LAYOUTS)
    if words := heading(seed, axes["heading"]):
        mark = "## " if axes["layout"] in MARKDOWN_LAYOUTS else ""
        said = f"{mark}{words}\n\n{said}"
    text, parts = compose([("generated", said)])
    return Draft(text, parts, (), payload=list(judged), axes=axes)


def heading(seed: Seed, name: str) -> str:
    """The words of a heading. One with a title needs a seed whose title stands in its text: else it would bring in names."""
    title = " ".join((seed.source or "").split())
    if "{title}" not in HEADINGS[name]:
        return HEADINGS[name]
    return HEADINGS[name].format(title=title) if title and title.casefold() in seed.text.casefold() else ""
