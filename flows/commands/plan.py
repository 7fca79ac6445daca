"""`synth plan`: what would run and what is done, from manifests alone. Starts nothing and writes nothing."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from rich.table import Table

from flows import history
from flows.commands.home import home_of
from flows.display import console, say
from flows.forecast import forecast_lines
from flows.memory import memory_of, print_memory
from flows.merged import chain, merged_json, merged_toml
from flows.recipe import Recipe, load
from flows.session import Session
from synth.digest import short
from synth.driver import File, Manifest, Work
from synth.engine.memory import Fit, as_json
from synth.store import Store, home_name

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
    if options.merged:
        return _print_merged(recipe, options.json)
    memory = memory_of(recipe)  # what cannot fit on its GPUs is refused first; told before seeds are looked for
    if not options.json:
        _print_checks(recipe, memory)
    home = home_of(options, recipe)
    session = Session.open(recipe, options.recipe.absolute().parent, Store.at(home, say))
    value = plan(session)
    if options.json:
        value |= {"memory": {fit.model: as_json(fit) for fit in memory}, **merged_json(recipe)}
        print(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())
    else:
        _print(value, recipe.name, home_name(home))
    return 0


def _print_checks(recipe: Recipe, memory: list[Fit]) -> None:
    """Of which files the recipe is made, and how its models fit on their GPUs."""
    if recipe.merged and len(recipe.merged.files) > 1:
        print(f"{chain(recipe.merged)} (--merged shows what they say together)")
    print_memory(recipe, memory)


def _print_merged(recipe: Recipe, json: bool) -> int:
    """What all files of the recipe say, as one."""
    assert recipe.merged is not None, "it was read from a file"
    if json:
        print(orjson.dumps(merged_json(recipe), option=orjson.OPT_INDENT_2).decode())
    else:
        print(merged_toml(recipe.merged), end="")
    return 0


def plan(session: Session) -> dict[str, Any]:
    """The plan as a JSON value."""
    pending = session.pending()
    trained = _trained(session)
    tallies = {step: Tally() for step in STEPS}
    left = _Left(session, pending)
    for seeds in pending:
        for family in session.works.families:
            _tally(session, seeds, family, tallies, left, trained)
    if session.recipe.quality is None:
        del tallies["train"]
    elif pending:
        tallies["train"] = Tally(done=int(trained is not None), to_do=int(trained is None))
    pinned, new_files = session.pinned, session.new_files()
    return {
        "policy": session.policy,
        "release": pinned.number if pinned else None,
        "same_policy": session.continues(),
        "new_seed_files": [file.path for file in new_files.values()],
        "partitions": len(session.partitions()),
        "pending_partitions": len(pending),
        "pending_seeds": session.seeds_in(pending),
        "steps": {step: vars(tally) for step, tally in tallies.items()},
        "job": history.job(session, left.found(), new_files) if pending or new_files else None,
    }


def _trained(session: Session) -> Manifest | None:
    """The quality model, when the recipe trains one and it is there."""
    first = {seeds: session.driver.find(session.works.screen(seeds)) for seeds in session.first_partitions()}
    screened = {seeds: found for seeds, found in first.items() if found}
    work = session.works.train(screened) if len(screened) == len(first) else None
    return session.driver.find(work) if work else None


class _Left:
    """Gathers what is to be asked, on the way along the chains."""

    def __init__(self, session: Session, pending: Sequence[File]) -> None:
        self._session = session
        self._rows = session.seeds_by_partition()
        self._open: list[tuple[str, File, Manifest | None]] = []
        self._left = history.Left()

    def look(self, family: str, seeds: File, screened: Manifest | None, generated: Manifest | None) -> None:
        """A partition and a family, and how far they are."""
        if generated:
            self._left.made[family].append(history.Made(generated))
        else:
            self._open.append((family, seeds, screened))

    def judged(self, family: str, keep: Manifest | None) -> None:
        """The last one that was made was judged."""
        self._left.made[family][-1].keep = keep

    def found(self) -> history.Left:
        """All of it."""
        for family, seeds, screened in self._open:
            self._left.add(self._session, family, seeds, self._rows[seeds.sha256], screened)
        return self._left


def _tally(
    session: Session,
    seeds: File,
    family: str,
    tallies: dict[str, Tally],
    left: _Left,
    trained: Manifest | None = None,
) -> None:
    """Follow one chain as far as objects exist; what comes after a missing one is to do."""
    group = f"{short(seeds.sha256)}/{family}"
    works = session.works
    first = family == session.works.families[0]  # the seeds are screened once, for all families
    screened = _found(session, works.screen(seeds), tallies["screen"] if first else Tally())
    generated = _found(session, works.generate(family, seeds, screened, {}), tallies["generate"]) if screened else None
    left.look(family, seeds, screened, generated)
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
        left.judged(family, _found(session, works.keep(group, generated, scored), tallies["keep"]))
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
        _print_job(value)
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
    _print_job(value)


def _print_job(value: dict[str, Any]) -> None:
    """What it will take; how to find out, where nothing was made yet."""
    if value["job"] and not value["job"]["asks"]["expected"]:
        print("no model is asked: all answers are there")
    elif value["job"]:
        title = f"what is left, by {value['job']['sampled_seeds']:,} seeds of earlier runs"
        print("\n".join(forecast_lines(value["job"], title)))
    elif value["pending_partitions"] or value["new_seed_files"]:
        print(history.NO_HISTORY)
