"""The record of a run: runs/<run-id>/run.json (what was meant and pinned), summary.json (how it ended), sessions.parquet."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from flows.recipe_files import recipe_file
from flows.session import Session
from synth import rows
from synth.engine.engine import Engine
from synth.engine.roles import ModelRun
from synth.engine.servers import identity
from synth.rows import FORMAT_VERSION
from synth.store import Store

_PRETTY = orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2


def new_run_id() -> str:
    """A name for a run: when it started (UTC), and four digits against twins."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


class RunRecord:
    """Writes one run's record."""

    def __init__(self, store: Store, session: Session, recipe_path: Path) -> None:
        self._store = store
        self._session = session
        self._started_at = datetime.now(UTC)
        self._recipe_text = recipe_file(recipe_path).read_text(encoding="utf-8")
        self.folder = f"runs/{session.run_id}"

    def write(self) -> None:
        """What is meant and pinned, and the objects made or used so far. Called at the start and at the end."""
        session = self._session
        value = {
            "format_version": FORMAT_VERSION,
            "run": session.run_id,
            "recipe": session.recipe.name,
            "recipe_text": self._recipe_text,
            "merged": session.recipe.model_dump(mode="json"),
            "policy": session.policy,
            "pinned_release": session.pinned.number if session.pinned else None,
            "started_at": self._started_at.isoformat(timespec="seconds"),
            "home": self._store.name,
            "models": self._price_card(),
            "objects": {step: sorted(places) for step, places in sorted(session.made.items())},
        }
        self._store.replace(f"{self.folder}/run.json", orjson.dumps(value, option=_PRETTY))

    def _price_card(self) -> dict[str, Any]:
        recipe = self._session.recipe
        card = {}
        for name, model in recipe.models.items():
            run = recipe.run.models.get(name, ModelRun())
            prices = {field: value for field, value in run.content().items() if field.startswith("usd_")}
            card[name] = {"identity": identity(model), "gpus": run.gpus, **prices}
        return card

    def finish(self, outcome: str, engine: Engine | None, summary: Mapping[str, Any]) -> None:
        """How it ended, with the engine's sessions."""
        self.write()
        sessions = rows.table(engine.sessions() if engine else [], rows.ENGINE_SESSION)
        with tempfile.TemporaryDirectory() as scratch:
            rows.write_table(sessions, Path(scratch) / "sessions.parquet")
            self._store.replace(f"{self.folder}/sessions.parquet", (Path(scratch) / "sessions.parquet").read_bytes())
        value = {
            "outcome": outcome,
            "run": self._session.run_id,
            "started_at": self._started_at.isoformat(timespec="seconds"),
            "ended_at": datetime.now(UTC).isoformat(timespec="seconds"),
            **summary,
        }
        self._store.replace(f"{self.folder}/summary.json", orjson.dumps(value, option=_PRETTY))
