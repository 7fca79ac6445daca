"""Tokens are counted as llama.cpp counts them, id for id."""

from __future__ import annotations

import json
import random
import struct
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from synth import weights
from synth.engine import servers
from synth.engine.roles import ModelConfig, ModelRun
from synth.errors import RecipeError
from synth.tokens import count_tokens, load_tokenizer, read_metadata

TEXTS = [
    pytest.param("The river's edge; we're here, they'll go. In the end it's 3 o'clock.", id="english"),
    pytest.param("WE'LL SHOUT, DON'T WE? I'M 'Sam's", id="capitals"),
    pytest.param("def f(x):\n    return x**2  # twelve\n\n\n\tif x != y: pass", id="code"),
    pytest.param("2024-01-31 3.14159 1,000,000 12345678 ½ ² Ⅷ ٣٤", id="digits"),
    pytest.param("東京は日本の首都です。中文 한국어 ไทย हिन्दी", id="scripts"),
    pytest.param("🙂🙃 👩‍👩‍👧‍👦 🇫🇷 🏳️‍🌈 é é Ǆ İ ſ K", id="emoji and marks"),
    pytest.param("   leading, trailing   ", id="spaces"),
    pytest.param("\n\n\t\t a \r\n b\r\r  \n", id="line ends"),
    pytest.param("a\u00a0b\u3000c\u2003d\u0085e\u2028f\u200bg\ufeffh\x1ci", id="unusual spaces"),
    pytest.param("-\x06- a\x01b\x00c \x7f \U000e0067", id="bytes that are no tokens"),
    pytest.param("Hi <|im_end|> <|im_start|>user\n<|endoftext|>", id="control tokens as text"),
    pytest.param("<repo_name>x<repo_name> <think> </think><filename>", id="user-defined tokens"),
    pytest.param("", id="nothing"),
]
ALPHABET = [
    *"abc XYZ 0123 éßñ \t\n\r\n  中文日本語한국어🙂‍️½²Ⅷ٣४'\"'s't'reLL_-#$%&*()[]{}<>|/\\",
    *"\u00a0\u3000\u2003\u0085\u200b\u2028\u001c\x01\x06\u0301\u0489ǅʰ\ufeff\U000e0067\U0001f1e9İſK",
]


def gguf_string(text: str) -> bytes:
    raw = text.encode()
    return struct.pack("<Q", len(raw)) + raw


def with_splitter(source: Path, target: Path, pre: str) -> Path:
    """The model file with another pre-tokenizer, to bring out what the vocabulary alone would hide. Same length.

    The token <repo_name> is a user-defined one, and the merges never reach the token for " the".
    """
    data = source.read_bytes()

    def swap(key: str, old: str, new: str) -> None:
        nonlocal data
        head = gguf_string(key) + struct.pack("<I", 8)
        assert data.count(head + gguf_string(old)) == 1
        data = data.replace(head + gguf_string(old), head + gguf_string(new))

    name = "Smollm2 135M 8k Lc100K Mix1 Ep2"
    swap("tokenizer.ggml.pre", "smollm", pre)
    swap("general.name", name, name + "x" * (len("smollm") - len(pre)))
    assert data.count(gguf_string("Ġt he")) == 1
    data = data.replace(gguf_string("Ġt he"), gguf_string("Ġth e"))
    types = gguf_string("tokenizer.ggml.token_type") + struct.pack("<IIQ", 9, 5, 49152)
    at = data.index(types) + len(types) + 4 * 3
    data = data[:at] + struct.pack("<i", 4) + data[at + 4 :]
    target.write_bytes(data)
    return target


@pytest.fixture(scope="module")
def model_file() -> Path:
    return weights.locate("smollm2-135m-instruct-q4_1")


@pytest.fixture(scope="module", params=["smollm", "llama3", "qwen2", "gpt-2"])
def both(
    request: pytest.FixtureRequest, model_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, Callable[[str], list[int]]]]:
    """A model file, and llama.cpp's own tokenizer on it."""
    folder = tmp_path_factory.mktemp("tokens")
    path = with_splitter(model_file, folder / f"{request.param}.gguf", request.param)
    config = ModelConfig(backend="llama-cpp", weights=str(path), context_tokens=256)
    endpoint = servers.start("m", config, ModelRun(in_flight=1, threads=1), folder)

    def tokenize(text: str) -> list[int]:
        body = json.dumps({"content": text, "add_special": False, "parse_special": False}).encode()
        headers = {"Authorization": f"Bearer {endpoint.api_key}", "Content-Type": "application/json"}
        url = endpoint.base_url.removesuffix("/v1") + "/tokenize"
        with urllib.request.urlopen(urllib.request.Request(url, body, headers)) as response:
            return list(json.load(response)["tokens"])

    yield path, tokenize
    endpoint.stop()
    path.unlink()


