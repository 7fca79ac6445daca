"""What or how: every field of a recipe is perturbed, and moves a key or does not. And how wrong recipes are refused."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flows.recipe import Recipe, _check_names, load
from flows.works import Works
from synth.config import parse
from synth.digest import digest, file_sha256
from synth.driver import File
from synth.errors import RecipeError

EVALUATION = Path(__file__).with_name("data") / "evaluation.jsonl"
BASE: dict[str, Any] = {
    "name": "base",
    "sources": [{"id": "texts", "kind": "jsonl", "paths": ["a.jsonl"]}, {"id": "docs", "kind": "python_docs"}],
    "models": {
        "gguf": {"backend": "llama-cpp", "weights": "smollm2-135m-instruct-q4_1"},
        "api": {"backend": "openai", "model": "large", "revision": "r1"},
        "big": {"backend": "vllm", "weights": "someone/large", "revision": "r1"},
        "fake": {"backend": "scripted"},
    },
    "roles": {"writer": {"models": ["gguf", "api", "big", "fake"]}},
    "families": [{"name": "distill"}, {"name": "diverse_qa"}, {"name": "textbook"}],
    "screen": {"more_rules": [{"name": "language"}]},
    "score": {"more_rules": [{"name": "language"}]},
    "pii": {"email": "mask", "card": "drop"},
    "quality": {"damage": ["scramble"]},
    "decontamination": {"benchmarks": [{"name": "pears", "path": str(EVALUATION), "answer": "answer"}]},
}
BASE["decontamination"]["benchmarks"][0]["sha256"] = file_sha256(EVALUATION)

NEITHER = {  # where things are: moved, they change nothing by themselves
    "name",  # whose releases these are
    "sources.*.paths",  # files are known by their bytes
    "decontamination.benchmarks.*.path",
}

OTHER_VALUES = {  # where a value cannot be found by its type alone
    "name": "other",
    "sources.*.id": "renamed",
    "sources.*.kind": None,  # another kind wants other fields; covered by the content digest of files
    "sources.*.paths": ["b.jsonl"],
    "models.gguf.backend": None,  # another backend wants other fields
    "models.api.backend": None,
    "models.fake.backend": None,
    "models.gguf.weights": "lid.176.ftz",
    "models.big.backend": None,
    # Fields of other backends are refused.
    **{
        f"models.{name}.{field}": None
        for name, fields in {
            "gguf": "model revision script dtype tokenizer trust_remote_code",
            "api": "weights script dtype trust_remote_code",
            "big": "model script",
            "fake": "model revision weights dtype tokenizer trust_remote_code",
        }.items()
        for field in fields.split()
    },
    **{f"models.{name}.thinking_switch": "enable_thinking" for name in ("gguf", "api", "big", "fake")},
    **{f"models.{name}.tokenizer": None for name in ("api", "big")},  # a file; see below
    "roles.writer.choose": "cascade",
    "roles.writer.retry": {"empty_answer": ["again"]},
    "models.fake.script": None,  # one script so far
    "sources.*.limit": None,  # for python_docs only, see below
    **dict.fromkeys(("sources.*.separator", "sources.*.split", "sources.*.query")),  # test_sources_kinds
    "dedup.against": None,  # folders that are known by what lies in them: test_dedup_against.py
    "screen.presets": [{"name": "c4"}],
    "keep.presets": [{"name": "c4"}],
    "screen.rules.*.options": None,  # these rules have none
    "score.rules.*.options": None,
    "screen.more_rules.*.name": None,
    "screen.more_rules.*.options": None,
    "score.more_rules.*.name": None,
    "score.more_rules.*.options": None,
    "screen.more_gates": None,  # a list of tables; see below
    "keep.more_gates": None,
    "keep.without": ["too_long"],
    "quality.damage": ["cut"],
    "quality.windows": [1, 2],
    **dict.fromkeys(("quality.training.lr", "quality.training.held_out_share"), 0.2),
    "quality.positives": None,  # files; see test_filter_train_pipeline
    "quality.negatives": None,
    "decontamination.benchmarks.*.path": str(EVALUATION.parent / "../data" / EVALUATION.name),
    "decontamination.benchmarks.*.sha256": None,  # it must be the file's; see test_contamination_pipeline
    **{f"decontamination.benchmarks.*.{column}": "hint" for column in ("prompt", "answer")},
    **{f"decontamination.{texts}": "label" for texts in ("seeds", "documents")},
    "pii.card": "mask",
    "pii.seeds": "none",
    "screen.gates.*.max": None,  # the first gate has a min; max is another gate's
    "keep.gates.*.max": None,
    "screen.gates.*.one_of": None,  # for scores that are words
    "keep.gates.*.one_of": None,
    "roles.writer.models": ["api", "gguf", "big", "fake"],
    "families.*.name": None,  # another family is another set of options
    "screen.rules.*.name": None,
    "score.rules.*.name": None,
    "screen.gates.*.column": "characters",
    "keep.gates.*.column": "characters",
    "screen.gates.*.evidence": "language",
    "keep.gates.*.evidence": "language",
    "families.*.file": None,  # a file that defines a family of this name; see test_user_family
    "families.*.route": {"min": 0.5},
    "families.*.kept_tokens_per_seed": None,  # acts with a weight; see test_routing
    "families.*.options.select": "shortest_valid",
    "families.*.options.verify": None,  # asks roles that the base recipe lacks; see test_routing
    "shards.tokenizer": "smollm2-135m-instruct-q4_1",
    "run.models.gguf.gpu": "h100-80gb",
    "dedup.boilerplate_share": 0.2,
    "run.dedup.runner": "processes",
    "dedup.max_per_template": {"distill": 3},  # a family of the recipe
    "dedup.minhash.permutations": None,  # must be bands x rows
    "dedup.minhash.bands": None,
    "dedup.minhash.rows": None,
    "run.notify.url": "https://example.com/hook",
    "run.notify.on": ["failed"],
}


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths to everything in a merged recipe that is not itself a table or a list of tables."""
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from leaves(inner, (*path, name))
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for at, inner in enumerate(value[:1]):
            yield from leaves(inner, (*path, at))
    else:
        yield path


