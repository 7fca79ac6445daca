"""Deployments: Prefect decides when to fire, serves the deployment, and shows how firings ended.

Prefect loads this module by name, in the process of each firing, to find the flow `fire`: so it imports Prefect at its top, and
commands import it only when they need it. What a firing does is in `flows/firing.py`. Whether one still runs is known to the
process that serves and held by locks; Prefect's concurrency limits are not used, for a killed process leaves them taken.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import prefect
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    DeploymentFilter,
    DeploymentFilterId,
    DeploymentFilterTags,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.sorting import FlowRunSort
from prefect.deployments.runner import RunnerDeployment
from prefect.exceptions import PrefectException
from prefect.schedules import Cron, Interval, Schedule
from prefect.server.schemas.schedules import CronSchedule, IntervalSchedule
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Cancelled, Completed, Crashed, Failed, Pending

from flows import deployments
from flows.deployments import Deployment
from flows.firing import fire as run_once
from flows.firing import tell_failure
from synth.engine.supervisor import Child
from synth.errors import UserError, WorldError, fail

FLOW = "synth-deploy"
TAG = "synth"
ENTRYPOINT = "flows.deploy.fire"
_STATES = {"failed": (Failed, "Failed"), "gate_failed": (Failed, "GateFailed"), "stopped": (Cancelled, "Stopped")}
_MOST_POLL_SECONDS = 10.0  # Prefect's own pace
_PLANNED = timedelta(
    seconds=90
)  # by then a server has planned the firings of the next days; its scheduler looks once a minute


@prefect.flow(
    name=FLOW,
    flow_run_name="{deployment}",
    retries=0,
    persist_result=False,
    validate_parameters=False,
)
def fire(deployment: str) -> State[Any]:
    """One firing, by the deployment's name."""
    outcome = run_once(deployments.find(deployment))
    make, name = _STATES.get(outcome["outcome"], (Completed, outcome["outcome"].title().replace("_", "")))
    state: State[Any] = make(name=name, message=outcome["text"])
    return state


# Schedules


def next_firings(deployment: Deployment, count: int = 3) -> list[datetime]:
    """When it would fire next. UserError when that is never, or the schedule is none."""
    now = datetime.now(UTC)
    try:
        if deployment.cron:
            dates = asyncio.run(CronSchedule(cron=deployment.cron, timezone=deployment.timezone).get_dates(count, now))
        else:
            every = timedelta(seconds=deployment.every_seconds or 0)
            dates = asyncio.run(IntervalSchedule(interval=every, anchor_date=now).get_dates(count, now))
    except ValueError as error:  # of pydantic, and of croniter where no day is ever met
        raise _no_schedule(deployment.cron, error) from None
    if not dates:
        raise _no_schedule(deployment.cron, None)
    return [datetime.fromisoformat(date.isoformat()) for date in dates]


def _no_schedule(cron: str | None, error: ValueError | None) -> Exception:
    never = error is None or "next date" in str(error)
    return fail(
        UserError,
        "--cron: such a day never comes" if never else "--cron: this is no cron expression",
        given=cron,
        allowed='five fields, minute hour day month weekday: "0 2 * * *" (at two each night), "*/30 * * * *" (each half hour), '
        '"0 6 * * MON" (Mondays at six); or @hourly, @daily, @weekly',
    )


def _schedule(deployment: Deployment) -> Schedule:
    if deployment.cron:
        return Cron(deployment.cron, timezone=deployment.timezone)
    every = timedelta(seconds=deployment.every_seconds or 0)
    return Interval(every, anchor_date=datetime.now(UTC), timezone=deployment.timezone)


# Serving


