"""A release in numbers, from its manifests: for those who are told of it, and for Prefect's artifacts."""

from __future__ import annotations

from typing import Any

from flows.display import paid_text
from flows.session import Session
from flows.summary import by_family, dropped_by, one_of, survivors_of
from flows.usage import Prices
from synth.driver import Manifest
from synth.releases import Release


def facts(session: Session, release: Release, usd: float) -> dict[str, Any]:
    """What the wave of this release made and what became of it; `usd` is what the run has cost up to now."""
    objects = {step: [session.driver.load(place) for place in places] for step, places in release.objects.items()}
    survivors = survivors_of(session, objects.get("resolve", []))
    families = by_family(session, objects.get("generate", []), survivors)
    shards = [file for one in objects.get("shards", []) for file in one.files if file.endswith(".arrow")]
    return {
        "run": release.run,
        "release": release.number,
        "continues": release.continues,
        "documents": sum(tally["documents"] for tally in families.values()),
        "kept": len(survivors),
        "kept_tokens": sum(tally["kept_tokens"] for tally in families.values()),
        "families": {name: {**tally, "dropped": _dropped(name, objects)} for name, tally in sorted(families.items())},
        "duplicates": dropped_by(objects.get("resolve", [])),  # found among all families together
        "shards": [
            {"path": f"{session.store.name}/{one['path']}", **one_of(one)}
            for one in release.shards
            if one["path"].rpartition("/")[2] in shards
        ],
        "released_rows": sum(one["rows"] for one in release.shards),
        "usd": round(usd, 6),
        "unpriced_models": Prices(session.recipe).unpriced(),
    }


def sentence(recipe: str, found: dict[str, Any]) -> str:
    """The release in one line."""
    kept = f"{found['kept']:,} of {found['documents']:,} documents kept, {found['kept_tokens']:,} tokens"
    return f"{recipe}: release {found['release']}: {kept}; {paid_text(found)}"


def table(found: dict[str, Any]) -> list[dict[str, Any]]:
    """A row per family, and one for all."""
    rows = [
        {
            "family": name,
            "documents": tally["documents"],
            "kept": tally["kept"],
            "kept tokens": tally["kept_tokens"],
            "dropped for": ", ".join(f"{reason} {number:,}" for reason, number in tally["dropped"].items()),
        }
        for name, tally in found["families"].items()
    ]
    duplicates = ", ".join(f"{reason} {number:,}" for reason, number in found["duplicates"].items())
    totals = {name: found[name] for name in ("documents", "kept")}
    return [*rows, {"family": "all", **totals, "kept tokens": found["kept_tokens"], "dropped for": duplicates}]


def page(session: Session, found: dict[str, Any]) -> str:
    """Where everything of a release lies, as Markdown."""
    home, run = session.store.name, f"{session.store.name}/runs/{found['run']}"
    lines = [
        f"# {session.recipe.name}, release {found['release']}",
        "",
        f"{found['kept']:,} of {found['documents']:,} documents kept, {found['kept_tokens']:,} tokens; "
        f"{paid_text(found)} up to here. The release holds {found['released_rows']:,} rows in all.",
        "",
        "| what | where |",
        "|---|---|",
        f"| home | `{home}` |",
        f"| release | `{home}/{session.pinned.path if session.pinned else ''}` |",
        f"| run | `{run}/run.json`, when it has ended `{run}/summary.json` |",
        f'| catalogue | `{home}/catalog.duckdb`: `synth sql --home {home} "…"` |',
    ]
    for shard in found["shards"]:
        lines.append(
            f"| {shard['split']} shard | `{shard['path']}` ({shard['rows']:,} rows, {shard['bytes']:,} bytes) |"
        )
    return "\n".join(lines)


def _dropped(family: str, objects: dict[str, list[Manifest]]) -> dict[str, int]:
    """A family's own drops: what did not become a document, and what a gate dropped."""
    groups = [
        one for step in ("generate", "keep") for one in objects.get(step, []) if one.place.split("/")[3] == family
    ]
    return dropped_by(groups)
