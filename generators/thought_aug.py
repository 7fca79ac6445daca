"""What an expert thinks about the hard parts of a passage, set beside the passage.

After TPT (https://arxiv.org/abs/2509.20186): text and thinking are trained on together. The thinking is what this family
makes, so it is a `generated` part, which copy checks, quality and dedup look at; `thinking` is for reasoning kept beside an
answer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache, partial
from typing import Any, Literal

from pydantic import Field

from generators import common
from generators.segments import Segment, estimated_tokens
from generators.writing import Question, WritingOptions, per_segment, write
from synth.ask import Ask, Completion, Family, Message
from synth.engine.outcomes import loops
from synth.registry import Card, Spec
from synth.rows import Defect, Draft, Part, Seed, compose
from synth.text.words import normal_words

NAME = "thought_aug"
VERSION = 1
RENDERER_VERSION = 1

MIN_WORDS = 60  # less is a remark, not a working-through
MAX_TOKENS = 8000  # as estimated; TPT caps thinking at about 8,000
COPIED_SHARE = 0.3  # of its word 8-grams: thinking that retells its passage adds tokens and nothing else
NGRAM_WORDS = 8  # as in the rule `copy`


class Options(WritingOptions):
    """Options of thought_aug."""

    source_of_thought: Literal["answer", "reasoning"] = Field(
        "answer",
        description="Where the thinking comes from: the answer of a model that is asked to think aloud, or the reasoning of a "
        "model that thinks before it answers (its role must allow thinking).",
    )
    keep: Literal["appended", "prepended"] = Field(
        "appended", description="Where the thinking stands: after its passage (TPT), or before it (BoLT)."
    )
    vary: tuple[str, ...] | None = Field(
        ("focus",), description="Which of the family's axes are sampled by hash: focus, persona, opening; none: all."
    )
    max_tokens: int = Field(
        4096, ge=1, description="Tokens of an answer. TPT: thoughts of 1,000 to 1,800, at most 8,000."
    )
    temperature: float = Field(0.9, ge=0.0, le=5.0, description="Softmax temperature: thoughts should differ.")
    top_p: float = Field(0.95, gt=0.0, le=1.0, description="Nucleus sampling.")


@cache
def prompts() -> common.Prompts:
    """The family's prompts, read once."""
    return common.load_prompts(common.Prompts, NAME)


def spec() -> Spec[Family]:
    """This family for the registry. Reads the prompt file."""
    card = Card(
        "difficult prose: maths, science, code, law",
        "the passage and an expert's thoughts on its hard parts",
        "TPT, arXiv 2509.20186",
    )
    return common.spec(NAME, (VERSION, RENDERER_VERSION), Options, generate, prompts(), card)


async def generate(seed: Seed, ask: Ask, options: Options) -> list[Draft]:
    """The passage with its thinking; of a long seed a document for each of its parts."""

    async def document(part: Seed, segment: Segment) -> Draft:
        return await write(ask, options, partial(question, part, options))

    return await per_segment(seed, options, document)


def question(seed: Seed, options: Options, sample: int = 0) -> Question:
    """What is asked, and how the answer is read."""
    request, axes = common.worded(NAME, prompts(), seed.id, sample, options.vary, options.languages)
    axes["keep"] = options.keep
    asked = common.instructed(prompts().system, request, seed.text)
    return Question(seed, asked, partial(draft, seed, asked, axes, options), criteria=prompts().criteria)


def draft(
    seed: Seed, asked: Sequence[Message], axes: Mapping[str, str], options: Options, completion: Completion
) -> Draft:
    """The document that this answer makes."""
    thought = thought_of(completion, options.source_of_thought)
    found = completion.defect() or (_cut(completion) if options.source_of_thought == "reasoning" else None)
    found = found or common.prompt_echo(thought, asked, seed.text) or thought_fault(thought, seed.text)
    if found:
        return common.failed(completion, thought or completion.text, found, axes)
    payload = {"thinking": thought}
    text, parts = rendered(seed, payload, axes)
    return Draft(text, parts, (completion.ask_id,), payload=payload, axes=axes, reasoning=completion.reasoning)


def thought_of(completion: Completion, source: Literal["answer", "reasoning"]) -> str:
    """The thinking, without chat wrapping; empty where there is none."""
    return (completion.reasoning or "").strip() if source == "reasoning" else common.unwrap(completion.text)


