"""Whatever way a server or a model marks its thinking, it comes apart from the answer, and no text is lost."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from synth.engine.outcomes import judge
from synth.engine.thinking import Separated, separate

THOUGHT = "The reader wants dates. First the opening, then the lanes; I will keep to one sentence."
ANSWER = "The bridge was opened in 1932 and carries eight lanes."
TAGGED = {
    "think": ("<think>", "</think>"),
    "thinking": ("<thinking>", "</thinking>"),
    "reasoning": ("<reasoning>", "</reasoning>"),
    "thought": ("<thought>", "</thought>"),
    "seed": ("<seed:think>", "</seed:think>"),
    "mistral": ("[THINK]", "[/THINK]"),
    "kimi": ("◁think▷", "◁/think▷"),
    "sky": ("<|begin_of_thought|>", "<|end_of_thought|>"),
    "cohere": ("<|START_THINKING|>", "<|END_THINKING|>"),
    "gemma": ("<|channel>thought\n", "<channel|>"),
    "capitals": ("<THINK>", "</Think>"),
    "indented": ("\n  <think>\n", "\n</think>\n\n"),
    "twice opened": ("<think>\n<think>", "</think>"),
    "twice opened and closed": ("<think><think>", "</think></think>"),
    "nested": ("<think>hm <think>a</think> ", "</think>"),
    "two blocks": ("<think>hm</think>\n<thinking>", "</thinking>"),
    "solution": ("<|begin_of_thought|>", "<|end_of_thought|>\n\n<|begin_of_solution|>"),
    "response": ("<|START_THINKING|>", "<|END_THINKING|><|START_RESPONSE|>"),
    "harmony": (
        "<|channel|>analysis<|message|>",
        "<|end|><|start|>assistant<|channel|>final<|message|>",
    ),
    "harmony, whole turn": (
        "<|start|>assistant<|channel|>analysis<|message|>",
        "<|end|><|start|>assistant<|channel|>final <|constrain|>json<|message|>",
    ),
    "harmony, glued": ("analysis", "assistantfinal"),
}
ENDS = {
    "solution": "<|end_of_solution|>",
    "response": "<|END_RESPONSE|>",
    "harmony": "<|return|>",
    "harmony, whole turn": "<|end|>",
}
BEFORE = {"nested": "hm <think>a</think> ", "two blocks": "hm\n"}  # reasoning that the format's opening already holds
FORMATS = sorted(TAGGED)
Render = Callable[[str, str], dict[str, Any]]
APART: dict[str, Render] = {
    "reasoning": lambda thought, answer: {"content": answer, "reasoning": thought},
    "reasoning_content": lambda thought, answer: {"content": answer, "reasoning_content": thought},
    "both": lambda thought, answer: {"content": answer, "reasoning": thought, "reasoning_content": thought},
    "parts": lambda thought, answer: {
        "content": [{"type": "thinking", "thinking": thought}, {"type": "text", "text": answer}]
    },
    "parts in parts": lambda thought, answer: {
        "content": [
            {"type": "thinking", "thinking": [{"type": "text", "text": thought}]},
            {"type": "text", "text": answer},
        ]
    },
    "reasoning parts": lambda thought, answer: {
        "content": [{"type": "reasoning", "text": thought}, {"type": "text", "text": answer}]
    },
}
DELIMITER = re.compile(
    r"</?(?:think(?:ing)?|reasoning|thought|seed:think)>|\[/?THINK\]|◁/?think▷|<\||\|>|analysis|assistant",
    re.IGNORECASE,
)
# Pieces that come near to delimiters, beside any text at all.
NEAR = st.lists(
    st.sampled_from(["<", ">", "think", "</", "[", "|", "\n", " ", "`", "thought", "final", "a", "Then"]), max_size=8
)
TEXTS = st.one_of(st.text(max_size=40), NEAR.map("".join))


def written(name: str, thought: str, answer: str) -> str:
    opening, closing = TAGGED[name]
    return f"{opening}{thought}{closing}{answer}{ENDS.get(name, '')}"


def plain(text: str) -> bool:
    return DELIMITER.search(text) is None


def beginning_of_a_tag(text: str) -> bool:
    return any(opening.lower().startswith(text.strip().lower()) for opening, _ in TAGGED.values())


@pytest.mark.parametrize("name", FORMATS)
@given(thought=TEXTS.filter(plain), answer=TEXTS.filter(plain))
@example(thought=THOUGHT, answer=ANSWER)
@example(thought="", answer=ANSWER)
@example(thought=THOUGHT, answer="")
def test_tags_and_channels_come_apart(name: str, thought: str, answer: str) -> None:
    assume(not answer.strip() or not beginning_of_a_tag(answer))
    reasoning = (BEFORE.get(name, "") + thought.strip()).strip() if thought.strip() else BEFORE.get(name, "").strip()
    got = separate({"content": written(name, thought, answer)})
    assert (got.answer, got.closed) == (answer.strip(), True)
    assert (got.reasoning or "").split() == reasoning.split()


@pytest.mark.parametrize("name", sorted(APART))
@given(thought=TEXTS.filter(plain), answer=TEXTS.filter(plain))
@example(thought=THOUGHT, answer=ANSWER)
def test_what_a_server_delivers_apart_stays_apart(name: str, thought: str, answer: str) -> None:
    assume(not answer.strip() or not beginning_of_a_tag(answer))
    assert separate(APART[name](thought, answer)) == Separated(answer.strip(), thought.strip() or None, True)


@given(
    thought=TEXTS.filter(plain),
    answer=TEXTS.filter(plain),
    closing=st.sampled_from(["</think>", "[/THINK]", "<channel|>"]),
)
@example(thought='He said "no"', answer="The bridge", closing="</think>")
def test_a_closing_tag_alone_ends_thinking_that_the_prompt_opened(thought: str, answer: str, closing: str) -> None:
    assert separate({"content": f"{thought}\n{closing}\n{answer}"}) == Separated(
        answer.strip(), thought.strip() or None, True
    )


@pytest.mark.parametrize(
    ("content", "answer", "reasoning"),
    [
        pytest.param(f"{THOUGHT}</think>{ANSWER}", ANSWER, THOUGHT, id="glued on both sides"),
        pytest.param(f"{THOUGHT}</think> {ANSWER}", ANSWER, THOUGHT, id="glued to the thinking"),
        pytest.param(f"{THOUGHT} </think>{ANSWER}", ANSWER, THOUGHT, id="glued to the answer"),
        pytest.param(f"{THOUGHT} </think>", "", THOUGHT, id="nothing after it"),
        pytest.param(f"</think>\n\n{ANSWER}", ANSWER, None, id="nothing before it"),
        pytest.param(f"No `</think>` in it.\n</think>\n{ANSWER}", ANSWER, "No `</think>` in it.", id="quoted first"),
        pytest.param(f'Say "yes"</think>{ANSWER}', ANSWER, 'Say "yes"', id="after a quotation mark"),
        pytest.param(
            f"{THOUGHT}\n</think>\nEnd it with </think>.", "End it with </think>.", THOUGHT, id="first one counts"
        ),
        pytest.param(
            f"{THOUGHT}<|end_of_thought|><|begin_of_solution|>A<|end_of_solution|>", "A", THOUGHT, id="solution"
        ),
    ],
)
def test_where_a_closing_tag_alone_separates(content: str, answer: str, reasoning: str | None) -> None:
    assert separate({"content": content}) == Separated(answer, reasoning, True)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param("The tag `</think>` ends the thinking.", id="in backticks"),
        pytest.param('They look for "</think>" in the text.', id="in quotation marks"),
        pytest.param("Thinking ends with a </think> tag in most templates.", id="between blanks"),
        pytest.param("Thinking ends with </think>, and the answer follows.", id="before a comma"),
        pytest.param("Thinking stands in <think> tags.</think>\nSo it does.", id="opened after text"),
        pytest.param("A block:\n\n<think>\nhm\n</think>\n\nAnd then the answer.", id="a block after text"),
    ],
)
def test_a_closing_tag_that_is_quoted_stays_where_it_is(content: str) -> None:
    assert separate({"content": content}) == Separated(content, None, True)
    assert judge({"content": content}, "stop", None).outcome == "tag_leak"


@pytest.mark.parametrize("field", ["reasoning", "reasoning_content"])
def test_beside_delivered_thinking_a_closing_tag_is_a_leak(field: str) -> None:
    message = {"content": f"So.\n</think>\n{ANSWER}", field: "hm"}
    assert separate(message) == Separated(f"So.\n</think>\n{ANSWER}", "hm", True)
    assert judge(message, "stop", None).outcome == "tag_leak"


@pytest.mark.parametrize(
    ("message", "answer", "reasoning", "closed"),
    [
        pytest.param(
            {"content": f"<think>a <think>b</think> {ANSWER}"}, "", f"a <think>b</think> {ANSWER}", False, id="nested"
        ),
        pytest.param({"content": f"<think>{ANSWER}</thinking>"}, "", f"{ANSWER}</thinking>", False, id="other name"),
        pytest.param(
            {"content": "<think><think>a</think> b</think>c"}, "c", "a</think> b", True, id="twice opened, text between"
        ),
        pytest.param(
            {"content": "<think><think>a</think><think><think>b</think>c"}, "c", "a\nb", True, id="two twice opened"
        ),
        pytest.param({"content": "<think>a</think><think>b"}, "", "a\nb", False, id="second block open"),
        pytest.param({"content": "<|channel|>analysis<|message|>a<|end|>"}, "", "a", False, id="harmony without final"),
        pytest.param(
            {"content": "<|channel|>analysis<|message|>a<|end|>b"}, "", "a\nb", False, id="harmony, no header"
        ),
        pytest.param(
            {
                "content": "<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>commentary<|message|>b<|end|>"
                "<|start|>assistant<|channel|>analysis<|message|>c<|end|><|start|>assistant<|channel|>final<|message|>d"
            },
            "d",
            "a\nb\nc",
            True,
            id="harmony, many messages",
        ),
        pytest.param({"content": "<|channel|>final<|message|>d<|return|>"}, "d", None, True, id="harmony, no thinking"),
        pytest.param(
            {"content": "analysisWe needassistantanalysisAh.assistantfinald"}, "d", "We need\nAh.", True, id="glued"
        ),
        pytest.param(
            {"content": "analysisThe reader wants dates"}, "", "The reader wants dates", False, id="glued, open"
        ),
        pytest.param({"content": "analysis of the bridge"}, "analysis of the bridge", None, True, id="a word only"),
        pytest.param({"content": "analysisResult = 3"}, "analysisResult = 3", None, True, id="a name in code"),
        pytest.param(
            {"content": "a", "reasoning": "x", "reasoning_content": "y"}, "a", "x\ny", True, id="fields differ"
        ),
        pytest.param({"content": "<think>y</think>a", "reasoning": "x"}, "a", "x\ny", True, id="field and block"),
        pytest.param({"content": None, "reasoning": "x"}, "", "x", True, id="null content"),
        pytest.param({"content": ["a ", {"type": "output_text", "text": "b"}]}, "a b", None, True, id="parts of text"),
        pytest.param({}, "", None, True, id="nothing"),
    ],
)
def test_separate(message: dict[str, Any], answer: str, reasoning: str | None, closed: bool) -> None:
    assert separate(message) == Separated(answer, reasoning, closed)


@pytest.mark.parametrize(
    ("content", "answer"),
    [
        ("<|channel|>final<|message|>d<|return|>e", "d\n<|return|>e"),
        ("<|channel|>final<|message|>d<|channel|>musing<|message|>e", "d\n<|channel|>musing<|message|>e"),
        ("<think><think>a</think> b <think>c</think> d</think>e", "b <think>c</think> d</think>e"),
        ("<think>a</think>d</think>", "d</think>"),
    ],
)
def test_what_is_not_surely_an_answer_leaks(content: str, answer: str) -> None:
    """It stays in the answer with its delimiter, so that the whole answer is dropped."""
    got = judge({"content": content}, "stop", None)
    assert (got.text, got.outcome) == (answer, "tag_leak")


@pytest.mark.parametrize("name", FORMATS)
def test_thinking_cut_anywhere_is_never_an_answer(name: str) -> None:
    """Also where the server says that the model stopped by itself, once the opening can be told from text."""
    opening, closing = TAGGED[name]
    whole = written(name, THOUGHT, ANSWER)
    assert judge({"content": whole}, "stop", None).outcome == "ok"
    recognised = len("analysisThe r") if name == "harmony, glued" else len(opening) - len(opening.lstrip()) + 2
    for cut in range(len(whole)):
        assert judge({"content": whole[:cut]}, "length", None).outcome != "ok"
        got = judge({"content": whole[:cut]}, "stop", None)
        if recognised <= cut <= len(opening):
            assert not any(character.isalpha() for character in got.text)
        elif recognised <= cut <= len(opening + THOUGHT):
            assert (got.text, got.outcome) == ("", "thinking_overflow")
        elif recognised <= cut < len(opening + THOUGHT + closing):
            assert THOUGHT[-5:] not in got.text


@pytest.mark.parametrize("name", sorted(APART))
def test_thinking_delivered_apart_and_cut_is_never_an_answer(name: str) -> None:
    for cut in range(1, len(THOUGHT)):
        for answer in ("", None):
            message = APART[name](THOUGHT[:cut], answer)  # type: ignore[arg-type]  # servers send null
            assert judge(message, "length", None).outcome == "thinking_overflow"
            assert judge(message, "stop", None).outcome == "empty_answer"


ANY_DELIMITER = sorted(
    {piece for pair in TAGGED.values() for piece in pair}
    | set(ENDS.values())
    | {"<|start|>assistant", "<|channel|>", "<|message|>", "<|end|>", "<|call|>", "<|channel|>commentary<|message|>"}
    | {"\n", " ", "`", "final", "thought\n", "assistantanalysis"}
)


@given(st.lists(st.sampled_from(ANY_DELIMITER) | st.integers(0, 99), max_size=12), st.none() | st.just("hm"))
def test_no_text_is_lost(pieces: list[str | int], reasoning: str | None) -> None:
    """Words between any delimiters in any order are in the answer or in the reasoning, each as often as before."""
    content = "".join(f" w{piece} " if isinstance(piece, int) else piece for piece in pieces)
    got = separate({"content": content, "reasoning": reasoning})
    kept = f"{got.answer} {got.reasoning or ''}"
    assert sorted(re.findall(r"w\d+", kept)) == sorted(re.findall(r"w\d+", content))
    assert got.closed or not got.answer


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9) | st.sampled_from(ANY_DELIMITER),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["type", "text", "thinking", "reasoning"]) | st.text(max_size=3), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["content", "reasoning", "reasoning_content", "refusal", "role"]), JSON))
@example({"content": "<\u017feed:think>a</seed:thin\u212a>"})
@example({"content": [{"type": ["thinking"]}, 3, None]})
def test_any_message_is_judged(message: dict[str, Any]) -> None:
    got = separate(message)
    assert got.answer == got.answer.strip()
    assert got.reasoning is None or got.reasoning.strip()
    assert judge(message, "stop", None).text == got.answer


@given(TEXTS.filter(plain))
def test_an_answer_is_its_own_answer(text: str) -> None:
    assume(not text.strip() or not beginning_of_a_tag(text))
    assert separate({"content": text}) == Separated(text.strip(), None, True)
