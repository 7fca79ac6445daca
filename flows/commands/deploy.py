"""`synth deploy`: serve a recipe on a schedule, list what is deployed, remove it."""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import signal
import sys
import threading
import time
import zoneinfo
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import IO, TYPE_CHECKING
from urllib.parse import urlsplit

import orjson

from flows import deployments, notify
from flows.commands.home import home_of
from flows.deployments import Deployment
from flows.display import say
from flows.recipe import load
from synth.errors import Interrupted, UserError, WorldError, fail
from synth.store import Store

if TYPE_CHECKING:
    from flows.deploy import Service  # which imports Prefect

EXIT_INTERRUPTED = 130
_LEAST_SECONDS = 5  # a firing that finds nothing to do takes about as long
_LOOK_SECONDS = 0.2
_PAUSE_SECONDS, _MOST_PAUSE_SECONDS = 1.0, 60.0  # between two tries to reach a server that went away
_REMOVE_SECONDS = 90.0
_TIMES = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")


def main(options: argparse.Namespace) -> int:
    """Serve, list or remove. Exit codes: 0 done or told to end, 130 Ctrl-C."""
    wanted = [name for name in ("recipe", "list", "remove") if getattr(options, name)]
    if len(wanted) != 1:
        raise fail(
            UserError,
            "synth deploy wants a recipe, or --list, or --remove NAME",
            given=", ".join(wanted) or "none of them",
            do='for example synth deploy recipe.toml --cron "0 2 * * *"',
        )
    if options.list:
        from flows.commands.deploy_list import show

        return show(options.json)
    return _remove(options.remove) if options.remove else _deploy(options)


def _deploy(options: argparse.Namespace) -> int:
    deployment = _described(options)
    with deployment.serving() as ours, _environment(deployment) as deployment:
        if not ours:
            raise fail(
                UserError,
                f"{deployment.name} is served already, by process {deployments.find(deployment.name).pid}",
                do=f"stop that one, or `synth deploy --remove {deployment.name}`, or give another --name",
            )
        from flows import deploy

        firings = deploy.next_firings(deployment)  # refuses a schedule that is none
        deployment.forget_stop()
        deployment.save()
        if options.json:
            told = {"deployment": deployment.name, "home": deployment.home, "api_url": deployment.api_url}
            print(orjson.dumps({**told, "next": [at.isoformat() for at in firings]}).decode(), flush=True)
        with _signals(deployment) as heard, _shown(deployment, sys.stderr if options.json else sys.stdout):
            _serve(deployment, firings)
    say(f"{deployment.name} is no longer served; the same command serves it again, and nothing is lost meanwhile")
    return EXIT_INTERRUPTED if signal.SIGINT in heard else 0


def _described(options: argparse.Namespace) -> Deployment:
    """What is to be deployed, checked as far as can be without Prefect."""
    if bool(options.cron) == bool(options.every):
        raise fail(
            UserError,
            "synth deploy wants --cron or --every" + (", not both" if options.cron else ""),
            do='for example --cron "0 2 * * *" (at two each night) or --every 10m',
        )
    recipe = load(options.recipe, options.assignments)
    notify.check(recipe.run.notify)
    name, home = options.name or recipe.name, Store.at(home_of(options, recipe)).name
    _check_name(name, home)
    return Deployment(
        name=name,
        recipe=str(options.recipe.absolute() if options.recipe.is_file() else options.recipe),
        home=home,
        assignments=tuple(options.assignments),
        cron=_five_fields(options.cron) if options.cron else None,
        every_seconds=_seconds(options.every) if options.every else None,
        timezone=_timezone(options.timezone, options.cron),
        pid=os.getpid(),
        notify=recipe.run.notify.content(),
    )


def _check_name(name: str, home: str) -> None:
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,62}", name):
        raise fail(UserError, "--name: this is no name", given=name, allowed="a-z, 0-9, _ and -, at most 63 of them")
    held = deployments.known().get(name)
    if held and held.home != home:
        raise fail(
            UserError,
            f"there is a deployment {name} on another home",
            given=home,
            allowed=held.home,
            do=f"give another --name, or `synth deploy --remove {name}` first",
        )


