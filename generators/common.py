"""What families share: reading prompts, choosing by hash, building messages, and taking chat wrapping off an answer."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from importlib import resources
from typing import TypeVar

import orjson
from pydantic import Field

from synth.ask import Completion, Message
from synth.config import Config
from synth.digest import digest, hash_share
from synth.rows import Defect, Draft, Seed, compose

ItemT = TypeVar("ItemT")
PromptsT = TypeVar("PromptsT", bound="Prompts")

# A run of this many words shared with the prompt is an echo of it. Shorter runs are ordinary English: over the prompts
# shipped here no run of 8 words is a phrase that a text of its own would use.
ECHO_WORDS = 8


class Prompts(Config):
    """A family's prompt file, `prompts/<family>.toml`."""

    system: str = Field(min_length=1, description="Constant instruction: the same first bytes for every seed.")
    instructions: tuple[str, ...] = Field(
        min_length=8, description="Paraphrases of the request; one is chosen by hash, so that openings vary."
    )

    def digest(self) -> str:
        """Digest of the prompts' content; comments and layout of the file do not count."""
        return digest(self.content())


def load_prompts(kind: type[PromptsT], family: str) -> PromptsT:
    """Read and check a family's prompt file from the package."""
    raw = resources.files("generators.prompts").joinpath(f"{family}.toml").read_text(encoding="utf-8")
    return kind.model_validate_json(orjson.dumps(tomllib.loads(raw)))


def choose(items: Sequence[ItemT], *parts: str) -> ItemT:
    """One of `items`, by a hash of `parts`."""
    return items[int(hash_share(*parts) * len(items))]


def messages(system: str, request: str, seed_text: str) -> list[Message]:
    """What is constant first, the seed's text last: servers reuse the common prefix, and nothing follows the seed."""
    return [
        {"role": "system", "content": system.strip()},
        {"role": "user", "content": f"{request.strip()}\n\n{delimited(seed_text)}"},
    ]


def delimited(text: str) -> str:
    """The text, verbatim, between quotation fences that do not occur in it: it cannot close them itself."""
    fence = '"""'
    while fence in text:
        fence += '"'
    return f"{fence}\n{text}\n{fence}"


def whole_seed(seed: Seed) -> tuple[int, int]:
    """The span of a document made from all of its seed's text (bytes)."""
    return 0, len(seed.text.encode())


def failed(seed: Seed, completion: Completion, text: str, defect: Defect) -> Draft:
    """A draft that is given up, with whatever text there is for auditors."""
    whole, parts = compose([("generated", text)])
    return Draft(
        whole,
        parts,
        (completion.ask_id,),
        seed_span=whole_seed(seed),
        reasoning=completion.reasoning,
        defect=defect,
    )


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


def _runs(text: str) -> set[tuple[str, ...]]:
    words = _words(text)
    return {tuple(words[at : at + ECHO_WORDS]) for at in range(len(words) - ECHO_WORDS + 1)}


def prompt_echo(answer: str, asked: Sequence[Message], seed_text: str) -> Defect | None:
    """A defect when the answer repeats a run of ECHO_WORDS words of the prompt that do not stand in the seed itself."""
    prompt = [message["content"].replace(seed_text, "\n") for message in asked]
    leaked = (set().union(*map(_runs, prompt)) - _runs(seed_text)) & _runs(answer)
    if not leaked:
        return None
    return Defect("prompt_echo", f"the answer repeats the prompt: {' '.join(min(leaked))}", score=float(len(leaked)))


_PAIRS = {'"': '"', "'": "'", "“": "”", "‘": "’", "«": "»"}
_FENCE = re.compile(r"\A(```|\"\"\"+|''')[a-z]*\n(.*?)\n?\1\Z", re.DOTALL)

# Chat openings that introduce the text instead of being part of it. Each must end in a colon or fill a line of its own,
# so that prose which merely begins with such a word is left alone.
_LEAD_INS = [
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"\A(sure|certainly|of course|okay|ok|absolutely|great|alright)\b[^\n:.!]{0,40}[.!,:]+\s+(?=here|below|the following|\n)",
        r"\A(sure|certainly|of course|okay|ok|absolutely|great|alright)[.!,]*\s*\n",
        r"\Ahere(?:['’]s| is| are)\b[^\n:]{0,160}:\s+",
        r"\A(?:the following|below|this) (?:is|are)\b[^\n:]{0,160}:\s*\n",
        r"\A(?:i(?:['’]ve| have)|let me|i(?:['’]ll| will| can))\b[^\n:]{0,160}:\s+",
        r"\A(?:the )?(?:re-?written|revised|condensed|shortened|shorter|short|concise|brief|simplified|distilled|summari[sz]ed|summary"
        r"|rewrite|new|final|plain)\b[^\n:.]{0,60}:\s+",
        r"\A(?:the )?(?:passage|text|summary|answer|output|response|topic|title|section|paragraph|textbook section)\s*:\s+",
    )
]

# A closing remark to the reader of the chat, as a last paragraph of its own.
_CLOSING = re.compile(
    r"\n\s*\n?\s*(?:let me know\b|i hope (?:this|that|you)\b|feel free\b|please (?:note that (?:this|i)\b|let me\b)|is there anything\b"
    r"|note: (?:this|the|i)\b|this (?:rewritten|revised|condensed|shortened|version|passage|rewrite|summary)\b)[^\n]*\Z",
    re.IGNORECASE,
)


def unwrap(text: str) -> str:
    """The answer without quotation marks or fences around all of it, chat lead-ins and closing remarks."""
    before = None
    while text != before:
        before = text
        text = text.strip()
        fenced = _FENCE.match(text)
        text = _unquote(fenced[2] if fenced else text)
        for lead_in in _LEAD_INS:
            text = lead_in.sub("", text, count=1)
        text = _CLOSING.sub("", text)
    return text


def _unquote(text: str) -> str:
    if len(text) >= 2 and text[-1] == _PAIRS.get(text[0]) and not set(text[1:-1]) & {text[0], text[-1]}:
        return text[1:-1]
    return text


_HEADING_LINE = re.compile(r"^(?:#{1,6}\s.*|(?:\*\*|__)[^\n*_]+(?:\*\*|__):?|[=-]{3,})\s*$\n?", re.MULTILINE)
_EMPHASIS = re.compile(r"(\*\*|__)(?=\S)(.+?)(?<=\S)\1")


def plain_prose(text: str) -> str:
    """Prose without markdown: heading lines are dropped, emphasis marks are taken off, blank lines are single."""
    text = _EMPHASIS.sub(r"\2", _HEADING_LINE.sub("", text))
    return re.sub(r"\n{3,}", "\n\n", text).strip()