class Service:
    """Starts a firing when one is due and none runs: Prefect plans and shows, a child of ours runs it.

    Prefect's own runner would start a process for each firing that is due, also while an earlier one still runs. Methods
    raise WorldError when the server does not answer; a firing goes on meanwhile.
    """

    def __init__(self, deployment: Deployment) -> None:
        self.deployment = deployment
        self._identity: UUID | None = None
        self._began = datetime.now(UTC)
        self._warned = False
        self._polled = 0.0
        self._child: Child | None = None
        self._run: UUID | None = None
        self._counted = 0  # firings counted when the child was started
        self._skipped = 0

    def register(self) -> None:
        """Make the deployment known, anew each time; nothing runs that we did not start."""
        with _client(self.deployment.api_url) as client:
            first, self._identity = self._identity is None, _uuid(_registered(self.deployment).apply())
            for run in _runs(client, self._identity, [StateType.RUNNING, StateType.PENDING, StateType.CANCELLING]):
                if run.id != self._run:
                    _set(client, run.id, Crashed(message="its process was gone when the deployment was served again"))
            if first and self.deployment.every_seconds:
                client.create_flow_run_from_deployment(self._identity)  # at once

    def look(self) -> None:
        """See whether the firing ended, and now and then what is due."""
        if self._child and not self._child.alive():
            self._ended(self._child)
        every = self.deployment.every_seconds or 60
        if time.monotonic() - self._polled >= min(_MOST_POLL_SECONDS, max(1.0, every / 3)):
            self._polled = time.monotonic()
            with _client(self.deployment.api_url) as client:
                self._poll(client)

    def running(self) -> bool:
        """Whether a firing runs."""
        return self._child is not None and self._child.alive()

    def close(self) -> None:
        """End the firing, if it has not ended, and pause the schedule, so that nothing piles up. May be called again."""
        with contextlib.suppress(WorldError):  # then the server shows what it last heard
            if self._child:
                self._child.stop(0.0)
                self._ended(self._child)
            if self._identity:
                identity, self._identity = self._identity, None
                with _client(self.deployment.api_url) as client:
                    client.pause_deployment(identity)

    def _poll(self, client: SyncPrefectClient) -> None:
        assert self._identity is not None
        due = client.get_scheduled_flow_runs_for_deployments([self._identity], datetime.now(UTC))
        due.sort(key=lambda run: run.expected_start_time or self._began)
        if self._run and client.read_flow_run(self._run).state_type == StateType.CANCELLING:
            self.deployment.ask_firing_to_stop()
        for run in due if self._child else due[:-1]:
            self._skip(client, run.id)
        if due and not self._child:
            self._start(client, due[-1].id)
        if not due and not self._warned and datetime.now(UTC) - self._began > _PLANNED:
            self._warn(client)

    def _start(self, client: SyncPrefectClient, run: UUID) -> None:
        _set(client, run, Pending())
        self.deployment.forget_firing_stop()
        self._counted, self._skipped, self._run = sum(self.deployment.tally()["outcomes"].values()), 0, run
        command = [sys.executable, "-m", "prefect.engine"]
        self._child = Child.start(command, self.deployment.log, {**os.environ, "PREFECT__FLOW_RUN_ID": str(run)})

    def _skip(self, client: SyncPrefectClient, run: UUID) -> None:
        """What is due while a firing runs is not run; what fell due while nobody served is made up for by one firing."""
        if not self._child:
            _set(client, run, Cancelled(name="Missed", message="nobody served; a later firing does its work"))
            return
        text = "an earlier firing still runs"
        _set(client, run, Cancelled(name="StillRunning", message=text))
        self.deployment.count({"outcome": "still_running", "text": text})
        self._counted += 1
        self._skipped += 1
        if self._skipped == 1:
            self.deployment.note(f"{text}: firings are skipped until it has ended")

    def _ended(self, child: Child) -> None:
        """The firing's process is gone. One that counted nothing was killed: nobody else can tell of it."""
        run, self._child, self._run = self._run, None, None
        if run is None or sum(self.deployment.tally()["outcomes"].values()) > self._counted:
            return
        stopped = self.deployment.asked_to_stop()
        last = "".join(f": {line}" for line in child.last_lines(1))
        error = WorldError(f"the process of the firing died (exit code {child.exit_code()}){last}")
        text = "stopped; the next firing goes on where this one was" if stopped else str(error)
        at = datetime.now(UTC).isoformat(timespec="seconds")
        outcome = {"outcome": "stopped" if stopped else "failed", "text": text, "release": None, "at": at}
        self.deployment.count({**outcome, "error": None if stopped else str(error)})
        self.deployment.note(text)
        if not stopped:
            tell_failure(self.deployment, error)
        with _client(self.deployment.api_url) as client:
            _set(client, run, Cancelled(name="Stopped", message=text) if stopped else Crashed(message=text))

    def _warn(self, client: SyncPrefectClient) -> None:
        """Say so when the server plans no firings: it took the schedule, but nothing would ever fire."""
        assert self._identity is not None
        self._warned = True
        soon = next_firings(self.deployment, 1)[0] - datetime.now(UTC) < timedelta(
            days=7
        )  # servers plan some days ahead
        if soon and not _runs(client, self._identity, [StateType.SCHEDULED], 1):
            log = f"; its log: {self.deployment.folder}/prefect/server.log" if self.deployment.own_server else ""
            self.deployment.note(f"Prefect's server has planned no firing, so none will come{log}")


