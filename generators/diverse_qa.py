"""Questions of different kinds about a passage, with answers, after the passage itself.

After the recipe of Nemotron-CC's diverse QA (https://arxiv.org/abs/2412.02595): the passage is part of the text, and the
pairs follow it. The model fills a JSON schema that asks for one kind of question per slot, since small models
left to themselves copy sentences of the passage into the place of the question or ask the same question again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache, partial
from typing import Any, Literal

from pydantic import Field

from generators import common, pairs
from generators.pairs import LAYOUTS, LETTERS
from generators.segments import Segment
from generators.writing import Question, per_segment, write
from synth.ask import Ask, Completion, Family, Message
from synth.digest import hash_share
from synth.registry import Card, Spec
from synth.rows import Draft, Seed, compose

NAME = "diverse_qa"
VERSION = 2
RENDERER_VERSION = 1

WORDS_PER_PAIR = 25  # about a sentence, which holds one fact; Nemotron-CC keeps up to one pair per 15 tokens
QUESTION_CHARS = 90
ANSWER_CHARS = 120
OPTION_CHARS = 60
OPTIONS = 4  # of a multiple-choice question
MAX_ANCHORS = 40  # alternatives in a pattern: more make grammars slow to follow

Kind = Literal["what", "who_when_where", "how_many", "how", "why", "which", "yes_no", "multiple_choice"]


class Options(pairs.PairOptions):
    """Options of diverse_qa."""

    max_pairs: int = Field(8, ge=1, le=20, description="Most pairs asked for per passage. Nemotron-CC: 8.")
    kinds: tuple[Kind, ...] | None = Field(
        None, description="Kinds of question, asked for in an order by hash; none: all, or those that can be anchored."
    )
    anchored: bool = Field(
        False,
        description="Every question names a word of the passage right after its verb. For models too small to keep to the "
        "passage, such as SmolLM2-135M; stronger ones ask better freely.",
    )
    max_tokens: int = Field(600, ge=1, description="Tokens of an answer. Nemotron-CC: 600; a pair takes 40 to 60.")
    temperature: float = Field(0.5, ge=0.0, le=5.0, description="Softmax temperature. Nemotron-CC: 0.5.")
    top_p: float = Field(0.9, gt=0.0, le=1.0, description="Nucleus sampling. Nemotron-CC: 0.9.")


class Prompts(common.Prompts):
    """`prompts/diverse_qa.toml`."""

    openers: dict[str, tuple[str, ...]] = Field(min_length=1, description="How questions of each kind begin.")
    anchored_openers: dict[str, tuple[str, ...]] = Field(
        min_length=1, description="The same for anchored questions, where a verb follows the opener."
    )
    verbs: tuple[str, ...] = Field(min_length=1, description="Verbs that follow the opener of an anchored question.")


@cache
def prompts() -> Prompts:
    """The family's prompts, read once."""
    return common.load_prompts(Prompts, NAME)


def spec() -> Spec[Family]:
    """This family for the registry. Reads the prompt file."""
    card = Card(
        "informative prose", "the passage, then questions of many kinds with answers", "Nemotron-CC, arXiv 2412.02595"
    )
    return common.spec(NAME, (VERSION, RENDERER_VERSION), Options, generate, prompts(), card)


async def generate(seed: Seed, ask: Ask, options: Options) -> list[Draft]:
    """The passage and its pairs; of a long seed a document for each of its parts."""

    async def document(part: Seed, segment: Segment) -> Draft:
        async def finish(draft: Draft) -> Draft:
            return await pairs.check_round_trip(ask, options, part, draft, lambda checked: rendered(part, checked))

        return await write(ask, options, partial(question, part, options), claims=claims, finish=finish)

    return await per_segment(seed, options, document)


def claims(draft: Draft) -> list[str]:
    """What the document claims: each question with its answer."""
    return [f"{pair['question']} {pair['answer']}" for pair in pairs.kept(draft.payload)]


# --- asking


def question(seed: Seed, options: Options, sample: int = 0) -> Question:
    """What is asked, and how the answer is read."""
    kinds = question_kinds(seed, options, sample)
    request, axes = common.worded(NAME, prompts(), seed.id, sample, options.vary, options.languages)
    asked = common.messages(prompts().system, request, seed.text)
    fields = schema(kinds, seed.text if options.anchored else None)
    return Question(seed, asked, partial(draft, seed, asked, kinds, axes), fields, prompts().criteria)


