"""Sentence embeddings on the CPU: the encoder of sentence-transformers/all-MiniLM-L6-v2 in numpy.

BERT (Devlin et al. 2019, https://arxiv.org/abs/1810.04805) with 6 layers and 12 heads; a text's vector is the mean of its
tokens' last hidden states, made one long. A text of up to 256 tokens gets the vector that sentence-transformers gives it;
where that library cuts a longer one off, here the whole text counts: it is cut into windows of about equal length and the
mean is over the tokens of all of them.

Windows go through the encoder one by one. From about 64 tokens on one is enough to keep the processor busy, and since BLAS
rounds a product by its shape, only so is a text's vector the same to the last bit whatever texts stand beside it.
"""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from synth import weights as model_files
from synth.config import nearest
from synth.errors import RecipeError, fail

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Floats = npt.NDArray[np.float32]

DEFAULT_WEIGHTS = "all-minilm-l6-v2"
DIMENSIONS = 384
WINDOW_TOKENS = 256  # [CLS] and [SEP] among them: max_seq_length in the model's sentence_bert_config.json
MAX_WINDOWS = 32  # of one text: about 8,000 tokens
_TOKENIZER = "-tokenizer"  # what a tokenizer's name in synth.weights has after the name of its model
_LAYERS = 6
_HEADS = 12
_NORM_EPSILON = 1e-12
_GELU_CHUNK = 1 << 15  # elements: the temporaries stay in the second-level cache
# Abramowitz and Stegun 7.1.26: erfc(z) = t * (a1 + t * (a2 + ...)) * exp(-z**2) with t = 1 / (1 + p*z), to 1.5e-7.
_ERFC_P = 0.3275911
_ERFC_A = (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592)  # a5 to a1

_loading = threading.Lock()


def known_embedders() -> list[str]:
    """The names that `Embedder` takes: model files in `synth.weights` that come with a tokenizer."""
    return [name for name in model_files.KNOWN if name + _TOKENIZER in model_files.KNOWN]


def embedder_sha256(weights: str) -> list[str]:
    """SHA-256 of the model and of its tokenizer, lower-case hex: what shapes vectors. RecipeError for an unknown name."""
    return [model_files.KNOWN[name].sha256 for name in _file_names(weights)]


class Embedder:
    """Texts to vectors with one model. The model is loaded (once per process) when the first text comes.

    Raises RecipeError for a name that is not one of `known_embedders()`. May be used from several threads at once.
    """

    def __init__(self, weights: str = DEFAULT_WEIGHTS) -> None:
        _file_names(weights)
        self.weights = weights

    def embed(self, texts: Sequence[str]) -> Floats:
        """One row per text: shape (N, DIMENSIONS), each of length 1. An empty text gets the vector of [CLS][SEP].

        Of a text of more than MAX_WINDOWS windows as many are read, evenly spread: no text takes more than some seconds.
        Raises what `synth.weights.locate` raises: IntegrityError when a model
        file is damaged, WorldError when it cannot be fetched.
        """
        if not texts:
            return np.empty((0, DIMENSIONS), np.float32)
        with _loading:  # `cache` alone would let two threads load at once
            encoder = _load(self.weights)
        return np.stack([encoder.vector(text) for text in texts])


def _file_names(weights: str) -> tuple[str, str]:
    known = known_embedders()
    if weights not in known:
        raise fail(
            RecipeError,
            f"unknown embedding model {weights!r}{nearest(weights, known)}",
            given=weights,
            allowed=", ".join(known),
        )
    return weights, weights + _TOKENIZER


@cache
def _load(weights: str) -> _Encoder:
    from tokenizers import Tokenizer

    model, vocabulary = (model_files.locate(name) for name in _file_names(weights))
    tokenizer = Tokenizer.from_file(str(vocabulary))
    tokenizer.no_truncation()  # the file says 128 tokens, padded
    tokenizer.no_padding()
    return _Encoder(read_safetensors(model), tokenizer)


def read_safetensors(path: Path) -> dict[str, Floats]:
    """The float32 tensors of a safetensors file by name; others are left out. The file is taken to be whole.

    Layout: the header's size (8 bytes, little-endian), the header (JSON), the tensors' bytes.
    """
    raw = path.read_bytes()
    start = 8 + int.from_bytes(raw[:8], "little")
    tensors = {}
    for name, entry in json.loads(raw[8:start]).items():
        if entry.get("dtype") == "F32":
            at = start + entry["data_offsets"][0]
            tensors[name] = np.frombuffer(raw, "<f4", math.prod(entry["shape"]), at).reshape(entry["shape"])
    return tensors


@dataclass(frozen=True)
class _Linear:
    """x @ weight.T + bias, as PyTorch keeps it: `weight` has the shape (outputs, inputs)."""

    weight: Floats
    bias: Floats

    def __call__(self, x: Floats) -> Floats:
        result: Floats = x @ self.weight.T
        result += self.bias
        return result