def _seconds(given: str) -> int:
    """Seconds of `1h30m`."""
    parts = _TIMES.fullmatch(given.strip().lower())
    sizes = (86400, 3600, 60, 1)
    seconds = sum(int(part) * size for part, size in zip(parts.groups(), sizes, strict=True) if part) if parts else 0
    if seconds < _LEAST_SECONDS:
        raise fail(
            UserError,
            "--every: this is no interval" if not seconds else "--every: this is shorter than a firing takes",
            given=given,
            allowed=f"days, hours, minutes, seconds: 90s, 10m, 2h, 1d, 1h30m; at least {_LEAST_SECONDS}s",
        )
    return seconds


def _five_fields(cron: str) -> str:
    """Some dialects put seconds or years into a sixth field: what is meant is not clear."""
    if len(cron.split()) not in (1, 5):
        raise fail(
            UserError,
            f"--cron: {len(cron.split())} fields",
            given=cron,
            allowed='five fields, minute hour day month weekday, in quotes: "0 2 * * *"; or @hourly, @daily, @weekly',
        )
    return " ".join(cron.split())


def _timezone(given: str | None, cron: str | None) -> str:
    if given and not cron:
        raise fail(UserError, "--timezone goes with --cron", given=given, do="leave it out: --every counts from now")
    if given and given not in zoneinfo.available_timezones():
        from synth.config import nearest

        known = sorted(zoneinfo.available_timezones())
        raise fail(
            UserError,
            f"--timezone: no such zone{nearest(given, known)}",
            given=given,
            allowed="a name of the time zone database: UTC, Europe/Berlin, America/New_York",
        )
    return given or _local_timezone()


def _local_timezone() -> str:
    """This machine's zone by its name; UTC where that cannot be told."""
    link = os.path.realpath("/etc/localtime")
    for name in (os.environ.get("TZ", "").removeprefix(":"), link.partition("/zoneinfo/")[2]):
        if name in zoneinfo.available_timezones():
            return name
    return "UTC"


@contextlib.contextmanager
def _environment(deployment: Deployment) -> Iterator[Deployment]:
    """Prefect's settings, before it is imported. Without PREFECT_API_URL they name a server of the deployment's own."""
    from flows.pipeline import QUIET, free_port

    before = dict(os.environ)
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    own = not os.environ.get("PREFECT_API_URL")
    if own:
        held = deployments.known().get(deployment.name)
        port = urlsplit(held.api_url).port if held and held.own_server else None
        os.environ["PREFECT_API_URL"] = f"http://127.0.0.1:{free_port(port or 0)}/api"
        os.environ["PREFECT_HOME"] = str(deployment.folder / "prefect")
        os.environ["PREFECT_UI_STATIC_DIRECTORY"] = str(deployment.folder / "prefect" / "ui")
    try:
        yield replace(deployment, api_url=os.environ["PREFECT_API_URL"], own_server=own)
    finally:
        os.environ.clear()
        os.environ.update(before)


def _serve(deployment: Deployment, firings: Sequence[datetime]) -> None:
    """Serve until asked to stop. A server that goes away is waited for, or started again if it is ours."""
    from flows.deploy import Service

    service, greeted, pause = Service(deployment), False, _PAUSE_SECONDS
    while not deployment.asked_to_stop():
        try:
            with _server(deployment) as alive:
                service.register()
                if not greeted:
                    _greet(deployment, firings)
                elif pause > _PAUSE_SECONDS:
                    say(f"{deployment.name}: Prefect's server answers again")
                greeted, pause = True, _PAUSE_SECONDS
                _look_after(service, alive)
        except Interrupted:
            return
        except WorldError as error:
            if not greeted:
                raise
            if pause == _PAUSE_SECONDS:
                say(f"{deployment.name}: {error}\n  the schedule goes on as soon as it does; trying again and again")
            pause = min(2 * pause, _MOST_PAUSE_SECONDS)
            _until(deployment, time.monotonic() + pause)
    _drain(service)


