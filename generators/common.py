"""What families share: reading prompts, choosing by hash, building messages, and taking chat wrapping off an answer."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from typing import TypeVar

import orjson
from pydantic import Field

from synth.ask import Completion, Family, Message
from synth.config import Config
from synth.digest import digest, hash_share
from synth.registry import Card, Spec
from synth.rows import Defect, Draft, Seed, compose

ItemT = TypeVar("ItemT")
PromptsT = TypeVar("PromptsT", bound=Config)

# A run of this many words shared with the prompt is an echo of it; shorter ones may be ordinary English. Every shipped
# instruction is at least as long, so that each can be found.
ECHO_WORDS = 8


class Prompts(Config):
    """A family's prompt file, `prompts/<family>.toml`."""

    system: str = Field(min_length=1, description="Constant instruction: the same first bytes for every seed.")
    instructions: tuple[str, ...] = Field(
        min_length=8, description="Paraphrases of the request; one is chosen by hash, so that openings vary."
    )
    axes: dict[str, dict[str, str]] = Field(
        {},
        description="What is varied on purpose: axis -> value -> its words. They take the place of {axis} in a request that "
        "names it, and follow one that does not as a sentence.",
    )
    criteria: dict[str, str] = Field(
        {}, description="What is true of a good answer: name -> statement, for judging candidates and for one revision."
    )

    def digest(self) -> str:
        """Digest of the prompts' content; comments and layout of the file do not count."""
        return digest(self.content())


def load_prompts(kind: type[PromptsT], family: str) -> PromptsT:
    """Read and check a prompt file of the package, by its name: a family's, or one of `verify`."""
    raw = resources.files("generators.prompts").joinpath(f"{family}.toml").read_text(encoding="utf-8")
    return kind.model_validate_json(orjson.dumps(tomllib.loads(raw)))


def spec(
    name: str,
    versions: tuple[int, int],
    options: type[Config],
    generate: Family,
    prompts: Prompts,
    card: Card,
) -> Spec[Family]:
    """A family for the registry. `versions`: of its questions, and of the half that turns answers into text."""
    version, renderer_version = versions
    return Spec(
        name,
        version,
        options,
        generate,
        content_digest=prompts.digest(),
        renderer_version=renderer_version,
        card=card,
    )


def choose(items: Sequence[ItemT], *parts: str) -> ItemT:
    """One of `items`, by a hash of `parts`."""
    return items[int(hash_share(*parts) * len(items))]


def worded(
    family: str,
    prompts: Prompts,
    key: str,
    sample: int,
    vary: Sequence[str] | None = None,
    languages: Sequence[str] = (),
    instructions: Sequence[str] = (),
    **values: object,
) -> tuple[str, dict[str, str]]:
    """A request in words that a hash of `key` (a seed's id) chose, and what was chosen: the document's axes.

    `vary` names the axes that are used (None: all), `values` fill the other placeholders. Another `sample` takes another
    paraphrase and keeps the axes.
    """
    wordings = instructions or prompts.instructions
    number = choose(range(len(wordings)), family, "instruction", key, str(sample))
    axes = {"instruction": str(number)}
    words: dict[str, str] = {}
    for axis, known in prompts.axes.items():
        if vary is None or axis in vary:
            axes[axis] = choose(sorted(known), family, axis, key)
            words[axis] = known[axes[axis]]
    if languages:
        axes["language"] = choose(languages, family, "language", key)
        words["language"] = f"Write in {axes['language']}."
    inline = {axis for axis in words if f"{{{axis}}}" in wordings[number]}
    request = wordings[number].format(**{**values, **{axis: words[axis] for axis in inline}})
    return " ".join([request, *(words[axis] for axis in words if axis not in inline)]), axes


def messages(system: str, request: str, seed_text: str) -> list[Message]:
    """What is constant first, the seed's text last: servers reuse the common prefix, and nothing follows the seed."""
    return [
        {"role": "system", "content": system.strip()},
        {"role": "user", "content": f"{request.strip()}\n\n{delimited(seed_text)}"},
    ]


