"""Thinking and answer apart, and what each answer is called."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synth.engine.outcomes import judge, loops

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False}
PROSE = "The bridge was opened in 1932 and carries eight lanes of traffic, two railway tracks and a footway."


@pytest.mark.parametrize(
    ("message", "finish", "schema", "outcome", "text", "reasoning"),
    [
        pytest.param({"content": PROSE}, "stop", None, "ok", PROSE, None, id="plain"),
        pytest.param({"content": f"  {PROSE}\n"}, "stop", None, "ok", PROSE, None, id="stripped"),
        pytest.param({"content": PROSE}, "length", None, "truncated_answer", PROSE, None, id="cut"),
        pytest.param({"content": None}, "stop", None, "empty_answer", "", None, id="null content"),
        pytest.param({"content": " \n "}, "stop", None, "empty_answer", "", None, id="blank"),
        pytest.param({"content": PROSE, "reasoning": "hm"}, "stop", None, "ok", PROSE, "hm", id="reasoning field"),
        pytest.param(
            {"content": PROSE, "reasoning_content": "hm"}, "stop", None, "ok", PROSE, "hm", id="old field name"
        ),
        pytest.param({"content": f"<think>hm</think>\n{PROSE}"}, "stop", None, "ok", PROSE, "hm", id="think tags"),
        pytest.param(
            {"content": "<think>hm and"}, "length", None, "thinking_overflow", "", "hm and", id="unclosed, cut"
        ),
        pytest.param(
            {"content": "<think>hm and"}, "stop", None, "thinking_overflow", "", "hm and", id="unclosed, stop"
        ),
        pytest.param(
            {"content": None, "reasoning": "hm"}, "length", None, "thinking_overflow", "", "hm", id="all budget"
        ),
        pytest.param(
            {"content": "", "reasoning": "hm"}, "stop", None, "empty_answer", "", "hm", id="thought, no answer"
        ),
        pytest.param(
            {"content": f"{PROSE}</think>"}, "stop", None, "tag_leak", f"{PROSE}</think>", None, id="stray close"
        ),
        pytest.param(
            {"content": f"{PROSE}<|im_end|>"}, "stop", None, "tag_leak", f"{PROSE}<|im_end|>", None, id="template"
        ),
        pytest.param(
            {"content": "I'm sorry, but I can't help with that."}, "stop", None, "refused", None, None, id="sorry"
        ),
        pytest.param(
            {"content": "As an AI language model, I have no views."}, "stop", None, "refused", None, None, id="as an AI"
        ),
        pytest.param({"content": '{"a": 1}'}, "stop", SCHEMA, "ok", '{"a": 1}', None, id="schema fits"),
        pytest.param({"content": '{"a": "x"}'}, "stop", SCHEMA, "wrong_schema", None, None, id="wrong type"),
        pytest.param({"content": '{"a": 1'}, "stop", SCHEMA, "wrong_schema", None, None, id="torn JSON"),
        pytest.param({"content": '{"a": 1'}, "length", SCHEMA, "truncated_answer", None, None, id="cut JSON"),
        pytest.param({"content": "round and round " * 20}, "stop", None, "repetition", None, None, id="loop"),
        pytest.param(
            {"content": "round and round " * 20}, "length", None, "repetition", None, None, id="loop until cut"
        ),
    ],
)
def test_judge(
    message: dict[str, Any], finish: str, schema: Any, outcome: str, text: str | None, reasoning: str | None
) -> None:
    judged = judge(message, finish, schema)
    assert (judged.outcome, judged.reasoning) == (outcome, reasoning)
    assert text is None or judged.text == text
    assert (judged.parsed is not None) == (schema is not None and outcome == "ok")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("very " * 12, True, id="one word"),
        pytest.param("very " * 11, False, id="one word, eleven times"),
        pytest.param("so it is, " * 4, True, id="three words, four times"),
        pytest.param("so it is, " * 3, False, id="three times only"),
        pytest.param(PROSE + " " + PROSE, False, id="said twice"),
        pytest.param((PROSE + " ") * 4, True, id="a sentence four times"),
        pytest.param(PROSE + " and " * 30, True, id="ends in a loop"),
        pytest.param("", False, id="empty"),
    ],
)
def test_loops(text: str, expected: bool) -> None:
    assert loops(text) is expected


@given(st.lists(st.sampled_from("abc"), max_size=40))
def test_loops_agrees_with_the_definition(words: list[str]) -> None:
    """Some run of p words (p up to 60) stands at least 4 times back to back, 12 words or more in all."""

    def defined() -> bool:
        for period in range(1, len(words) // 4 + 1):
            for start in range(len(words)):
                length = max(4 * period, 12)
                piece = words[start : start + length]
                if len(piece) == length and all(piece[at] == piece[at % period] for at in range(length)):
                    return True
        return False

    assert loops(" ".join(words)) is defined()
