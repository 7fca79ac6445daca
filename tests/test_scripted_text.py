"""What the scripted server answers: text, values for JSON schemas, and what the markers in a prompt change."""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any, Literal

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field
from scripted_asks import PASSAGE, QA_SCHEMA, ask, with_schema

from synth.digest import digest
from synth.engine import scripted_text as text
from synth.engine.scripted_chat import SCRIPT_VERSION, Answer, answer, parse_request
from synth.engine.scripted_markers import OUTCOMES


def answered(body: Mapping[str, Any]) -> Answer:
    return answer(parse_request(body))


def content_of(body: Mapping[str, Any]) -> str:
    content = answered(body).content
    assert content is not None
    return content


def words_of(value: str) -> list[str]:
    return re.findall(r"[a-z']+", value.lower())


def grams(value: str, size: int) -> set[tuple[str, ...]]:
    words = words_of(value)
    return {tuple(words[at : at + size]) for at in range(len(words) - size + 1)}


def jaccard(first: set[Any], second: set[Any]) -> float:
    return len(first & second) / len(first | second)


def test_answers_to_different_asks_share_few_shingles() -> None:
    shingles = [grams(content_of(ask(seed)), 5) for seed in range(250)]
    assert max(jaccard(one, other) for one, other in itertools.combinations(shingles, 2)) < 0.3


def test_answers_do_not_copy_the_prompt() -> None:
    prompt = grams(PASSAGE, 8)
    assert not any(prompt & grams(content_of(ask(seed)), 8) for seed in range(250))


def test_answers_are_about_the_prompt() -> None:
    about = {
        "atlantic",
        "puffin",
        "burrow",
        "cliffs",
        "chick",
        "bills",
        "breed",
        "grassy",
        "slopes",
        "spines",
        "palate",
        "land",
    }
    common = [len(about & set(words_of(content_of(ask(seed))))) for seed in range(100)]
    assert sum(common) / len(common) > 2
    assert not any(
        about & set(words_of(content_of({"messages": [{"role": "user", "content": str(n)}]}))) for n in range(100)
    )


def _gopher_faults(value: str) -> list[str]:
    """Names of the heuristics of Gopher (Rae et al. 2021, table A1) and C4's sentence rule that a text fails."""
    words = value.split()
    letters = [word for word in words if re.search("[a-zA-Z]", word)]
    stops = {"the", "be", "to", "of", "and", "that", "have", "with"} & set(words_of(value))
    faults = {
        "length": not 50 <= len(words) <= 100_000,
        "mean word length": not 3 <= sum(map(len, words)) / len(words) <= 10,
        "words with a letter": len(letters) / len(words) < 0.8,
        "stop words": len(stops) < 2,
        "sentences": value.count(".") < 4 or not all(line.endswith(".") for line in value.split("\n") if line),
    }
    for size, most in ((2, 0.20), (3, 0.18), (4, 0.16)):
        counts = Counter(tuple(words[at : at + size]) for at in range(len(words) - size + 1))
        top, times = max(counts.items(), key=lambda pair: pair[1] * len(" ".join(pair[0])))
        faults[f"top {size}-gram"] = times > 1 and times * len(" ".join(top)) / len(value) > most
    for size, most in ((5, 0.15), (6, 0.14), (8, 0.12), (10, 0.10)):
        counts = Counter(tuple(words[at : at + size]) for at in range(len(words) - size + 1))
        again = sum(len(" ".join(gram)) * times for gram, times in counts.items() if times > 1)
        faults[f"duplicate {size}-grams"] = again / len(value) > most
    return [name for name, failed in faults.items() if failed]


def test_answers_pass_ordinary_filters() -> None:
    for seed in range(250):
        value = content_of(ask(seed))
        assert 60 <= len(value.split()) <= 140
        assert _gopher_faults(value) == [], value


def test_a_prompt_of_two_words_is_enough() -> None:
    body = {"messages": [{"role": "user", "content": "Volcanic islands"}]}
    assert _gopher_faults(content_of(body)) == []
    assert 60 <= len(content_of({"messages": [{"role": "user", "content": ""}]}).split()) <= 140


