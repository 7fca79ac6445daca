"""A word problem made of a passage's numbers, with a solution whose arithmetic is checked.

After FinePhrase's math (https://arxiv.org/abs/2604.13977), whose samples are often wrong and are not checked: here each
equation is worked out again, and several solutions of one problem may vote on its answer. A seed whose metadata hold an
answer is a problem itself: only its solution is asked for, and compared with that answer (gold).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import Any, Literal

from pydantic import Field, model_validator

from generators import common
from generators.segments import Segment
from generators.verify.answers import undecorated
from generators.verify.consistency import Agreement, agreement
from generators.verify.equivalence import final_answer, same_answer
from generators.verify.judge import sentences
from generators.writing import Question, WritingOptions, per_segment, put, together, too_short, write
from synth.ask import Ask, Completion, Family
from synth.registry import Card, Spec
from synth.rows import Defect, Draft, Finding, Part, Seed, compose
from synth.text.arithmetic import check_equations
from synth.text.words import normal_words

NAME = "math_problem"
VERSION = 1
RENDERER_VERSION = 1

MIN_STEPS = 2  # of a posed problem's solution: one calculation is no multi-step problem
MAX_STEPS = 12
ANSWER_CHARS = 80


class Options(WritingOptions):
    """Options of math_problem."""

    select: Literal["first_valid", "shortest_valid", "score", "judge", "majority"] = Field(  # type: ignore[assignment]
        "first_valid",
        description="As in every family, or majority: the problem is posed once and solved `candidates` times in all, the "
        "solutions vote, and the shortest one of the largest group whose arithmetic is right is shown.",
    )
    solver_temperature: float = Field(
        0.8, ge=0.0, le=5.0, description="Softmax temperature of further solutions that vote (majority)."
    )
    min_agreement: float = Field(
        0.0,
        ge=0.0,
        le=1.0,
        description="Majority: share of the solutions that must agree, else the problem is dropped; 0 only labels. A high "
        "bar drops hard problems first.",
    )
    min_numbers: int = Field(
        3, ge=0, description="A passage with fewer different numbers is dropped before anything is asked."
    )
    gold_field: str = Field(
        "answer", description="Key of a seed's metadata: where it holds an answer, the seed's text is the problem."
    )
    on_wrong: Literal["drop", "label"] = Field(
        "drop", description="What happens to a solution whose answer is not the gold one; either way it gets a verdict."
    )
    vary: tuple[str, ...] | None = Field(
        ("difficulty", "persona"),
        description="Which of the family's axes are sampled by hash: difficulty, persona, opening; none: all.",
    )
    max_tokens: int = Field(2048, ge=1, description="Tokens of an answer. FinePhrase: 2048.")
    temperature: float = Field(0.7, ge=0.0, le=5.0, description="Softmax temperature of posing and solving a problem.")
    top_p: float = Field(0.95, gt=0.0, le=1.0, description="Nucleus sampling.")
    min_seed_tokens: int = Field(10, ge=0, description="A shorter seed is dropped before anything is asked (tokens).")

    @model_validator(mode="after")
    def _check_majority(self) -> Options:
        if self.select == "majority" and self.revise:
            raise ValueError("revise works on one solution, majority on several that know nothing of each other")
        if self.select == "majority" and self.candidates < 2:
            raise ValueError("majority needs candidates of 2 or more")
        return self


class Prompts(common.Prompts):
    """`prompts/math_problem.toml`."""

    solver_system: str = Field(min_length=1, description="Constant instruction for solving a problem that is given.")
    solver_instructions: tuple[str, ...] = Field(min_length=8, description="Paraphrases for solving a given problem.")


@cache
def prompts() -> Prompts:
    """The family's prompts, read once."""
    return common.load_prompts(Prompts, NAME)


def spec() -> Spec[Family]:
    """This family for the registry. Reads the prompt file."""
    card = Card(
        "prose with numbers, or problems with known answers",
        "a word problem and its checked solution",
        "FinePhrase math, arXiv 2604.13977",
    )
    return common.spec(NAME, (VERSION, RENDERER_VERSION), Options, generate, prompts(), card)


async def generate(seed: Seed, ask: Ask, options: Options) -> list[Draft]:
    """A problem with its solution; of a long passage one for each of its parts. A problem with a gold answer stays whole."""
    if gold_answer(seed, options) is not None:
        return [too_short(seed, options) or await _solved(seed, ask, options)]

    async def document(part: Seed, segment: Segment) -> Draft:
        return no_numbers(part, options) or await _posed(part, ask, options)

    return await per_segment(seed, options, document)


