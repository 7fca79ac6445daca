"""Leaks: what a generated text says about the chat in which it was written instead of about its subject.

Every phrase is looked for with the words that make it a model's, because users log in, instructions are given and texts are
rewritten in honest documents too. What also stands in the seed is no leak: an article about chatbots may quote them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pyarrow as pa

from synth.config import Config

KINDS = ("self_names", "chat_fragments", "meta_talk")
SCORES = pa.schema(
    [
        *((kind, pa.int64()) for kind in KINDS),
        ("leaks_checked", pa.int64()),
        ("leaks_found", pa.int64()),
        ("leaked", pa.large_string()),
    ]
)
EVIDENCE_PHRASES = 20  # distinct ones that are shown of one text; all of them are counted


class LeakOptions(Config):
    """The rule `leaks` has no options."""


def score(table: pa.Table, options: LeakOptions) -> pa.Table:
    """Phrases in `generated` that the seed text does not have, compared without case.

    `self_names`: an assistant speaks of itself. `chat_fragments`: an answer greets, offers, excuses itself, or carries the
    marks of a chat's turns. `meta_talk`: the text speaks of its own making. `leaks_found`: all of them. `leaks_checked`: 1
    where there is text. `leaked`: the phrases, each once, joined by "; "; null when there is none. Nothing checked: zeros.
    """
    texts = zip(table["generated"].to_pylist(), table["seed_text"].to_pylist(), strict=True)
    return pa.Table.from_pylist([_row(generated or "", seed or "") for generated, seed in texts], schema=SCORES)


def _row(generated: str, seed: str) -> dict[str, int | str | None]:
    found = _leaks(folded(generated))
    if any(found.values()) and seed:
        theirs = {text for texts in _leaks(folded(seed), even_said=True).values() for text in texts}
        found = {kind: [text for text in texts if text not in theirs] for kind, texts in found.items()}
    everything = [text for texts in found.values() for text in texts]
    return {
        **{kind: len(texts) for kind, texts in found.items()},
        "leaks_checked": int(bool(generated.strip())),
        "leaks_found": len(everything),
        "leaked": evidence(everything),
    }


def evidence(found: Iterable[str]) -> str | None:
    """What was found, each once, the first EVIDENCE_PHRASES of it, for a person to read. None when nothing was."""
    return "; ".join(list(dict.fromkeys(found))[:EVIDENCE_PHRASES]) or None


@dataclass(frozen=True)
class Phrase:
    """A pattern over `folded` text, and literals one of which stands in each of its matches: without one, nothing is run.

    A pattern that begins with `^` sees lines; any other sees line breaks as blanks. A phrase of `SAID` is one that people say
    too: within quotation marks and after a speaker's name it is not found.
    """

    literals: tuple[str, ...]
    pattern: re.Pattern[str]
    said: bool


def phrases(table: Sequence[tuple[str, str]], said: Sequence[tuple[str, str]] = ()) -> tuple[Phrase, ...]:
    """Phrases from rows of (literals joined by "|", pattern)."""
    return tuple(
        Phrase(tuple(literals.split("|")), re.compile(pattern, re.MULTILINE), is_said)
        for rows, is_said in ((table, False), (said, True))
        for literals, pattern in rows
    )


_BLANKS = re.compile(r"[^\S\n]{2,}|[^\S\n ]")
_ODD_BLANKS = ("  ", "\t", "\r", "\xa0")  # the usual ones: without any of them, a text is taken as it is


def folded(text: str) -> str:
    """`text` as phrases see it: case-folded, with straight apostrophes and single blanks."""
    text = text.casefold().replace("’", "'").strip()
    return _BLANKS.sub(" ", text) if any(blank in text for blank in _ODD_BLANKS) else text


def find(text: str, wanted: Iterable[Phrase], even_said: bool = False) -> list[str]:
    """What the phrases match in a `folded` text, in its order; of matches that overlap the first and longest."""
    flat = text.replace("\n", " ")
    spans = [
        found.span()
        for one in wanted
        if any(literal in flat for literal in one.literals)
        for found in one.pattern.finditer(text if one.pattern.pattern.startswith("^") else flat)
        if even_said or not one.said or not _is_speech(text, found.start())
    ]
    texts, covered = [], 0
    for start, end in sorted(spans, key=lambda span: (span[0], -span[1])):
        if start >= covered:
            texts.append(flat[start:end].strip(" .!?*#_"))
            covered = end
    return texts


_SPEECH_CHARACTERS = 300  # how far back a quotation or a speaker's name is looked for
_SPEAKER = re.compile(
    r"[\W_]*(?!(?:answer|a|response|output|assistant|ai|chatbot|model|here|note)\b)\w[\w .'-]{0,30}[*_]{0,2}:"
)


def _is_speech(text: str, at: int) -> bool:
    """Whether a person in the text says what stands at `at`: within quotation marks, or after a name at the line's start."""
    line = text[max(at - _SPEECH_CHARACTERS, 0) : at].rpartition("\n")[2]
    quoted = line.count('"') % 2 == 1 or line.count("“") > line.count("”")
    return quoted or _SPEAKER.match(line) is not None


