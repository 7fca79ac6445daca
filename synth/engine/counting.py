"""Tokens counted by us, whatever the endpoint says: a whole partition at once, when it is complete."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from synth.engine.model import tokenizer_path
from synth.engine.roles import ModelConfig
from synth.errors import RecipeError
from synth.tokens import count_tokens, load_tokenizer
from synth.weights import locate

Count = Callable[[Sequence[str]], list[int]]


def counted(rows: Sequence[Mapping[str, Any]], models: Mapping[str, ModelConfig]) -> list[Mapping[str, Any]]:
    """Rows of synth.rows.ASK with the tokens of answer and reasoning counted by the tokenizer of the model that answered.

    `models` by title. Where no tokenizer lies here the endpoint's own numbers stay. Prompts keep the endpoint's number,
    which includes the chat template.
    """
    made = list(rows)
    for title, config in models.items():
        count = counter(config)
        places = [at for at, row in enumerate(made) if row["model"] == title]
        if count is None or not places:
            continue
        answers = count([made[at]["completion"] for at in places])
        thoughts = count([made[at]["reasoning"] or "" for at in places])
        for at, answer, thought in zip(places, answers, thoughts, strict=True):
            made[at] = {**made[at], "completion_tokens": answer, "reasoning_tokens": thought}
    return made


def counter(config: ModelConfig) -> Count | None:
    """How to count the tokens of a model's texts; None where its tokenizer is not here."""
    if config.backend == "llama-cpp":
        return _gguf_counter(locate(str(config.weights)))
    path = tokenizer_path(config)
    return _json_counter(path) if path else None


@lru_cache(maxsize=8)
def _gguf_counter(path: Path) -> Count | None:
    try:
        tokenizer = load_tokenizer(path)
    except RecipeError:  # a vocabulary that we cannot read
        return None
    return lambda texts: count_tokens(tokenizer, texts)


@lru_cache(maxsize=8)
def _json_counter(path: Path) -> Count:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(path))
    return lambda texts: count_tokens(tokenizer, texts)
