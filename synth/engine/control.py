"""Control tokens in text: broken in prompts so that no tokenizer takes them for its own, and found in answers.

A seed that holds `<|im_end|>` would end its own message. Each such literal gets a middle dot after its first character;
a dot that stood there already gets a second one, so that the escaping can be undone exactly. Why this character:
every tokenizer keeps it (BERT's normaliser deletes U+2060 and all other format characters before normalised added
tokens are matched), most vocabularies have it, and a reader sees it.

Literals are looked for in the text without its dots. Escaping changes only dots, so escaped and plain text show the same
literals at the same places: no insertion makes or hides one, and one pass does it, overlapping literals included.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import groupby, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from synth.errors import RecipeError, fail
from synth.tokens import read_metadata

if TYPE_CHECKING:
    from tokenizers.normalizers import Normalizer

BREAKER = "\u00b7"

# Whole families name their tokens by a pattern. <|im_end|> is that of ChatML, GPT-2, Llama 3 and 4, Phi, GLM, Cohere,
# harmony, Granite and Kimi; Gemma 4 leaves out one bar; DeepSeek writes fullwidth bars, EXAONE square brackets.
_SHAPES = (
    r"<[|\uff5c][^\s<>|\uff5c]{2,64}[|\uff5c]>",
    r"<\|[\w./:-]{2,64}>",
    r"<[\w./:-]{2,64}\|>",
    r"\[\|[a-z_]{2,64}\|\]",
    r"<(?:extra_id|unused|reserved|SPECIAL)_?\d{1,5}>",  # T5, Gemma, Baichuan, Nemotron
)
_LEAK_WORDS = (
    # Sentencepiece. fastText ends a line at </s> and takes __label__ for a label: both would bend a filter's training.
    "</s> <bos> <eos> <pad> <unk> __label__"
    # Llama 2 and Mistral
    " [INST] [/INST] <<SYS>> <</SYS>> [SYSTEM_PROMPT] [/SYSTEM_PROMPT] [AVAILABLE_TOOLS] [/AVAILABLE_TOOLS]"
    " [TOOL_CALLS] [TOOL_RESULTS] [/TOOL_RESULTS] [TOOL_CONTENT] [MODEL_SETTINGS] [/MODEL_SETTINGS]"
    # Gemma, GLM, MiniMax, Seed
    " <start_of_turn> <end_of_turn> <start_of_image> <end_of_image> [gMASK] [sMASK] <sop> <eop>"
    " ]~!b[ ]~b] [e~[ <seed:bos> <seed:eos>"
    # Reasoning
    " <think> </think> <thinking> </thinking> <thought> </thought> <reasoning> </reasoning> [THINK] [/THINK]"
    " <seed:think> </seed:think> ◁think▷ ◁/think▷"
    # Tools
    " <tool_call> </tool_call> <tool_calls> </tool_calls> <tool_response> </tool_response> <TOOLCALL> </TOOLCALL>"
    " <minimax:tool_call> </minimax:tool_call>"
    # Code models
    " <fim_prefix> <fim_middle> <fim_suffix> <fim_pad> <fim-prefix> <fim-middle> <fim-suffix> <fim-pad>"
    " <file_sep> <gh_stars> <jupyter_start> <empty_output>"
)
_LEAKS = frozenset(_LEAK_WORDS.split())
# Tokens of some model that real documents are full of: markup, placeholders of command lines, masks of papers.
# Broken in a prompt they do no harm; in an answer they are what its author wrote.
_ORDINARY_WORDS = (
    "<s> <mask> <cls> <sep> [CLS] [SEP] [PAD] [MASK] [UNK] [BOS] [EOS] [ARGS] [CALL_ID] [IMG] [AUDIO] [PREFIX] [MIDDLE] [SUFFIX]"
    ' <PRE> <SUF> <MID> <EOT> <EOD> <image> <video> <audio> <filename> <repo_name> <reponame> <tools> </tools> <|"|>'
    # Not tokens but switches, which templates look for in a message and some delete from it: that would join its sides.
    " /think /no_think"
)
_ORDINARY = frozenset(_ORDINARY_WORDS.split())
# A special token that is spelled as markup, as a placeholder or as a plain word is ordinary too.
_PLAIN = re.compile(r"</?[a-z][a-z0-9]*>|\[[A-Z]+\]|[^<>\[\]|\uff5c]+")
# Added tokens that are not special hold runs of spaces and, in widened vocabularies, thousands of plain words:
# only those between delimiters can be a template's.
_DELIMITED = re.compile(r"\s*[^\w\s].*\w.*[^\w\s]\s*", re.DOTALL)
_IN_TEMPLATE = re.compile(
    r"<{1,2}[^\s<>{}()'\"+=,]{1,64}>{1,2}|\[/?[A-Z][A-Z_]{2,40}\]|\[\|[^\s|]{1,40}\|\]|#{2,4} ?[A-Z]\w{2,40}:"
)
_GGUF_TYPES = {2: True, 3: True, 4: False}  # unknown and control tokens are special, user-defined ones are not
_EMPTY = {"truncation": None, "padding": None, "pre_tokenizer": None, "post_processor": None, "decoder": None}
_NO_MODEL = {"type": "WordLevel", "vocab": {}, "unk_token": ""}


class _Folds(dict[int, str]):
    """What a normaliser makes of each character, as `str.translate` asks; found when first met."""

    def __init__(self, normalizer: Normalizer) -> None:
        super().__init__()
        self._normalizer = normalizer

    def __missing__(self, code: int) -> str:
        # Zeros around it: some normalisers strip ends or put a mark at the start, and no accent joins a zero.
        surrogate = 0xD800 <= code < 0xE000  # no text of a tokenizer
        around = "" if surrogate else self._normalizer.normalize_str(f"0{chr(code)}0")
        self[code] = chr(code) if surrogate else around.partition("0")[2].rpartition("0")[0]
        return self[code]


@dataclass(frozen=True, eq=False)
class Folding:
    """Literals as a tokenizer's normaliser writes them, found in text that it would turn into them.

    Added tokens with `normalized` are matched in normalised text, and a Unigram model finds its control tokens there
    as pieces, so `＜/s＞` is `</s>` to a tokenizer with NFKC. Characters are normalised one by one.
    """

    table: Mapping[int, str]
    literals: frozenset[str]

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        return _pattern(self.literals)

    def starts(self, text: str) -> set[int]:
        """Where in `text` the first character of each literal stands."""
        folded = text.translate(self.table)
        if not self._pattern.search(folded):
            return set()
        origins = [at for at, char in enumerate(text) for _ in self.table[ord(char)]]
        return {origins[start] for start in _starts(self._pattern, folded)}


@dataclass(frozen=True, eq=False)
class Controls:
    """The control literals of one or more models: `escaped` ones are broken in prompts, `leaks` spoil an answer."""

    escaped: frozenset[str]
    leaks: frozenset[str]
    foldings: tuple[Folding, ...] = ()

    @staticmethod
    def known() -> Controls:
        """Literals of the common model families: for an endpoint whose tokenizer is not at hand."""
        return _known()

    @staticmethod
    def of_tokenizer_json(path: Path) -> Controls:
        """`known`, the added tokens of a tokenizer.json, and what the configuration and chat template beside it add.

        RecipeError when the file cannot be read, or when its normaliser or tokens make escaping impossible.
        """
        return _of_tokenizer_json(path.resolve())

    @staticmethod
    def of_gguf(path: Path) -> Controls:
        """`known`, and the control and user-defined tokens and the chat templates of a GGUF file. RecipeError as above."""
        return _of_gguf(path.resolve())

    def __or__(self, other: Controls) -> Controls:
        """Both sets together."""
        foldings = tuple(dict.fromkeys((*self.foldings, *other.foldings)))
        return Controls(self.escaped | other.escaped, self.leaks | other.leaks, foldings)

    def escape(self, text: str) -> str:
        """`text` with every control literal broken. The same object when there is none. `unescape` undoes it exactly."""
        breaks = self._breaks(text)
        if not breaks:
            return text
        return BREAKER.join(text[start:end] for start, end in pairwise([0, *breaks, len(text)]))

    def unescape(self, text: str) -> str:
        """The text that `escape` was given. Of other text (an answer): each broken literal is made whole again."""
        if BREAKER not in text:
            return text
        first, *rest = [text[start:end] for start, end in pairwise([0, *self._breaks(text), len(text)])]
        return first + "".join(part.removeprefix(BREAKER) for part in rest)

    def count(self, text: str) -> int:
        """How many literals `escape` breaks in `text`."""
        return len(self._breaks(text))

    def leaked(self, text: str) -> bool:
        """Whether an answer holds a control literal, plain or escaped."""
        return self._leaking.search(_undotted(text)) is not None

    def _breaks(self, text: str) -> list[int]:
        """Offsets just after the first character of each literal, in order."""
        undotted = _undotted(text)
        starts = set(_starts(self._breaking, undotted))
        for folding in self.foldings:
            starts |= folding.starts(undotted)
        if not starts or undotted is text:
            return [start + 1 for start in sorted(starts)]
        kept = [at for at, char in enumerate(text) if char != BREAKER]
        return [kept[start] + 1 for start in sorted(starts)]

    @cached_property
    def _breaking(self) -> re.Pattern[str]:
        return _pattern(self.escaped)

    @cached_property
    def _leaking(self) -> re.Pattern[str]:
        return _pattern(self.leaks)


def _undotted(text: str) -> str:
    return text.replace(BREAKER, "") if BREAKER in text else text


def _starts(pattern: re.Pattern[str], text: str) -> Iterable[int]:
    """Where matches begin, those inside other matches too."""
    found = pattern.search(text)
    while found:
        yield found.start()
        found = pattern.search(text, found.start() + 1)


def _pattern(literals: Iterable[str]) -> re.Pattern[str]:
    return re.compile("|".join([*_SHAPES, *_alternatives(sorted(literals))]))


def _alternatives(words: Sequence[str]) -> list[str]:
    """Regular expressions for the sorted `words`, one for each first character, so that thousands of words search fast."""
    if words[0] == "":
        return [""]  # the other words begin with this one: where it stands is all that is asked
    if len(words) == 1:
        return [re.escape(words[0])]
    found = []
    for first, group in groupby(words, key=lambda word: word[0]):
        rest = _alternatives([word[1:] for word in group])
        found.append(re.escape(first) + (rest[0] if len(rest) == 1 else f"(?:{'|'.join(rest)})"))
    return found


@lru_cache
def _known() -> Controls:
    return Controls(_LEAKS | _ORDINARY, _LEAKS)


@lru_cache
def _of_gguf(path: Path) -> Controls:
    metadata = read_metadata(path)
    tokens = zip(metadata.get("tokenizer.ggml.tokens", []), metadata.get("tokenizer.ggml.token_type", []), strict=False)
    special = [(token, _GGUF_TYPES[kind]) for token, kind in tokens if kind in _GGUF_TYPES]
    templates = [text for key, text in metadata.items() if key.startswith("tokenizer.chat_template")]
    return _with(special, _strings(templates), path)


@lru_cache
def _of_tokenizer_json(path: Path) -> Controls:
    content, config = _json(path), {}
    if (beside := path.with_name("tokenizer_config.json")).exists():
        config = _json(beside)
    tokens = [(token["content"], token.get("special", False)) for token in content.get("added_tokens", [])]
    tokens += [(t["content"], t.get("special", False)) for t in config.get("added_tokens_decoder", {}).values()]
    named = [value for key, value in config.items() if key.endswith(("_token", "special_tokens"))]
    tokens += [(name, True) for name in _strings(named)]
    templates = list(_strings([config.get("chat_template")]))
    templates += [file.read_text(encoding="utf-8") for file in sorted(path.parent.glob("*chat_template*.jinja"))]
    controls = _with(tokens, templates, path)
    if content.get("normalizer") is None:
        return controls
    folding = _folding(content["normalizer"], controls.escaped, path)
    return Controls(controls.escaped, controls.leaks, (folding,))


def _with(tokens: Iterable[tuple[str, bool]], templates: Iterable[str], path: Path) -> Controls:
    """`known` and these: tokens with whether they are special, and chat templates."""
    wanted = [(token, special) for token, special in tokens if special or _DELIMITED.fullmatch(token)]
    literals = {token for token, _ in wanted}
    literals |= {found for template in templates for found in _IN_TEMPLATE.findall(template)}
    literals = {literal for literal in literals if len(literal.strip(" \t\r\n\u2581")) > 1}
    if dotted := sorted(literal for literal in literals if BREAKER in literal):
        raise fail(
            RecipeError,
            f"control tokens of {path} cannot be escaped: they hold the character that escaping inserts",
            given=", ".join(map(repr, dotted)),
            do="use a model whose control tokens have no middle dot",
        )
    leaks = {token for token, special in wanted if special and not _PLAIN.fullmatch(token)} & literals - _ORDINARY
    known = _known()
    return Controls(known.escaped | literals, known.leaks | leaks)


def _folding(spec: Mapping[str, Any], literals: Iterable[str], path: Path) -> Folding:
    from tokenizers import Tokenizer

    whole: dict[str, Any] = {"version": "1.0", **_EMPTY, "added_tokens": [], "normalizer": spec, "model": _NO_MODEL}
    try:
        normalizer = Tokenizer.from_str(orjson.dumps(whole).decode()).normalizer
    except Exception as error:  # the library raises nothing narrower
        raise fail(RecipeError, f"the normaliser of {path} is not known to the tokenizers library: {error}") from None
    assert normalizer is not None
    table = _Folds(normalizer)
    if table[ord(BREAKER)] != BREAKER:
        raise fail(
            RecipeError,
            f"control tokens of {path} cannot be escaped: its normaliser changes the character that escaping inserts",
            given=repr(table[ord(BREAKER)]),
            do="use a model whose tokenizer keeps the middle dot",
        )
    return Folding(table, frozenset(folded for literal in literals if len(folded := literal.translate(table)) > 1))


def _strings(values: Iterable[Any]) -> Iterable[str]:
    """All strings in nested lists and objects: templates and tokens are given bare, by name, or as objects."""
    for value in values:
        if isinstance(value, str):
            yield value
        elif isinstance(value, Mapping):
            yield from _strings([value["content"]] if "content" in value else value.values())
        elif isinstance(value, list):
            yield from _strings(value)


def _json(path: Path) -> dict[str, Any]:
    try:
        content = orjson.loads(path.read_bytes())
        if not isinstance(content, dict):
            raise ValueError("it holds no object")
    except (OSError, ValueError) as error:
        raise fail(
            RecipeError,
            f"{path} cannot be read: {error}",
            allowed="a tokenizer's JSON file, as the tokenizers library writes it",
        ) from None
    return content