def pattern(path: tuple[Any, ...]) -> str:
    return ".".join("*" if isinstance(part, int) else part for part in path)


def merged() -> dict[str, Any]:
    """The base recipe with every default written out, family options and a model's run settings included."""
    from generators.registry import families

    base = copy.deepcopy(BASE)
    base["run"] = {"models": {"gguf": {}}}
    value = parse(Recipe, base).model_dump(mode="json")
    for family in value["families"]:
        family["options"] = families.get(family["name"]).Options().content()
    return value


def altered(value: Any, at: str) -> Any:
    """Another value of the same kind; several are tried, the first that is valid is taken."""
    if at in OTHER_VALUES:
        return [OTHER_VALUES[at]]
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [value + 1, value - 1]
    if isinstance(value, float):
        return [value * 0.9 + 0.01, value / 2]
    if isinstance(value, str):
        return [value + "x", "keep", "drop"]
    if value is None:
        return ["x", 3, 0.5, ["x"]]
    return [["x"], {"x": 1}, ["en"]]


def perturbed(path: tuple[Any, ...]) -> Recipe | None:
    base = merged()
    parent: Any = base
    for part in path[:-1]:
        parent = parent[part]
    for candidate in altered(parent[path[-1]], pattern(path)):
        if candidate is None:
            return None
        value = copy.deepcopy(base)
        at: Any = value
        for part in path[:-1]:
            at = at[part]
        at[path[-1]] = candidate
        try:
            recipe = parse(Recipe, value)
            Works(recipe)
        except RecipeError:
            continue
        return recipe
    raise AssertionError(f"no valid other value is known for {pattern(path)}: add one to OTHER_VALUES")


def keys(recipe: Recipe) -> dict[str, str]:
    """The policy, and the keys of the steps that the policy leaves out: ingest and audit."""
    works = Works(recipe)
    files = {f"source/{source.id}/0": File("/x", "0" * 64, 1) for source in recipe.sources}
    return {"policy": works.policy(), "ingest": works.ingest(files, []).key, "audit": works.audit([], [], []).key}


