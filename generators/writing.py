"""How a family gets one draft: candidates, a selector, one revision. What each of them cost stays visible: the asks are kept,
and every decision is a finding.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

from pydantic import Field

from generators.segments import Segment, cut, estimated_tokens
from generators.verify import judge, revision
from synth.ask import Ask, Completion, Message
from synth.config import Config
from synth.rows import Defect, Draft, Finding, Seed, compose, part_text

ResultT = TypeVar("ResultT")

Action = Literal["label", "drop"]
"""What a failed check does: a verdict only, or a drop as well."""

CONTEXT_TOKENS = 400  # of the text rewritten so far that stand before the next chunk: some paragraphs


class WritingOptions(Config):
    """Options that all families have. A family gives its own defaults."""

    candidates: int = Field(
        1, ge=1, le=64, description="Answers asked for per text. With first_valid they are asked one after another."
    )
    select: Literal["first_valid", "shortest_valid", "score", "judge"] = Field(
        "first_valid",
        description="Which candidate becomes the document: the first or shortest one without a defect, the one that keeps "
        "most of its source's facts and adds fewest (score), or the one that meets most of the family's criteria (judge, "
        "which asks the role `judge`).",
    )
    revise: bool = Field(
        False,
        description="The model judges its draft against the family's criteria and writes it once more if it fails any.",
    )
    verify: dict[Literal["judge"], Action] = Field(
        {},
        description="`judge`: the role of that name says of each claim whether the source supports it. A failed check is a "
        "label (a verdict) or a drop; going from one to the other asks nothing again.",
    )
    thinking_tokens: int | None = Field(
        None, ge=0, description="Budget for thinking before the text is written (tokens); none: as the role says."
    )
    max_tokens: int = Field(1024, ge=1, description="Tokens of an answer, without thinking.")
    temperature: float = Field(0.6, ge=0.0, le=5.0, description="Softmax temperature.")
    top_p: float = Field(0.95, gt=0.0, le=1.0, description="Nucleus sampling.")
    min_seed_tokens: int = Field(30, ge=0, description="A shorter seed is dropped before anything is asked (tokens).")
    segment_tokens: int = Field(1000, ge=50, description="A longer seed is cut on whole lines under this cap (tokens).")
    vary: tuple[str, ...] | None = Field(
        None, description="Which of the family's axes are sampled by hash; none: all. `synth families NAME` lists them."
    )
    languages: tuple[str, ...] = Field(
        (), description="Languages to write in, sampled by hash, in English words; empty: none is named in the prompt."
    )

    def roles(self) -> tuple[str, ...]:
        """The roles that are asked under these options."""
        asked = {"writer"}
        if self.select == "judge" or "judge" in self.verify:
            asked.add("judge")
        if {"round_trip_source", "round_trip_alone"} & set(self.verify):
            asked.add("verifier")
        return tuple(sorted(asked))


@dataclass(frozen=True)
class Question:
    """What is sent, and how its answer becomes a draft. `seed` is what the prompt was made from: a segment, for long ones."""

    seed: Seed
    messages: Sequence[Message]
    draft: Callable[[Completion], Draft]
    schema: Mapping[str, Any] | None = None
    criteria: Mapping[str, str] | None = None  # name -> a statement that is true of a good draft


@dataclass(frozen=True)
class Candidate:
    """A question, its answer, and the draft it makes."""

    question: Question
    completion: Completion
    draft: Draft


async def write(
    ask: Ask,
    options: WritingOptions,
    question: Callable[[int], Question],
    claims: Callable[[Draft], Sequence[str]] = lambda draft: judge.sentences(generated(draft)),
    finish: Callable[[Draft], Awaitable[Draft]] | None = None,
) -> Draft:
    """One draft: candidates are asked for, one is selected, revised and checked, as the options say.

    `question(sample)` is what candidate number `sample` asks. `finish` is the family's own check of the draft that was
    selected. The draft names every ask that was paid for on its way, and the text rests on the last writer's ask.
    """
    tried = await _candidates(ask, options, question)
    at, findings, asked = await _select(ask, options, tried)
    best = tried[at]
    draft = replace(best.draft, findings=(*findings, *best.draft.findings))
    asked = [*(one.completion.ask_id for one in tried if one is not best), *asked, best.completion.ask_id]
    if options.revise and draft.defect is None and best.question.criteria:
        draft, best, more = await _revise(ask, options, best, draft)
        asked = [*asked, *more, best.completion.ask_id]
    draft = replace(draft, ask_ids=(*dict.fromkeys(one for one in asked if one != asked[-1]), asked[-1]))
    if draft.defect is None and finish:
        draft = await finish(draft)
    if draft.defect is None and "judge" in options.verify:
        draft = await _judge(ask, options, best.question.seed, draft, claims(draft))
    return draft


def generated(draft: Draft) -> str:
    """What the model wrote of a draft's text."""
    return part_text(draft.text, draft.parts, "generated")


