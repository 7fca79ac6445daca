"""`synth plan`: what would run and what is done, from manifests alone. Starts nothing and writes nothing."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any

import orjson
from rich.table import Table

from flows.commands.home import home_of
from flows.display import console
from flows.recipe import load
from flows.session import Session
from synth.digest import short
from synth.driver import File, Manifest, Work
from synth.store import Store

STEPS = ("screen", "generate", "train", "score", "keep", "sign")


@dataclass
class Tally:
    """Objects of one step: done, to do, and to do without a model because every partition was answered before."""

    done: int = 0
    to_do: int = 0
    answered_before: int = 0


def main(options: argparse.Namespace) -> int:
    """Print the plan."""
    recipe = load(options.recipe, options.assignments)
    home = home_of(options, recipe)
    session = Session.open(recipe, options.recipe.absolute().parent, Store(home))
    value = plan(session)
    if options.json:
        print(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())
    else:
        _print(value, recipe.name, str(home))
    return 0


def plan(session: Session) -> dict[str, Any]:
    """The plan as a JSON value."""
    pending = session.pending()
    trained = _trained(session)
    tallies = {step: Tally() for step in STEPS}
    for seeds in pending:
        for family in session.works.families:
            _tally(session, seeds, family, tallies, trained)
    if session.recipe.quality is None:
        del tallies["train"]
    elif pending:
        tallies["train"] = Tally(done=int(trained is not None), to_do=int(trained is None))
    pinned = session.pinned
    return {
        "policy": session.policy,
        "release": pinned.number if pinned else None,
        "same_policy": session.continues(),
        "new_seed_files": [file.path for file in session.new_files().values()],
        "partitions": len(session.partitions()),
        "pending_partitions": len(pending),
        "pending_seeds": session.seeds_in(pending),
        "steps": {step: vars(tally) for step, tally in tallies.items()},
    }


def _trained(session: Session) -> Manifest | None:
    """The quality model, when the recipe trains one and it is there."""
    first = {seeds: session.driver.find(session.works.screen(seeds)) for seeds in session.first_partitions()}
    screened = {seeds: found for seeds, found in first.items() if found}
    work = session.works.train(screened) if len(screened) == len(first) else None
    return session.driver.find(work) if work else None


def _tally(
    session: Session, seeds: File, family: str, tallies: dict[str, Tally], trained: Manifest | None = None
) -> None:
    """Follow one chain as far as objects exist; what comes after a missing one is to do."""
    group = f"{short(seeds.sha256)}/{family}"
    works = session.works
    first = family == session.works.families[0]  # the seeds are screened once, for all families
    screened = _found(session, works.screen(seeds), tallies["screen"] if first else Tally())
    generated = _found(session, works.generate(family, seeds, screened, {}), tallies["generate"]) if screened else None
    if generated is None:
        if screened is None:
            tallies["generate"].to_do += 1
        tallies["generate"].answered_before += bool(session.store.objects(f"objects/generate/{group}"))
        for step in ("score", "keep", "sign"):
            tallies[step].to_do += 1
        return
    if session.recipe.quality and trained is None:  # scores are made with the model
        tallies["score"].to_do += 1
        scored = None
    else:
        scored = _found(session, works.score(group, seeds, generated, trained), tallies["score"])
    if scored is None:
        tallies["keep"].to_do += 1
    else:
        _found(session, works.keep(group, generated, scored), tallies["keep"])
    _found(session, works.sign(group, generated), tallies["sign"])


def _found(session: Session, work: Work, tally: Tally) -> Manifest | None:
    found = session.driver.find(work)
    if found:
        tally.done += 1
    else:
        tally.to_do += 1
    return found


def _print(value: dict[str, Any], name: str, home: str) -> None:
    release = value["release"]
    newest = f"release {release}" if release else "no release yet"
    print(f"recipe {name!r} on the home {home}: {newest}")
    if value["new_seed_files"]:
        count = len(value["new_seed_files"])
        print(f"{count} seed file{'s' if count > 1 else ''} to read:")
        for path in value["new_seed_files"][:10]:
            print(f"  {path}")
    if release and not value["same_policy"]:
        print("the recipe's content changed since that release: the next one starts from all partitions again,")
        print("and asks models only what was never asked")
    if not value["pending_partitions"]:
        print("nothing else to do" if value["new_seed_files"] else "nothing to do")
        return
    print(
        f"{value['pending_partitions']} of {value['partitions']} partitions to release ({value['pending_seeds']:,} seeds)"
    )
    table = Table("step", "done", "to do", "", box=None, pad_edge=False)
    for step, tally in value["steps"].items():
        note = f"{tally['answered_before']} were answered before" if tally["answered_before"] else ""
        table.add_row(step, str(tally["done"]), str(tally["to_do"]), note)
    console().print(table)
    print("then resolve, shards, audit and release, once per wave")
