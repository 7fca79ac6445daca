"""What the kill tests run in a forked child: a whole run, without Prefect, perhaps ended by SIGKILL after some seconds."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

from synth.errors import SynthError
from tests.corpora import run_recipe


def run(recipe: str, home: str, run_id: str = "run", kill_after_seconds: float = 0.0) -> list[int]:
    """Run to the end; the numbers of the releases made. SynthErrors are printed and exit with their code, as the CLI does."""
    if kill_after_seconds:
        threading.Thread(target=_kill_after, args=(kill_after_seconds,), daemon=True).start()
    try:
        releases, _ = run_recipe(Path(recipe), Path(home), run_id=run_id)
    except SynthError as error:
        print(f"synth: {error}")
        raise SystemExit(error.exit_code) from None
    return [release.number for release in releases]


def _kill_after(seconds: float) -> None:
    time.sleep(seconds)
    os.kill(os.getpid(), signal.SIGKILL)