def _registered(deployment: Deployment) -> RunnerDeployment:
    """The deployment as Prefect knows it. Its parameters hold a name only: what a recipe says may be secret."""
    return RunnerDeployment(
        name=deployment.name,
        flow_name=FLOW,
        entrypoint=ENTRYPOINT,
        schedules=[_schedule(deployment)],
        parameters={"deployment": deployment.name},
        paused=False,
        tags=[TAG],
        description=f"synth run {deployment.recipe}, home {deployment.home}: what no release covers yet.",
    )


def _uuid(value: Any) -> UUID:
    """What Prefect's functions return that may be called with and without a loop."""
    assert isinstance(value, UUID)
    return value


def _set(client: SyncPrefectClient, run: UUID, state: State[Any]) -> None:
    """Set a state without asking Prefect's rules: what happened has happened."""
    client.set_flow_run_state(run, state, force=True)


def _runs(client: SyncPrefectClient, deployment: UUID, types: Iterable[StateType], limit: int = 200) -> list[FlowRun]:
    """A deployment's runs in these states, the earliest first."""
    return client.read_flow_runs(
        deployment_filter=DeploymentFilter(id=DeploymentFilterId(any_=[deployment])),
        flow_run_filter=FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=list(types)))),
        sort=FlowRunSort.EXPECTED_START_TIME_ASC,
        limit=limit,
    )


@contextlib.contextmanager
def _client(api_url: str) -> Iterator[SyncPrefectClient]:
    """A client for this server, whatever the settings name. Its faults are WorldErrors."""
    try:
        with temporary_settings({PREFECT_API_URL: api_url}), get_client(sync_client=True) as client:
            yield client
    except (httpx.HTTPError, PrefectException) as error:
        raise fail(
            WorldError,
            f"Prefect's server at {api_url} does not answer: {type(error).__name__}: {error}",
            do="look whether it runs, and whether PREFECT_API_URL is right",
        ) from error


# Asking a server


def at_server(api_url: str) -> dict[str, dict[str, Any]]:
    """Deployments of ours that a server knows, by name: paused, next. WorldError when it does not answer."""
    found = {}
    with _client(api_url) as client:
        for one in _ours(client):
            due = _runs(client, one.id, [StateType.SCHEDULED], 1)
            at = due[0].expected_start_time if due and not one.paused else None
            found[one.name] = {"paused": one.paused, "next": at and at.isoformat(timespec="seconds")}
    return found


def delete(api_url: str, name: str) -> bool:
    """Remove a deployment from a server; False where it knows none of this name."""
    with _client(api_url) as client:
        found = [one for one in _ours(client) if one.name == name]
        for one in found:
            client.delete_deployment(one.id)
    return bool(found)


def _ours(client: SyncPrefectClient) -> list[DeploymentResponse]:
    tagged = DeploymentFilter(tags=DeploymentFilterTags(all_=[TAG]))
    return [one for one in client.read_deployments(deployment_filter=tagged) if one.entrypoint == ENTRYPOINT]
