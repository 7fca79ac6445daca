"""Endpoints that already run: their URL, their key, and whether they answer as OpenAI's API does.

A key is named by its environment variable and never shown: not in a message, a log or a repr.
"""

from __future__ import annotations

import os
import re
import time
import urllib.error
import urllib.request
from http.client import HTTPException
from typing import Any
from urllib.parse import urlsplit

import orjson

from synth.engine.roles import ModelRun
from synth.errors import EndpointError, RecipeError, SynthError, fail

_TRIES = 5
_FIRST_PAUSE_SECONDS = 0.5  # doubles with each try
_ANSWER_SECONDS = 10.0
_BODY_BYTES = 4_000_000


def base_url(name: str, run: ModelRun, replica: int) -> str:
    """The URL of the replica, without a slash at its end. Raises RecipeError when it is none that we can use."""
    where = _where(name, run, replica)
    if not run.urls:
        raise fail(
            RecipeError, f"{where}: missing (an endpoint that already runs)", do="give its URL, up to and including /v1"
        )
    url = run.urls[replica]
    try:
        parts = urlsplit(url)
        secret = "@" in parts.netloc or bool(parts.query)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        usable, secret = False, "@" in url
    if secret:  # not shown: it may hold a password
        raise fail(
            RecipeError,
            f"{where}: holds a user name, a password or a query",
            allowed="scheme, host, port and path",
            do=f"put the key into an environment variable and name that in run.models.{name}.api_key_env",
        )
    if not usable or not re.fullmatch(r"[!-~]+", url):
        raise fail(RecipeError, f"{where}: not a URL", given=url, allowed="http://host:port/v1 or https://…")
    return url.rstrip("/")


def given_key(name: str, run: ModelRun) -> str | None:
    """The key from the environment variable that the recipe names; None when it names none. Raises RecipeError."""
    variable = run.api_key_env
    if variable is None:
        return None
    where = f"run.models.{name}.api_key_env"
    key = os.environ.get(variable, "").strip()
    if not key:
        # A user who put the key itself here must not find it in a log.
        shown = variable if re.fullmatch(r"[A-Z][A-Z0-9_]*", variable) else "that is named there"
        raise fail(
            RecipeError,
            f"{where}: the environment variable {shown} is not set, or empty",
            allowed="the name of an environment variable that holds the key",
            do=f"export {shown}=… and run again" if shown == variable else "give a name such as MODEL_API_KEY",
        )
    if not re.fullmatch(r"[!-~]+", key):
        raise fail(RecipeError, f"{where}: the value of {variable} holds characters that no API key has")
    return key


def check_answers(name: str, run: ModelRun, replica: int, url: str, key: str | None) -> None:
    """GET {url}/models: a right answer, or RecipeError (a wrong URL or key) or EndpointError (nobody answers)."""
    page, where = f"{url}/models", _where(name, run, replica)
    problem = ""
    for tried in range(_TRIES):
        if tried:
            time.sleep(_FIRST_PAUSE_SECONDS * 2 ** (tried - 1))
        try:
            status, body = get(page, key)
        except (OSError, HTTPException) as error:
            problem = str(getattr(error, "reason", error)) or type(error).__name__
            continue
        if status == 200:
            if _is_json_object(body):
                return
            raise _wrong(where, page, "it answers, but not as OpenAI's API does")
        problem = f"HTTP {status}"
        if status < 500 and status not in (408, 425, 429):
            raise _refused(name, where, page, status, run)
    raise fail(
        EndpointError,
        f"model {name!r}: nobody answers at {page} ({_TRIES} tries; the last one: {problem})",
        do=f"start that server or correct {where}, then run the same command again",
    )


def _where(name: str, run: ModelRun, replica: int) -> str:
    """The field of the recipe that holds the replica's URL."""
    return f"run.models.{name}.base_urls[{replica}]" if run.base_urls else f"run.models.{name}.base_url"


def _refused(name: str, where: str, page: str, status: int, run: ModelRun) -> SynthError:
    if status in (401, 403):
        key = f"the key in {run.api_key_env}" if run.api_key_env else "a request without a key"
        return fail(
            RecipeError,
            f"model {name!r}: {page} refuses {key} (HTTP {status})",
            do=f"name the environment variable of the right key in run.models.{name}.api_key_env, or correct {where}",
        )
    if status == 404:
        return _wrong(where, page, "there is no such page (HTTP 404)")
    if 300 <= status < 400:
        return _wrong(where, page, f"it sends us elsewhere (HTTP {status}), where a key must not follow")
    return _wrong(where, page, f"it refuses the request (HTTP {status})")


def _wrong(where: str, page: str, what: str) -> SynthError:
    return fail(
        RecipeError,
        f"{where}: wrong URL: {what}",
        given=page,
        allowed="the URL under which the server has /models and /chat/completions; it mostly ends in /v1",
    )


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the key to another host."""

    def redirect_request(self, *_: Any) -> None:
        return None


# Without proxies, as the client that sends the asks.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirects())


def get(url: str, key: str | None) -> tuple[int, bytes]:
    """Status and body of a GET; OSError or HTTPException when there is no answer within 10 s."""
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {key}"} if key else {})
    try:
        with _OPENER.open(request, timeout=_ANSWER_SECONDS) as response:
            return response.status, response.read(_BODY_BYTES)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, b""


def _is_json_object(body: bytes) -> bool:
    try:
        return isinstance(orjson.loads(body), dict)
    except orjson.JSONDecodeError:
        return False
