"""The embedded model, for real: it starts, answers, decodes together, keeps its key, stops, and fails with clear words."""

from __future__ import annotations

import json
import re
import resource
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from synth import weights
from synth.engine import launch, outside, servers, supervisor
from synth.engine.roles import ModelConfig, ModelRun
from synth.engine.servers import Endpoint
from synth.errors import EndpointError, IntegrityError, RecipeError
from synth.tokens import count_tokens, load_tokenizer

pytestmark = pytest.mark.model

MODEL = "smollm2-135m-instruct-q4_1"
PASSAGE = "Bees live in colonies. A colony has one queen, some hundred drones and many thousand workers."
SCHEMA = {
    "type": "object",
    "properties": {
        "question": {"type": "string", "minLength": 5, "maxLength": 80},
        "answer": {"type": "string", "maxLength": 80},
        "kind": {"enum": ["what", "who", "why"]},
        "keywords": {"type": "array", "items": {"type": "string", "maxLength": 20}, "minItems": 1, "maxItems": 3},
    },
    "required": ["question", "answer", "kind", "keywords"],
    "additionalProperties": False,
}


def model(**fields: Any) -> ModelConfig:
    return ModelConfig(**{"backend": "llama-cpp", "weights": MODEL, "context_tokens": 1024, **fields})


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    started = servers.start("small", model(), ModelRun(in_flight=8), tmp_path_factory.mktemp("llama"))
    yield started
    started.stop()


@pytest.fixture(autouse=True)
def no_new_child() -> Iterator[None]:
    """Whatever fails, no child may be left behind."""
    before = set(supervisor._RUNNING)
    yield
    assert all(not child.alive() for child in supervisor._RUNNING - before)


def chat(endpoint: Endpoint, prompt: str, key: str | None = None, **fields: Any) -> dict[str, Any]:
    body = {"model": endpoint.model, "messages": [{"role": "user", "content": prompt}], "max_tokens": 60, **fields}
    headers = {"Authorization": f"Bearer {key or endpoint.api_key}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"{endpoint.base_url}/chat/completions", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request) as response:
        return dict(json.load(response))


def test_it_answers(endpoint: Endpoint) -> None:
    reply = chat(endpoint, "Name three animals that live in the sea.", temperature=0.0, max_tokens=40)
    choice = reply["choices"][0]
    assert choice["message"]["role"] == "assistant"
    assert len(choice["message"]["content"].split()) > 5
    assert choice["finish_reason"] in ("stop", "length")
    assert endpoint.engine_version.startswith("xllamacpp 20")
    assert 0 < endpoint.loading_seconds < 60


def test_the_answer_s_usage_is_what_we_count(endpoint: Endpoint) -> None:
    """For one choice: the text's tokens, and one more for the end of the turn when the model ended it."""
    tokenizer = load_tokenizer(weights.locate(MODEL))
    prompts = ["Say hello in one short sentence.", f"{PASSAGE} Tell me about the queen.", "Count from 1 to 50."]
    for prompt in prompts:
        reply = chat(endpoint, prompt, temperature=0.0, max_tokens=30)
        choice, usage = reply["choices"][0], reply["usage"]
        ours = count_tokens(tokenizer, [choice["message"]["content"], prompt])
        assert usage["completion_tokens"] - ours[0] == (1 if choice["finish_reason"] == "stop" else 0)
        assert usage["prompt_tokens"] > ours[1]
        assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


def test_a_json_schema_is_kept(endpoint: Endpoint) -> None:
    form = {"type": "json_schema", "json_schema": {"name": "card", "schema": SCHEMA, "strict": True}}
    prompt = f"Write a quiz card about this passage as JSON.\n\n{PASSAGE}"

    def ask(style: int) -> Any:
        reply = chat(endpoint, f"{prompt}\n\nStyle {style}.", response_format=form, temperature=1.0, max_tokens=400)
        assert reply["choices"][0]["finish_reason"] == "stop"
        return json.loads(reply["choices"][0]["message"]["content"])

    with ThreadPoolExecutor(3) as pool:
        for card in pool.map(ask, range(3)):
            jsonschema.validate(card, SCHEMA)


def test_only_what_is_asked_for_cuts_the_distribution(endpoint: Endpoint) -> None:
    """llama.cpp's own defaults (top_k 40, min_p 0.05) would shape answers without standing in any recipe."""
    fields = {"temperature": 5.0, "top_p": 1.0, "max_tokens": 40, "logprobs": True, "top_logprobs": 1}
    reply = chat(endpoint, "Say a word.", **fields)
    gaps = [
        token["top_logprobs"][0]["logprob"] - token["logprob"] for token in reply["choices"][0]["logprobs"]["content"]
    ]
    assert max(gaps) > 3.0  # exp(-3) = 0.05: under min_p no such token could be drawn


def decodes(endpoint: Endpoint) -> int:
    """How often llama.cpp ran its model so far, as it counts itself: a batch of several requests counts once."""
    status, page = outside.get(f"{endpoint.root}/metrics", endpoint.api_key)
    assert status == 200
    found = re.search(rb"^llamacpp:n_decode_total (\d+)", page, re.MULTILINE)
    assert found is not None
    return int(found[1])


def test_eight_requests_together_are_batched(endpoint: Endpoint) -> None:
    def ask(number: int) -> int:
        fields = {"logit_bias": {"2": -100}, "cache_prompt": False}  # token 2 ends the turn
        reply = chat(endpoint, f"Write about the number {number}.", max_tokens=20, **fields)
        return int(reply["usage"]["completion_tokens"])

    ask(0)
    begin = decodes(endpoint)
    alone = [ask(number) for number in range(8)]
    between = decodes(endpoint)
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(ask, range(8)))
    assert alone == together == [20] * 8
    assert decodes(endpoint) - between < 0.5 * (
        between - begin
    )  # 21 and 160: one run of the model gives a token to each