async def _posed(seed: Seed, ask: Ask, options: Options) -> Draft:
    if options.select != "majority":
        return await write(ask, options, partial(pose_question, seed, options), claims=claims)

    async def finish(draft: Draft) -> Draft:
        problem = draft.payload["problem"]
        samples = range(1, options.candidates)
        more = await together(_solution(seed, problem, ask, options, sample) for sample in samples)
        made = elected(seed, options, [draft, *more])
        written_by = tuple(dict.fromkeys((draft.ask_ids[-1], made.ask_ids[-1])))  # the problem's, and the solution's
        return replace(made, axes=draft.axes, written_by=written_by)

    once = options.model_copy(update={"select": "first_valid", "candidates": 1})
    return await write(ask, once, partial(pose_question, seed, options), claims=claims, finish=finish)


async def _solved(seed: Seed, ask: Ask, options: Options) -> Draft:
    if options.select != "majority":
        return await write(ask, options, partial(solve_question, seed, options), claims=claims)
    samples = range(options.candidates)
    return elected(seed, options, await together(_solution(seed, None, ask, options, sample) for sample in samples))


async def _solution(seed: Seed, problem: str | None, ask: Ask, options: Options, sample: int) -> Draft:
    """One solution that votes. It knows nothing of the others, and whether it is right is not looked at yet."""
    sampling = options.model_copy(update={"temperature": options.solver_temperature})
    return (await put(ask, sampling, solve_question(seed, options, sample, problem), sample)).draft


def claims(draft: Draft) -> list[str]:
    """What a posed problem claims of its source: its sentences that are no questions. A solution claims nothing of it."""
    return [one for one in sentences(draft.payload.get("problem", "")) if not one.endswith("?")]


# --- what seeds hold


_NUMBER = re.compile(r"(?<!\w)-?(?:\d+(?:[.,]\d+)*|(?<!\d)\.\d+)(?:/\d+)?%?")


def gold_answer(seed: Seed, options: Options) -> str | None:
    """The answer that the seed's metadata hold: a value, or a worked solution that ends with it. None without one."""
    held = seed.meta.get(options.gold_field)
    text = "" if held is None else str(held).strip()
    return (final_answer(text) or text) if text else None


def no_numbers(seed: Seed, options: Options) -> Draft | None:
    """An empty draft with a defect, for a passage of which no problem can be made."""
    count = len(set(_NUMBER.findall(seed.text)))
    if count >= options.min_numbers:
        return None
    why = f"the passage has {count} different numbers"
    return Draft("", (), (), defect=Defect("no_numbers", why, float(count), float(options.min_numbers)))


# --- asking


def schema(posed: bool) -> dict[str, Any]:
    """The JSON schema of an answer: steps and answer, and before them the problem where one is to be posed."""
    text = {"type": "string", "minLength": 1}
    fields: dict[str, Any] = {"problem": text} if posed else {}
    fields["steps"] = {"type": "array", "items": text, "minItems": MIN_STEPS if posed else 1, "maxItems": MAX_STEPS}
    fields["answer"] = {**text, "maxLength": ANSWER_CHARS}
    return {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}


def pose_question(seed: Seed, options: Options, sample: int = 0) -> Question:
    """Asks for a problem and its solution. Under majority only the problem is judged at once: its solutions vote first."""
    request, axes = common.worded(NAME, prompts(), seed.id, sample, options.vary, options.languages)
    axes["layout"] = layout(seed)
    asked = common.messages(prompts().system, request, seed.text)

    def draft(completion: Completion) -> Draft:
        if defect := completion.defect():
            return common.failed(completion, completion.text, defect, axes)
        payload = {"problem": _tidy(completion.parsed["problem"]), **tidied(completion.parsed)}
        said = "\n".join([payload["problem"], *payload["steps"]])
        fault = common.prompt_echo(said, asked, seed.text) or common.task_talk(said, seed.text)
        fault = fault or problem_fault(payload["problem"])
        if fault:
            return replace(common.failed(completion, said, fault, axes), payload=payload)
        made = unjudged(seed, payload, axes, completion)
        return made if options.select == "majority" else judged(made)

    return Question(seed, asked, draft, schema(posed=True), prompts().criteria)


