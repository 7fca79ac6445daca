"""Who works on which seeds: routes by quality, shares, weights; the same for any order, and no seed moves without need."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from flows.families import rivals
from flows.recipe import load
from flows.steps.generate import FamilyConfig
from flows.steps.routing import Rival, Route, chosen
from flows.works import Works
from synth.config import parse
from synth.errors import RecipeError
from synth.rows import Seed
from tests.corpora import write_recipe

SEEDS = [Seed(f"seed-{at}", "s", f"seed-{at}", 0, "text", quality=at / 10_000) for at in range(10_000)]
LOW = Route(below=0.3)
HIGH = Route(min=0.3)


def weights(**given: float) -> tuple[Rival, ...]:
    return tuple(Rival(family=name, weight=weight, route=None) for name, weight in sorted(given.items()))


def divided(given: tuple[Rival, ...]) -> dict[str, set[str]]:
    return {one.family: {seed.id for seed in chosen(one.family, SEEDS, {}, 1.0, one.route, given)} for one in given}


def test_each_seed_goes_to_one_family_in_proportion_to_the_weights() -> None:
    found = divided(weights(a=5, b=3, c=2))
    assert sum(map(len, found.values())) == len(set().union(*found.values())) == len(SEEDS)
    shares = {family: len(ids) / len(SEEDS) for family, ids in found.items()}
    assert shares == pytest.approx({"a": 0.5, "b": 0.3, "c": 0.2}, abs=0.02)


def test_a_changed_weight_moves_only_what_it_must() -> None:
    before, after = divided(weights(a=5, b=3, c=2)), divided(weights(a=5, b=3, c=4))
    assert after["a"] <= before["a"] and after["b"] <= before["b"] and before["c"] <= after["c"]


def test_a_new_family_takes_seeds_and_gives_none_back() -> None:
    before, after = divided(weights(a=5, b=3)), divided(weights(a=5, b=3, c=2))
    assert after["a"] < before["a"] and after["b"] < before["b"]


def test_a_route_takes_the_seeds_of_its_quality_and_the_weights_divide_those() -> None:
    given = (
        Rival(family="clean", weight=1, route=LOW),
        Rival(family="qa", weight=1, route=HIGH),
        Rival(family="table", weight=3, route=HIGH),
    )
    found = divided(given)
    assert found["clean"] == {seed.id for seed in SEEDS if (seed.quality or 0) < 0.3}
    assert len(found["table"]) / len(found["qa"]) == pytest.approx(3, abs=0.35)
    assert sum(map(len, found.values())) == len(SEEDS)


@pytest.mark.parametrize(
    ("route", "score", "takes"),
    [
        ({"min": 0.5}, 0.5, True),
        ({"min": 0.5}, 0.49, False),
        ({"below": 0.5}, 0.5, False),
        ({"min": 0.1, "below": 0.5}, 0.3, True),
        ({"min": 0.1}, None, False),
        ({"min": 0.1, "missing": "take"}, None, True),
        ({"min": 0.1}, float("nan"), False),
    ],
)
def test_bounds(route: dict[str, Any], score: float | None, takes: bool) -> None:
    assert parse(Route, route).takes(score) is takes


def test_a_route_may_look_at_a_score_of_the_screen() -> None:
    scores = {"words": {seed.id: float(at) for at, seed in enumerate(SEEDS)}}
    taken = chosen("a", SEEDS, scores, 1.0, Route(column="words", min=9_990), ())
    assert [seed.id for seed in taken] == [seed.id for seed in SEEDS[9_990:]]


def test_weights_are_shares_of_kept_tokens_so_what_a_seed_yields_counts() -> None:
    found = rivals(
        [
            FamilyConfig(name="textbook", weight=0.5, kept_tokens_per_seed=200.0),
            FamilyConfig(name="distill", weight=0.5, kept_tokens_per_seed=50.0),
            FamilyConfig(name="faq"),
        ]
    )
    assert [(one.family, one.weight) for one in found] == [("distill", 0.01), ("textbook", 0.0025)]


# --- in a recipe


def works(folder: Path, families: str, **blocks: str) -> Works:
    return Works(load(write_recipe(folder, "http://127.0.0.1:9/v1", families=families, **blocks)))


@pytest.mark.parametrize(
    ("families", "words"),
    [
        (
            '[[families]]\nname = "distill"\nroute = { column = "word", min = 3 }',
            r"no rule .* writes a number 'word'; did you mean 'words'",
        ),
        ('[[families]]\nname = "distill"\nroute = { column = "quality" }', "min, below or both"),
        ('[[families]]\nname = "distill"\nshare = 0.5\nweight = 1', "both a share and a weight"),
        (
            '[[families]]\nname = "distill"\noptions = { select = "judge" }',
            r"asks the role 'judge'.*\n.*roles\.judge|asks the role 'judge'",
        ),
        ('[[families]]\nname = "textbook"\noptions = { vary = ["mood"] }', "mood"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, families: str, words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        works(tmp_path, families)


def test_a_route_cannot_bound_a_word(tmp_path: Path) -> None:
    family = '[[families]]\nname = "distill"\nroute = { column = "language", min = 1 }'
    with pytest.raises(RecipeError, match=r"writes a number 'language'.*(?s:.*)language_confidence"):
        works(tmp_path, family, screen='[screen]\nmore_rules = [{ name = "language" }]')


def test_a_family_depends_on_the_roles_that_it_asks_and_on_no_other(tmp_path: Path) -> None:
    families = '[[families]]\nname = "distill"'
    one = works(tmp_path, families)
    two = works(tmp_path, families, roles='[roles.writer]\nmodels = ["m"]\n[roles.judge]\nmodels = ["m"]')
    asked = works(
        tmp_path,
        f'{families}\noptions = {{ select = "judge" }}',
        roles='[roles.writer]\nmodels = ["m"]\n[roles.judge]\nmodels = ["m"]',
    )
    assert one.policy() == two.policy() != asked.policy()


def test_rivals_shape_each_others_seeds_and_shares_do_not(tmp_path: Path) -> None:
    base = '[[families]]\nname = "distill"\nweight = 1\n[[families]]\nname = "faq"\nshare = 0.5\n'
    _, before = works(tmp_path, base + '[[families]]\nname = "textbook"\nweight = 1')._generate["distill"]
    _, after = works(tmp_path, base + '[[families]]\nname = "textbook"\nweight = 2')._generate["distill"]
    assert [one.family for one in before.rivals] == ["distill", "textbook"] and before.content() != after.content()


def test_what_a_seed_yields_and_what_is_verified_are_content(tmp_path: Path) -> None:
    roles = '[roles.writer]\nmodels = ["m"]\n[roles.judge]\nmodels = ["m"]'
    said = [
        "weight = 1\nkept_tokens_per_seed = 3.0",
        "weight = 1\nkept_tokens_per_seed = 4.0",
        'weight = 1\noptions = { verify = { judge = "label" } }',
        'weight = 1\noptions = { verify = { judge = "drop" } }',
    ]
    other = '\n[[families]]\nname = "textbook"\nweight = 1'
    made = [works(tmp_path, f'[[families]]\nname = "distill"\n{one}{other}', roles=roles).policy() for one in said]
    assert len(set(made)) == len(said)


def test_the_counter_of_rivals_is_deterministic() -> None:
    orders = [SEEDS, SEEDS[::-1]]
    found = [Counter(seed.id for seed in chosen("a", order, {}, 1.0, None, weights(a=1, b=1))) for order in orders]
    assert found[0] == found[1]
