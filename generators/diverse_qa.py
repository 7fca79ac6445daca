"""Questions of different kinds about a passage, with answers, after the passage itself.

After the recipe of Nemotron-CC's diverse QA (https://arxiv.org/abs/2412.02595): the passage is part of the text, and the
pairs follow it. The model fills a JSON schema that asks for one kind of question per slot, since small models
left to themselves copy sentences of the passage into the place of the question or ask the same question again.
"""

from __future__ import annotations

import re
from collections import Counter
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

WORDS_PER_PAIR = 25  # about a sentence, which holds one fact; Nemotron-CC keeps up to one pair per 15 tokens
QUESTION_CHARS = 90
ANSWER_CHARS = 120
MAX_ANCHORS = 40  # alternatives in a pattern: more make grammars slow to follow
GROUNDED_SHARE = 0.5  # of the content words of a question, and of an answer's new ones, how many the passage must hold
DISTINCT_SHARE = 0.5  # of the words of an answer; a sentence of ordinary English stays above 0.7
REPEATED_ANSWER_WORDS = 4  # shorter answers (Yes, a name, a number) may answer two questions


class Options(Config):
    """Options of diverse_qa."""

    max_pairs: int = Field(8, ge=1, le=20, description="Most pairs asked for per passage. Nemotron-CC: 8.")
    anchored: bool = Field(
        False,
        description="Every question names a word of the passage right after its verb. For models too small to keep to the "
        "passage, such as SmolLM2-135M; stronger ones ask better freely.",
    )
    tries: int = Field(1, ge=1, description="Answers asked for, one after another, until one is usable.")
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
    return Spec(NAME, VERSION, Options, generate, content_digest=prompts().digest())


async def generate(seed: Seed, ask: Ask, options: Options) -> list[Draft]:
    """One document: the passage and its pairs."""

    async def attempt(sample: int) -> Draft:
        asked = messages(seed, sample)
        kinds = question_kinds(seed, options, sample)
        completion = await ask(
            asked,
            sample_index=sample,
            schema=schema(kinds, seed.text if options.anchored else None),
            max_tokens=options.max_tokens,
            temperature=options.temperature,
            top_p=options.top_p,
            accept=lambda answer: draft(seed, asked, kinds, answer).defect is None,
        )
        return draft(seed, asked, kinds, completion)

    return [await common.first_usable(options.tries, attempt)]


# --- asking


def messages(seed: Seed, sample: int = 0) -> list[Message]:
    """The question as it is sent."""
    instruction = common.choose(prompts().instructions, NAME, "instruction", seed.id, str(sample))
    return common.messages(prompts().system, instruction, seed.text)