def test_a_prompt_beyond_the_context_is_refused_not_cut(endpoint: Endpoint) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        chat(endpoint, "word " * 1100)
    with caught.value as error:
        assert error.code == 400
        assert b"context" in error.read()


def test_only_the_key_opens_it_and_it_is_nowhere_to_be_read(endpoint: Endpoint) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        chat(endpoint, "hello", key="wrong")
    with caught.value as error:
        assert error.code == 401
    key, child = endpoint.api_key, endpoint.child
    assert key is not None and child is not None
    assert len(key) >= 32
    assert key not in repr(endpoint)
    for path in child.log.parent.parent.rglob("*"):
        assert path.is_dir() or key.encode() not in path.read_bytes()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            assert key.encode() not in path.read_bytes()
        except OSError:
            continue  # a process that has just ended


def test_generated_tokens_are_counted_where_only_the_key_can_read(endpoint: Endpoint) -> None:
    """What tells whether it still works: /health answers also when nothing moves."""

    def counted() -> int:
        status, page = outside.get(f"{endpoint.root}/metrics", endpoint.api_key)
        found = re.search(rb"^llamacpp:tokens_predicted_total (\d+)", page, re.MULTILINE)
        assert status == 200 and found is not None
        return int(found[1])

    before = counted()
    reply = chat(endpoint, "Name three rivers.", max_tokens=20)
    assert counted() - before == reply["usage"]["completion_tokens"]
    assert outside.get(f"{endpoint.root}/metrics", None)[0] == 401
    assert outside.get(f"{endpoint.root}/health", None)[0] == 200


def test_identity_is_the_weights_and_the_context(tmp_path: Path) -> None:
    known = servers.identity(model())
    assert known == {"weights_sha256": weights.KNOWN[MODEL].sha256, "context_tokens": 1024}
    own = tmp_path / "moved and renamed.gguf"
    own.symlink_to(weights.locate(MODEL))
    assert servers.identity(model(weights=str(own))) == known
    assert servers.identity(model(context_tokens=2048)) != known


def test_stop_leaves_nothing(tmp_path: Path) -> None:
    started = servers.start("a/b", model(), ModelRun(in_flight=1, threads=1), tmp_path)
    child = started.child
    assert child is not None
    descendants = supervisor._below(child.pid)
    assert descendants
    started.stop()
    started.stop()
    assert not child.alive()
    assert not any(Path(f"/proc/{pid}").exists() for pid in [child.pid, *descendants])
    assert [path.name for path in child.log.parent.iterdir() if path.name == "key"] == []
    with pytest.raises(OSError), socket.create_connection(("127.0.0.1", int(started.base_url.split(":")[2][:-3])), 5):
        pass


def test_a_cached_file_with_other_bytes_never_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNTH_CACHE", str(tmp_path))
    path = tmp_path / "weights" / weights.KNOWN[MODEL].sha256[:16] / weights.KNOWN[MODEL].file_name
    path.parent.mkdir(parents=True)
    path.write_bytes(b"GGUF but not this one")
    with pytest.raises(IntegrityError, match=rf"(?s){path}.*{weights.KNOWN[MODEL].sha256}.*delete it"):
        servers.start("m", model(), ModelRun(), tmp_path / "scratch")


def test_a_file_of_another_kind_is_refused_before_anything_starts(tmp_path: Path) -> None:
    fake = tmp_path / "model.gguf"
    fake.write_text("<html>Sign in to download</html>")
    with pytest.raises(RecipeError, match="not a GGUF model file"):
        servers.start("m", model(weights=str(fake)), ModelRun(), tmp_path / "scratch")
    assert not list((tmp_path / "scratch").rglob("*.log"))


def test_half_a_model_file_is_told_with_llama_cpp_s_words(tmp_path: Path) -> None:
    half = tmp_path / "half.gguf"
    half.write_bytes(weights.locate(MODEL).read_bytes()[:3_000_000])
    with pytest.raises(EndpointError) as caught:
        servers.start("m", model(weights=str(half)), ModelRun(), tmp_path / "scratch")
    log = tmp_path / "scratch" / "m-0" / "server.log"
    for words in (
        "'m'",
        "exit code 1",
        "not a whole GGUF file",
        "corrupted or incomplete",
        "models.m.weights",
        str(log),
    ):
        assert words in str(caught.value)


def test_too_little_memory_is_told_with_what_to_lower(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (40 << 30, before[1]))  # 256 slots of 8,192 tokens want 46 GB
    try:
        with pytest.raises(EndpointError, match=r"(?s)not enough memory.*run\.models\.m\.in_flight"):
            servers.start("m", model(context_tokens=8192), ModelRun(in_flight=1000), tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def test_more_context_than_the_model_knows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"(?s)models\.m\.context_tokens.*10000.*8192"):
        servers.start("m", model(context_tokens=10_000), ModelRun(), tmp_path)


def test_a_taken_port_is_refused_before_anything_starts(endpoint: Endpoint, tmp_path: Path) -> None:
    taken = int(endpoint.base_url.split(":")[2].removesuffix("/v1"))
    with pytest.raises(RecipeError, match=rf"(?s)run\.models\.m\.port: port {taken} is taken.*0 for any"):
        servers.start("m", model(), ModelRun(port=taken), tmp_path)
    assert not list(tmp_path.rglob("*.log"))


def test_a_port_of_one_s_own_is_used(tmp_path: Path) -> None:
    port = launch.free_port()
    started = servers.start("m", model(), ModelRun(port=port, in_flight=1, threads=1), tmp_path)
    started.stop()
    assert started.base_url == f"http://127.0.0.1:{port}/v1"
