"""The scripted server's models that reason, and the weak and strong pair for cascades."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import jsonschema
import pytest
from scripted_asks import QA_SCHEMA, ask, running, with_schema

from synth.digest import digest
from synth.engine import scripted_text as text
from synth.engine.roles import ModelConfig
from synth.engine.scripted_chat import (
    SCRIPT_VERSION,
    SCRIPTS,
    Answer,
    ReasoningField,
    ScriptedModel,
    answer,
    completion,
    is_hard,
    parse_request,
)
from synth.engine.scripted_markers import OUTCOMES, BadRequest
from synth.engine.servers import identity

FIELDS: tuple[ReasoningField, ...] = get_args(ReasoningField)
THINKER = ScriptedModel("thinker")
THINK_OFF = {"chat_template_kwargs": {"enable_thinking": False}}


def said(body: dict[str, Any], served: ScriptedModel = THINKER) -> Answer:
    return answer(parse_request(body, served))


def message(body: dict[str, Any], served: ScriptedModel) -> dict[str, Any]:
    request = parse_request(body, served)
    one: dict[str, Any] = completion(request, [answer(request)], 0)["choices"][0]["message"]
    return one


def delivered(field: str, reasoning: str, content: str | None) -> dict[str, Any]:
    """The message that the manual describes."""
    rest = content or ""
    by_field = {
        "reasoning": {"content": content, "reasoning": reasoning},
        "reasoning_content": {"content": content, "reasoning_content": reasoning},
        "tags": {"content": f"<think>\n{reasoning}" + (f"\n</think>\n\n{rest}" if content else "")},
        "open_tag_in_prompt": {"content": reasoning + (f"\n</think>\n\n{rest}" if content else "")},
        "channels": {
            "content": f"<|channel|>analysis<|message|>{reasoning}"
            + (f"<|end|><|start|>assistant<|channel|>final<|message|>{rest}" if content else "")
        },
    }
    return {"role": "assistant", **by_field[field]}


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("max_tokens", [None, 20], ids=["whole", "cut within the reasoning"])
def test_where_reasoning_stands(field: ReasoningField, max_tokens: int | None) -> None:
    plain = said(ask(1, max_tokens=max_tokens))
    assert plain.reasoning is not None
    given = message(ask(1, max_tokens=max_tokens), ScriptedModel("thinker", reasoning_field=field))
    expected = delivered(field, plain.reasoning, plain.content)
    assert given == expected | ({} if "reasoning" in field else {"reasoning_content": None})


@pytest.mark.parametrize("field", FIELDS)
def test_thinking_can_be_switched_off(field: ReasoningField) -> None:
    given = message(ask(1) | THINK_OFF, ScriptedModel("thinker", reasoning_field=field))
    assert not given.get("reasoning") and not given.get("reasoning_content")
    assert 60 <= len(given["content"].split()) <= 140
    assert "think" not in given["content"] and "<|" not in given["content"]


def test_how_long_it_thinks() -> None:
    answers = [said(ask(seed)) for seed in range(300)]
    thought = [one.reasoning_tokens for one in answers]
    assert (min(thought), max(thought)) == pytest.approx((30, 200), abs=5)
    for one in answers:
        assert one.content is not None and one.reasoning is not None
        assert text.count_tokens(one.reasoning) == one.reasoning_tokens
        assert text.count_tokens(one.content) == one.tokens - one.reasoning_tokens


def test_max_tokens_cuts_reasoning_first() -> None:
    whole = said(ask(4))
    assert whole.reasoning is not None and whole.content is not None
    for limit in range(1, whole.tokens + 2):
        cut = said(ask(4, max_tokens=limit))
        assert cut.tokens == min(limit, whole.tokens)
        assert cut.finish_reason == ("stop" if limit >= whole.tokens else "length")
        assert cut.reasoning_tokens == min(limit, whole.reasoning_tokens)
        assert whole.reasoning.startswith(cut.reasoning or "?")
        assert (cut.content is None) == (limit <= whole.reasoning_tokens)
        assert whole.content.startswith(cut.content or "")


@pytest.mark.parametrize("budget", [0, 1, 25, 100, 5000])
def test_an_enforced_budget_ends_the_reasoning_only(budget: int) -> None:
    served = ScriptedModel("thinker", thinking_budget="enforce")
    one = said(ask(2, thinking_token_budget=budget), served)
    free = said(ask(2, thinking_token_budget=budget))
    assert one.reasoning_tokens == min(budget, free.reasoning_tokens)
    assert (one.content, one.finish_reason) == (free.content, "stop")
    assert free.reasoning_tokens >= 30


@pytest.mark.parametrize(("rule", "budget"), [("refuse", 100), ("enforce", -1), ("enforce", "many")])
def test_a_budget_that_is_refused(rule: Any, budget: Any) -> None:
    with pytest.raises(BadRequest, match="thinking_token_budget"):
        parse_request(ask(2, thinking_token_budget=budget), ScriptedModel("thinker", thinking_budget=rule))


def test_a_thinker_answers_with_json_too() -> None:
    one = said(ask(1, response_format=with_schema(QA_SCHEMA)))
    assert one.reasoning_tokens >= 30
    jsonschema.validate(json.loads(one.content or ""), QA_SCHEMA)


def test_a_running_thinker(tmp_path: Path) -> None:
    options = ("--script", "thinker", "--reasoning-field", "tags", "--thinking-budget", "refuse")
    with running(tmp_path, *options) as own:
        reply = own.chat(ask(1))[1]
        one = said(ask(1))
        assert reply["choices"][0]["message"]["content"] == f"<think>\n{one.reasoning}\n</think>\n\n{one.content}"
        assert reply["usage"]["completion_tokens"] == one.tokens
        assert reply["usage"]["completion_tokens_details"] == {"reasoning_tokens": one.reasoning_tokens}
        status, refusal = own.chat(ask(1, thinking_token_budget=10))
        assert (status, "`thinking_token_budget`" in refusal["error"]["message"]) == (400, True)


def first_word(seed: int, marker: str, script: str, **more: Any) -> str:
    return (said(ask(seed, marker, **more), ScriptedModel(script)).content or "").split(" ")[0]


def test_the_weak_one_fails_on_the_share_that_is_hard() -> None:
    words = [first_word(seed, "[[scripted: hard=0.3]]", "weak") for seed in range(600)]
    assert set(words) == {"RIGHT", "WRONG"}
    assert words.count("WRONG") == pytest.approx(180, rel=0.2)
    hard = [is_hard(parse_request(ask(seed, "[[scripted: hard=0.3]]"), ScriptedModel("weak"))) for seed in range(600)]
    assert [word == "WRONG" for word in words] == hard


@pytest.mark.parametrize(
    ("script", "marker", "word"),
    [
        ("weak", "", "RIGHT"),
        ("weak", "[[scripted: hard=0]]", "RIGHT"),
        ("weak", "[[scripted: hard=1.0]]", "WRONG"),
        ("strong", "", "RIGHT"),
        ("strong", "[[scripted: hard=1]]", "RIGHT"),
    ],
)
def test_right_and_wrong(script: str, marker: str, word: str) -> None:
    for seed in range(20):
        body = ask(seed, marker)
        assert first_word(seed, marker, script) == word
        assert 60 <= len((said(body, ScriptedModel(script)).content or "").split()) <= 141
        pairs = json.loads(
            said(body | {"response_format": with_schema(QA_SCHEMA)}, ScriptedModel(script)).content or ""
        )
        assert {each[name].split()[0] for each in pairs["pairs"] for name in ("question", "answer")} == {word}


def test_how_the_weak_one_fails_can_be_told() -> None:
    marker = "[[scripted: hard=0.5]] [[scripted: weak=truncate]]"
    ends = [said(ask(seed, marker), ScriptedModel("weak")).finish_reason for seed in range(60)]
    assert 15 < ends.count("length") < 45
    assert {said(ask(seed, marker), ScriptedModel("strong")).finish_reason for seed in range(60)} == {"stop"}


def test_the_other_model_has_other_answers() -> None:
    for script in SCRIPTS:
        assert said(ask(1), ScriptedModel(script)).content != said(ask(1), ScriptedModel(script, other=True)).content


def test_every_script_is_a_model_of_a_recipe() -> None:
    scripts = [identity(ModelConfig(backend="scripted", script=script))["script"] for script in SCRIPTS]
    assert scripts == ["plain", "thinker", "weak", "strong"]


def test_golden_answers_of_the_other_scripts() -> None:
    markers = ["", "[[scripted: hard=1]]", *(f"[[scripted: outcome={outcome}]]" for outcome in OUTCOMES)]
    requests = [parse_request(ask(0, marker), ScriptedModel(script)) for script in SCRIPTS[1:] for marker in markers]
    answers = [answer(request) for request in requests]
    answers += [answer(requests[0], fault=fault) for fault in ("think_cut", "null_content")]
    shown = digest([[one.content, one.reasoning, one.finish_reason, one.tokens] for one in answers])
    assert (SCRIPT_VERSION, shown[:16]) == (1, "1fd948c7429f011e"), (
        "answers changed: raise SCRIPT_VERSION, then this line"
    )