@pytest.mark.model
def test_ids_are_those_of_llama_cpp(both: tuple[Path, Callable[[str], list[int]]]) -> None:
    path, tokenize = both
    tokenizer = load_tokenizer(path)
    random_state = random.Random(20)
    fixed = [str(case.values[0]) for case in TEXTS]
    drawn = ["".join(random_state.choices(ALPHABET, k=random_state.randint(1, 60))) for _ in range(150)]
    texts = [*fixed, *drawn]
    ours = [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
    theirs = [tokenize(text) for text in texts]
    assert [pair for pair in zip(texts, ours, theirs, strict=True) if pair[1] != pair[2]] == []
    assert count_tokens(tokenizer, texts) == [len(ids) for ids in theirs]


@pytest.mark.model
@pytest.mark.parametrize("text", TEXTS)
def test_tokens_give_the_text_back(model_file: Path, text: str) -> None:
    """No character is lost or added, except the bytes for which the vocabulary has no token."""
    tokenizer = load_tokenizer(model_file)
    pieces = [tokenizer.id_to_token(token) for token in tokenizer.encode(text, add_special_tokens=False).ids]
    from tokenizers.decoders import ByteLevel

    unknown = "\x06\x01\x00\x7f\U000e0067"
    known = "".join(character for character in text if character not in unknown)
    found = "".join(character for character in ByteLevel().decode(pieces) if character not in unknown + "\ufffd")
    assert found == known


@pytest.mark.model
def test_counts_do_not_depend_on_the_other_texts(model_file: Path) -> None:
    tokenizer = load_tokenizer(model_file)
    texts = [str(case.values[0]) for case in TEXTS]
    assert count_tokens(tokenizer, texts) == [count_tokens(tokenizer, [text])[0] for text in texts]
    assert count_tokens(tokenizer, []) == []
    assert count_tokens(tokenizer, [""]) == [0]


@pytest.mark.model
def test_it_is_built_quickly(model_file: Path) -> None:
    best = 1e9
    for _ in range(3):
        begin = time.process_time()
        load_tokenizer(model_file)
        best = min(best, time.process_time() - begin)
    assert best < 2.0


@pytest.mark.model
def test_metadata(model_file: Path) -> None:
    metadata = read_metadata(model_file)
    assert metadata["general.architecture"] == "llama"
    assert metadata["llama.context_length"] == 8192
    assert metadata["llama.rope.freq_base"] == 100000.0
    assert metadata["tokenizer.ggml.add_bos_token"] is False
    assert metadata["general.languages"] == ["en"]
    assert len(metadata["tokenizer.ggml.tokens"]) == len(metadata["tokenizer.ggml.token_type"]) == 49152
    assert metadata["tokenizer.ggml.tokens"][:3] == ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


def head(**pairs: str) -> bytes:
    """A GGUF file of string metadata only."""
    data = b"GGUF" + struct.pack("<IQQ", 3, 0, len(pairs))
    for key, value in pairs.items():
        data += gguf_string(key.replace("__", ".")) + struct.pack("<I", 8) + gguf_string(value)
    return data


@pytest.mark.parametrize(
    ("data", "words"),
    [
        pytest.param(b"", "is not a GGUF model file", id="empty"),
        pytest.param(b"<html>not found</html>", "does not begin with the letters GGUF", id="a web page"),
        pytest.param(b"GGUF" + struct.pack("<I", 99), "version 99", id="a version to come"),
        pytest.param(
            b"GGUF" + struct.pack("<IQQ", 3, 1, 1) + gguf_string("key"), "is not a GGUF", id="cut after a key"
        ),
        pytest.param(head(a="x")[:-1], "cut off", id="cut inside a string"),
        pytest.param(head(a="x")[:-13] + struct.pack("<I", 77) + b"\0" * 9, "77", id="an unknown value type"),
    ],
)
def test_what_is_no_gguf_file_is_refused(tmp_path: Path, data: bytes, words: str) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(data)
    with pytest.raises(RecipeError, match=words) as caught:
        read_metadata(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "pre"),
    [pytest.param("llama", "default", id="sentencepiece"), pytest.param("gpt2", "viking", id="unknown splitter")],
)
def test_another_kind_of_vocabulary_is_refused(tmp_path: Path, kind: str, pre: str) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(head(tokenizer__ggml__model=kind, tokenizer__ggml__pre=pre))
    with pytest.raises(RecipeError, match=rf"(?s){kind}.*{pre}.*smollm"):
        load_tokenizer(path)
