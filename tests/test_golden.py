"""Golden outputs: what each step, rule and kernel gives for fixed input. A change here is a change of results.

Changed on purpose? Raise the VERSION of the family, rule or step named by the failing test (its Spec, or its STEP), so
that stored objects are made again, and write the new values with `pytest tests/test_golden.py --write-golden`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import filters.rules
from dedup import NORMALISATION_VERSION, SHINGLE_VERSION, exact_digest, minhash_signatures
from filters.registry import INPUTS, apply_rule, rules
from filters.training_damage import KINDS, damaged_examples
from flows.steps import audit, generate, ingest, keep, resolve, score, screen, shards, sign, train
from generators.registry import families
from synth import releases, rows
from synth.digest import digest
from synth.store import Store
from tests.conftest import ScriptedServer
from tests.corpora import passage, run_recipe, write_recipe, write_seeds

GOLDEN = Path(__file__).with_name("golden.json")
STEPS = (ingest, screen, score, keep, sign, resolve, shards, train)
DETERMINISTIC = {  # the tables of each step that depend on content alone
    "ingest": ("seeds", "known", "drops"),
    "screen": ("seed_scores", "verdicts", "drops"),
    "generate": ("documents", "drops", "verdicts"),
    "score": ("scores", "spans", "verdicts"),
    "keep": ("drops",),
    "sign": ("signatures",),
    "resolve": ("drops", "verdicts", "index"),
    "shards": ("rows",),
}
NEED_FILES = ("decontamination", "embedding", "quality")  # their own tests have golden values of their own
TEXTS = [
    passage(1),
    "",
    "One.\n\nTwo two two.\n- a\n- a\nÜber 3 café # ...",
    "日本語の文章です。" * 8,
    "loop and loop and " * 30,
]


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory, scripted_server: ScriptedServer) -> dict[str, dict[str, Any]]:
    """Name -> {version, digest} of everything golden, computed now."""
    found: dict[str, dict[str, Any]] = {}
    table = rows.table(
        [
            {"text": text, "generated": text, "seed_text": passage(1), "family": "distill", "license": "MIT"}
            for text in TEXTS
        ],
        INPUTS,
    )
    for spec in rules:
        if spec.name in NEED_FILES:
            continue
        found[f"rule {spec.name}"] = entry(spec.version, rounded(apply_rule(spec, table, spec.Options()).to_pylist()))
    seeds = [(passage(number), f"root{number}", None) for number in range(12)]
    examples = damaged_examples(seeds, KINDS, (2, 3), 0.1, 100)  # a model's bytes are the library's
    found["step train"] = entry(train.STEP.version, examples.to_pylist())
    texts = table["text"]
    versions = [NORMALISATION_VERSION, SHINGLE_VERSION]
    found["kernel signatures"] = entry(versions, minhash_signatures(texts).tolist())
    found["kernel exact_digest"] = entry(NORMALISATION_VERSION, [exact_digest(text) for text in TEXTS])
    found |= pipeline(tmp_path_factory.mktemp("golden"), scripted_server)
    return found


def pipeline(folder: Path, server: ScriptedServer) -> dict[str, dict[str, Any]]:
    """Every step's tables in a small run."""
    near = {f"s{number}": f"{passage(number)} [[scripted: near=5]]" for number in (1, 2)}
    write_seeds(folder / "seeds/a.jsonl", range(8), **near, s3=f"{passage(3)} [[scripted: outcome=refuse]]", s4="short")
    blocks = "\n\n".join(f'[[families]]\nname = "{spec.name}"' for spec in families)
    made, _ = run_recipe(write_recipe(folder, server.base_url, families=blocks), folder / "home")
    versions = {module.STEP.name: module.STEP.version for module in STEPS}
    objects = made[0].objects
    found = {}
    for step, names in DETERMINISTIC.items():
        paths = [path for place in objects[step] for path in (folder / "home" / place).glob("*.parquet")]
        if step == "generate":
            found |= by_family(folder / "home", objects[step])
            continue
        named = [path for path in paths if path.stem.split("-")[0] in names]
        tables = sorted([path.stem, digest(rounded(rows.read_table(path).to_pylist()))] for path in named)
        found[f"step {step}"] = entry(versions[step], tables)
    assert releases.newest(Store(folder / "home"), "small") is not None
    return found


def by_family(home: Path, places: Any) -> dict[str, dict[str, Any]]:
    found: dict[str, list[Any]] = {}
    for place in places:
        for name in DETERMINISTIC["generate"]:
            value = rows.read_table(home / place / f"{name}.parquet").to_pylist()
            found.setdefault(place.split("/")[3], []).append([name, digest(rounded(value))])
    step = generate.step(None, families.get("distill"), 0.0)
    return {
        f"family {family}": entry([*versions(family), step.version], sorted(values)) for family, values in found.items()
    }


def versions(family: str) -> list[int]:
    spec = families.get(family)
    return [spec.version, spec.renderer_version]


def rounded(value: Any) -> Any:
    """Floats to nine digits: the last bits may differ between processors."""
    if isinstance(value, float):
        return round(value, 9)
    if isinstance(value, list):
        return [rounded(inner) for inner in value]
    return {name: rounded(inner) for name, inner in value.items()} if isinstance(value, dict) else value


def entry(version: Any, value: Any) -> dict[str, Any]:
    return {"version": version, "digest": digest(value)}


def test_results_change_only_with_their_version(
    measured: dict[str, dict[str, Any]], request: pytest.FixtureRequest
) -> None:
    if request.config.getoption("--write-golden"):
        GOLDEN.write_text(json.dumps(measured, indent=1, sort_keys=True) + "\n")
    golden = json.loads(GOLDEN.read_text())
    assert golden.keys() == measured.keys()
    silent = [
        name
        for name in golden
        if golden[name]["digest"] != measured[name]["digest"] and golden[name]["version"] == measured[name]["version"]
    ]
    assert silent == [], f"results of {', '.join(silent)} changed: raise VERSION, then --write-golden"
    assert golden == measured, "versions were raised: write the new values with --write-golden"


def test_every_step_family_and_rule_has_a_golden_value() -> None:
    names = set(json.loads(GOLDEN.read_text()))
    assert {f"step {module.STEP.name}" for module in STEPS} <= names
    assert {f"family {spec.name}" for spec in families} <= names
    assert {f"rule {spec.name}" for spec in rules} - names == {f"rule {name}" for name in NEED_FILES}
    assert audit.STEP.version == 1
    assert filters.rules