WRITTEN_SO_FAR = "The text so far, rewritten from the parts before this one. Go on after it and repeat nothing of it:"


def instructed(system: str, request: str, seed_text: str, written: str = "") -> list[Message]:
    """The request in the system message, the seed's text alone as the user's: small models take it for text, not for talk.

    `written` is what was made of the seed's earlier parts: the context of this one.
    """
    context = f"\n\n{WRITTEN_SO_FAR}\n\n{delimited(written)}" if written else ""
    return [
        {"role": "system", "content": f"{system.strip()}\n\n{request.strip()}{context}"},
        {"role": "user", "content": seed_text},
    ]


def delimited(text: str) -> str:
    """The text, verbatim, between quotation fences that do not occur in it: it cannot close them itself."""
    fence = '"""'
    while fence in text:
        fence += '"'
    return f"{fence}\n{text}\n{fence}"


def failed(completion: Completion, text: str, defect: Defect, axes: Mapping[str, str]) -> Draft:
    """A draft that is given up, with whatever text there is for auditors."""
    whole, parts = compose([("generated", text)])
    return Draft(whole, parts, (completion.ask_id,), axes=axes, reasoning=completion.reasoning, defect=defect)


def prose_draft(
    seed: Seed,
    asked: Sequence[Message],
    completion: Completion,
    clean: Callable[[str], str],
    axes: Mapping[str, str],
) -> Draft:
    """The document of a family whose answer, after `clean`, is the text."""
    if defect := completion.defect():
        return failed(completion, completion.text, defect, axes)
    prose = clean(completion.text)
    if not prose:
        nothing = Defect("no_prose", "nothing is left of the answer without its wrapping")
        return failed(completion, completion.text, nothing, axes)
    if echo := prompt_echo(prose, asked, seed.text):
        return failed(completion, prose, echo, axes)
    if talk := task_talk(prose, seed.text):
        return failed(completion, prose, talk, axes)
    text, parts = compose([("generated", prose)])
    return Draft(text, parts, (completion.ask_id,), axes=axes, reasoning=completion.reasoning)


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


def _runs(text: str) -> set[tuple[str, ...]]:
    words = _words(text)
    return {tuple(words[at : at + ECHO_WORDS]) for at in range(len(words) - ECHO_WORDS + 1)}


def prompt_echo(answer: str, asked: Sequence[Message], seed_text: str) -> Defect | None:
    """A defect when the answer repeats a run of ECHO_WORDS words of the prompt that do not stand in the seed itself.

    What was written of earlier parts is no instruction: a text may take up its own words.
    """
    prompt = [message["content"].partition(WRITTEN_SO_FAR)[0].replace(seed_text, "\n") for message in asked]
    leaked = (set().union(*map(_runs, prompt)) - _runs(seed_text)) & _runs(answer)
    if not leaked:
        return None
    return Defect("prompt_echo", f"the answer repeats the prompt: {' '.join(min(leaked))}", score=float(len(leaked)))


_TASK_TALK = re.compile(
    r"\b(?:this|the|your|input|given|above) (?:input |given |above )?"
    r"(?:text|passage|summary|paragraph|explanation|lesson|rewrite|rewritten version|author|section)\b"
    r"|\bin \w+ (?:to \w+ )?(?:short )?(?:sentences|words)\b"
    r"|\bas requested\b|\brephrase[ds]?\b|\b(?:summari[sz]e|rewrite) the\b",
    re.IGNORECASE,
)


def task_talk(answer: str, seed_text: str) -> Defect | None:
    """A defect when the answer speaks of the task ("this passage", "in three sentences") where the seed does not."""
    found = _TASK_TALK.search(answer)
    if not found or found.group().casefold() in seed_text.casefold():
        return None
    return Defect("task_talk", f"the answer speaks of the task: {found.group()!r}")


_QUOTES = {'"': '"', "'": "'", "“": "”", "‘": "’", "«": "»"}
_OUR_FENCES = re.compile(r'\A"{3,}|"{3,}\Z')
_CODE_FENCE = re.compile(r"\A```[a-z]*\n")

