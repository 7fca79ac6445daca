"""`synth sql` and `synth audit`: questions to what is there."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import orjson
from rich.table import Table

from flows.commands.home import home_of
from flows.display import console
from flows.steps.audit import AuditWork, check, is_warning, stops_release
from flows.works import audit_inputs
from synth import releases
from synth.audit.sql import query
from synth.driver import Driver, Manifest
from synth.errors import HomeError, IntegrityError, fail
from synth.releases import Release
from synth.store import Store

EXIT_GATE = 3


def sql(options: argparse.Namespace) -> int:
    """Print the answer of one query to the catalogue."""
    answer = query(home_of(options), options.query)
    if options.json:
        print(orjson.dumps(answer.to_pylist(), option=orjson.OPT_INDENT_2, default=str).decode())
        return 0
    table = Table(*answer.column_names, box=None, pad_edge=False)
    for row in answer.to_pylist():
        table.add_row(*("" if value is None else str(value) for value in row.values()))
    console().print(table)
    return 0


def audit(options: argparse.Namespace) -> int:
    """Verify every file of the newest release against its manifest, then run all checks again over all of it."""
    store = Store.open(home_of(options))
    names = [options.name] if options.name else store.names("releases")
    found = [release for name in names if (release := releases.newest(store, name))]
    if not found:
        what = f"no release of {options.name!r}" if options.name else "no release"
        raise fail(HomeError, f"{what} in {store.root}", do="synth run RECIPE makes one")
    failed = 0
    for release in found:
        checks, files = _audit(store, release)
        failed += sum(map(stops_release, checks))
        if options.json:
            print(orjson.dumps({"recipe": release.recipe, "release": release.number, "checks": checks}).decode())
        else:
            _print_checks(release, checks, files)
    return EXIT_GATE if failed else 0


def _audit(store: Store, release: Release) -> tuple[list[dict[str, Any]], int]:
    driver = Driver(store, store.root / "scratch")
    objects = _objects(store, driver, release)
    for one in objects:
        for name in one.files:
            driver.verified(one.file(name))
    audited = [one for one in objects if one.step == "audit"]
    if not audited:
        raise fail(IntegrityError, f"{release.path} lists no audit", do="restore the release's file from a copy")
    covered = set(release.partitions)
    seeds = {file.sha256: file for one in objects for file in one.tables("seeds") if file.sha256 in covered}
    inputs = audit_inputs([one for one in objects if one.step != "audit"], list(seeds.values()), [])
    paths = {name: store.local(file.path) for name, file in inputs.items()}
    with tempfile.TemporaryDirectory() as out:
        checks = check(paths, AuditWork(**audited[-1].config), Path(out))
    return checks.to_pylist(), sum(len(one.files) for one in objects)


def _objects(store: Store, driver: Driver, release: Release) -> list[Manifest]:
    """All objects of a release: its own wave's, and those of the releases it continues."""
    places: set[str] = set()
    at: Release | None = release
    while at is not None:
        places |= {place for step in at.objects.values() for place in step}
        at = releases.load(store, at.recipe, at.continues) if at.continues is not None else None
    return [driver.load(place) for place in sorted(places)]


def _print_checks(release: Release, checks: list[dict[str, Any]], files: int) -> None:
    table = Table("check", "violations", "what it says", box=None, pad_edge=False)
    for one in checks:
        number = f"{one['violations']}{' (a warning)' if is_warning(one) else ''}" if one["violations"] else "ok"
        table.add_row(one["check"], number, one["title"])
    console().print(table)
    print(f"release {release.number} of {release.recipe!r}: {files} files are what their manifests say")