# --- candidates


async def put(ask: Ask, options: WritingOptions, question: Question, sample: int) -> Candidate:
    """Ask one question, with the sampling that the options say."""
    completion = await ask(
        question.messages,
        sample_index=sample,
        schema=question.schema,
        thinking_tokens=options.thinking_tokens,
        max_tokens=options.max_tokens,
        temperature=options.temperature,
        top_p=options.top_p,
        accept=lambda answer: question.draft(answer).defect is None,
    )
    return Candidate(question, completion, question.draft(completion))


async def _candidates(ask: Ask, options: WritingOptions, question: Callable[[int], Question]) -> list[Candidate]:
    """All that were asked for, in order. An ask that was rejected for good is not put again: others would fare the same."""
    if options.select != "first_valid":
        samples = range(options.candidates)
        return await together(put(ask, options, question(sample), sample) for sample in samples)
    tried: list[Candidate] = []
    for sample in range(options.candidates):
        tried.append(await put(ask, options, question(sample), sample))
        if tried[-1].draft.defect is None or tried[-1].completion.outcome == "dead_letter":
            break
    return tried


async def together(coroutines: Iterable[Coroutine[Any, Any, ResultT]]) -> list[ResultT]:
    """All results, in order. When one raises the others are cancelled and waited for, then it is raised."""
    tasks = [asyncio.ensure_future(one) for one in coroutines]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


async def _select(
    ask: Ask, options: WritingOptions, tried: Sequence[Candidate]
) -> tuple[int, list[Finding], list[str]]:
    """The place of the candidate to take, a finding for each when there were several, and the asks that choosing took.

    Ties go to the earlier one.
    """
    valid = [at for at, one in enumerate(tried) if one.draft.defect is None]
    scores: dict[int, float] = {}
    asked: list[str] = []
    if options.select == "shortest_valid":
        scores = {at: -float(len(generated(tried[at].draft).split())) for at in valid}
    elif options.select == "score":
        scores = {at: judge.facts_kept(tried[at].question.seed.text, generated(tried[at].draft)) for at in valid}
    elif options.select == "judge" and len(valid) > 1:
        met = await together(_met(ask, tried[at], "judge") for at in valid)
        scores = {at: one.share for at, one in zip(valid, met, strict=True)}
        asked = [one.ask_id for one in met if one.ask_id]
    best = max(valid, key=lambda at: (scores.get(at, 0.0), -at), default=len(tried) - 1)
    return best, _selection(options, tried, best, scores), asked


async def _met(ask: Ask, candidate: Candidate, role: str) -> judge.Met:
    question = candidate.question
    return await judge.criteria_met(ask, question.seed, generated(candidate.draft), question.criteria or {}, role)


def _selection(
    options: WritingOptions, tried: Sequence[Candidate], best: int, scores: Mapping[int, float]
) -> list[Finding]:
    if len(tried) == 1:
        return []
    found = []
    for at, one in enumerate(tried):
        evidence: dict[str, Any] = {"selector": options.select, "candidate": at, "of": len(tried)}
        if one.draft.defect:
            evidence["defect"] = one.draft.defect.rule
        outcome = "won" if at == best and one.draft.defect is None else "lost"
        found.append(Finding("selection", outcome, "rule", scores.get(at), evidence, one.completion.ask_id))
    return found


# --- revision and judgement


async def _revise(
    ask: Ask, options: WritingOptions, best: Candidate, draft: Draft
) -> tuple[Draft, Candidate, list[str]]:
    """The draft, or the better one that its writer made of it; which candidate it rests on; the asks that it took."""
    question = best.question
    met = await _met(ask, replace(best, draft=draft), "writer")
    asked = [met.ask_id] if met.ask_id else []
    outcome = "kept_draft" if met.met else "unsure"
    if met.failed:
        again = replace(question, messages=revision.messages(question.messages, best.completion.text, met.failed))
        second = await put(ask, options, again, 0)
        asked.append(second.completion.ask_id)
        outcome = "revision_failed" if second.draft.defect else "revised"
        if outcome == "revised":
            draft, best = replace(second.draft, findings=(*draft.findings, *second.draft.findings)), second
    finding = Finding("revision", outcome, "model", met.share, met.evidence(), met.ask_id)
    return replace(draft, findings=(*draft.findings, finding)), best, asked


