"""A real vLLM under our supervisor: it starts, answers as the engine asks, counts its tokens, and leaves nothing behind."""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from tokenizers import Tokenizer

from synth.engine import outside, servers, vllm
from synth.engine.roles import ModelConfig
from synth.engine.servers import Endpoint
from synth.errors import EndpointError
from synth.tokens import count_tokens
from tests.vllm.processes import ARGS, CPU_RUN, nothing_left, running

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(600)]

SCHEMA = {
    "type": "object",
    "properties": {
        "question": {"type": "string", "minLength": 5, "maxLength": 80},
        "kind": {"enum": ["what", "who", "why"]},
    },
    "required": ["question", "kind"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def endpoint(model: ModelConfig, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    with nothing_left():
        started = servers.start("m", model, CPU_RUN, tmp_path_factory.mktemp("vllm"))
        print(f"vLLM answered after {started.loading_seconds:.0f} s")
        yield started
        assert started.child is not None
        assert len(running("VLLM::", started.child.pid)) >= 1  # so that the check below is one
        started.stop()


def chat(endpoint: Endpoint, prompt: str, **fields: Any) -> dict[str, Any]:
    body = {
        "model": endpoint.model,
        "messages": [{"role": "user", "content": prompt}],
        "max_tokens": 48,
        "n": 1,
        **fields,
    }
    headers = {"Authorization": f"Bearer {endpoint.api_key}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"{endpoint.base_url}/chat/completions", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request) as response:
        return dict(json.load(response))


def generated(endpoint: Endpoint) -> float:
    """The counter of all tokens generated so far."""
    status, page = outside.get(f"{endpoint.root}/metrics", endpoint.api_key)
    found = re.search(rb"^vllm:generation_tokens_total\{[^}]*\} (\S+)$", page, re.MULTILINE)
    assert status == 200 and found is not None
    return float(found[1])


def test_it_answers_and_says_what_it_is(endpoint: Endpoint) -> None:
    reply = chat(endpoint, "Name three animals that live in the sea.", temperature=0.0)
    assert len(reply["choices"]) == 1
    assert reply["choices"][0]["message"]["role"] == "assistant"
    assert len(reply["choices"][0]["message"]["content"].split()) > 3
    assert endpoint.engine_version == f"vllm {vllm.installed_version()}"
    assert outside.get(f"{endpoint.root}/health", None)[0] == 200


def test_usage_is_what_we_count(endpoint: Endpoint, folder: Path) -> None:
    """The text's tokens, and one more for the end of the turn when the model ended it."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    for prompt in ("Say hello in one short sentence.", "Count from 1 to 50."):
        reply = chat(endpoint, prompt, temperature=0.0)
        choice, usage = reply["choices"][0], reply["usage"]
        ours = count_tokens(tokenizer, [choice["message"]["content"], prompt])
        assert usage["completion_tokens"] - ours[0] == (1 if choice["finish_reason"] == "stop" else 0)
        assert usage["prompt_tokens"] > ours[1]


def test_a_json_schema_is_kept(endpoint: Endpoint) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "card", "schema": SCHEMA, "strict": True}}

    def ask(style: int) -> Any:
        prompt = f"Write a quiz question about bees as JSON. Style {style}."
        reply = chat(endpoint, prompt, response_format=form, temperature=1.0, max_tokens=300)
        assert reply["choices"][0]["finish_reason"] == "stop"
        return json.loads(reply["choices"][0]["message"]["content"])

    with ThreadPoolExecutor(3) as pool:
        for card in pool.map(ask, range(3)):
            jsonschema.validate(card, SCHEMA)


def test_the_counter_of_generated_tokens_moves_by_what_was_answered(endpoint: Endpoint) -> None:
    before = generated(endpoint)
    reply = chat(endpoint, "Name three rivers.")
    assert generated(endpoint) - before == reply["usage"]["completion_tokens"]


def test_only_the_key_opens_it_and_it_is_nowhere_to_be_read(endpoint: Endpoint) -> None:
    assert outside.get(f"{endpoint.base_url}/models", endpoint.api_key)[0] == 200
    assert outside.get(f"{endpoint.base_url}/models", None)[0] == 401
    assert endpoint.child is not None and endpoint.api_key is not None
    key = endpoint.api_key.encode()
    assert key not in endpoint.child.log.read_bytes()
    for pid in running():
        assert key not in Path(f"/proc/{pid}/cmdline").read_bytes()


def test_a_prompt_beyond_the_context_is_refused_not_cut(endpoint: Endpoint) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        chat(endpoint, "word " * 3000)
    with caught.value as error:
        assert error.code == 400


@pytest.mark.parametrize(
    ("config", "run", "words"),
    [
        ({}, {"reasoning_parser": "nope"}, ("no such reasoning parser", "run.models.m.reasoning_parser", "Available")),
        ({}, {"speculative": {"methd": "ngram"}}, ("run.models.m.speculative", "SpeculativeConfig")),
        ({"context_tokens": 100_000}, {}, ("trained for shorter texts", "models.m.context_tokens")),
        ({"weights": "/no/such/folder"}, {}, ("the weights are not there", "models.m.weights")),
        ({}, {"args": (*ARGS, "--nonsense")}, ("does not know an argument", "run.models.m.args")),
    ],
)
def test_what_is_wrong_is_told_in_the_recipe_s_words(
    model: ModelConfig, tmp_path: Path, config: dict[str, Any], run: dict[str, Any], words: tuple[str, ...]
) -> None:
    with nothing_left(), pytest.raises(EndpointError) as caught:
        servers.start("m", model.model_copy(update=config), CPU_RUN.model_copy(update=run), tmp_path)
    for word in words:
        assert word in str(caught.value)