# A line's start: marks of lists, headings and emphasis, and the label of an answer, are not what the line begins with.
_LINE = r"^[^\w\n<\[]{0,6}(?:(?:answer|a|response|output)[*_]{0,2}:[*_ ]{0,3})?"

# Names of models. Those of the first kind are nothing else; the others are also people's, animals' and stars'.
_MODEL = r"(?:chatgpt|qwen[\d.]*|tongyi qianwen|smollm\d?|deepseek(?:-\w+)?|gpt-\d[\w.]*|llama[ -]?\d[\d.]*|mixtral)"
_NAME = r"(?:claude|gemini|llama|gemma|mistral|bard|copilot|grok|kimi|phi(?:-\d)?|granite|nova|ernie|olmo|command r)"
_VENDOR = (
    r"(?:openai|open ai|anthropic|alibaba|google|deepmind|meta(?: ai)?|mistral ai|deepseek|hugging ?face|microsoft|xai"
    r"|moonshot ai|nvidia|cohere|baidu|tencent|zhipu ai|ibm)"
)
_MADE = r"(?:created|developed|trained|made|built|designed|fine-tuned)"
_KIND = (
    r"(?:an? )?(?:ai|artificial intelligence|(?:large )?language model|chatbot|virtual assistant)"
    r"(?: language)?(?: model| assistant| system| chatbot)?"
)
_ITSELF = rf"(?= ?[.,;!]| (?:and|so|that|who|without|with no|{_MADE})\b|\Z)"

SELF_NAMES = phrases(
    [
        ("as a", rf"\bas {_KIND}(?:,? {_MADE} (?:by|on|to) [\w ]{{1,30}})?,? (?:i|my|it is not possible for me)\b"),
        ("ai language model", r"\bas an ai language model\b"),
        (
            "chatgpt|qwen|qianwen|smollm|deepseek|gpt-|llama|mixtral",
            rf"\b(?:i am|i'm|my name is|this is) {_MODEL}(?= ?[.,;!]| (?:and|from|by|{_MADE})\b|\Z)",
        ),
        (
            " claude| gemini| llama| gemma| mistral| bard| copilot| grok| kimi| phi| granite| nova| ernie| olmo| command r",
            rf"\b(?:i am|i'm|my name is) {_NAME}(?:,? (?:an? |your )?(?:[\w-]+ ){{0,3}}?(?:ai|model|assistant|chatbot)\b"
            rf"|,? {_MADE} by\b)",
        ),
        ("ed by |made by |built by ", rf"\b(?:i was|i am|i'm|i have been|i've been) {_MADE} by {_VENDOR}\b"),
        (
            "my training |my knowledge |my last ",
            r"\bmy (?:training data|(?:knowledge|training) cut-?off|last (?:training|knowledge) update)\b",
        ),
        (
            "personal ",
            r"\bi (?:don't|do not|can't|cannot) (?:have|hold|possess|form)(?: any)? personal"
            r" (?:opinions|experiences|feelings|beliefs|preferences|emotions)\b",
        ),
        ("real-time", r"\bi (?:don't|do not) have (?:access to )?real-time (?:information|data|access)\b"),
        ("my programming", r"\bmy programming (?:does|doesn't|prevents|prohibits|forbids|allows)\b"),
    ],
    said=[("i am |i'm ", rf"\b(?:i am|i'm) (?:just |only |simply |merely )?{_KIND}{_ITSELF}")],
)
"""An assistant that speaks of itself."""

_PIECE = r"(?:text|passage|paragraph|article|document|excerpt|summary)"
_REWRITTEN = r"(?:re-?written|rephrased|paraphrased|condensed|summari[sz]ed|shortened)"
_REVISED = r"(?:revised|simplified|edited|improved|updated|polished|cleaned(?:-up)?|translated)"
_MORE = (
    r"(?:me to|any (?:other|further|more|additional|questions|changes|adjustments|modifications|revisions|help|clarification)"
    r"|further|more (?:help|information|details)|additional|anything else|another|other changes|help with)"
)
_AGREED = r"(?:sure(?: thing)?|certainly|of course|absolutely|okay|ok|great|alright|no problem)"
_DID = (
    r"(?:tried|kept|rewritten|rephrased|removed|added|changed|used|simplified|maintained|replaced|assumed|included|omitted"
    r"|preserved|avoided|followed|not (?:added|changed|included))"
)