async def _judge(ask: Ask, options: WritingOptions, seed: Seed, draft: Draft, claims: Sequence[str]) -> Draft:
    """The draft with the judge's findings; with a defect where the recipe drops what it does not find in the source."""
    findings = await judge.supported(ask, seed, claims)
    wrong = [claim for one in findings for claim in one.evidence.get("unsupported", ())]
    defect = None
    if wrong and options.verify["judge"] == "drop":
        why = "the judge finds claims that the source does not make"
        defect = Defect("judged_unsupported", why, float(len(wrong)), 0.0, "; ".join(wrong))
    return with_checks(draft, findings, defect)


def with_checks(draft: Draft, findings: Sequence[Finding], defect: Defect | None = None) -> Draft:
    """The draft with findings of checks that asked a model: their asks were paid for too, and stand before the text's own."""
    asks = [finding.ask_id for finding in findings if finding.ask_id]
    *earlier, last = draft.ask_ids
    ask_ids = tuple(dict.fromkeys([*earlier, *asks, last]))
    return replace(draft, ask_ids=ask_ids, findings=(*draft.findings, *findings), defect=draft.defect or defect)


# --- long seeds


def too_short(seed: Seed, options: WritingOptions) -> Draft | None:
    """An empty draft with a defect, for a seed that is too short to be worth an ask."""
    tokens = estimated_tokens(seed.text)
    if tokens >= options.min_seed_tokens:
        return None
    why = f"the seed has about {tokens} tokens"
    return Draft("", (), (), defect=Defect("seed_too_short", why, float(tokens), float(options.min_seed_tokens)))


async def per_segment(
    seed: Seed, options: WritingOptions, make: Callable[[Seed, Segment], Coroutine[Any, Any, Draft]]
) -> list[Draft]:
    """A draft for each segment of the seed, side by side; its span is recorded."""
    if short := too_short(seed, options):
        return [short]
    segments = cut(seed.text, options.segment_tokens)
    drafts = await together(make(segment.seed(seed), segment) for segment in segments)
    return [replace(draft, seed_span=one.span) for draft, one in zip(drafts, segments, strict=True)]


async def stitched(
    seed: Seed, options: WritingOptions, make: Callable[[Seed, str], Coroutine[Any, Any, Draft]]
) -> Draft:
    """One draft of a seed that is rewritten segment by segment, in order: `make` gets the end of what was written so far.

    After Kimi K2 (https://arxiv.org/abs/2507.20534). The payload says which bytes of the seed each piece came from. The
    first segment that fails ends it: the rest is not paid for.
    """
    if short := too_short(seed, options):
        return short
    segments = cut(seed.text, options.segment_tokens)
    drafts: list[Draft] = []
    for segment in segments:
        draft = await make(segment.seed(seed), last_tokens("\n\n".join(map(generated, drafts)), CONTEXT_TOKENS))
        drafts.append(draft)
        if draft.defect:
            break
    return drafts[0] if len(segments) == 1 else _stitch(segments, drafts)


def _stitch(segments: Sequence[Segment], drafts: Sequence[Draft]) -> Draft:
    text, parts = compose([("generated", "\n\n".join(generated(draft) for draft in drafts))])
    pieces = [
        {
            "order": one.order,
            "start_byte": one.start_byte,
            "end_byte": one.end_byte,
            "answer": draft.payload or generated(draft),
        }
        for one, draft in zip(segments, drafts, strict=False)
    ]
    findings = [
        replace(finding, evidence={**finding.evidence, "segment": one.order})
        for one, draft in zip(segments, drafts, strict=False)
        for finding in draft.findings
    ]
    thoughts = [draft.reasoning for draft in drafts if draft.reasoning]
    return Draft(
        text,
        parts,
        tuple(ask_id for draft in drafts for ask_id in draft.ask_ids),
        payload={"segments": pieces},
        axes=drafts[0].axes,
        seed_span=(segments[0].start_byte, segments[-1].end_byte),
        reasoning="\n\n".join(thoughts) or None,
        defect=drafts[-1].defect,
        findings=tuple(findings),
        written_by=tuple(draft.ask_ids[-1] for draft in drafts if draft.ask_ids),
    )


def last_tokens(text: str, tokens: int) -> str:
    """The end of a text, in whole paragraphs as far as they fit, at least the last one's end."""
    segments = cut(text, tokens)
    return segments[-1].text if segments else ""
