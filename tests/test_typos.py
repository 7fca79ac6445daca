"""A slip of the pen anywhere in a recipe is answered with the word that was meant, and where it belongs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from flows.cli import main
from flows.memory import memory_of
from flows.recipe import load
from flows.works import Works
from synth.errors import RecipeError

RECIPE = """
name = "small"

[[sources]]
id = "texts"
kind = "jsonl"
paths = ["seeds/*.jsonl"]
license = "CC0-1.0"
columns = { id = "id" }

[models.big]
backend = "vllm"
weights = "Qwen/Qwen3-8B"
revision = "main"

[roles.writer]
models = ["big"]
sampling = { temperature = 0.5 }
retry = { repetition = ["again"] }

[[families]]
name = "distill"
route = { column = "quality", min = 0.3 }
options = { max_tokens = 100 }

[[families]]
name = "diverse_qa"

[screen]
more_rules = [{ name = "language" }]
more_gates = [{ column = "language", one_of = ["en"], reason = "not_english" }]

[keep]
without = ["invented_name"]
presets = [{ name = "c4" }]

[shards]
validation_share = 0.05

[run]
workers = 2

[run.models.big]
gpu = "h100-80gb"
in_flight = 16

[run.budget]
max_usd = 5.0
"""

TYPOS = [  # what is written in place of what, and how it is answered
    ("[[sources]]", "[[source]]", r"source: unknown key; did you mean 'sources'\?"),
    ('kind = "jsonl"', 'kind = "json"', r"sources\.texts\.kind: given 'json'; allowed: .*did you mean 'jsonl'\?"),
    (
        'paths = ["seeds/*.jsonl"]',
        'path = ["seeds/*.jsonl"]',
        r"sources\.texts\.path: unknown key; did you mean 'paths'\?",
    ),
    ('license = "CC0-1.0"', 'licence = "CC0-1.0"', r"sources\.texts\.licence: unknown key; did you mean 'license'\?"),
    ('columns = { id = "id" }', 'columns = { txt = "body" }', r"columns\.txt: unknown key; did you mean 'text'\?"),
    (
        'columns = { id = "id" }',
        'text = "body"',
        r"texts\.text: unknown key; did you mean 'sources\.NAME\.columns\.text'\?",
    ),
    ("[models.big]", "[model.big]", r"model: unknown key; did you mean 'models'\?"),
    ('backend = "vllm"', 'backend = "vlm"', r"models\.big\.backend: given 'vlm'; allowed: .*did you mean 'vllm'\?"),
    ('revision = "main"', 'revison = "main"', r"models\.big\.revison: unknown key; did you mean 'revision'\?"),
    (
        'revision = "main"',
        'revision = "main"\ncontext = 9',
        r"models\.big\.context: unknown key; did you mean 'context_tokens'\?",
    ),
    (
        'revision = "main"',
        'revision = "main"\ngpus = 1',
        r"models\.big\.gpus: unknown key; did you mean 'run\.models\.NAME\.gpus'\?",
    ),
    ('models = ["big"]', 'models = ["bgi"]', r"roles\.writer\.models: no such model; did you mean 'big'\?"),
    ('models = ["big"]', 'models = "big"', r"roles\.writer\.models: given 'big'; allowed: a list"),
    ('models = ["big"]', 'models = ["big"]\nmax_tokens = 9', r"did you mean 'roles\.NAME\.sampling\.max_tokens'\?"),
    (
        "temperature = 0.5",
        "temprature = 0.5",
        r"roles\.writer\.sampling\.temprature: unknown key; did you mean 'temperature'\?",
    ),
    (
        "temperature = 0.5",
        'temperature = "0.5"',
        r"sampling\.temperature: given '0\.5'; allowed: a number, without quotes",
    ),
    ("repetition = [", "repetitions = [", r"retry\.repetitions: .*did you mean 'repetition'\?"),
    ('["again"]', '["agian"]', r"retry\.repetition\.0: given 'agian'; .*did you mean 'again'\?"),
    ('[[families]]\nname = "distill"', '[families]\nname = "distill"', r"(?s)is not valid TOML.*given:   line"),
    ('name = "distill"', 'name = "destill"', r"families\.destill: unknown family 'destill'; did you mean 'distill'\?"),
    (
        'name = "distill"',
        'name = "distill"\ntemperature = 0.3',
        r"did you mean 'families\.NAME\.options\.temperature'\?",
    ),
    (
        'name = "distill"',
        'name = "distill"\nShare = 0.3',
        r"families\.distill\.Share: unknown key; did you mean 'share'\?",
    ),
    ('column = "quality", min', 'column = "qualty", min', r"families\.distill\.route: .*did you mean 'quality'\?"),
    (
        "max_tokens = 100",
        "maxTokens = 100",
        r"families\.distill\.options\.maxTokens: unknown key; did you mean 'max_tokens'\?",
    ),
    ("max_tokens = 100", "weight = 0.5", r"options\.weight: unknown key; did you mean 'families\.NAME\.weight'\?"),
    (
        '{ name = "language" }',
        '{ name = "langauge" }',
        r"screen\.rules\.langauge: unknown rule .*did you mean 'language'\?",
    ),
    ('column = "language"', 'column = "lang"', r"looks at 'lang', which no rule writes; did you mean 'language'\?"),
    ("one_of = [", "oneof = [", r"screen\.more_gates\.language\.oneof: unknown key; did you mean 'one_of'\?"),
    ('without = ["invented_name"]', 'without = ["invented_nam"]', r"keep\.without: .*did you mean 'invented_name'\?"),
    ('[{ name = "c4" }]', '[{ name = "gopher_qualty" }]', r"did you mean 'gopher_quality'\?"),
    ("validation_share", "validation", r"shards\.validation: unknown key; did you mean 'validation_share'\?"),
    ("workers = 2", "worker = 2", r"run\.worker: unknown key; did you mean 'workers'\?"),
    ("workers = 2", "workers = 2.5", r"run\.workers: given 2\.5; allowed: a whole number"),
    ("workers = 2", "max_usd = 2.5", r"run\.max_usd: unknown key; did you mean 'run\.budget\.max_usd'\?"),
    ('name = "small"', 'name = "small"\nworkers = 2', r"workers: unknown key; did you mean 'run\.workers'\?"),
    ('name = "small"', 'name = "small"\nmax_worker = 2', r"max_worker: unknown key; known keys: audit, "),
    ("[run.models.big]", "[run.models.bgi]", r"run\.models: no such model; did you mean 'big'\?"),
    ("in_flight = 16", "in_fligth = 16", r"run\.models\.big\.in_fligth: unknown key; did you mean 'in_flight'\?"),
    (
        'gpu = "h100-80gb"',
        'gpu = "h100"',
        r"run\.models\.big\.gpu: given 'h100'; allowed: .*did you mean 'h100-80gb'\?",
    ),
    ("[run.budget]\nmax_usd = 5.0", "[budget]\nmax_usd = 5.0", r"budget: unknown key; did you mean 'run\.budget'\?"),
    ('name = "small"', 'name = "small"\naudit = 3', r"audit: given 3; allowed: a table"),
    ("workers = 2", "workers = ", r"(?s)is not valid TOML: .*line \d+.*given:   line \d+: workers ="),
]


def refusal(path: Path, *assignments: str) -> str:
    with pytest.raises(RecipeError) as caught:
        recipe = load(path, assignments)
        Works(recipe)
        memory_of(recipe)
    return str(caught.value)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "recipe.toml").write_text(RECIPE)
    return tmp_path / "recipe.toml"


def test_the_recipe_without_a_slip_is_right(path: Path) -> None:
    Works(load(path))


@pytest.mark.parametrize(("right", "wrong", "answer"), TYPOS, ids=[wrong.split("\n")[-1] for _, wrong, _ in TYPOS])
def test_a_slip_is_answered_with_what_was_meant(path: Path, right: str, wrong: str, answer: str) -> None:
    assert right in RECIPE
    path.write_text(RECIPE.replace(right, wrong, 1))
    message = refusal(path)
    assert re.search(answer, message), message
    assert "pydantic" not in message and "Config" not in message


@pytest.mark.parametrize(
    ("assignment", "answer"),
    [
        ("run.worker=3", "did you mean 'workers'?"),
        ("rnu.workers=3", "did you mean 'run'?"),
        ("workers=3", "did you mean 'run.workers'?"),
        ("models.bgi.context_tokens=4096", "did you mean 'models.big'?"),
        ("families.destill.share=0.5", "did you mean 'distill'?"),
        ("families.distill.optoins.max_tokens=5", "did you mean 'options'?"),
        ("sources.text.license=MIT", "did you mean 'texts'?"),
        ("run.workers.most=3", "is a value, not a table"),
        ("run.workers", "--set wants key.path=value"),
    ],
)
def test_set_is_answered_too(path: Path, assignment: str, answer: str) -> None:
    assert answer in refusal(path, assignment)


def test_the_command_line_says_it_without_a_traceback(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(path), "--set", "run.worker=3"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("synth: run.worker: unknown key") and "Traceback" not in said


def test_several_faults_are_told_together(path: Path) -> None:
    path.write_text(RECIPE.replace("workers", "worker").replace("validation_share", "validaton_share"))
    assert refusal(path).count("did you mean") == 2


def test_a_bundled_recipe_is_named_where_it_was_meant(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "quikstart"]) == 2
    assert "did you mean 'quickstart'" in capsys.readouterr().err


def test_a_wrong_entry_is_told_once_and_as_it_was_written(path: Path) -> None:
    """Pydantic also finds the list too short, when its only entry is wrong, and shows tuples."""
    path.write_text(
        RECIPE.replace('kind = "jsonl"', 'kind = "passages"').replace(
            'license = "CC0-1.0"\ncolumns = { id = "id" }', ""
        )
    )
    assert refusal(path) == (
        "sources.texts.paths: given ['seeds/*.jsonl']; allowed: no paths: kind 'passages' has a file of its own"
    )