CHAT_FRAGMENTS = phrases(
    [
        (
            "requested|asked|instructed",
            rf"{_LINE}as (?:you )?(?:requested|asked|instructed)[,:] (?:here|i|the|below)\b",
        ),
        (">", r"<\|[^\s<>|]{2,60}\|>"),
        ("inst]", r"\[/?inst\]"),
        ("sys>>", r"<</?sys>>"),
        ("#", r"^#{2,4} ?(?:instructions?|response|input|human|user|assistant|system|task|output):"),
        ("think", r"</?think(?:ing)?>"),
        ("</s>", r"</s>(?= ?(?:\Z|\[inst|<s>))"),
        ("_of_turn>", r"<(?:start|end)_of_turn>"),
        ("system", r"^\W{0,4}system[*_]{0,2}: ?you are\b"),
    ],
    said=[
        (
            "here|happy|glad|let me |i can |i'll |below",
            rf"{_LINE}{_AGREED}[,.!:]* (?:here(?:'s| is| are| you)|i can (?:help|do|rewrite|write)"
            r"|i(?:'d| would) be (?:happy|glad)|i'll (?:rewrite|write|do|help)|let me (?:rewrite|help|write|provide)|below is)\b",
        ),
        (
            "here is|here's|here are",
            rf"\bhere(?:'s| is| are) (?:the|a|an|your|my) (?:(?:\w+ )?{_REWRITTEN} (?:\w+ )?(?:{_PIECE}|version)"
            rf"|(?:\w+ )?{_REVISED} (?:{_PIECE}|version of (?:the|your|this) {_PIECE})"
            r"|(?:summary|paraphrase|translation|rewrite) of (?:the|your|this) (?:given |provided |above |original )?"
            rf"{_PIECE})\b",
        ),
        (
            "let me know if",
            rf"\blet me know if (?:you(?:'d| would)? (?:like|need|want|have) {_MORE}|there(?:'s| is) anything else"
            r"|this (?:works|helps|meets)|that helps)\b",
        ),
        (
            "feel free to",
            r"\bfeel free to (?:ask(?: me)?|reach out|let me know)(?= ?[.!]| if you| for (?:any|more|further)|\Z)",
        ),
        (
            "i hope",
            r"\bi hope (?:this|that|it|the above|my) (?:(?:\w+ )?helps(?= ?[.!,]| you\b|\Z)|(?:\w+ )?(?:is|was) helpful"
            r"|clarifies|answers your|meets your)\b",
        ),
        ("anything else", r"\bis there anything else (?:you(?:'d| would)? (?:like|need|want)|(?:that )?i can)\b"),
        ("as per your", r"\bas per your (?:request|instructions?)\b"),
        ("note", rf"\bnote:?(?: that)? i(?:'ve| have)(?: \w+)? {_DID}\b"),
        (
            "happy to help",
            r"\bi(?:'d| would|'m| am) (?:be )?happy to help(?: you)?(?: with (?:that|this)\b| rewrite\b| ?[.!])",
        ),
        ("great question", rf"{_LINE}(?:that's a )?great question[.!]"),
        (
            "thank you for|thanks for",
            rf"{_LINE}thank(?:s| you) for (?:providing|sharing|your) (?:the |this |your )?(?:prompt|{_PIECE})\b",
        ),
        ("i apologi", r"\bi apologi[sz]e for (?:the|any) (?:confusion|misunderstanding|oversight)\b"),
    ],
)
"""An answer that greets, offers, excuses itself, or carries the marks of a chat's turns."""

_MADE_TEXT = (
    r"(?:passage|text|paragraph|excerpt|rewrite|rewritten version|paraphrase|response|answer|summary|version|document"
    r"|dialogue|questions?|tutorial|output)"
)
_WRITE = (
    r"(?:write|rewrite|re-write|rephrase|paraphrase|produce|generate|create|summari[sz]e|condense|provide|output|craft"
    r"|simplify)"
)
_SOME = r"(?:the|a|an|this|my|one|two|three|four|five)"
_OBJECT = rf"{_WRITE} {_SOME} (?:[\w-]+ ){{0,2}}?{_MADE_TEXT}\b(?! (?:file|message|box|field|editor|format))"

