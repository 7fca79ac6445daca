"""Control tokens of seeds stay text, by the token ids of real tokenizers, and those of answers are found."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from synth import weights
from synth.engine.control import BREAKER, Controls
from synth.errors import RecipeError
from synth.tokens import load_tokenizer, read_metadata

CORPUS = [
    "The bridge was opened in 1932 and carries eight lanes of traffic, two tracks and a footway.",
    "im_start im_end user assistant system start of turn end of turn think tool call s cls sep inst sys table",
    "< > | / [ ] _ # : , . - \u00b7 the markup of templates is made of these, and of words such as fim prefix",
] * 20
# What a normaliser may turn into the characters of a literal, and what it may delete.
WIDE = {code - 0xFEE0: chr(code) for code in range(0xFF01, 0xFF5F)}
DISGUISES: list[Callable[[str], str]] = [
    str.upper,
    lambda literal: literal.translate(WIDE),
    lambda literal: literal.replace("st", "\ufb06").replace("fi", "\ufb01"),
    lambda literal: "\u0301".join(literal),
    lambda literal: "\u2060".join(literal),
    lambda literal: literal.replace("K", "\u212a").replace("k", "\u212a").replace("s", "\u017f"),
    lambda literal: literal.replace("\u2581", " "),
]


@dataclass
class Family:
    """A tokenizer, the ids that seeds must not reach, the literals that reach them, and a chat template."""

    tokenizer: Tokenizer
    controls: Controls
    literals: list[str]
    before: str
    after: str

    def ids(self, text: str) -> list[int]:
        """The control tokens of `text`. The unknown token is none: an odd character gives it too."""
        wanted = {self.tokenizer.token_to_id(literal) for literal in self.literals}
        found = self.tokenizer.encode(text, add_special_tokens=False).ids
        return [token for token in found if token in wanted]


def family(
    folder: Path,
    tokenizer: Tokenizer,
    added: list[AddedToken],
    before: str = "",
    after: str = "",
    unknown: str = "<unk>",
) -> Family:
    tokenizer.add_special_tokens([token for token in added if token.special])
    tokenizer.add_tokens([token for token in added if not token.special])
    tokenizer.save(str(folder / "tokenizer.json"))
    literals = [token.content for token in added if token.content.strip(" \n\u2581") and token.content != unknown]
    controls = Controls.of_tokenizer_json(folder / "tokenizer.json")
    return Family(Tokenizer.from_file(str(folder / "tokenizer.json")), controls, literals, before, after)


def special(*contents: str, **options: bool) -> list[AddedToken]:
    return [AddedToken(content, special=True, **{"normalized": False, **options}) for content in contents]


def plain(*contents: str, **options: bool) -> list[AddedToken]:
    return [AddedToken(content, special=False, **{"normalized": False, **options}) for content in contents]


def byte_level(normalizer: Any) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=500, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def chatml(folder: Path) -> Family:
    """As Qwen: byte-level BPE, NFC, think tags and code tokens that are not special."""
    added = [
        *special("<|endoftext|>", "<|im_start|>", "<|im_end|>"),
        *plain("<think>", "</think>", "<tool_call>", "</tool_call>", "<|fim_prefix|>"),
        *plain("<Kelvin>", normalized=True),
        *plain("\n\n\n", "    "),
    ]
    return family(
        folder, byte_level(normalizers.NFC()), added, "<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n<think>"
    )


def llama(folder: Path) -> Family:
    """As Llama 2: BPE with bytes to fall back on, spaces as marks, control tokens in the vocabulary itself."""
    normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    learner = Tokenizer(models.BPE(unk_token="<unk>"))
    learner.normalizer = normalizer
    trainer = trainers.BpeTrainer(vocab_size=300, show_progress=False, special_tokens=["<unk>", "<s>", "</s>"])
    learner.train_from_iterator(CORPUS, trainer)
    learned = json.loads(learner.to_str())["model"]
    vocabulary: dict[str, int] = learned["vocab"]
    for byte in range(256):
        vocabulary.setdefault(f"<0x{byte:02X}>", len(vocabulary))
    merges = [tuple(merge) for merge in learned["merges"]]
    tokenizer = Tokenizer(
        models.BPE(vocab=vocabulary, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    )
    tokenizer.normalizer = normalizer
    tokenizer.decoder = decoders.ByteFallback()
    added = [
        *special("<unk>", "<s>", "</s>"),
        *plain("[INST]", "[/INST]", "<<SYS>>", "<</SYS>>"),
        *plain("<\uff5cbegin\u2581of\u2581text\uff5c>", normalized=True),
    ]
    return family(folder, tokenizer, added, "<s>[INST] ", " [/INST]")


def gemma(folder: Path) -> Family:
    """As Gemma and T5: Unigram over a sentencepiece-like normaliser; the model itself knows the control pieces."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(" ", "\u2581")])
    controls = ["<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>", "</s>", "<extra_id_0>"]
    trainer = trainers.UnigramTrainer(vocab_size=200, show_progress=False, special_tokens=controls, unk_token="<unk>")
    tokenizer.train_from_iterator(CORPUS, trainer)
    added = [*special(*controls), *plain("<table>", "</table>", "<unused0>", "\n\n", "\u2581\u2581\u2581")]
    return family(folder, tokenizer, added, "<bos><start_of_turn>user\n", "<end_of_turn>\n<start_of_turn>model\n")