def solve_question(seed: Seed, options: Options, sample: int = 0, problem: str | None = None) -> Question:
    """Asks for a solution: of `problem`, else of the seed's text. Under majority solutions vote before they are judged."""
    request, axes = common.worded(
        NAME, prompts(), seed.id, sample, (), options.languages, prompts().solver_instructions
    )
    axes["layout"] = layout(seed)
    asked = common.messages(prompts().solver_system, request, problem or seed.text)
    posed = {"problem": problem} if problem else {}

    def draft(completion: Completion) -> Draft:
        if defect := completion.defect():
            return common.failed(completion, completion.text, defect, axes)
        payload = {**posed, **tidied(completion.parsed)}
        if echo := common.prompt_echo("\n".join(payload["steps"]), asked, problem or seed.text):
            return replace(common.failed(completion, "\n".join(payload["steps"]), echo, axes), payload=payload)
        made = unjudged(seed, payload, axes, completion)
        return made if options.select == "majority" else against_gold(seed, options, judged(made))

    names = ("right", "several_steps") if problem else ("right",)
    criteria = {name: prompts().criteria[name] for name in names}
    return Question(seed, asked, draft, schema(posed=False), criteria)


_STEP_MARK = re.compile(r"\A(?:step[ ]*\d{1,2}[ ]*[:.)–-][ ]*|\d{1,2}[.)][ ]+|[-*•][ ]+)", re.IGNORECASE)
_STATES_ANSWER = re.compile(
    r"\A(?:#{2,6} |[*_]*(?:(?:so|thus|therefore|hence),? )?(?:the )?(?:final )?answer(?: is\b|[*_]*:))[^=]*\Z",
    re.IGNORECASE,
)


def tidied(parsed: Mapping[str, Any]) -> dict[str, Any]:
    """Steps without their numbers, without empty ones and a last one that only repeats the answer; the answer without words
    that only say that it is one.
    """
    steps = [step for one in parsed["steps"] if (step := _STEP_MARK.sub("", _tidy(one)))]
    if len(steps) > 1 and _STATES_ANSWER.match(steps[-1]):
        steps.pop()
    answer = _tidy(parsed["answer"])
    return {"steps": steps, "answer": final_answer(answer) or undecorated(answer)}


def _tidy(text: str) -> str:
    return " ".join(text.split())


# --- gates


def unjudged(seed: Seed, payload: Mapping[str, Any], axes: Mapping[str, str], completion: Completion) -> Draft:
    """The document that a problem and its solution make, right or wrong."""
    text, parts = rendered(seed, payload, axes)
    return Draft(text, parts, (completion.ask_id,), payload=payload, axes=axes, reasoning=completion.reasoning)


def judged(draft: Draft) -> Draft:
    """The draft with the finding of rung `arithmetic`, and with a defect where its solution is known to be wrong."""
    payload = draft.payload
    equations = check_equations("\n".join(payload["steps"]))
    wrong = [one.text for one in equations if not one.correct]
    share = 1 - len(wrong) / len(equations) if equations else None
    outcome = "failed" if wrong else "passed" if equations else "unsure"
    found = Finding("arithmetic", outcome, "rule", share, {"equations": len(equations), "wrong": wrong})
    defect = None
    if wrong:
        why = f"{len(wrong)} of {len(equations)} equations are wrong"
        defect = Defect("wrong_arithmetic", why, share, 1.0, "; ".join(wrong))
    return replace(draft, findings=(*draft.findings, found), defect=defect or solution_fault(payload))


_ASKS = re.compile(
    r"[?？]|\b(?:find|calculate|compute|determine|work out|estimate|how (?:many|much|long|far|old|often)|what is|show that)\b",
    re.IGNORECASE,
)


def problem_fault(problem: str) -> Defect | None:
    """A defect when a problem asks for nothing."""
    return None if _ASKS.search(problem) else Defect("asks_nothing", "the problem asks no question")


def solution_fault(payload: Mapping[str, Any]) -> Defect | None:
    """Why a solution is no use, its arithmetic apart; None when it is. `payload` names the problem only where it was posed."""
    steps, answer, problem = payload["steps"], payload["answer"], payload.get("problem")
    least = 1 if problem is None else MIN_STEPS
    if len(steps) < least:
        return Defect("few_steps", f"{len(steps)} steps", float(len(steps)), float(least))
    if not follows(answer, steps[-1]):
        return Defect("answer_not_reached", "the answer is not what the last step comes to", evidence=answer)
    if problem is not None and given(answer, problem):
        return Defect("answer_given", "the problem names its answer", evidence=answer)
    return None


def follows(answer: str, step: str) -> bool:
    """Whether the answer is what a step comes to: after its last equals sign, as its last number, or in its words."""
    if not normal_words(answer):
        return False
    if not re.search(r"\d", answer) and f" {' '.join(normal_words(answer))} " in f" {' '.join(normal_words(step))} ":
        return True
    return any(same_answer(answer, result) for result in _results(step))


def _results(step: str) -> Iterator[str]:
    _, sign, after = step.rpartition("=")
    numbers = _NUMBER.findall(after)
    if sign:
        yield after.strip().rstrip(".")
        yield from (*numbers[:1], *numbers[-1:])
    else:
        yield from numbers
    if said := final_answer(step):
        yield said


