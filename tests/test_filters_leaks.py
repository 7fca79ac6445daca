"""The rule `leaks`: planted leaks are found and shown, honest text is left alone, hostile text costs no more than its length."""

from __future__ import annotations

import importlib.resources
import json
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import filters.rules  # noqa: F401  adds the bundled rules
from filters.leaks import EVIDENCE_PHRASES, KINDS
from filters.registry import apply_rule, rules
from synth.sources_python_docs import topic_passages, topics_file
from tests.gsm8k import problems

PASSAGES = [
    json.loads(line)["text"]
    for line in importlib.resources.files("synth.data").joinpath("passages.jsonl").read_text("utf-8").splitlines()
]


def leaks(generated: list[str | None], seeds: list[str | None] | None = None) -> list[dict[str, Any]]:
    spec = rules.get("leaks")
    columns = {"generated": generated, "seed_text": seeds or [None] * len(generated)}
    table = pa.table({name: pa.array(texts, pa.large_string()) for name, texts in columns.items()})
    return apply_rule(spec, table, spec.Options()).to_pylist()


SELF_NAMES = """
As an AI language model, I have never seen a glacier.
as a large language model trained on many books, my answer rests on statistics.
As an artificial intelligence, I do not sleep.
As an AI assistant developed by a small company, I follow rules.
As a language model, I only see words.
I am Qwen, and I will explain photosynthesis.
I'm ChatGPT. Tides are caused by the moon.
My name is SmolLM, made for small machines.
Hello! I am DeepSeek-R1 and I like proofs.
I am Claude, an AI model.
I'm Gemini, a large multimodal model from a search company.
I am Llama, a helpful AI.
My name is Mistral and, as an AI, I cannot taste bread.
I'm Gemma, trained by a team in London.
I was created by OpenAI to be of use.
I'm developed by Alibaba Cloud.
I was trained by Meta on public text.
I have been fine-tuned by Hugging Face for chat.
Nothing in my training data speaks of that village.
My knowledge cutoff is in the spring.
That lies after my training cut-off.
I don't have personal opinions about bridges.
I do not have any personal feelings, but bees are useful.
I do not have access to real-time data on the weather.
I'm just an AI, so I cannot plant trees.
I am a large language model. The heart has four chambers.
My programming doesn’t allow guesses about the river's length.
I am only a virtual assistant without a garden.
""".strip().splitlines()

CHAT_FRAGMENTS = """
Sure, here is the lesson about magnets.
Sure! Here's a short text on volcanoes.
Certainly! Here are two questions.
Of course. I'd be happy to explain the water cycle.
Okay, I'll rewrite it: bees dance.
Absolutely! Let me help.
Answer: Sure, here is what the numbers say.
**Certainly, here is** the timetable of the tides.
Here's the rewritten passage: the wall was built of turf.
Here is a paraphrased version of what was said about salt.
Here is the summary of the text: iron rusts.
Below the hill lies a lake. Let me know if you'd like any changes.
Let me know if you need further details about the loom.
Let me know if there's anything else.
The moon has no air. I hope this helps!
I hope this explanation helps you see why ships float.
I hope that was helpful.
Feel free to ask if you want to know more about moss.
Is there anything else I can help with today?
As requested, here is the part about the canal.
As per your request, the names were left as they are.
Note: I have kept all the dates.
(Note that I've simplified the words about enzymes.)
<|im_start|>assistant
[INST] Tell me about clay. [/INST]
### Instruction: describe the harbour
### Response:
<think> The lake is deep. </think>
The harvest was good.</s>
Sand is made of quartz.<end_of_turn>
System: You are a patient teacher.
Thank you for providing the text about owls.
I apologize for the confusion; copper melts earlier.
Great question! Glass is made of sand.
""".strip().splitlines()
CHAT_FRAGMENTS += [
    "User: why is the sky blue?\nAssistant: Because of scattering.",
    "Human: how old is the oak?\n\nAI: Some four hundred years.",
    "**User:** what is tar?\n**Assistant:** A thick liquid.",
    "Assistant: Peat is made of dead moss.",
    "Tin melts at 232 degrees.\n\nHuman:",
    "Salt dissolves in water.\nUser:",
]