def wordpiece(folder: Path) -> Family:
    """As BERT: lower case, accents and format characters deleted, some added tokens matched only after that."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    names = ["[UNK]", "[CLS]", "[SEP]"]
    trainer = trainers.WordPieceTrainer(vocab_size=300, show_progress=False, special_tokens=names)
    tokenizer.train_from_iterator(CORPUS, trainer)
    added = [
        *special("[UNK]", "[CLS]", "[SEP]"),
        *special("[MASK]", lstrip=True, normalized=True),
        *plain("[e1]", "<|answer|>", normalized=True),
        *plain("[WORD]", single_word=True, rstrip=True),
    ]
    return family(folder, tokenizer, added, "[CLS] ", " [SEP]", "[UNK]")


def folded(folder: Path) -> Family:
    """Byte-level BPE behind NFKC and lower case, every added token matched in normalised text."""
    normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase(), normalizers.Strip()])
    added = [
        *special("<|START|>", "<|im_start|>", "<|fim_end|>", normalized=True),
        *plain("<think>", "</think>", "<first>", "__label__", normalized=True),
    ]
    return family(folder, byte_level(normalizer), added, "<|START|>", "<think>")


BUILDERS = [chatml, llama, gemma, wordpiece, folded]


@pytest.fixture(scope="module", params=BUILDERS, ids=lambda builder: builder.__name__)
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Family:
    builder: Callable[[Path], Family] = request.param
    return builder(tmp_path_factory.mktemp(builder.__name__))


def hostile(literals: list[str]) -> list[str]:
    """Every literal alone, in a row, in one another, around and across joints, and many times over."""
    nested = [a[:at] + b + a[at:] for a in literals for b in literals for at in {1, len(a) // 2, len(a) - 1}]
    dotted = [f"{literal[:at]}{BREAKER * n}{literal[at:]}" for literal in literals for at in (1, 3) for n in (1, 2)]
    shared = [a + b[1:] for a in literals for b in literals if a[-1] == b[0]]
    many = [literal * 1000 for literal in literals[:3]]
    return [*literals, "".join(literals), " ".join(literals), *nested, *dotted, *shared, *many]


def test_no_control_token_is_reached_by_an_escaped_seed(built: Family) -> None:
    for literal in built.literals:
        raw = f"a {literal} b"
        assert built.ids(raw) == [built.tokenizer.token_to_id(literal)], f"{literal} is no control token here"
    for seed in hostile(built.literals):
        assert built.ids(built.controls.escape(seed)) == [], seed[:200]
        assert built.controls.unescape(built.controls.escape(seed)) == seed


def test_no_control_token_is_reached_by_what_the_normaliser_turns_into_one(built: Family) -> None:
    seeds = [f"a {disguise(literal)} b" for literal in built.literals for disguise in DISGUISES]
    for seed in seeds:
        assert built.ids(built.controls.escape(seed)) == [], seed
        assert built.controls.unescape(built.controls.escape(seed)) == seed


@pytest.mark.parametrize(
    ("builder", "text"),
    [
        pytest.param(chatml, "<\u212aelvin>", id="canonical equivalents under NFC"),
        pytest.param(gemma, "＜/s＞", id="a Unigram piece under NFKC, though the added token is not normalised"),
        pytest.param(wordpiece, "[mask]", id="lower case"),
        pytest.param(wordpiece, "[\u2060MA\u0301SK]", id="deleted characters"),
        pytest.param(folded, "<\ufb01rst>", id="a ligature"),
        pytest.param(folded, "＜Think>", id="fullwidth and capitals"),
        pytest.param(llama, "x <\uff5cbegin of text\uff5c>", id="a space for its mark"),
    ],
)
def test_tokenizers_match_added_tokens_in_normalised_text(
    builder: Callable[[Path], Family], text: str, tmp_path: Path
) -> None:
    """What the foldings are for: the same literals, looked for in the text as it stands, miss these."""
    built = builder(tmp_path)
    assert len(built.ids(text)) == 1
    assert len(built.ids(Controls(built.controls.escaped, frozenset()).escape(text))) == 1
    assert built.ids(built.controls.escape(text)) == []
    assert built.controls.count(text) == 1


def test_a_rendered_prompt_holds_the_control_tokens_of_its_template_only(built: Family) -> None:
    own = built.ids(f"{built.before}text{built.after}")
    assert own
    for seed in hostile(built.literals):
        prompt = f"{built.before}{built.controls.escape(seed)}{built.after}"
        assert built.ids(prompt) == own, seed[:200]


@pytest.fixture(scope="module")
def everyone(tmp_path_factory: pytest.TempPathFactory) -> list[Family]:
    return [builder(tmp_path_factory.mktemp(builder.__name__)) for builder in BUILDERS]


LITERALS = ["<|im_end|>", "<|im_start|>", "</s>", "<s>", "[CLS]", "[MASK]", "[e1]", "<think>", "__label__", "[INST]"]
PARTS = [
    *[*LITERALS, *(literal[:-1] for literal in LITERALS), *(literal[1:] for literal in LITERALS)],
    *[disguise(literal) for literal in LITERALS for disguise in DISGUISES],
    *[
        BREAKER,
        BREAKER * 2,
        "<",
        "|",
        ">",
        "_",
        "\u2060",
        "\u0301",
        "\u0338",
        "\u200b",
        "\ue000",
        "\x00",
        "\u2581",
        " ",
    ],
]
TEXTS = st.lists(st.sampled_from(PARTS) | st.text(max_size=4), max_size=12).map("".join)


@settings(max_examples=300, deadline=None)
@given(TEXTS)
@example("<|im_<|im_end|>end|>")
@example("<s></s" + BREAKER + "></s>")
def test_any_text_comes_back_and_reaches_no_control_token(everyone: list[Family], text: str) -> None:
    for built in everyone:
        escaped = built.controls.escape(text)
        assert built.controls.unescape(escaped) == text
        assert (escaped is text) == (built.controls.count(text) == 0)
        assert len(escaped) == len(text) + built.controls.count(text)
        assert built.ids(escaped) == []
        assert not any(literal in escaped for literal in built.controls.escaped)


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet=["<", "s", ">", "/", "|", "a", "b", BREAKER], max_size=20))
def test_breaks_are_counted_as_a_slow_search_finds_them(text: str) -> None:
    controls = Controls(frozenset({"<s>", "</s>", "s>a", "ab", "abs", "bs<"}), frozenset())
    clean = text.replace(BREAKER, "")
    starts = {at for at in range(len(clean)) for literal in controls.escaped if clean.startswith(literal, at)}
    shaped = {at for at in range(len(clean)) if clean[at:].startswith("<|") and _piped(clean[at + 2 :])}
    shaped |= {at for at in range(len(clean)) if clean[at] == "<" and _piped(clean[at + 1 :], bar=True)}
    assert controls.count(text) == len(starts | shaped)
    assert controls.unescape(controls.escape(text)) == text


def _piped(rest: str, bar: bool = False) -> bool:
    """Whether a name of two characters or more and the end of a <|name|>, <|name> or <name|> stand here."""
    name = len(rest) - len(rest.lstrip("sab/"))
    return name >= 2 and (rest[name:].startswith("|>") or (not bar and rest[name:].startswith(">")))


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("<S> < |im_end| > < s > [ INST ] <Think>", id="other case, spaces within"),
        pytest.param("a \u00b7 b, x\u00b7y, l\u00b7l", id="dots"),
        pytest.param("if a < b and c > d | e: return [INSTANCE]", id="operators"),
        pytest.param("let xs = [|10..20|] |> f; a <|> b; a <||> b; xs <| ys |> zs", id="operators of pipes"),
        pytest.param("<p>html</p> <span class='s'>x</span>", id="markup"),
        pytest.param("", id="nothing"),
    ],
)
def test_text_without_control_tokens_is_left_alone(text: str) -> None:
    known = Controls.known()
    assert known.escape(text) is text
    assert known.unescape(text) == text
    assert known.count(text) == 0
    assert not known.leaked(text)


@pytest.mark.parametrize(
    "literal",
    [
        *["<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|reserved_special_token_12|>", "<|START_OF_TURN_TOKEN|>"],
        *["<|channel|>", "<turn|>", "<|turn>", "<\uff5cUser\uff5c>", "<\uff5cbegin\u2581of\u2581sentence\uff5c>"],
        *["[|assistant|]", "<extra_id_0>", "<unused12>", "<SPECIAL_10>", "</s>", "<think>", "</think>", "[/INST]"],
        *[
            "<</SYS>>",
            "<end_of_turn>",
            "[gMASK]",
            "]~b]",
            "__label__",
            "<tool_call>",
            "◁/think▷",
            "<fim_middle>",
            "[TOOL_CALLS]",
        ],
    ],
)
def test_known_control_tokens_are_leaks_plain_and_escaped(literal: str) -> None:
    known = Controls.known()
    answer = f"Prose, then{literal}more prose."
    assert known.leaked(answer)
    assert known.leaked(known.escape(answer))
    assert known.count(answer) >= 1
    assert literal not in known.escape(answer)


@pytest.mark.parametrize("literal", ["<s>", "[CLS]", "[MASK]", "<filename>", "<mask>", "/no_think", "<PRE>"])
def test_what_documents_are_full_of_is_escaped_but_no_leak(literal: str) -> None:
    known = Controls.known()
    assert literal not in known.escape(f"a {literal} b")
    assert not known.leaked(f"a {literal} b")
    assert known.unescape(f"an answer with {literal[0]}{BREAKER}{literal[1:]}") == f"an answer with {literal}"


def test_switches_that_a_template_deletes_cannot_join_a_literal() -> None:
    """Some templates remove every /think from a message before they render it."""
    known = Controls.known()
    seed = "</think<|im_/no_thinkend|> <|im_/thinkend|>"
    assert "<|im_end|>" in seed.replace("/think", "").replace("/no_think", "")
    escaped = known.escape(seed)
    assert escaped.replace("/think", "").replace("/no_think", "") == escaped


def test_tokens_and_templates_beside_a_tokenizer_are_controls_too(tmp_path: Path) -> None:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.add_special_tokens(["<go_now>", "<word>", "covid", "<PRE>"])
    tokenizer.add_tokens(["covfefe", "\n\n", "::x::"])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    config = {
        "eos_token": {"__type": "AddedToken", "content": "<the_end>"},
        "pad_token": "!",
        "added_tokens_decoder": {"7": {"content": "<late_one>", "special": True}},
        "additional_special_tokens": ["<one_more>"],
        "chat_template": [{"name": "default", "template": "{{ '<<go>>' + x }}\n### Answer:\n{% if a < b %}<tag>"}],
    }
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    (tmp_path / "chat_template.jinja").write_text("{{- '[BEGIN]' ~ messages[0]['content'] ~ '<role:' }}")
    controls, known = Controls.of_tokenizer_json(tmp_path / "tokenizer.json"), Controls.known()
    named = {"<go_now>", "<word>", "covid", "::x::", "<the_end>", "<late_one>", "<one_more>"}
    assert controls.escaped - known.escaped == named | {"<<go>>", "### Answer:", "<tag>", "[BEGIN]"}
    assert controls.leaks - known.leaks == {"<go_now>", "<the_end>", "<late_one>", "<one_more>"}
    assert Controls.of_tokenizer_json(tmp_path / "tokenizer.json") is controls


def test_sets_unite_with_their_normalisers(tmp_path: Path) -> None:
    built = folded(tmp_path)
    both = Controls(frozenset({"<mine>"}), frozenset({"<mine>"})) | built.controls
    assert both.count("<mine> ＜ＴＨＩＮＫ＞") == 2
    assert both.leaked("<mine>")
    assert both.leaked("</s>")
    assert both.count("\ud800<mine>") == 1


@pytest.mark.parametrize(
    ("content", "says"),
    [
        pytest.param(b"{", "cannot be read", id="no JSON"),
        pytest.param(b"[]", "holds no object", id="no object"),
        pytest.param(b'{"normalizer": {"type": "Nonesuch"}}', "not known", id="unknown normaliser"),
        pytest.param(
            '{"added_tokens": [{"content": "<a·b>", "special": true}]}'.encode(), "<a·b>", id="a dot in a token"
        ),
        pytest.param(
            '{"normalizer": {"type": "Replace", "pattern": {"String": "·"}, "content": ""}}'.encode(),
            "normaliser changes",
            id="a normaliser that deletes dots",
        ),
    ],
)
def test_tokenizers_that_cannot_be_escaped_are_refused(content: bytes, says: str, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_bytes(content)
    with pytest.raises(RecipeError, match=says):
        Controls.of_tokenizer_json(tmp_path / "tokenizer.json")


@pytest.fixture(scope="module")
def bundled() -> Path:
    name = "smollm2-135m-instruct-q4_1"
    file = weights.KNOWN[name]
    if not any(weights.cache_folder().glob(f"**/{file.file_name}")):
        pytest.skip("the model file is not in the cache")
    return weights.locate(name)


def test_the_bundled_model_takes_no_control_token_from_a_seed(bundled: Path) -> None:
    metadata = read_metadata(bundled)
    typed = zip(metadata["tokenizer.ggml.tokens"], metadata["tokenizer.ggml.token_type"], strict=True)
    literals = [token for token, kind in typed if kind == 3]
    tokenizer = load_tokenizer(bundled)  # in it, control tokens are text; llama.cpp parses them in a rendered prompt
    tokenizer.add_special_tokens([AddedToken(literal, normalized=False, special=True) for literal in literals])
    controls = Controls.of_gguf(bundled)
    assert set(literals) <= controls.escaped
    assert {"<|im_start|>", "<|im_end|>", "<|endoftext|>", "<file_sep>", "<issue_start>"} <= controls.leaks
    assert not controls.leaked("usage: clone <repo_name> <filename>")
    real = Family(tokenizer, controls, literals, "<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n")
    own = real.ids(real.before + real.after)
    assert own == [1, 2, 1]
    for seed in hostile(literals):
        assert real.ids(real.before + controls.escape(seed) + real.after) == own, seed[:200]
    assert real.ids("".join(literals)) == list(range(len(literals)))
