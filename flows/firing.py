"""One firing of a deployment: `synth run` in a process of its own, and one word for how it ended.

The recipe is read anew each time. One that is broken fails this firing, in the words that the command line would print; the
schedule goes on. Where an earlier firing or another run holds the home there is nothing to do: `still_running`.
"""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
import threading
import time
import traceback
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from flows import notify
from flows.deployments import Deployment
from flows.display import paid_text, say
from synth.errors import HomeInUseError, Interrupted, SynthError

_LOOK_SECONDS = 0.5  # how often a firing looks whether it should stop
_EXIT_INTERRUPTED = 130


def fire(deployment: Deployment) -> dict[str, Any]:
    """Run the release loop once; the outcome: outcome, text, at, release, error. Never raises for what a run can raise."""
    began = time.monotonic()
    with _stopping(deployment), deployment.firing() as ours:
        outcome: dict[str, Any]
        if not ours:
            outcome = {"outcome": "still_running", "text": "an earlier firing still runs"}
        elif deployment.asked_to_stop():
            outcome = {"outcome": "stopped", "text": "the deployment is being stopped"}
        else:
            outcome = _run(deployment)
        at = datetime.now(UTC).isoformat(timespec="seconds")
        outcome = {"release": None, "error": None, **outcome, "at": at, "seconds": round(time.monotonic() - began, 1)}
        deployment.count(outcome)
        deployment.note(outcome["text"])
    return outcome


def _run(deployment: Deployment) -> dict[str, Any]:
    """`synth run --json`, and what it printed or raised."""
    printed = io.StringIO()
    try:
        deployment = _as_it_is_now(deployment)
        with contextlib.redirect_stdout(printed):
            code = _synth_run(deployment)
    except HomeInUseError as busy:
        return {"outcome": "still_running", "text": str(busy).replace("\n", " ")}
    except SynthError as error:
        return {"outcome": "failed", "text": f"failed: {error}", "error": str(error)}
    except (Interrupted, KeyboardInterrupt):
        return {"outcome": "stopped", "text": "stopped; the next firing goes on where this one was"}
    except Exception as error:
        traceback.print_exc()
        return {"outcome": "failed", "text": f"failed: {type(error).__name__}: {error}", "error": repr(error)}
    if code == _EXIT_INTERRUPTED:
        return {"outcome": "stopped", "text": "stopped; the next firing goes on where this one was"}
    return _told(orjson.loads(printed.getvalue()))


def _as_it_is_now(deployment: Deployment) -> Deployment:
    """With the hooks that the recipe names now; a recipe that cannot be read is told to those that it named before."""
    from flows.recipe import load

    try:
        recipe = load(Path(deployment.recipe), deployment.assignments)
        notify.check(recipe.run.notify)
    except SynthError as error:
        tell_failure(deployment, error)
        raise
    return deployment.with_hooks(recipe.run.notify)


def _synth_run(deployment: Deployment) -> int:
    """The command itself, by its own parser, so that its options mean here what they mean there."""
    from flows.arguments import parser
    from flows.commands.run import main

    assignments = [f"--set={one}" for one in deployment.assignments]
    arguments = ["run", deployment.recipe, "--home", deployment.home, "--json", *assignments]
    return main(parser().parse_args(arguments))


def tell_failure(deployment: Deployment, error: BaseException) -> None:
    """Tell the deployment's hooks of a failure that no run could tell of."""
    about = notify.about(deployment.name, Path(deployment.recipe), deployment.home)
    hooks = notify.Hooks(deployment.hooks, about, say)
    hooks.tell("failed", f"{deployment.name}: failed: {str(error).splitlines()[0]}", lambda: notify.failure(error))
    hooks.close()


def _told(summary: dict[str, Any]) -> dict[str, Any]:
    """A run's JSON in one line."""
    outcome, release = str(summary["outcome"]), summary.get("release")
    if outcome == "released":
        kept = f"{summary['kept']:,} of {summary['documents']:,} documents kept"
        text = f"release {release}: {kept}; {paid_text(summary)}"
    elif outcome == "gate_failed":
        text = "a gate failed, nothing was released; `synth release RECIPE` shows why"
    else:
        text = {"nothing_to_do": "nothing to do", "target_reached": "nothing to do: the target is reached"}.get(
            outcome, outcome.replace("_", " ")
        )
    return {"outcome": outcome, "text": text, "release": release}


@contextlib.contextmanager
def _stopping(deployment: Deployment) -> Any:
    """Stop as at Ctrl-C when we are asked to. The process that serves started us in a session of our own."""
    done = threading.Event()
    before = signal.signal(signal.SIGTERM, _interrupt)  # outside of the time in which `synth run` has its own

    def watch() -> None:
        sent = ""
        while not done.wait(_LOOK_SECONDS):
            asked = deployment.firing_asked_to_stop()
            if asked and asked != sent:
                sent = asked
                os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="stopping", daemon=True).start()
    try:
        yield
    finally:
        done.set()
        signal.signal(signal.SIGTERM, before)


def _interrupt(*_: object) -> None:
    sys.stderr.flush()
    raise Interrupted("the firing was told to stop")