META_TALK = """
The user wants me to explain how locks work.
Okay, the user asked me for three facts on tin.
The user is asking for a summary about the mill.
The user has provided a text on wool.
So the user's request is to shorten it.
The user says: make it simple.
As the passage above says, rain fell for nine days.
The text above names four rivers.
The above passage lists the kings.
The given passage is about a storm.
The provided excerpt ends in 1820.
According to the provided text, otters sleep afloat.
In the given text there are two bridges.
The given text describes how paper is made.
The original article does not mention the price.
In this rewrite, the dates were kept.
For my paraphrase the order was changed.
In this rewritten version the story starts at sea.
The system prompt forbids lists.
My instructions say that names must stay.
According to my guidelines, lists are to be avoided.
I need to write a clear paragraph about snow.
I should rewrite the passage in plain words.
I'll write a short dialogue on gravity.
I will now summarize the text.
I was asked to produce three questions.
We need to write one question about each king.
Let's think step by step.
Let’s think about how to phrase the end.
Hmm, let me think. The mill had two wheels.
The instructions say to write a short summary.
The prompt asks for a story.
I must keep it under 200 words.
""".strip().splitlines()

HONEST = """
As an AI accelerator, the chip is cheap.
She worked as a model in Paris and I met her there.
It was used as a language model for speech recognition in the nineties.
I am Claude Monet's gardener.
"I am an AI," said the robot, and the children laughed.
My name is Gemma, and I keep bees in Kent.
I'm a Gemini, my sister is a Leo.
I was made by my grandmother to wash the floor.
The bridge was developed by a firm in Leeds.
My training as a nurse took three years.
I do not have personal experience of war.
I have no opinion on the matter, wrote the mayor.
He was trained by Google engineers to repair servers.
Sure, the road is longer, but it is safer.
Of course, a larger wheel turns more slowly.
Certainly the first printers knew this trick.
Here is the rule: multiply before you add.
Here are two examples of weak acids.
Here is a summary of the main rules of chess:
Here is the simplified expression, which equals 12.
"Let me know if you need anything else," the waiter said.
Let me know if the train is late.
Shopkeeper: Is there anything else you would like?
Clerk: Let me know if you need more details about the ticket.
I hope this letter finds you well.
I hope that the rain will stop before noon.
Visitors should feel free to walk on the grass.
As requested by the council, the bell was moved.
The bytes are sent as requested, then the socket is closed.
Note: I found the fossil in the upper layer.
Note that the answer has to be rounded.
User: the name of the account under which the job runs.
Sure enough, here is where the river bends.
If the user wants to quit, the program asks for confirmation.
The user asks for a file, and the server sends it.
When the user's request is complete, the connection is closed.
The user provides a name and a password.
Return True if the given text matches the pattern.
The text is wrapped at the given width; the original text is kept.
In this version of the story the fox escapes.
The system prompts for a password.
"My instructions are to sail at dawn," said the captain.
I need to write to my aunt about the harvest.
Student: I need to write a summary of chapter two.
I have to write three letters today.
We must produce a text file for each town.
Let's think about the pizza: it has eight slices.
Teacher: Let's think step by step about what the farmer needs.
The instructions say to add two eggs.
The prompt appears when the shell is ready.
Above the passage hung a lamp.
In the above table the third column is the sum.
The paragraphs were rewritten by the author in 1920.
<s>The old price</s> was three dollars.
If a < b | c > d, the loop ends.
## Response of the immune system
I think, therefore I am.
The Response: how the town recovered
""".strip().splitlines()
HONEST += [
    "User: the name to log in with.\nHuman: the name that is shown.",
    "Student: Why does ice float?\nTeacher: Because it is lighter than water.",
    "Assistant: The doctor will see you now.\nPatient: Thank you.",
    "Options:\n\nUser: the account under which the job runs.\nGroup: the group's name.",
]
PLANTED = {"self_names": SELF_NAMES, "chat_fragments": CHAT_FRAGMENTS, "meta_talk": META_TALK}


def test_the_tables_are_as_long_as_they_claim() -> None:
    assert all(len(set(lines)) >= 25 for lines in PLANTED.values())
    assert len(set(HONEST)) >= 40


@pytest.mark.parametrize("kind", KINDS)
def test_planted_leaks_are_found_under_their_kind(kind: str) -> None:
    lines = PLANTED[kind]
    missed = [line for line, row in zip(lines, leaks([*lines]), strict=True) if not row[kind] or not row["leaked"]]
    assert missed == []