def _cut(completion: Completion) -> Defect | None:
    if not completion.budget_hit:
        return None
    return Defect("cut_thinking", "the thinking was ended by its budget", float(completion.reasoning_tokens))


# --- gates


_INTENDING = (
    r"\b(?:let me|let's|i(?:'ll| will| should| need to| must| have to| am going to|'m going to)) "
    r"(?:now |first |also |just )?"
)
_TALK = r"(?:answer|response|reply|text|explanation|paragraph|essay|thoughts|thinking|monologue|summary|draft)"
# Only talk of one's own text counts: "let me write x as 2y", "the answer should be near 3" and "cells respond" are thinking.
_META = re.compile(
    r"\bthe (?:user|prompt|task|instructions?) "
    r"(?:wants?|asks?|asked|says?|said|tells?|told|needs?|is asking|gave|has given|requires?)\b"
    r"|\bthe (?:passage|text) (?:says|tells me|wants me|asks me)(?: that)? (?:i should|i must|to)\b"
    rf"|{_INTENDING}(?:draft|compose|format|respond|reply|phrase)\b"
    rf"|{_INTENDING}(?:write|rewrite|produce|generate|output|structure)(?: \w{{1,12}}){{0,3}}? {_TALK}\b"
    rf"|{_INTENDING}(?:write|rewrite)(?: (?:it|this|that))?(?: down| out| up)?(?=[.,:;!]|\Z)"
    r"|\bmy (?:answer|response|reply|output) (?:should|must|will|needs to|has to)\b"
    r"|\bi(?:'m| am|'ve been| have been| was) (?:asked|told|instructed|supposed|expected) to\b"
    r"|\bthink(?:ing)? aloud\b|\bas requested\b|\bas an ai\b|\b(?:an ai|a language) (?:assistant|model)\b"
    r"|\b(?:per|according to) the (?:instructions?|prompt|task|request)\b",
    re.IGNORECASE,
)
_CLOSERS = "\"'”’»)]}*_$`> \t\n"
_ENDS = (".", "!", "?", "…", "。", "！", "？")


def thought_fault(thought: str, source: str) -> Defect | None:
    """Why thinking is not worth training on; None when it is. Cheap checks come first."""
    words = len(thought.split())
    if not words:
        return Defect("no_thinking", "the model gave no thinking")
    if words < MIN_WORDS:
        return Defect("too_short", f"{words} words of thinking", float(words), float(MIN_WORDS))
    tokens = estimated_tokens(thought)
    if tokens > MAX_TOKENS:
        return Defect("too_long", f"about {tokens} tokens of thinking", float(tokens), float(MAX_TOKENS))
    if not thought.rstrip(_CLOSERS).endswith(_ENDS):
        return Defect("not_closed", "the thinking does not end with a sentence", evidence=thought[-80:])
    if talk := meta_talk(thought, source):
        return Defect("meta_talk", f"the thinking speaks of its task: {talk!r}", evidence=talk)
    if loops(thought):
        return Defect("repetition", "the thinking loops")
    share = copied_share(thought, source)
    if share > COPIED_SHARE:
        return Defect("copied", f"{share:.0%} of the thinking is copied from its passage", share, COPIED_SHARE)
    return None


def meta_talk(thought: str, source: str) -> str | None:
    """The first words that speak of a user, of instructions or of writing the answer, where the source does not say them."""
    plain, known = thought.replace("’", "'"), source.replace("’", "'").casefold()
    return next((found.group() for found in _META.finditer(plain) if found.group().casefold() not in known), None)


def copied_share(text: str, source: str) -> float:
    """Share of the text's word 8-grams, repeats included, that also stand in the source; 0 where there are none."""
    grams = _grams(text)
    there = set(_grams(source))
    return sum(gram in there for gram in grams) / len(grams) if grams else 0.0


def _grams(text: str) -> list[tuple[str, ...]]:
    words = normal_words(text)
    return [tuple(words[at : at + NGRAM_WORDS]) for at in range(len(words) - NGRAM_WORDS + 1)]


# --- rendering


def rendered(seed: Seed, payload: Mapping[str, Any], axes: Mapping[str, str]) -> tuple[str, tuple[Part, ...]]:
    """The passage and its thinking, a blank line between them, in the order that the axis `keep` says."""
    passage, thought = seed.text.strip(), payload["thinking"]
    if axes["keep"] == "prepended":
        return compose([("generated", f"{thought}\n\n"), ("source", passage)])
    return compose([("source", passage), ("generated", f"\n\n{thought}")])
