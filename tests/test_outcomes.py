"""Thinking and answer apart, and what each answer is called."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synth.engine.outcomes import judge, loops, parse

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
            {"content": f"{PROSE}</think>"}, "stop", None, "empty_answer", "", PROSE, id="only a closing tag, no answer"
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


REFUSALS = [
    "I'm sorry, but I can't help with that.",
    "I’m sorry, but I can’t assist with that request.",
    "I am sorry, but I cannot fulfill this request.",
    "I'm really sorry, but I am unable to provide that information.",
    "Sorry, I can't assist with this.",
    "Sorry, but I cannot comply with your request.",
    "I apologize, but I cannot generate content of this kind.",
    "I apologise for the inconvenience, but I'm unable to create that text.",
    "My apologies, but I can't provide instructions for making weapons.",
    "Apologies, I am not able to write a story that glorifies violence.",
    "I'm sorry. I can't help with this request.",
    "I'm sorry! I won't be able to assist you with that.",
    "I'm sorry, as an AI language model I cannot produce hateful material.",
    "I can't help with that.",
    "I can’t assist with that.",
    "I cannot assist with this request.",
    "I cannot help you with this task.",
    "I can't help with creating malware of any kind.",
    "I cannot provide medical advice.",
    "I cannot provide detailed instructions on picking locks.",
    "I can't provide legal advice about your case.",
    "I won't write that.",
    "I will not generate explicit content.",
    "I cannot create content that promotes self-harm.",
    "I'm unable to fulfil your request.",
    "I am unable to help with requests for personal data.",
    "I'm not able to provide information about private individuals.",
    "I am not able to complete this request.",
    "I cannot comply.",
    "I simply cannot comply with such a request.",
    "I cannot continue with this conversation.",
    "I can't engage in that discussion because it is harmful, and I can't discuss this topic.",
    "I must decline to write this content.",
    "I must respectfully decline this request.",
    "I have to decline your request, since it asks for private data.",
    "As an AI language model, I have no views.",
    "As an AI, I do not have feelings or beliefs.",
    "As an AI assistant, I cannot browse the internet.",
    "As a large language model trained by a company, I do not have opinions.",
    "As an artificial intelligence, I cannot experience emotions.",
    "I'm just an AI model, and I don't have access to that.",
    "I am a language model and I cannot verify this claim.",
    "I'm not comfortable writing content of that sort.",
    "I don't feel comfortable with this request.",
    "I don't have access to the internet, so the answer may be stale.",
    "I do not have the ability to open links.",
    "It would be inappropriate for me to write such a text.",
    "It is not appropriate for me to provide this.",
    "This request violates my guidelines.",
    "Your request goes against the content policy.",
    "My guidelines do not allow me to answer that.",
    "Unfortunately, I can't assist with that request.",
    "Unfortunately, I am unable to create the passage you asked for.",
    "I'm afraid I can't provide that text.",
    "I understand that you are curious, but I can't help with this.",
    "Thank you for your question, but I'm unable to answer that question.",
    "While I appreciate the interest, I cannot provide instructions for this.",
    "**I'm sorry, but I can't help with that.**",
    "> I cannot assist with that.",
    "I can't access external links.",
    "I can't support this request.",
    "I cannot write this.",
]
NOT_REFUSALS = [
    "I can't help but notice how quiet the harbour has become.",
    "I can't help myself when there is fresh bread on the table.",
    "I cannot help wondering who first carried salt across the desert.",
    "I can't help you move the piano on Sunday, but my brother can.",
    "I'm sorry I missed your recital, and I hope the cello survived the rain.",
    "I'm sorry, but I can't come to dinner on Friday.",
    "I'm sorry for your loss; your grandmother taught half the village to read.",
    "Sorry to keep you waiting, the ferry was late again.",
    "Sorry, I can't hear you over the engine.",
    "\"I'm sorry, but I can't help with that,\" the clerk said, and closed the window.",
    "“I cannot assist with that request,” said the machine.",
    "The robot answered: I'm sorry, but I can't help with that.",
    'A refusal such as "I can\'t assist with that" tells a reader nothing.',
    "I cannot provide for my family on a fisherman's wage, he wrote.",
    "I can't provide proof of what I saw in the hangar.",
    "I can't write to you every day, but I think of you at every meal.",
    "I can't write without a window in front of me.",
    "I won't write another book, she told the newspaper in 1961.",
    "I cannot create the past anew, but I can describe it.",
    "I cannot generate any enthusiasm for parades.",
    "I will not comply with tyrants, the letter ended.",
    "I am unable to walk since the accident in the quarry.",
    "I'm unable to say when the comet will return.",
    "I am not able to sleep when the wind blows from the east.",
    "I won't help the enemy, whatever they offer.",
    "I can't assist the surgeon today because my hand is bandaged.",
    "I must decline your invitation to the opera.",
    "I have to decline the offer, because the pay is poor.",
    "I understand that the tide turns at six, but I can't swim.",
    "I appreciate the gift, but I cannot accept it.",
    "Thank you for the letter, which I read twice on the train.",
    "While I was in Lisbon, I could not find the street again.",
    "As an AI researcher, I spent ten years on speech.",
    "As an AI engineer at a hospital, she built a triage tool.",
    "As an airline pilot, I have seen the aurora many times.",
    "I am an AI, and I have been awake for nine hundred years.",
    "I'm an aide to the mayor, and I don't speak for her.",
    "I don't have access to the cellar, only my uncle has the key.",
    "I do not have the ability to whistle.",
    "I don't feel comfortable in lifts.",
    "I'm not comfortable with heights, so I paint the ground floor.",
    "It would be unwise for me to cross the pass in March.",
    "It is not appropriate to wear shoes in the temple.",
    "The request violates no law, the court found.",
    "This question goes against the grain of most surveys.",
    "My guidelines for pruning roses are simple.",
    "My training as a nurse prevents me from panicking.",
    "Unfortunately, I can't remember the name of the ship.",
    "Unfortunately, the bridge was never finished.",
    "I'm afraid I can't stay long, the tide is turning.",
    "I'm afraid of deep water.",
    "Regrettably, I cannot attend the meeting.",
    "As a language, model trains of thought rarely survive translation.",
    "I cannot discuss the weather without thinking of my father.",
    "I can't continue with the harvest until the rain stops.",
    "I won't support this bridge's demolition, the mayor said.",
    "I can't answer this letter today.",
    "I can't access the attic since the ladder broke.",
    "I can't complete the puzzle without the corner pieces.",
    "I can't process grief as quickly as others.",
    "[\"I'm sorry, but I can't help with that.\"]",
    "The water is clear. I'm sorry, but I can't help with that.",
]


@pytest.mark.parametrize("sentence", REFUSALS)
def test_refusals(sentence: str) -> None:
    assert judge({"content": f"{sentence} {PROSE}"}, "stop", None).outcome == "refused"
    assert judge({"content": sentence}, "stop", None).outcome == "refused"
    assert judge({"content": f"{PROSE} {sentence}"}, "stop", None).outcome == "ok", "only the first sentence counts"


@pytest.mark.parametrize("sentence", NOT_REFUSALS)
def test_what_only_sounds_like_a_refusal(sentence: str) -> None:
    assert judge({"content": sentence}, "stop", None).outcome == "ok"
    assert judge({"content": f"{sentence} {PROSE}"}, "stop", None).outcome == "ok"


@pytest.mark.parametrize(
    ("message", "finish", "outcome"),
    [
        pytest.param({"content": None, "refusal": "I can't."}, "stop", "refused", id="refusal field"),
        pytest.param({"content": PROSE, "refusal": None}, "stop", "ok", id="refusal field, null"),
        pytest.param({"content": [{"type": "refusal", "refusal": "No."}]}, "stop", "refused", id="refusal part"),
        pytest.param({"content": PROSE}, "content_filter", "refused", id="filtered, partly"),
        pytest.param({"content": "<think>hm"}, "content_filter", "refused", id="filtered while thinking"),
        pytest.param({"content": ""}, "tool_calls", "empty_answer", id="a tool call"),
        pytest.param({"content": None}, "who_knows", "empty_answer", id="unknown reason, nothing"),
        pytest.param({"content": PROSE}, "eos", "ok", id="unknown reason, an answer"),
        pytest.param({"content": PROSE}, None, "ok", id="no reason"),
        pytest.param({"content": None}, "length", "thinking_overflow", id="cut, null content"),
        pytest.param({"content": ""}, "length", "thinking_overflow", id="cut, empty content"),
        pytest.param({"content": "\n \n"}, "length", "truncated_answer", id="cut, blanks were written"),
        pytest.param({"content": "\n", "reasoning": "hm"}, "length", "thinking_overflow", id="cut after the thinking"),
        pytest.param({"content": "<think>hm</think>"}, "length", "thinking_overflow", id="cut after the closing tag"),
        pytest.param({"content": f"<think>hm</think>{PROSE}"}, "length", "truncated_answer", id="cut in the answer"),
        pytest.param({"content": PROSE}, "max_tokens", "truncated_answer", id="cut, another word for it"),
        pytest.param({"content": PROSE}, "abort", "truncated_answer", id="aborted"),
        pytest.param({"content": "<think>" + "so it is " * 30}, "length", "thinking_overflow", id="looped thinking"),
        pytest.param({"content": "I can't help with that."}, "length", "truncated_answer", id="refusal, cut"),
    ],
)
def test_finish_reasons(message: dict[str, Any], finish: str | None, outcome: str) -> None:
    assert judge(message, finish, None).outcome == outcome


@pytest.mark.parametrize(
    "leak",
    [
        "<think>",
        "</thinking>",
        "</reasoning>",
        "[/THINK]",
        "◁/think▷",
        "<|end_of_thought|>",
        "<|im_start|>assistant",
        "<|reserved_special_token_7|>",
        "<｜end▁of▁sentence｜>",
        "<|channel>",
        "<turn|>",
        "<end_of_turn>",
        "</s>",
        "[INST]",
        "<<SYS>>",
        "assistantfinal",
        "<|eot_id|>",
    ],
)
def test_control_tokens_leak(leak: str) -> None:
    assert judge({"content": f"{PROSE} {leak} {PROSE}"}, "stop", None).outcome == "tag_leak"
    assert judge({"content": f"<think>hm</think>{PROSE} {leak}", "reasoning": "x"}, "stop", None).outcome == "tag_leak"


def test_a_channel_label_without_its_tokens_is_a_leak() -> None:
    assert judge({"content": f"thought\n{PROSE}"}, "stop", None).outcome == "tag_leak"
    assert judge({"content": f"A thought\n{PROSE}"}, "stop", None).outcome == "ok"


@pytest.mark.parametrize(
    "text",
    [
        "a <b> and a < b",
        "x <| y |> z",
        "parser <|> other",
        "items[INSTANCE]",
        "<s>old</S>",
        "AssistantFinalText",
        "[think about it]",
        "many <|> optional <|> some",
        "<table><tr></tr></table>",
        "see [1] and [2]",
        "I thought so",
    ],
)
def test_what_only_looks_like_a_control_token(text: str) -> None:
    assert judge({"content": f"{PROSE} {text} {PROSE}"}, "stop", None).outcome == "ok"


def test_the_tokenizer_of_the_model_is_asked_about_the_answer_only() -> None:
    asked: list[str] = []

    def leaked(text: str) -> bool:
        asked.append(text)
        return "§end§" in text

    assert judge({"content": f"{PROSE} §end§"}, "stop", None, leaked).outcome == "tag_leak"
    assert judge({"content": f"<think>§end§</think>{PROSE}"}, "stop", None, leaked=leaked).outcome == "ok"
    assert judge({"content": '{"a": 1}'}, "stop", SCHEMA, leaked).parsed == {"a": 1}
    assert asked == [f"{PROSE} §end§", PROSE, '{"a": 1}']


@pytest.mark.parametrize(
    ("text", "value"),
    [
        pytest.param('```json\n{"a": 1}\n```', {"a": 1}, id="fenced"),
        pytest.param('```\n{"a": 1}\n```', {"a": 1}, id="fenced, no language"),
        pytest.param('```JSON\n\n{"a":\n1}```', {"a": 1}, id="fenced, capitals and blank lines"),
        pytest.param('```json\n{"a": "x"}\n```', None, id="fenced, does not fit"),
        pytest.param('Here it is:\n```json\n{"a": 1}\n```', None, id="prose before"),
        pytest.param('```json\n{"a": 1}\n```\nDone.', None, id="prose after"),
        pytest.param('```json\n{"a": 1}\n```\n```json\n{"a": 1}\n```', None, id="two blocks"),
        pytest.param('```json\n{"a": 1}', None, id="fence not closed"),
        pytest.param('```python\n{"a": 1}\n```', None, id="another language"),
        pytest.param('{"a": 1} {"a": 1}', None, id="two values"),
        pytest.param('{"a": NaN}', None, id="not JSON"),
        pytest.param("", None, id="empty"),
    ],
)
def test_parse(text: str, value: Any) -> None:
    assert parse(text, SCHEMA) == value
    if text:
        assert judge({"content": text}, "stop", SCHEMA).outcome == ("wrong_schema" if value is None else "ok")


def test_parse_keeps_fences_inside_of_a_value() -> None:
    assert parse('```json\n"```sh\\nls\\n```"\n```', {"type": "string"}) == "```sh\nls\n```"


def test_parse_tells_schemas_apart() -> None:
    assert parse('{"a": 1}', SCHEMA) == {"a": 1}
    assert parse('{"a": 1}', {**SCHEMA, "required": ["b"]}) is None


def test_a_value_nested_too_deep_for_the_validator_does_not_fit() -> None:
    nested = {"type": "array", "items": {"$ref": "#"}}
    assert parse("[[[]]]", nested) == [[[]]]
    assert parse("[" * 900 + "]" * 900, nested) is None


def test_a_long_text_of_nearly_distinct_words_holds_no_loop() -> None:
    """A short stumble in a long text is no loop; see `loops`."""
    words = " ".join(str(number) for number in range(400))
    assert loops("on and on " * 4) is True
    assert loops(f"{words} {'on and on ' * 4}") is False
    assert loops(f"{words} {'on and on ' * 40}") is True


def test_a_lone_closing_tag_is_a_leak_where_nobody_asked_for_thinking() -> None:
    message = {"content": f"First the tide is measured.\n</think>\n\n{PROSE}"}
    assert judge(message, "stop", None, None, True).outcome == "ok"
    assert judge(message, "stop", None, None, False).outcome == "tag_leak"