@pytest.mark.parametrize("kind", KINDS)
def test_planted_leaks_are_found_after_honest_paragraphs(kind: str) -> None:
    """But for an assistant's mark, which tells a chat from a play only where nobody else speaks and the text begins with it."""
    texts = [f"{PASSAGES[at]}\n\n{line}" for at, line in enumerate(PLANTED[kind])]
    missed = [text for text, row in zip(texts, leaks([*texts]), strict=True) if not row[kind]]
    assert [text for text in missed if "Assistant: Peat" not in text] == []


def test_honest_lines_are_left_alone() -> None:
    assert {line: row["leaked"] for line, row in zip(HONEST, leaks([*HONEST]), strict=True) if row["leaks_found"]} == {}


def test_honest_corpora_are_left_alone() -> None:
    texts = [*PASSAGES, *(text for _, text in topic_passages(topics_file()))]
    assert [row["leaked"] for row in leaks([*texts]) if row["leaks_found"]] == []


def test_problems_and_solutions_are_left_alone() -> None:
    texts = [text for problem in problems("test") for text in (problem.question, problem.solution)]
    assert [row["leaked"] for row in leaks([*texts]) if row["leaks_found"]] == []


@pytest.mark.parametrize("kind", KINDS)
def test_what_stands_in_the_seed_is_no_leak(kind: str) -> None:
    lines = PLANTED[kind]
    assert [row["leaked"] for row in leaks([*lines], [line.upper() for line in lines])] == [None] * len(lines)
    assert all(row["leaks_found"] for row in leaks([*lines], [*PASSAGES[: len(lines)]]))


def test_what_a_person_says_in_the_seed_may_be_said() -> None:
    seed = 'The waiter smiled. "Let me know if you need anything else," he said.'
    assert leaks(["Let me know if you need anything else."], [seed])[0]["leaks_found"] == 0


def test_counts_and_evidence() -> None:
    text = "Sure, here is the text.\nAs an AI language model, I like it. I hope this helps!\nI hope this helps!"
    assert leaks([text, text, "", None, " \n"], ["I hope this helps, he said.", None, None, None, None]) == [
        row(1, 1, "as an ai language model, i; sure, here is"),
        row(1, 3, "as an ai language model, i; sure, here is; i hope this helps"),
        row(0, 0, None, checked=0),
        row(0, 0, None, checked=0),
        row(0, 0, None, checked=0),
    ]


def row(self_names: int, chat_fragments: int, leaked: str | None, checked: int = 1) -> dict[str, Any]:
    return {
        "self_names": self_names,
        "chat_fragments": chat_fragments,
        "meta_talk": 0,
        "leaks_checked": checked,
        "leaks_found": self_names + chat_fragments,
        "leaked": leaked,
    }


def test_a_phrase_may_run_over_a_line_break_and_odd_blanks() -> None:
    (found,) = leaks(["Rivers meander. I hope\nthis \t helps! As an\u00a0AI  language\nmodel, I cannot swim."])
    assert (found["self_names"], found["chat_fragments"]) == (1, 1)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([*SELF_NAMES, *META_TALK]), st.sampled_from([str.upper, str.title, str.lower]), st.integers(0, 9)
)
def test_case_and_place_hide_nothing(line: str, case: Any, at: int) -> None:
    before = ". ".join(PASSAGES[0].split(". ")[:at]) + "."
    (found,) = leaks([f"{before}\n{case(line)}\n{PASSAGES[1]}"])
    assert found["leaks_found"]


def test_the_evidence_is_bounded_and_the_count_is_not() -> None:
    (found,) = leaks(["\n".join(f"<|token_{number}|>" for number in range(1000))])
    assert found["chat_fragments"] == 1000
    assert len(found["leaked"].split("; ")) == EVIDENCE_PHRASES


@pytest.mark.parametrize(
    "piece",
    ["a", "1", "(", "#", " ", "\n", "* ", "\n ", "User:\nAssistant:\n", "<|", "i am ", "as an ai ", "i will write the a-",
     "the above ", '" i hope ', "Sure, ", "let me know if you ", "**", "a:", "</s> ", "the user "],
)  # fmt: skip
def test_a_hostile_megabyte_ends(piece: str) -> None:
    text = piece * (2**20 // len(piece))
    (found,) = leaks([text], [text])
    assert found["leaks_found"] == 0
    (found,) = leaks([text + "\nAs an AI language model, I stop here."], ["."])
    assert found["self_names"]