@dataclass(frozen=True)
class _Norm:
    """Layer normalisation over the last axis."""

    weight: Floats
    bias: Floats

    def __call__(self, x: Floats) -> Floats:
        centred: Floats = x - x.mean(axis=1, keepdims=True)
        variance = np.einsum("ij,ij->i", centred, centred) / x.shape[1]
        centred /= np.sqrt(variance + _NORM_EPSILON)[:, None]
        centred *= self.weight
        centred += self.bias
        return centred


class _Layer:
    """One transformer block: attention, then the feed-forward part; each is added to its input and normalised."""

    def __init__(self, tensors: dict[str, Floats], prefix: str) -> None:
        def part(kind: Any, name: str) -> Any:
            return kind(tensors[f"{prefix}.{name}.weight"], tensors[f"{prefix}.{name}.bias"])

        query, key, value = (part(_Linear, f"attention.self.{name}") for name in ("query", "key", "value"))
        scale = np.float32(1 / math.sqrt(DIMENSIONS // _HEADS))  # of attention scores, applied to the queries once
        self._inputs = _Linear(
            np.concatenate([query.weight * scale, key.weight, value.weight]),
            np.concatenate([query.bias * scale, key.bias, value.bias]),
        )
        self._attended: _Linear = part(_Linear, "attention.output.dense")
        self._attended_norm: _Norm = part(_Norm, "attention.output.LayerNorm")
        self._wide: _Linear = part(_Linear, "intermediate.dense")
        self._narrow: _Linear = part(_Linear, "output.dense")
        self._norm: _Norm = part(_Norm, "output.LayerNorm")

    def __call__(self, x: Floats) -> Floats:
        x = self._attended_norm(self._attended(_attend(self._inputs(x))) + x)
        return self._norm(self._narrow(gelu(self._wide(x))) + x)


class _Encoder:
    """The model in memory. Nothing in it changes, so threads may share it."""

    def __init__(self, tensors: dict[str, Floats], tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._first, self._last = (tokenizer.token_to_id(token) for token in ("[CLS]", "[SEP]"))
        self._words = tensors["embeddings.word_embeddings.weight"]
        # Every token is of the first segment: a text is embedded alone, never as a pair.
        segment = tensors["embeddings.token_type_embeddings.weight"][0]
        self._positions: Floats = tensors["embeddings.position_embeddings.weight"] + segment
        self._norm = _Norm(tensors["embeddings.LayerNorm.weight"], tensors["embeddings.LayerNorm.bias"])
        self._layers = [_Layer(tensors, f"encoder.layer.{number}") for number in range(_LAYERS)]

    def vector(self, text: str) -> Floats:
        """The unit vector of one text, shape (DIMENSIONS,)."""
        pieces = self._tokenizer.encode(text, add_special_tokens=False).ids
        windows = np.array_split(np.array(pieces, np.int64), max(1, math.ceil(len(pieces) / (WINDOW_TOKENS - 2))))
        if len(windows) > MAX_WINDOWS:
            windows = [windows[at] for at in np.linspace(0, len(windows) - 1, MAX_WINDOWS).round().astype(int)]
        # The sum over all tokens points where their mean does.
        total = np.sum([self._states(window).sum(axis=0) for window in windows], axis=0)
        unit: Floats = total / np.linalg.norm(total)
        return unit

    def _states(self, window: npt.NDArray[np.int64]) -> Floats:
        """The last hidden states of [CLS], the window's tokens and [SEP]: shape (tokens + 2, DIMENSIONS)."""
        ids = np.concatenate([[self._first], window, [self._last]])
        x = self._norm(self._words[ids] + self._positions[: len(ids)])
        for layer in self._layers:
            x = layer(x)
        return x


def _attend(inputs: Floats) -> Floats:
    """Softmax attention. `inputs` are queries (scaled), keys, values side by side: (tokens, 3 * DIMENSIONS)."""
    tokens = len(inputs)
    query, key, value = inputs.reshape(tokens, 3, _HEADS, -1).transpose(1, 2, 0, 3)
    scores: Floats = query @ key.transpose(0, 2, 1)
    scores -= scores.max(axis=2, keepdims=True)
    np.exp(scores, out=scores)
    mixed: Floats = scores @ value
    mixed /= scores.sum(axis=2, keepdims=True)
    return mixed.transpose(1, 0, 2).reshape(tokens, DIMENSIONS)


def gelu(x: Floats) -> Floats:
    """x * P(a standard normal variable <= x), exact to about 1e-7 times |x|; overwrites and returns `x` (contiguous).

    Written as max(x, 0) - |x| * P(variable > |x|), so that one side of the error function serves both signs.
    """
    flat = x.reshape(-1)
    for start in range(0, flat.size, _GELU_CHUNK):
        chunk = flat[start : start + _GELU_CHUNK]
        size: Floats = np.abs(chunk)
        t = size * np.float32(_ERFC_P / math.sqrt(2))
        t += 1
        np.reciprocal(t, out=t)
        tail = t * np.float32(_ERFC_A[0] / 2)
        for coefficient in _ERFC_A[1:]:
            tail += np.float32(coefficient / 2)
            tail *= t
        density = size * size
        density *= np.float32(-0.5)
        np.exp(density, out=density)
        tail *= density
        tail *= size
        np.maximum(chunk, 0, out=chunk)
        chunk -= tail
    return x