def given(answer: str, problem: str) -> bool:
    """Whether an answer that is a number stands in the problem already. Names may: who has more, Ann or Bob?"""
    if not re.search(r"\d", answer):
        return False
    return any(same_answer(answer, number) for number in set(_NUMBER.findall(problem)))


def against_gold(seed: Seed, options: Options, draft: Draft) -> Draft:
    """The draft with the finding of rung `equivalence`, where the seed holds the answer."""
    gold = gold_answer(seed, options)
    if gold is None:
        return draft
    answer = draft.payload["answer"]
    right = same_answer(answer, gold)
    evidence = {"answer": answer, "gold": gold}
    found = Finding("equivalence", "passed" if right else "failed", "rule", float(right), evidence)
    defect = draft.defect
    if not right and options.on_wrong == "drop":
        defect = defect or Defect("wrong_answer", "the answer is not the gold answer", evidence=f"{answer} for {gold}")
    return replace(draft, findings=(*draft.findings, found), defect=defect)


# --- the vote


def elected(seed: Seed, options: Options, solutions: Sequence[Draft]) -> Draft:
    """The shortest solution of the largest group whose arithmetic is right; with a defect where there is none.

    Every solution that was read votes with its answer. Solutions come unjudged, those that could not be read with a defect.
    """
    agreed = agreement([None if one.defect else one.payload["answer"] for one in solutions])
    drafts = [one if one.defect else judged(one) for one in solutions]
    valid = [at for at in agreed.members if drafts[at].defect is None]
    best = min(valid, key=lambda at: (len(drafts[at].text.split()), at)) if valid else (agreed.members or [0])[0]
    chosen = drafts[best]
    if agreed.members:
        chosen = against_gold(seed, options, chosen)
    defect = chosen.defect
    if agreed.share < options.min_agreement:
        why = f"{agreed.share:.0%} of the solutions agree"
        defect = defect or Defect("no_agreement", why, agreed.share, options.min_agreement)
    votes = agreed.finding(options.min_agreement)
    asks = [ask_id for one in (*drafts[:best], *drafts[best + 1 :], chosen) for ask_id in one.ask_ids]
    findings = (*_selection(drafts, agreed, best, defect), votes, *chosen.findings)
    return replace(chosen, ask_ids=tuple(dict.fromkeys(asks)), findings=findings, defect=defect)


def _selection(drafts: Sequence[Draft], agreed: Agreement, best: int, defect: Defect | None) -> Iterator[Finding]:
    """What became of each solution: the losers stay visible as asks, with their answers."""
    for at, one in enumerate(drafts):
        evidence: dict[str, Any] = {"selector": "majority", "candidate": at, "of": len(drafts)}
        evidence |= {"answer": agreed.answers[at], "group": agreed.groups[at]}
        if one.defect:
            evidence["defect"] = one.defect.rule
        won = at == best and defect is None
        yield Finding("selection", "won" if won else "lost", "rule", None, evidence, one.ask_ids[-1])


# --- rendering


LAYOUTS = {  # name -> (before each step, between two, after the last)
    "answer": ("", "\n", "\nAnswer: {answer}"),
    "answer_is": ("", "\n", "\nThe answer is {answer}."),
    "final_answer": ("", "\n", "\n\n**Final answer:** {answer}"),
    "hashes": ("", "\n", "\n#### {answer}"),
    "numbered": ("{number}. ", "\n", "\n\nAnswer: {answer}"),
    "prose": ("", " ", "\n\nThe answer is {answer}."),
    "steps": ("Step {number}: ", "\n", "\nAnswer: {answer}"),
}


def layout(seed: Seed) -> str:
    """How this seed's solution is set, by hash."""
    return common.choose(sorted(LAYOUTS), NAME, "layout", seed.id)


def rendered(seed: Seed, payload: Mapping[str, Any], axes: Mapping[str, str]) -> tuple[str, tuple[Part, ...]]:
    """The problem, a blank line, the steps and the answer. Without a posed problem the seed's text is it."""
    mark, between, last = LAYOUTS[axes["layout"]]
    steps = [mark.format(number=number) + step for number, step in enumerate(payload["steps"], 1)]
    if between == " ":
        steps = [step if step.endswith((".", "!", "?", ":")) else f"{step}." for step in steps]
    solution = f"\n\n{between.join(steps)}{last.format(answer=payload['answer'])}"
    if "problem" in payload:
        return compose([("generated", payload["problem"] + solution)])
    return compose([("source", seed.text.strip()), ("generated", solution)])
