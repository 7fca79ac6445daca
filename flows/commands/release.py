"""`synth release`: release what a run has made and a gate held back, with a person's reason in the release."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import orjson

from flows.acceptance import acceptances, failures, refuse
from flows.commands.home import existing, home_of
from flows.recipe import load
from flows.runs import RunRecord, new_run_id
from flows.session import Session
from synth.audit.catalog import build_catalog
from synth.driver import File
from synth.errors import HomeError, UserError, fail
from synth.releases import Release


def main(options: argparse.Namespace) -> int:
    """Release. Exit codes: 0 done, 2 wrong input, 3 a gate failed that is not accepted."""
    if options.accept and options.because is None:
        raise fail(UserError, "--accept wants --because", do='say why: --because "…", for those who read it later')
    if options.because is not None and not options.accept:
        raise fail(UserError, "--because wants --accept", do="`synth release RECIPE` alone lists the gates that failed")
    recipe = load(options.recipe, options.assignments)
    store = existing(home_of(options, recipe))
    with store.lock(f"synth release {options.recipe}"):
        session = Session.open(recipe, options.recipe.absolute().parent, store, new_run_id())
        wave = _wave(session, options)
        session.warm()
        audited = session.audit(wave)
        failed = failures(store, audited)
        accepted = acceptances(failed, options.accept, options.because or "")
        refuse(failed, audited, options.accept, str(options.recipe))
        record = RunRecord(store, session, options.recipe)
        release = session.release(wave, accepted)
        record.finish("released", None, _summary(session, release))
        build_catalog(store.root)
    _print(session, release, options.json)
    return 0


def _wave(session: Session, options: argparse.Namespace) -> Sequence[File]:
    """The partitions that wait for their release. HomeError: nothing does."""
    wave = session.made_wave()
    if wave:
        return wave
    name, pinned = session.recipe.name, session.pinned
    if pinned and not session.pending():
        what = f"nothing waits to be released: release {pinned.number} of {name!r} covers all partitions"
        do = f"add seeds or change the recipe, then: synth run {options.recipe}"
    else:
        what = f"nothing waits to be released: no partition of {name!r} is complete under this recipe"
        do = f"make it first: synth run {options.recipe}"
    raise fail(HomeError, what, given=session.store.name, do=do)


def _summary(session: Session, release: Release) -> dict[str, Any]:
    return {
        "recipe": session.recipe.name,
        "release": release.number,
        "accepted": [dict(one) for one in release.accepted],
        "rows": sum(one["rows"] for one in release.shards),
        "pending_partitions": len(session.pending()),
    }


def _print(session: Session, release: Release, json: bool) -> None:
    value = {"outcome": "released", **_summary(session, release), "path": release.path}
    if json:
        print(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())
        return
    print(
        f"release {release.number} of {release.recipe!r}: {value['rows']:,} documents in {len(release.shards)} shards"
    )
    print(f"  {session.store.name}/{release.path}")
    for one in release.accepted:
        print(f"  accepted: {one['check']} ({one['violations']:,} violations), because {one['because']}")
    if release.accepted:
        print("  This holds for this release alone: what comes next is judged again.")
    if value["pending_partitions"]:
        print(f"  {value['pending_partitions']} partitions are left: synth run goes on with them")