def test_golden_answers() -> None:
    bodies = [
        ask(),
        ask(response_format=with_schema(QA_SCHEMA)),
        *(ask(marker=f"[[scripted: outcome={o}]]") for o in OUTCOMES),
    ]
    bodies += [
        ask(marker="[[scripted: near=1]]"),
        ask(marker="[[scripted: near=1]]", response_format=with_schema(QA_SCHEMA)),
    ]
    answers = [answered(body) for body in bodies]
    shown = digest(
        [[one.content, one.reasoning, one.finish_reason, one.tokens, one.reasoning_tokens] for one in answers]
    )
    assert (SCRIPT_VERSION, shown[:16]) == (1, "543272e01f89bed7"), (
        "answers changed: raise SCRIPT_VERSION, then this line"
    )


def _bounded(names: tuple[str, str], most: int) -> st.SearchStrategy[dict[str, int]]:
    pair = st.tuples(st.none() | st.integers(0, most), st.none() | st.integers(0, most))
    ordered = pair.map(lambda both: tuple(sorted(both)) if None not in both else both)
    return ordered.map(lambda both: {name: value for name, value in zip(names, both, strict=True) if value is not None})


_LEAVES = st.one_of(
    _bounded(("minLength", "maxLength"), 300).map(lambda more: {"type": "string", **more}),
    _bounded(("minimum", "maximum"), 50).map(lambda more: {"type": "integer", **more}),
    _bounded(("minimum", "maximum"), 50).map(lambda more: {"type": "number", **more}),
    st.just({"type": "integer", "exclusiveMinimum": -5, "exclusiveMaximum": -3}),
    st.just({"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}),
    st.just({"type": ["boolean", "null"]}),
    st.just({"const": {"a": [1, None]}}),
    st.lists(st.sampled_from(["x", 3, None, True]), min_size=1, max_size=3).map(lambda values: {"enum": values}),
)


def _nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    names = st.sampled_from(["q", "questions", "answer", "text", "title", "n"])
    arrays = st.tuples(inner, _bounded(("minItems", "maxItems"), 4)).map(
        lambda pair: {"type": "array", "items": pair[0], **pair[1]}
    )
    objects = st.dictionaries(names, inner, max_size=3).map(
        lambda fields: {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}
    )
    return arrays | objects | st.lists(inner, min_size=1, max_size=2).map(lambda choices: {"anyOf": choices})


@settings(max_examples=60, deadline=None)
@given(schema=st.recursive(_LEAVES, _nested, max_leaves=6), seed=st.integers(0, 3))
def test_values_conform_to_any_schema(schema: dict[str, Any], seed: int) -> None:
    value = json.loads(content_of(ask(seed, response_format=with_schema(schema))))
    jsonschema.validate(value, schema, cls=jsonschema.Draft202012Validator)


class Choice(BaseModel):
    label: Literal["A", "B"]
    text: str = Field(min_length=1, max_length=80)


class Quiz(BaseModel):
    question: str = Field(max_length=60)
    choices: list[Choice] = Field(min_length=2, max_length=4)
    note: str | None


def test_a_pydantic_model_with_references() -> None:
    for seed in range(20):
        value = content_of(ask(seed, response_format=with_schema(Quiz.model_json_schema())))
        assert Quiz.model_validate_json(value).question.endswith("?")


def test_questions_answers_and_their_variety() -> None:
    values = [json.loads(content_of(ask(seed, response_format=with_schema(QA_SCHEMA)))) for seed in range(40)]
    pairs = [pair for value in values for pair in value["pairs"]]
    assert {len(value["pairs"]) for value in values} == {2, 3, 4, 5}
    assert all(pair["question"].endswith("?") and len(pair["answer"]) >= 40 for pair in pairs)
    assert len({pair["question"] for pair in pairs}) == len(pairs)


REFUSAL = re.compile(r"(sorry|cannot fulfill).*", re.IGNORECASE)


def test_refuse() -> None:
    texts = {content_of(ask(seed, "[[scripted: outcome=refuse]]")) for seed in range(30)}
    assert len(texts) == 4
    assert all(REFUSAL.search(value) and len(value.split()) < 25 for value in texts)
    assert REFUSAL.search(content_of(ask(0, "[[scripted: outcome=refuse]]", response_format=with_schema(QA_SCHEMA))))


def test_empty() -> None:
    assert answered(ask(0, "[[scripted: outcome=empty]]")) == Answer("", None, "stop", 0, 0)


@pytest.mark.parametrize("schema", [pytest.param(None, id="text"), pytest.param(QA_SCHEMA, id="JSON")])
def test_truncate(schema: dict[str, Any] | None) -> None:
    more = {"response_format": with_schema(schema)} if schema else {}
    cut = answered(ask(0, "[[scripted: outcome=truncate]]", **more))
    assert cut.finish_reason == "length"
    assert cut.content is not None
    assert cut.content[-1] not in ".}"
    assert 15 < cut.tokens == len(text.tokens_of(cut.content))


def test_loop() -> None:
    value = content_of(ask(0, "[[scripted: outcome=loop]]"))
    sentence = value[: len(value) // 12]
    assert value == " ".join([sentence.strip()] * 12)
    pairs = json.loads(content_of(ask(0, "[[scripted: outcome=loop]]", response_format=with_schema(QA_SCHEMA))))[
        "pairs"
    ]
    assert "duplicate 5-grams" in _gopher_faults(pairs[0]["answer"])


@pytest.mark.parametrize("schema", [QA_SCHEMA, {"type": "integer"}, {"type": "string"}, {"type": "array"}])
def test_bad_json(schema: dict[str, Any]) -> None:
    with pytest.raises(json.JSONDecodeError):
        json.loads(content_of(ask(0, "[[scripted: outcome=bad_json]]", response_format=with_schema(schema))))


def test_think_is_cut_before_the_answer_begins() -> None:
    cut = answered(ask(0, "[[scripted: outcome=think]]", max_tokens=10))
    assert (cut.content, cut.finish_reason, cut.tokens, cut.reasoning_tokens) == (None, "length", 10, 10)


def test_think_open() -> None:
    cut = answered(ask(0, "[[scripted: outcome=think_open]]"))
    assert cut.content is not None
    assert cut.content.startswith("<think>\n")
    assert "</think>" not in cut.content
    assert cut.finish_reason == "length"


def test_leak() -> None:
    texts = [content_of(ask(seed, "[[scripted: outcome=leak]]")) for seed in range(20)]
    assert {leak for leak in ("</think>", "<|im_end|>") for value in texts if leak in value[10:-10]} == {
        "</think>",
        "<|im_end|>",
    }
    assert all("</think>" in value or "<|im_end|>" in value for value in texts)


def test_copy() -> None:
    assert content_of(ask(0, "[[scripted: outcome=copy]]")) == PASSAGE
    tagged = f"Rewrite this:\n\n<text>\n{PASSAGE}\n[[scripted: outcome=copy]]\n</text>\n\nAnswer in plain words."
    assert content_of({"messages": [{"role": "user", "content": tagged}]}) == PASSAGE


@pytest.mark.parametrize("response_format", [None, with_schema(QA_SCHEMA)])
def test_echo(response_format: dict[str, Any] | None) -> None:
    body = ask(0, "[[scripted: echo=One text, twice.\nAnd [more].]]", response_format=response_format)
    assert content_of(body) == "One text, twice.\nAnd [more]."


@pytest.mark.parametrize(
    "response_format", [pytest.param(None, id="text"), pytest.param(with_schema(QA_SCHEMA), id="JSON")]
)
def test_near(response_format: dict[str, Any] | None) -> None:
    def pool(name: str) -> list[str]:
        asks = [ask(seed, f"[[scripted: near={name}]]", response_format=response_format) for seed in range(40)]
        values = [content_of(body) for body in asks]
        return [
            " ".join(p["question"] + p["answer"] for p in json.loads(v)["pairs"]) if response_format else v
            for v in values
        ]

    first, second = pool("1"), pool("2")
    assert len(set(first)) > 30
    shingles = [grams(value, 5) for value in first]
    # The threshold at which near-duplicates are dropped is 0.75.
    assert min(jaccard(one, other) for one, other in itertools.combinations(shingles, 2)) > 0.75
    assert max(jaccard(one, grams(other, 5)) for one in shingles for other in second) < 0.3


def test_directives_combine_and_stand_anywhere() -> None:
    body = ask(0, "[[scripted: near=1]]")
    body["messages"][0]["content"] += " [[scripted: outcome=think]] [[scripted: outcome=empty]]"
    both = answered(body)
    assert both.reasoning is not None
    assert both.content is not None
    assert len(both.content.split()) >= 200


@given(st.text())
def test_tokens_are_words_and_marks(value: str) -> None:
    tokens = text.tokens_of(value)
    assert text.count_tokens(value) == len(tokens)
    for limit in range(len(tokens) + 1):
        assert text.tokens_of(text.cut_tokens(value, limit)) == tokens[:limit]


def test_tokens_of_a_sentence() -> None:
    assert text.tokens_of("Été: it's a_b, 3.5!") == ["Été", ":", "it", "'", "s", "a_b", ",", "3", ".", "5", "!"]