META_TALK = phrases(
    [
        (
            "the user",
            r"\bthe user (?:wants|wanted|asks|asked|is asking|has asked|would like|needs|expects|told|instructed) (?:me|us) "
            r"(?:to|for|about|that)\b",
        ),
        (
            "the user",
            r"\bthe user(?: also| just)? (?:wants|asks for|asked for|is asking for|has asked for|(?:has )?requested|is requesting"
            rf"|(?:has )?provided|gave|has given)(?: me)? (?:an?|the|this|some) (?:[\w-]+ ){{0,2}}?(?:{_REWRITTEN}|{_MADE_TEXT}"
            r"|explanation|translation|instructions?)\b",
        ),
        (
            "the user",
            r"(?:\A|[.!?] {1,2}|\b(?:okay|ok|so|hmm|alright),? )the user(?:'s (?:request|prompt|question|query|message)"
            r" (?:is|was|asks|says)\b| (?:asks|asked|says|said|wrote)[:,])",
        ),
        (" above", rf"\bth(?:e|is) {_PIECE} (?:given |provided |shown )?above\b"),
        ("the above |this above ", rf"\b(?:the|this) above {_PIECE}\b"),
        (" passage| excerpt", r"\bthe (?:given|provided|original|source|input) (?:passage|excerpt)\b"),
        (
            "given text|provided text",
            r"\b(?:in|from|according to|stated in|mentioned in) the (?:given|provided) text\b",
        ),
        (
            "the given |the provided |the original ",
            r"\bthe (?:given|provided|original) (?:text|article|paragraph) (?:states|describes|discusses|explains|mentions|says"
            r"|talks|highlights|(?:does not|doesn't) (?:mention|say|state|provide))\b",
        ),
        (
            " rewrit| paraphrase| revised ",
            r"\b(?:in|for) (?:this|my) (?:rewrite|rewriting|paraphrase|(?:rewritten|revised) (?:version|text|passage))\b",
        ),
        ("system prompt", r"\b(?:my|the|this|your) system prompt\b"),
    ],
    said=[
        (
            "my instructions|my guidelines|my prompt|my programming",
            r"\b(?:my (?:instructions|guidelines|prompt) (?:says?|states?|requires?|tells? me|asks?|specify"
            r"|are to (?:write|rewrite|keep|produce|answer))|(?:according to|per|against|violates?) my"
            r" (?:instructions|guidelines|prompt|programming))\b",
        ),
        (
            "i need|i have|i should|i must|i will|i am |i was |i'll|i'm |i've ",
            r"\bi(?: need to| have to| should| must| will| am going to| was asked to| was told to| am asked to| am supposed to"
            rf"|'ll|'m going to|'m asked to|'m supposed to|'ve been asked to)(?: now)? {_OBJECT}",
        ),
        ("we need to|we have to|we should|we must", rf"\bwe (?:need to|have to|should|must) {_OBJECT}"),
        (
            "let's think",
            r"\blet's think (?:step by step|this through|about (?:how to (?:write|rewrite|answer|phrase)|what the user))\b",
        ),
        (
            "let me think",
            r"(?:\A|[.!?] {1,2})(?:okay,? |hmm,? )?let me think(?: about this)?(?: step by step)?(?= ?[.,]|\Z)",
        ),
        (
            "the instruction",
            rf"\bthe instructions? (?:says?|said|asks?|asked|tells?|told)(?: me)?(?: that i| i)? (?:to |should |must )?{_OBJECT}",
        ),
        ("the prompt", r"\bthe prompt (?:says|said|asks|asked|wants|requires|specifies|tells) (?:me|us|for|to|that)\b"),
        (
            " words",
            r"\b(?:i|we) (?:need to|have to|must|should) (?:keep|stay|be) (?:it|this|within|under)\b[^.]{0,30} words\b",
        ),
    ],
)
"""A text that speaks of its own making."""

_TURN = re.compile(r"^[^\w\n]{0,6}([^\W_][\w .'-]{0,24})[*_]{0,2}:", re.MULTILINE)
_ASKS = frozenset({"user", "human"})
_ANSWERS = frozenset({"assistant", "ai", "chatbot", "ai assistant", "model"})
_LAST_TURN = re.compile(r"\n[^\w\n]{0,6}(?:user|human|assistant|system)[*_]{0,2}:[*_]{0,2}\Z")


def _turns(text: str) -> list[str]:
    """Marks of a chat's turns: a user and an assistant speak, or an assistant alone, or the text ends with a mark.

    A line `User: ...` by itself stands in manuals, and plays have assistants among others.
    """
    if ":" not in text:
        return []
    names = [found[1] for found in _TURN.finditer(text)]
    spoken = set(names)
    if (
        (spoken & _ASKS and spoken & _ANSWERS)
        or spoken == {"assistant"}
        or _LAST_TURN.search(text, max(len(text) - 40, 0))
    ):
        return [f"{name}:" for name in names if name in _ASKS | _ANSWERS or name == "system"]
    return []


def _leaks(text: str, even_said: bool = False) -> dict[str, list[str]]:
    """What is found in a `folded` text, by kind."""
    found = [find(text, wanted, even_said) for wanted in (SELF_NAMES, CHAT_FRAGMENTS, META_TALK)]
    found[1] += _turns(text)
    return dict(zip(KINDS, found, strict=True))
