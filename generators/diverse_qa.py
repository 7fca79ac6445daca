"""Questions of different kinds about a passage, with answers, after the passage itself.

After the recipe of Nemotron-CC's diverse QA (https://arxiv.org/abs/2412.02595): the passage is part of the text, and the
pairs follow it. The model fills a JSON schema that asks for one kind of question per slot, since small models
left to themselves copy sentences of the passage into the place of the question or ask the same question again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from pydantic import Field

from generators import common
from synth.ask import Ask, Completion, Family, Message
from synth.config import Config
from synth.digest import hash_share
from synth.registry import Spec
from synth.rows import Defect, Draft, Seed, compose

NAME = "diverse_qa"
VERSION = 1

WORDS_PER_PAIR = (
    25  # a passage holds about one fact worth asking for in a sentence; Nemotron-CC keeps up to one per 15 tokens
)
QUESTION_CHARS = 90
ANSWER_CHARS = 120
GROUNDED_SHARE = 0.5  # of an answer's content words, how many must stand in the passage or the question


class Options(Config):
    """Options of diverse_qa."""

    max_pairs: int = Field(8, ge=1, le=20, description="Most pairs asked for per passage. Nemotron-CC, appendix: 8.")
    max_tokens: int = Field(600, ge=1, description="Tokens of an answer. Nemotron-CC: 600; a pair takes 40 to 60.")
    temperature: float = Field(0.5, ge=0.0, le=5.0, description="Softmax temperature. Nemotron-CC: 0.5.")
    top_p: float = Field(0.9, gt=0.0, le=1.0, description="Nucleus sampling. Nemotron-CC: 0.9.")


class Prompts(common.Prompts):
    """`prompts/diverse_qa.toml`."""

    openers: dict[str, tuple[str, ...]] = Field(min_length=1, description="How questions of each kind begin.")


@cache
def prompts() -> Prompts:
    """The family's prompts, read once."""
    return common.load_prompts(Prompts, NAME)


def spec() -> Spec[Family]:
    """This family for the registry. Reads the prompt file."""
    return Spec(NAME, VERSION, Options, generate, content_digest=prompts().digest())


async def generate(seed: Seed, ask: Ask, options: Options) -> list[Draft]:
    """One document: the passage and its pairs."""
    asked = messages(seed)
    kinds = question_kinds(seed, options.max_pairs)
    completion = await ask(
        asked,
        schema=schema(kinds),
        max_tokens=options.max_tokens,
        temperature=options.temperature,
        top_p=options.top_p,
        accept=lambda answer: draft(seed, asked, kinds, answer).defect is None,
    )
    return [draft(seed, asked, kinds, completion)]


# --- asking


def messages(seed: Seed) -> list[Message]:
    """The question as it is sent."""
    instruction = common.choose(prompts().instructions, NAME, "instruction", seed.id)
    return common.messages(prompts().system, instruction, seed.text)


