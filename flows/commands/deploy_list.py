"""`synth deploy --list`: what is deployed, when it fires next, how it ended last."""

from __future__ import annotations

import os
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import orjson
from rich.table import Table

from flows import deployments
from flows.deployments import Deployment
from flows.display import console, say
from synth.errors import WorldError


def show(json: bool) -> int:
    """Print the deployments of this machine, and those of ours that the server at PREFECT_API_URL knows."""
    found = list_all()
    if json:
        print(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode())
    elif found:
        console().print(_table(found))
    else:
        print('nothing is deployed; `synth deploy recipe.toml --cron "0 2 * * *"` deploys a recipe')
    return 0


def list_all() -> list[dict[str, Any]]:
    """A row per deployment. Servers are asked only where a deployment is served, or the user names one."""
    known = deployments.known()
    elsewhere = os.environ.get("PREFECT_API_URL", "")
    urls = {one.api_url for one in known.values() if one.is_served()} | ({elsewhere} if elsewhere else set())
    at = {url: _at(url) for url in sorted(urls)}
    rows = [_row(one, at.get(one.api_url, {}).get(name)) for name, one in known.items()]
    for name, told in at.get(elsewhere, {}).items():
        if name not in known:
            rows.append({**_row(Deployment(name, "", "", api_url=elsewhere, own_server=False), told), "schedule": None})
    return rows


def _at(url: str) -> dict[str, dict[str, Any]]:
    from flows import deploy

    try:
        return deploy.at_server(url)
    except WorldError as error:
        say(f"synth: {error}")
        return {}


def _row(one: Deployment, told: dict[str, Any] | None) -> dict[str, Any]:
    served, tally = one.is_served(), one.tally()
    last = tally["last"]
    return {
        "name": one.name,
        "recipe": one.recipe or None,
        "home": one.home or None,
        "schedule": one.schedule,
        "timezone": one.timezone,
        "served": served,
        "process": one.pid if served else None,
        "running": one.is_firing(),
        "paused": told["paused"] if told else None,
        "next": told["next"] if told else None,
        "last": last and {name: last.get(name) for name in ("at", "outcome", "release", "text", "error")},
        "outcomes": tally["outcomes"],
        "api_url": one.api_url,
    }


def _table(rows: list[dict[str, Any]]) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("name", "schedule", "served", "next", "last", "so far", "home"):
        table.add_column(heading)
    for row in rows:
        served = f"process {row['process']}" if row["served"] else "no"
        last = (
            f"{_local(row['last']['at'], row['timezone'])} {row['last']['text'].splitlines()[0]}"
            if row["last"]
            else "-"
        )
        so_far = ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in sorted(row["outcomes"].items()))
        upcoming = "running now" if row["running"] else _local(row["next"], row["timezone"]) if row["next"] else "-"
        upcoming = "paused" if row["served"] and row["paused"] else upcoming
        table.add_row(row["name"], row["schedule"] or "-", served, upcoming, last, so_far or "-", row["home"] or "-")
    return table


def _local(at: str, timezone: str) -> str:
    return f"{datetime.fromisoformat(at).astimezone(ZoneInfo(timezone)):%Y-%m-%d %H:%M:%S}"
