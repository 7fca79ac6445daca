"""`synth audit`: what a home holds, checked again."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
from rich.table import Table

from flows.commands.home import home_of
from flows.display import console, say
from flows.release_audit import accepted_gates, audit_config, objects_of, release_inputs, verify_files
from flows.steps.audit import check, is_warning, stops_release
from synth import releases
from synth.driver import Driver
from synth.errors import HomeError, fail
from synth.releases import Release
from synth.store import Store

EXIT_GATE = 3


def audit(options: argparse.Namespace) -> int:
    """Verify every file of the newest release against its manifest, then run all checks again over all of it."""
    store = Store.open(home_of(options), say)
    names = [options.name] if options.name else store.names("releases")
    found = [release for name in names if (release := releases.newest(store, name))]
    if not found:
        what = f"no release of {options.name!r}" if options.name else "no release"
        raise fail(HomeError, f"{what} in {store.name}", do="synth run RECIPE makes one")
    failed = 0
    for release in found:
        checks, files = _audit(store, release)
        accepted = accepted_gates(store, release)
        failed += sum(stops_release(one) and one["check"] not in accepted for one in checks)
        if options.json:
            value = {"recipe": release.recipe, "release": release.number, "checks": checks, "accepted": accepted}
            print(orjson.dumps(value).decode())
        else:
            _print_checks(release, checks, files, accepted)
    return EXIT_GATE if failed else 0


def _audit(store: Store, release: Release) -> tuple[list[dict[str, Any]], int]:
    driver = Driver(store, store.root / "scratch")
    objects = objects_of(store, driver, release)
    files = verify_files(driver, objects)
    paths = {name: store.local(file.path) for name, file in release_inputs(objects, release).items()}
    with tempfile.TemporaryDirectory() as out:
        checks = check(paths, audit_config(store, driver, release), Path(out))
    return checks.to_pylist(), files


def _print_checks(release: Release, checks: list[dict[str, Any]], files: int, accepted: Mapping[str, str]) -> None:
    table = Table("check", "violations", "what it says", box=None, pad_edge=False)
    for one in checks:
        table.add_row(one["check"], _verdict(one, accepted), one["title"])
    console().print(table)
    print(f"release {release.number} of {release.recipe!r}: {files} files are what their manifests say")


def _verdict(one: Mapping[str, Any], accepted: Mapping[str, str]) -> str:
    if not one["violations"]:
        return "ok"
    if is_warning(one):
        return f"{one['violations']} (a warning)"
    because = accepted.get(one["check"])
    return f"{one['violations']} (accepted: {because})" if because else str(one["violations"])
