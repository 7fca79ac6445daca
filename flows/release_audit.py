"""A whole release checked again from its files: what `synth audit` does, and `synth retract` before it releases."""

from __future__ import annotations

from collections.abc import Sequence

from flows.retracted import tombstones_of
from flows.steps.audit import AuditWork
from flows.works import audit_inputs
from synth import releases
from synth.driver import Driver, File, Manifest
from synth.errors import IntegrityError, fail
from synth.releases import Release
from synth.store import Store

_LISTED = ("shards", "index", "rows_elsewhere")  # tables of which a release lists files one by one


def chain_of(store: Store, release: Release) -> list[Release]:
    """The release and those whose content it keeps, newest first."""
    found = [release]
    while (before := found[-1].continues) is not None:
        found.append(releases.load(store, release.recipe, before))
    return found


def objects_of(store: Store, driver: Driver, release: Release) -> list[Manifest]:
    """All objects of a release: its own wave's, and those of the releases it continues."""
    every = {place for one in chain_of(store, release) for places in one.objects.values() for place in places}
    return [driver.load(place) for place in sorted(every)]


def accepted_gates(store: Store, release: Release) -> dict[str, str]:
    """Gates that were let pass in the release or in one that it continues, and why."""
    return {one["check"]: one["because"] for before in chain_of(store, release)[::-1] for one in before.accepted}


def audit_config(store: Store, driver: Driver, release: Release) -> AuditWork:
    """The limits that the release was last audited by."""
    audited = [place for one in chain_of(store, release) for place in one.objects.get("audit", ())]
    if not audited:
        raise fail(IntegrityError, f"{release.path} lists no audit", do="restore the release's file from a copy")
    return AuditWork(**driver.load(audited[0]).config)


def release_inputs(objects: Sequence[Manifest], release: Release) -> dict[str, File]:
    """What the checks read of a whole release: of shards, index and rows exactly the files that it lists."""
    covered = set(release.partitions)
    seeds = {file.sha256: file for one in objects for file in one.tables("seeds") if file.sha256 in covered}
    gone = [File(**tombstones_of(entry)) for entry in release.retractions]
    inputs = audit_inputs([one for one in objects if one.step != "audit"], list(seeds.values()), [], gone)
    inputs = {name: file for name, file in inputs.items() if name.partition("/")[0] not in _LISTED}
    for kind, ending in (("shards", ".arrow"), ("index", "/index.parquet"), ("rows", "/rows_elsewhere.parquet")):
        for file in release.files(kind):
            if file.path.endswith(ending):
                place, _, name = file.path.rpartition("/")
                table = "shards" if kind == "shards" else name.partition(".")[0]
                inputs[f"{table}/{place.rpartition('/')[2]}-{name}"] = file
    return inputs


def verify_files(driver: Driver, objects: Sequence[Manifest]) -> int:
    """Hash every file of these objects against its manifest; how many. Of what a retraction has replaced, what is still there."""
    replaced = replaced_by(objects)
    count = 0
    driver.store.recheck(one.place for one in objects)
    driver.store.fetch(path for one in objects for name in one.files if (path := one.file(name).path) not in replaced)
    for one in objects:
        for file in map(one.file, one.files):
            if file.path not in replaced or driver.store.exists(file.path):
                driver.verified(file)
                count += 1
    return count


def replaced_by(objects: Sequence[Manifest]) -> set[str]:
    """Paths of the files that retractions among these objects have written anew."""
    return {path for one in objects for path in one.config.get("replaces") or ()}