def _look_after(service: Service, alive: Callable[[], bool]) -> None:
    """Until asked to stop. WorldError: the server went away."""
    deployment = service.deployment
    while not deployment.asked_to_stop():
        if not alive():
            raise fail(WorldError, f"Prefect's server died; its log: {deployment.folder}/prefect/server.log")
        service.look()
        time.sleep(_LOOK_SECONDS)
    _drain(service)


def _drain(service: Service) -> None:
    """Wait for the firing, which has been asked to stop too; end it when that is to be now."""
    while service.running() and service.deployment.asked_to_stop() != "now":
        time.sleep(_LOOK_SECONDS)
    service.close()


@contextlib.contextmanager
def _server(deployment: Deployment) -> Iterator[Callable[[], bool]]:
    """Prefect's server: ours, started here, or the user's. Gives a function that says whether ours still runs."""
    from flows.pipeline import start_server, wait_for_server

    def look() -> None:
        if deployment.asked_to_stop():
            raise Interrupted("stopped while Prefect's server was starting")

    if not deployment.own_server:
        yield lambda: True
        return
    child = start_server(deployment.folder / "prefect", deployment.api_url)
    try:
        wait_for_server(child, deployment.api_url, look)
        yield child.alive
    finally:
        child.stop()


def _until(deployment: Deployment, deadline: float) -> None:
    while time.monotonic() < deadline and not deployment.asked_to_stop():
        time.sleep(_LOOK_SECONDS)


def _greet(deployment: Deployment, firings: Sequence[datetime]) -> None:
    """What was deployed, when it fires, where to look, how to end it."""
    zone = zoneinfo.ZoneInfo(deployment.timezone)
    at = ", ".join(f"{one.astimezone(zone):%Y-%m-%d %H:%M:%S}" for one in firings)
    when = f"now, then {deployment.schedule}" if deployment.every_seconds else f"{at} … ({deployment.timezone})"
    say(
        f"{deployment.name}: {deployment.schedule}; home {deployment.home}\n"
        f"  fires:   {when}\n"
        f"  Prefect: {deployment.api_url.removesuffix('/api')}\n"
        f"  log:     {deployment.log}\n"
        f"  Ctrl-C stops, after the answers in flight; `synth deploy --list` shows it from another terminal"
    )


@contextlib.contextmanager
def _shown(deployment: Deployment, to: IO[str]) -> Iterator[None]:
    """Show how firings end, as they write it down."""
    path, done = deployment.folder / "firings.log", threading.Event()
    path.touch()

    def follow() -> None:
        with path.open() as file:
            file.seek(0, os.SEEK_END)
            while True:
                last = done.is_set()
                for line in file:
                    print(line.rstrip(), file=to, flush=True)
                if last:
                    return
                done.wait(_LOOK_SECONDS)

    thread = threading.Thread(target=follow, name="firings", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


@contextlib.contextmanager
def _signals(deployment: Deployment) -> Iterator[list[int]]:
    """Ctrl-C and SIGTERM ask the firing and ourselves to stop; the second of them to stop now. Gives what was heard."""
    heard: list[int] = []

    def stop(number: int, _: object) -> None:
        heard.append(number)
        deployment.ask_to_stop(now=len(heard) > 1)
        if deployment.is_firing():
            say(
                "stopping now" if len(heard) > 1 else "stopping, when the answers in flight are here; again to stop now"
            )

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield heard
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _remove(name: str) -> int:
    """Stop whoever serves it, take it from Prefect's server, forget it. Documents, shards and releases stay."""
    deployment = deployments.find(name)
    if deployment.is_served():
        say(f"{name} is served by process {deployment.pid}: stopping that")
        deployment.ask_to_stop()
        deadline = time.monotonic() + _REMOVE_SECONDS
        while deployment.is_served() and time.monotonic() < deadline:
            time.sleep(_LOOK_SECONDS)
    if deployment.is_served() or deployment.is_firing():
        raise fail(
            WorldError,
            f"{name} did not end within {_REMOVE_SECONDS:.0f} s",
            do=f"end process {deployment.pid} yourself, then remove it again",
        )
    if not deployment.own_server:
        from flows import deploy

        deploy.delete(deployment.api_url, name)
    deployment.forget()
    say(f"{name} is removed; its home {deployment.home} stays as it is")
    return 0