PATHS = sorted(leaves(merged()), key=str)


@pytest.mark.parametrize("path", PATHS, ids=pattern)
def test_each_field_is_what_or_how(path: tuple[Any, ...]) -> None:
    recipe = perturbed(path)
    if recipe is None:
        pytest.skip("cannot be changed alone")
    same = keys(recipe) == keys(parse(Recipe, merged()))
    assert same == (path[0] == "run" or pattern(path) in NEITHER)


def test_the_table_of_fields_is_complete() -> None:
    """A field added anywhere appears among the perturbed ones."""
    tops = {path[0] for path in PATHS}
    assert tops == set(Recipe.model_fields)
    assert len(PATHS) > 60


def test_what_cannot_be_changed_alone_is_still_hashed() -> None:
    base = keys(parse(Recipe, merged()))
    for change in (
        {"families": [{"name": "distill"}]},
        {"roles": {"writer": {"models": ["api"]}}},
        {"dedup": {"minhash": {"permutations": 128, "bands": 16, "rows": 8}}},
        {"screen": {"more_rules": []}},
        {"keep": {"gates": [{"column": "words", "max": 90, "reason": "long"}]}},
        {"keep": {"more_gates": [{"column": "words", "max": 90, "reason": "long"}]}},
        {"screen": {"more_gates": [{"column": "words", "max": 90, "reason": "long"}]}},
        {"keep": {"gates": [{"column": "language", "one_of": ["en"], "reason": "language"}]}},
    ):
        assert keys(parse(Recipe, merged() | change))["policy"] != base["policy"], change


def test_a_recipe_key_does_not_depend_on_the_order_of_tables() -> None:
    swapped = merged()
    swapped["families"] = swapped["families"][::-1]
    assert Works(parse(Recipe, swapped)).policy() == Works(parse(Recipe, merged())).policy()


WRONG = [
    pytest.param({"familes": []}, r"familes: unknown key; did you mean 'families'", id="unknown key"),
    pytest.param(
        {"shards": {"shard_byte": 1}}, r"shards\.shard_byte: unknown key; did you mean 'shard_bytes'", id="nested key"
    ),
    pytest.param(
        {"ingest": {"partition_rows": "many"}}, r"ingest\.partition_rows: given 'many'; allowed: .*integer", id="type"
    ),
    pytest.param(
        {"ingest": {"partition_rows": 0}}, r"ingest\.partition_rows: given 0; allowed: .*greater than", id="range"
    ),
    pytest.param({"sources": []}, r"sources: given .*; allowed: .*at least 1", id="no sources"),
    pytest.param({"name": "../up"}, r"name: given '\.\./up'", id="a name that is a path"),
    pytest.param({"name": None}, r"name: given None", id="no name"),
    pytest.param(
        {"roles": {"writer": {"models": ["gguff"]}}},
        r"(?s)roles\.writer\.models: no such model; did you mean 'gguf'",
        id="m",
    ),
    pytest.param(
        {"run": {"models": {"ap": {}}}}, r"run\.models: no such model; did you mean 'api'", id="price of no model"
    ),
    pytest.param({"families": [{"name": "destill"}]}, r"unknown family 'destill'; did you mean 'distill'", id="family"),
    pytest.param(
        {"families": [{"name": "distill"}] * 2}, r"(?s)families\.name: given twice.*distill", id="family twice"
    ),
    pytest.param(
        {"families": [{"name": "distill", "options": {"max_token": 3}}]},
        r"options\.max_token: unknown key",
        id="option",
    ),
    pytest.param(
        {"score": {"rules": [{"name": "statistic"}]}}, r"unknown rule 'statistic'; did you mean 'statistics'", id="rule"
    ),
    pytest.param(
        {"keep": {"gates": [{"column": "word", "min": 3, "reason": "short"}]}},
        r"did you mean 'words'",
        id="gate on no score",
    ),
    pytest.param(
        {"keep": {"without": ["too_shrt"]}}, r"did you mean 'too_short'", id="without a gate that is not there"
    ),
    pytest.param({"decontamination": {"benchmark": []}}, r"did you mean 'benchmarks'", id="no key of decontamination"),
    pytest.param(
        {"decontamination": {"benchmarks": [{"name": "pears", "path": str(EVALUATION)}]}},
        r'has no sha256.*(?s:.)*write sha256 = "[0-9a-f]{64}"',
        id="an evaluation set without its digest",
    ),
    pytest.param({"pii": {"emial": "mask"}}, r"pii\.emial: unknown key; did you mean 'email'", id="no kind of pii"),
    pytest.param({"pii": {"email": "hide"}}, r"(?s)pii\.email: given 'hide'.*'mask'", id="no way to treat pii"),
    pytest.param({"ingest": {"max_seeds": 9}}, r"ingest\.max_seeds: unknown key", id="a preview's own setting"),
    pytest.param(
        {"models": {"gguf": {"backend": "openai", "model": "x"}}},
        r"models\.gguf: .*backend 'openai' needs revision",
        id="revision",
    ),
    pytest.param(
        {"models": {"gguf": {"backend": "lama"}}},
        r"models\.gguf\.backend: given 'lama'; allowed: .*'llama-cpp'",
        id="b",
    ),
]