def question_kinds(seed: Seed, options: Options, sample: int = 0) -> list[str]:
    """Which kinds of question are asked of this seed: an order by hash, as many as the passage has room for."""
    openers = prompts().anchored_openers if options.anchored else prompts().openers
    known = sorted(openers, key=lambda kind: hash_share(NAME, "kind", seed.id, str(sample), kind))
    wanted = max(1, min(options.max_pairs, len(seed.text.split()) // WORDS_PER_PAIR))
    return [known[at % len(known)] for at in range(wanted)]


def schema(kinds: Sequence[str], anchor: str | None = None) -> dict[str, Any]:
    """The JSON schema of the answer: q1, a1, q2, a2 and so on, each question with an opener of its kind.

    With an `anchor` (the passage), a verb and a word of the passage follow the opener.
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
        fields[f"a{number}"] = {"type": "string", "pattern": rf'^{start}[^"\\\n]{{0,{ANSWER_CHARS}}}$'}
    return {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}


def anchors(passage: str) -> list[str]:
    """Words of the passage that a question can be about, in their order: letters only, so that no pattern is broken."""
    found = dict.fromkeys(re.findall(r"\b[A-Za-z]{4,}\b", passage))
    lower = {word for word in found if word.islower()}
    subject = [
        word for word in found if word.lower() not in _FUNCTION_WORDS and (word in lower or word.lower() not in lower)
    ]
    return subject[:MAX_ANCHORS]


# --- rendering


def draft(seed: Seed, asked: Sequence[Message], kinds: Sequence[str], completion: Completion) -> Draft:
    """The document that this answer makes."""
    layout = common.choose(list(LAYOUTS), NAME, "layout", seed.id)
    axes = {"layout": layout}
    if defect := completion.defect():
        return common.failed(completion, completion.text, defect, axes)
    pairs = parsed_pairs(kinds, completion.parsed)
    said = "\n".join(f"{pair['question']} {pair['answer']}" for pair in pairs)
    if echo := common.prompt_echo(said, asked, seed.text):
        return common.failed(completion, completion.text, echo, axes)
    kept, faults = sort_pairs(pairs, seed.text)
    if not kept:
        why = ", ".join(f"{count} {fault}" for fault, count in sorted(faults.items()))
        nothing = Defect("no_pairs", f"no usable question-answer pair: {why}", score=0.0, threshold=1.0)
        return common.failed(completion, completion.text, nothing, axes)
    text, parts = compose([("source", seed.text.rstrip()), ("generated", render(kept, layout))])
    return Draft(text, parts, (completion.ask_id,), payload=pairs, axes=axes, reasoning=completion.reasoning)


def parsed_pairs(kinds: Sequence[str], parsed: Mapping[str, str]) -> list[dict[str, str]]:
    """The answer's slots as a list of {kind, question, answer}: the payload, before any pair is dropped."""
    return [
        {"kind": kind, "question": parsed[f"q{number}"], "answer": parsed[f"a{number}"]}
        for number, kind in enumerate(kinds, 1)
    ]


def sort_pairs(pairs: Sequence[Mapping[str, str]], passage: str) -> tuple[list[tuple[str, str]], Counter[str]]:
    """The (question, answer) pairs worth keeping, tidied, in their order; and how many are not, by fault."""
    kept: list[tuple[str, str]] = []
    faults: Counter[str] = Counter()
    seen: set[str] = set()
    for pair in pairs:
        question, answer = " ".join(pair["question"].split()), tidy_answer(pair["answer"])
        asked, said = _plain(question), _plain(answer)
        repeated = asked in seen or (len(said.split()) >= REPEATED_ANSWER_WORDS and said in seen)
        if fault := "repeated" if repeated else pair_fault(question, answer, passage):
            faults[fault] += 1
        else:
            seen |= {asked, said}
            kept.append((question, answer))
    return kept, faults


_ANSWER_LEAD_IN = re.compile(
    r"\A(?:the )?(?:correct |right )?answer(?: to [^:.]{1,80}?)?(?: is)?\s*:\s*", re.IGNORECASE
)
_SENTENCE_END = re.compile(r"[.!?](?=\s|\Z)")
_FIRST_CLAUSE = re.compile(r"\A(?:[^\s,;]+ ){4,}?[^\s,;]+(?=[,;] )")  # five words or more, up to a comma


def tidy_answer(answer: str) -> str:
    """The answer without a lead-in such as `Answer:`. One that filled its slot was cut there: it is taken back to its
    last whole sentence, else to its first clause; with neither it is empty.
    """
    text = _ANSWER_LEAD_IN.sub("", " ".join(answer.split()))
    if text[-1:] in {".", "!", "?"} or (len(answer) <= ANSWER_CHARS and text[-1:] not in {",", ";", ":"}):
        return text
    if ends := [match.end() for match in _SENTENCE_END.finditer(text)]:
        return text[: ends[-1]]
    clause = _FIRST_CLAUSE.match(text)
    return f"{clause[0]}." if clause else ""


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
    if not set(said) - set(asked) - _FUNCTION_WORDS:
        return "says_nothing"
    if len(set(said)) < DISTINCT_SHARE * len(said):
        return "repeats_itself"
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


_FUNCTION_WORDS = frozenset(
    re.findall(
        r"\w+",
        """a about after also an and are as at be because been before being between both but by can could did do does doing
    each for from had has have having he her here his how if in into is it its many may more most much of on
    only or other our over s same she should so some such t than that the their them then there these they this those
    through to under until very was we were what when where which while who whom whose why will with would you your""",
    )
)


def _is_content(word: str) -> bool:
    return word not in _FUNCTION_WORDS and (len(word) > 3 or word[0].isdigit())


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
