"""One request to one endpoint, OpenAI's chat API. Faults of the world are told apart from verdicts on the ask itself."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
import orjson

from synth.engine.servers import Endpoint

_RETRYABLE = frozenset({408, 409, 425, 429})
_OVERLOADED = frozenset({"http_429", "http_503", "timeout"})
_REJECTED = frozenset({400, 413, 422})
_LONGEST_RETRY_AFTER_SECONDS = 600.0
_LOOK_SECONDS = 10.0


class Fault(Exception):
    """The world failed: another try may succeed. `status` is the word that the attempt is recorded under."""

    def __init__(self, status: str, detail: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.retry_after_seconds = retry_after_seconds

    def bare(self) -> Fault:
        """Itself without what it was raised from: kept by a frame that its traceback holds, it would hold itself in memory."""
        self.__traceback__ = self.__context__ = None
        return self

    @property
    def overloaded(self) -> bool:
        """Whether the endpoint had too much to do, so that it should be sent less."""
        return self.status in _OVERLOADED


class Rejected(Exception):
    """The endpoint refuses this very ask (too long, malformed); asking again changes nothing."""


class Misconfigured(Exception):
    """The endpoint refuses us (key, path, model name); no ask can succeed."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back: the first choice, and the usage as reported."""

    message: Mapping[str, Any]
    finish_reason: str | None
    usage_prompt_tokens: int | None
    usage_completion_tokens: int | None
    usage_reasoning_tokens: int | None = None


class Client:
    """Connections to one endpoint. Create and use it inside one event loop."""

    def __init__(self, endpoint: Endpoint, in_flight: int, timeout_seconds: float) -> None:
        headers = {"Content-Type": "application/json"}
        if endpoint.api_key:
            headers["Authorization"] = f"Bearer {endpoint.api_key}"
        self.endpoint = endpoint
        self._chat_url = f"{endpoint.base_url.rstrip('/')}/chat/completions"
        self._session = aiohttp.ClientSession(
            headers=headers,
            connector=aiohttp.TCPConnector(limit=in_flight + 2),  # and two to look after it
            timeout=aiohttp.ClientTimeout(total=timeout_seconds, connect=min(30.0, timeout_seconds)),
        )

    async def chat(self, body: Mapping[str, Any]) -> Reply:
        """Send one chat request. Raises Fault, Rejected or Misconfigured."""
        try:
            async with self._session.post(self._chat_url, data=orjson.dumps(body), allow_redirects=False) as response:
                data = await response.read()
                status = response.status
                retry_after = response.headers.get("Retry-After", "")
        except TimeoutError:
            raise Fault("timeout", "no answer before the deadline") from None
        except aiohttp.ClientConnectorError as error:
            raise Fault("refused", str(error.strerror or error)) from None
        except (aiohttp.ClientError, OSError) as error:
            raise Fault("reset", type(error).__name__) from None
        except RuntimeError:  # closed while this ask was on its way: its server is being started anew
            if not self._session.closed:
                raise
            raise Fault("reset", "the connection was closed") from None
        if status != 200:
            raise _refusal(status, data, retry_after)
        return _reply(data)

    async def look(self, path: str) -> tuple[int, bytes]:
        """GET a page of the server's own, such as /health. Status and body; status 0: nobody listens, -1: no answer in time."""
        return await self._get(f"{self.endpoint.root}{path}")

    async def look_api(self, path: str) -> tuple[int, bytes]:
        """GET a page of the API, such as /models; as `look`."""
        return await self._get(f"{self.endpoint.base_url.rstrip('/')}{path}")

    async def _get(self, url: str) -> tuple[int, bytes]:
        timeout = aiohttp.ClientTimeout(total=_LOOK_SECONDS)
        try:
            async with self._session.get(url, allow_redirects=False, timeout=timeout) as response:
                return response.status, await response.read()
        except TimeoutError:
            return -1, b""
        except (aiohttp.ClientError, OSError):
            return 0, b""

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()


def _refusal(status: int, data: bytes, retry_after: str) -> Exception:
    detail = f"HTTP {status}: {data[:300].decode(errors='replace')}"
    if status in _REJECTED:
        return Rejected(detail)
    if status >= 500 or status in _RETRYABLE:
        return Fault(f"http_{status}", detail, retry_after_seconds(retry_after))
    return Misconfigured(detail)


def retry_after_seconds(header: str) -> float | None:
    """A Retry-After header, seconds or a date, as seconds from now: at most ten minutes; None when there is none."""
    if not header:
        return None
    try:
        seconds = float(header) if header.strip().isdigit() else parsedate_to_datetime(header).timestamp() - time.time()
    except ValueError:
        return None
    return min(max(seconds, 0.0), _LONGEST_RETRY_AFTER_SECONDS)


def _reply(data: bytes) -> Reply:
    try:
        value = orjson.loads(data)
        choice = value["choices"][0]
        message = choice["message"]
        usage = value.get("usage") or {}
        details = usage.get("completion_tokens_details") or {}
        if not isinstance(message, dict):
            raise TypeError("message is not an object")
        return Reply(
            message,
            choice.get("finish_reason"),
            usage.get("prompt_tokens"),
            usage.get("completion_tokens"),
            details.get("reasoning_tokens"),
        )
    except (orjson.JSONDecodeError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise Fault("malformed", f"not a chat completion ({error}): {data[:200].decode(errors='replace')}") from None