# Chat openings that introduce the text instead of being part of it. A colon or the end of the line must follow, and the
# words before it must speak of a text: prose such as "New York has five boroughs: ..." is left alone.
_AGREED = r"(?:sure|certainly|of course|okay|ok|absolutely|alright)"
_VERSION_OF = (
    r"(?:re-?written|revised|condensed|shortened|shorter|short|concise|brief|simplified|summari[sz]ed|new|final|plain)"
)
_A_TEXT = r"(?:version|passage|text|paragraph|summary|section|prose|rewrite|lesson)"
_LEAD_INS = [
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"\A{_AGREED}\b[^\n:.!]{{0,40}}[.!,]+\s+(?=here\b|below\b|the following\b)",
        rf"\A{_AGREED}\b[^\n:.!]{{0,40}}[.!:]*[ \t]*\n",
        r"\Ahere(?:['’]s| is| are| you (?:go|are))\b[^\n:]{0,160}:\s+",
        r"\A(?:the following|below) (?:is|are)\b[^\n:]{0,160}:\s+",
        r"\Ai(?:['’]ve| have|['’]ll| will) (?:re-?writ|writ|condens|summari|shorten|explain)[^\n:]{0,160}:\s+",
        rf"\A(?:the |a |your )?{_VERSION_OF} {_A_TEXT}\b[^\n:.]{{0,60}}:\s+",
        rf"\A(?:the )?(?:{_A_TEXT}|answer|output|response)(?: of (?:the|this) {_A_TEXT})?\s*:\s+",
        r"\A(?:title|topic|audience)\s*:[^\n]*(?:\n+|\Z)",
    )
]

# A remark to the reader of the chat as the last line.
_CLOSING = re.compile(
    r"\n[ \t]*(?:let me know\b|i hope (?:this|that|you)\b|feel free\b|please (?:note that (?:this|i)\b|let me\b)"
    rf"|is there anything\b|note: (?:this|the|i)\b|(?:this|the) {_VERSION_OF} {_A_TEXT}\b)[^\n]*\Z",
    re.IGNORECASE,
)


MOST_LAYERS = 12  # of wrapping around one answer; each costs a pass over the text


def unwrap(text: str) -> str:
    """The answer without quotation marks or fences around all of it, chat lead-ins and closing remarks."""
    for _ in range(MOST_LAYERS):
        before = text
        text = _unquote(_unfenced(_OUR_FENCES.sub("", text.strip())))
        for lead_in in _LEAD_INS:
            text = lead_in.sub("", text, count=1)
        text = _CLOSING.sub("", text)
        if text == before:
            break
    return text


def _unfenced(text: str) -> str:
    """Without a code fence around all of it; one that ends code inside of the text stays."""
    inner = _CODE_FENCE.sub("", text)
    return inner[:-4] if inner.endswith("\n```") and inner.count("```") % 2 else inner


def _unquote(text: str) -> str:
    """Without the marks around all of it; marks inside may mean that the outer ones are two quotations."""
    if len(text) < 2 or text[-1] != _QUOTES.get(text[0]) or set(text[1:-1]) & {text[0], text[-1]}:
        return text
    return text[1:-1]


_HEADING_LINE = re.compile(r"^(?:#{1,6}[ \t].*|(?:\*\*|__)[^\n*_]+(?:\*\*|__):?|[=-]{3,})[ \t]*(?:\n|\Z)", re.MULTILINE)
_EMPHASIS = re.compile(r"\*\*(?=\S)([^*\n]+)(?<=\S)\*\*|__(?=\S)([^_\n]+)(?<=\S)__")


def plain_prose(text: str) -> str:
    """Prose without markdown: heading lines are dropped, emphasis marks are taken off, blank lines are single."""
    text = _EMPHASIS.sub(lambda mark: mark[1] or mark[2], _HEADING_LINE.sub("", text))
    return re.sub(r"\n{3,}", "\n\n", text).strip()