def question_kinds(seed: Seed, options: Options, sample: int = 0) -> list[str]:
    """Which kinds of question are asked of this seed: an order by hash, as many as the passage has room for."""
    openers = prompts().anchored_openers if options.anchored else prompts().openers
    usable = [kind for kind in openers if options.kinds is None or kind in options.kinds] or list(openers)
    known = sorted(usable, key=lambda kind: hash_share(NAME, "kind", seed.id, str(sample), kind))
    wanted = max(1, min(options.max_pairs, len(seed.text.split()) // WORDS_PER_PAIR))
    return [known[at % len(known)] for at in range(wanted)]


def schema(kinds: Sequence[str], anchor: str | None = None) -> dict[str, Any]:
    """The JSON schema of the answer: q1, a1, q2, a2 and so on, each question with an opener of its kind.

    A multiple-choice question has o1a to o1d for its options, and the letter of the right one as a1. With an `anchor`
    (the passage), a verb and a word of the passage follow the opener.
    """
    openers, start = prompts().openers, r'[^ "\\\n]'
    rest = rf'[^?"\\\n]{{5,{QUESTION_CHARS}}}'
    if anchor is not None and (words := anchors(anchor)):
        openers = prompts().anchored_openers
        start = "[A-Z0-9]"
        # After the word comes no letter: "bees" must not go on as "beestart".
        rest = "([ ,'][^?" + rf'"\\\n]{{0,{QUESTION_CHARS}}})?'
        rest = f"({'|'.join(prompts().verbs)}) (the |a |an )?({'|'.join(words)}){rest}"
    fields: dict[str, Any] = {}
    for number, kind in enumerate(kinds, 1):
        fields[f"q{number}"] = {"type": "string", "pattern": f"^({'|'.join(openers[kind])}) {rest}\\?$"}
        for letter in option_letters(kind):
            fields[f"o{number}{letter}"] = {"type": "string", "pattern": rf'^{start}[^"\\\n]{{0,{OPTION_CHARS}}}$'}
        fields[f"a{number}"] = _answer(kind, start)
    return {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}


def _answer(kind: str, start: str) -> dict[str, Any]:
    if kind == "multiple_choice":
        return {"type": "string", "enum": list(LETTERS[:OPTIONS])}
    if kind == "yes_no":
        return {"type": "string", "pattern": rf'^(Yes|No), [^"\\\n]{{5,{ANSWER_CHARS}}}$'}
    return {"type": "string", "pattern": rf'^{start}[^"\\\n]{{0,{ANSWER_CHARS}}}$'}


def option_letters(kind: str) -> str:
    """The letters of a kind's options, as they end the names of their slots."""
    return LETTERS[:OPTIONS].lower() if kind == "multiple_choice" else ""


def anchors(passage: str) -> list[str]:
    """Words of the passage that a question can be about, in their order: letters only, so that no pattern is broken."""
    found = dict.fromkeys(re.findall(r"\b[A-Za-z]{4,}\b", passage))
    lower = {word for word in found if word.islower()}
    subject = [
        word
        for word in found
        if word.lower() not in pairs.FUNCTION_WORDS and (word in lower or word.lower() not in lower)
    ]
    return subject[:MAX_ANCHORS]


# --- rendering


def draft(
    seed: Seed, asked: Sequence[Message], kinds: Sequence[str], axes: dict[str, str], completion: Completion
) -> Draft:
    """The document that this answer makes."""
    axes = {**axes, "layout": layout(seed)}
    if defect := completion.defect():
        return common.failed(completion, completion.text, defect, axes)
    found = parsed_pairs(seed, kinds, completion.parsed)
    said = "\n".join(f"{pair['question']} {pair['answer']}" for pair in found)
    if echo := common.prompt_echo(said, asked, seed.text):
        return common.failed(completion, completion.text, echo, axes)
    made = rendered(seed, pairs.judged(found, seed.text, ANSWER_CHARS))
    if made.defect:
        return common.failed(completion, completion.text, made.defect, axes)
    return Draft(
        made.text, made.parts, (completion.ask_id,), payload=made.payload, axes=axes, reasoning=completion.reasoning
    )


def parsed_pairs(seed: Seed, kinds: Sequence[str], parsed: Mapping[str, str]) -> list[dict[str, Any]]:
    """The answer's slots as a list of {kind, question, answer}, and of a multiple choice its options: the payload."""
    found: list[dict[str, Any]] = []
    for number, kind in enumerate(kinds, 1):
        pair: dict[str, Any] = {"kind": kind, "question": parsed[f"q{number}"], "answer": parsed[f"a{number}"]}
        if letters := option_letters(kind):
            listed = [" ".join(parsed[f"o{number}{letter}"].split()) for letter in letters]
            pair |= {"options": listed, "correct": LETTERS.index(pair["answer"])}
            pair = pairs.shuffled({**pair, "answer": listed[pair["correct"]]}, NAME, seed.id, str(number))
        found.append(pair)
    return found


def layout(seed: Seed) -> str:
    """How this seed's pairs are set, by hash."""
    return common.choose(list(LAYOUTS), NAME, "layout", seed.id)


def rendered(seed: Seed, judged: Sequence[Mapping[str, Any]]) -> Draft:
    """The passage and those pairs that have no fault; a defect when there are none."""
    if nothing := pairs.none_left(judged):
        return Draft("", (), (), payload=list(judged), defect=nothing)
    said = pairs.render(pairs.kept(judged), layout(seed))
    text, parts = compose([("source", seed.text.rstrip()), ("generated", f"\n\n{said}")])
    return Draft(text, parts, (), payload=list(judged))