@pytest.mark.parametrize(("change", "message"), WRONG)
def test_wrong_recipes_are_refused_in_the_users_words(change: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message) as caught:
        recipe = parse(Recipe, BASE | change)
        _check_names(recipe)
        Works(recipe)
    assert "pydantic" not in str(caught.value)


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        pytest.param("run.workers", r"--set wants key\.path=value", id="no value"),
        pytest.param("run.workrs=2", r"run\.workrs: unknown key; did you mean 'workers'", id="unknown key"),
        pytest.param("families.destill.share=0.5", r"no entry 'destill'; did you mean 'distill'", id="no such entry"),
    ],
)
def test_set_is_checked(tmp_path: Path, assignment: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        load(quickstart(tmp_path), [assignment])


def test_evaluation_sets_lie_beside_the_recipe(tmp_path: Path) -> None:
    (tmp_path / "sets").mkdir()
    (tmp_path / "sets/eval.jsonl").write_text(
        '{"question": "How many eggs are there in a dozen and a half?", "answer": "18"}\n'
    )
    sha256 = hashlib.sha256((tmp_path / "sets/eval.jsonl").read_bytes()).hexdigest()
    one = f'{{ name = "eval", path = "sets/eval.jsonl", sha256 = "{sha256}", answer = "answer" }}'
    path = quickstart(tmp_path)
    rule = f'score.more_rules=[{{name = "decontamination", options = {{ benchmarks = [{one}] }}}}]'
    Works(load(path, [rule, "keep.more_gates=[]"]))
    with pytest.raises(RecipeError, match="eval"):
        Works(load(path, [rule.replace("eval.jsonl", "evil.jsonl"), "keep.more_gates=[]"]))


def quickstart(tmp_path: Path) -> Path:
    path = tmp_path / "quickstart.toml"
    path.write_text((Path(__file__).parent.parent / "flows/recipes/quickstart.toml").read_text())
    return path


def test_set_reaches_into_lists_and_tables(tmp_path: Path) -> None:
    assignments = ["families.distill.share=0.25", "run.workers=3", "roles.writer.sampling.temperature=0.1"]
    recipe = load(quickstart(tmp_path), assignments)
    assert next(family.share for family in recipe.families if family.name == "distill") == 0.25
    assert (recipe.run.workers, recipe.roles["writer"].sampling.temperature) == (3, 0.1)


def test_a_missing_recipe_and_broken_toml(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no such recipe"):
        load(tmp_path / "none.toml")
    (tmp_path / "x.toml").write_text("name = ")
    with pytest.raises(RecipeError, match="is not valid TOML"):
        load(tmp_path / "x.toml")


def test_digests_are_canonical() -> None:
    assert digest({"a": 1, "b": [1.5, None]}) == digest({"b": [1.5, None], "a": 1})