def question_kinds(seed: Seed, max_pairs: int) -> list[str]:
    """Which kinds of question are asked of this seed: an order by hash, as many as the passage has room for."""
    known = sorted(prompts().openers, key=lambda kind: hash_share(NAME, "kind", seed.id, kind))
    wanted = max(1, min(max_pairs, len(seed.text.split()) // WORDS_PER_PAIR))
    return [known[at % len(known)] for at in range(wanted)]


def schema(kinds: Sequence[str]) -> dict[str, Any]:
    """The JSON schema of the answer: q1, a1, q2, a2 and so on, each question with an opener of its kind."""
    fields: dict[str, Any] = {}
    for number, kind in enumerate(kinds, 1):
        openers = "|".join(prompts().openers[kind])
        fields[f"q{number}"] = {"type": "string", "pattern": rf'^({openers}) [^?"\\\n]{{5,{QUESTION_CHARS}}}\?$'}
        fields[f"a{number}"] = {"type": "string", "pattern": rf'^[A-Z0-9][^"\\\n]{{0,{ANSWER_CHARS}}}$'}
    return {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}


# --- rendering


def draft(seed: Seed, asked: Sequence[Message], kinds: Sequence[str], completion: Completion) -> Draft:
    """The document that this answer makes."""
    if defect := completion.defect():
        return common.failed(seed, completion, completion.text, defect)
    pairs = parsed_pairs(kinds, completion.parsed)
    said = "\n".join(f"{pair['question']} {pair['answer']}" for pair in pairs)
    if echo := common.prompt_echo(said, asked, seed.text):
        return common.failed(seed, completion, completion.text, echo)
    kept = usable_pairs(pairs, seed.text)
    if not kept:
        nothing = Defect("no_pairs", f"none of {len(pairs)} question-answer pairs is usable", score=0.0, threshold=1.0)
        return common.failed(seed, completion, completion.text, nothing)
    layout = common.choose(list(LAYOUTS), NAME, "layout", seed.id)
    text, parts = compose([("source", seed.text.rstrip()), ("generated", render(kept, layout))])
    return Draft(
        text, parts, (completion.ask_id,), payload=pairs, axes={"layout": layout}, reasoning=completion.reasoning
    )


def parsed_pairs(kinds: Sequence[str], parsed: Mapping[str, str]) -> list[dict[str, str]]:
    """The answer's slots as a list of {kind, question, answer}: the payload, before any pair is dropped."""
    return [
        {"kind": kind, "question": parsed[f"q{number}"], "answer": parsed[f"a{number}"]}
        for number, kind in enumerate(kinds, 1)
    ]


def usable_pairs(pairs: Sequence[Mapping[str, str]], passage: str) -> list[tuple[str, str]]:
    """The (question, answer) pairs worth keeping, tidied, in their order; each question once, each long answer once."""
    kept: list[tuple[str, str]] = []
    seen: set[str] = set()
    for pair in pairs:
        question, answer = " ".join(pair["question"].split()), tidy_answer(pair["answer"])
        asked, said = _plain(question), _plain(answer)
        repeated = asked in seen or (len(said.split()) >= REPEATED_ANSWER_WORDS and said in seen)
        if repeated or pair_fault(question, answer, passage):
            continue
        seen |= {asked, said}
        kept.append((question, answer))
    return kept


_ANSWER_LEAD_IN = re.compile(
    r"\A(?:the )?(?:correct |right )?answer(?: to [^:.]{1,80}?)?(?: is)?\s*:\s*", re.IGNORECASE
)
_SENTENCE_END = re.compile(r"[.!?](?=\s|\Z)")


def tidy_answer(answer: str) -> str:
    """The answer without a lead-in such as `Answer:`; one that filled its slot ends with its last whole sentence, or is empty."""
    text = _ANSWER_LEAD_IN.sub("", " ".join(answer.split()))
    if len(answer) <= ANSWER_CHARS or _SENTENCE_END.search(text[-1:]):
        return text
    ends = [match.end() for match in _SENTENCE_END.finditer(text)]
    return text[: ends[-1]] if ends else ""


REPEATED_ANSWER_WORDS = 4  # shorter answers (Yes, a name, a number) may answer two questions
_ABOUT_THE_TASK = {"passage", "paragraph", "text", "question", "questions", "quiz", "answer", "answers", "author"}


def pair_fault(question: str, answer: str, passage: str) -> str | None:
    """Why a pair is not worth keeping, as a word; None when it is."""
    asked, said = _plain(question).split(), _plain(answer).split()
    there = set(_plain(passage).split())
    if not asked or not said:
        return "empty"
    if sum(word.isalpha() for word in asked) < 3:
        return "few_words"
    if " ".join(asked) in " ".join(said):
        return "answer_is_question"
    if _ABOUT_THE_TASK & (set(asked) | set(said)) - there:
        return "about_the_task"
    return None if _grounded(asked, said, there) else "not_in_passage"


def _grounded(asked: Sequence[str], said: Sequence[str], there: set[str]) -> bool:
    """Whether both speak of the passage: numbers of the answer stand in it, and so do most content words of either."""
    if any(word[0].isdigit() and word not in there for word in said):
        return False
    stems = {_stem(word) for word in there}
    new = {_stem(word) for word in said if _is_content(word)} - {_stem(word) for word in asked}
    about = {_stem(word) for word in asked if _is_content(word)}
    return len(new & stems) >= GROUNDED_SHARE * len(new) and len(about & stems) >= GROUNDED_SHARE * len(about)


def _plain(text: str) -> str:
    """Words in lower case, numbers whole (`1,500`, `10.5`), separated by single spaces."""
    return " ".join(re.findall(r"\d[\d.,]*\d|\w+", text.casefold()))


# Words of four letters and more that carry no subject; shorter ones are left out by their length.
_FUNCTION_WORDS = frozenset(
    [
        "about",
        "after",
        "also",
        "because",
        "been",
        "before",
        "being",
        "between",
        "both",
        "could",
        "does",
        "doing",
        "each",
        "from",
        "have",
        "having",
        "here",
        "into",
        "many",
        "more",
        "most",
        "much",
        "only",
        "other",
        "over",
        "same",
        "should",
        "some",
        "such",
        "than",
        "that",
        "their",
        "them",
        "then",
        "there",
        "these",
        "they",
        "this",
        "those",
        "through",
        "under",
        "until",
        "very",
        "were",
        "what",
        "when",
        "where",
        "which",
        "while",
        "whom",
        "whose",
        "will",
        "with",
        "would",
        "your",
    ]
)


def _is_content(word: str) -> bool:
    return word[0].isdigit() or (len(word) > 3 and word not in _FUNCTION_WORDS)


def _stem(word: str) -> str:
    """The first six letters: inflections of a word share them, mostly."""
    return word[:6]


def render(pairs: Sequence[tuple[str, str]], layout: str) -> str:
    """The pairs as text, with the blank line that parts them from the passage."""
    item, between = LAYOUTS[layout]
    items = [item.format(number=number, question=q, answer=a) for number, (q, a) in enumerate(pairs, 1)]
    return "\n\n" + between.join(items)


LAYOUTS = {  # name -> (one pair, what stands between two)
    "answer_below": ("{question}\n{answer}", "\n\n"),
    "bold": ("**{question}**\n{answer}", "\n\n"),
    "letters": ("Q: {question}\nA: {answer}", "\n\n"),
    "numbered": ("{number}. {question}\n   {answer}", "\n"),
    "one_line": ("{question} {answer}", "\n"),
    "words": ("Question: {question}\nAnswer: {answer}", "\n\n"),
}
