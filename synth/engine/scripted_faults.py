"""The faults of the scripted server: which of them hits a try, and those that hit the server as a whole."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import socket
import struct
import sys
from collections import Counter
from pathlib import Path

from aiohttp import web

from synth.digest import hash_share
from synth.engine.scripted_markers import FAULTS, fault_at, is_fault
from synth.errors import UserError, fail

_READING_SECONDS = 0.05  # what a client may need to read the half that came before RST

Shares = tuple[tuple[str, float], ...]
"""(fault, share of the tries that it hits), in order."""


def parse_faults(given: str) -> Shares:
    """`500:0.05,reset:0.01` as pairs; UserError where a fault or a share is not allowed."""
    faults = []
    for one in filter(None, given.split(",")):
        kind, _, share = one.strip().partition(":")
        try:
            part = float(share)
        except ValueError:
            part = -1.0
        if not is_fault(kind) or not 0 <= part <= 1:
            allowed = f"KIND:SHARE with an HTTP status 400-599, {', '.join(FAULTS)}, and a share from 0 to 1"
            raise fail(UserError, "--fail cannot be read", given=one, allowed=allowed)
        faults.append((kind, part))
    if sum(part for _, part in faults) > 1:
        raise fail(UserError, "the shares of --fail add up to more than 1", given=given)
    return tuple(faults)


class TryFaults:
    """Which fault hits a try: drawn by a hash of the request and of how often it came, or told by a marker."""

    def __init__(self, shares: Shares, seed: int) -> None:
        """`seed` changes which requests are hit; 0 is as good as any other."""
        self._shares = shares
        self._kind = f"fault{seed or ''}"
        self._seen: Counter[bytes] = Counter()

    def drawn(self, asked: str) -> str | None:
        """The fault of this try of the request with the digest `asked`, if one is drawn."""
        if not self._shares:
            return None
        share = hash_share(self._kind, asked, str(self._tries(asked)))
        for kind, part in self._shares:
            share -= part
            if share < 0:
                return kind
        return None

    def told(self, marker: str, key: str) -> str | None:
        """The fault that the marker value NAME or NAME*COUNT means at this try of the ask with this `key`."""
        return fault_at(marker, self._tries(key) if "*" in marker else 1)

    def _tries(self, of: str) -> int:
        name = bytes.fromhex(of[:32])
        self._seen[name] += 1
        return self._seen[name]


class ServerFaults:
    """Faults after so many answers: freezing, and dying. With a file `once` they happen only while it does not exist."""

    def __init__(self, freeze_after: int | None, die_after: int | None, once: Path | None) -> None:
        """Numbers of answers; None = never."""
        self._freeze_after = freeze_after
        self._die_after = die_after
        self._once = once
        self.frozen = False

    def answered(self, answers: int) -> None:
        """Say that the answer with this number, from 1, is out: the faults that are due happen."""
        if answers == self._die_after and self._may():
            kill_this_process()
        if answers == self._freeze_after and self._may():
            self.frozen = True

    def _may(self) -> bool:
        try:
            if self._once is not None:
                self._once.touch(exist_ok=False)
        except FileExistsError:
            return False
        return True


def kill_this_process() -> None:
    """SIGKILL to this very process: nothing is closed, flushed or said."""
    os.kill(os.getpid(), signal.SIGKILL)


def reset(request: web.BaseRequest) -> None:
    """Cut the connection with RST."""
    transport = request.transport
    if transport is not None:
        # Closing with a linger time of 0 sends RST instead of FIN.
        connection = transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()


async def send(request: web.BaseRequest, response: web.Response) -> web.StreamResponse:
    """Hand the response to the kernel completely. Raises ConnectionError where the client is gone."""
    await response.prepare(request)
    await response.write_eof()
    return response


async def drip(request: web.BaseRequest, body: bytes, seconds: float) -> web.StreamResponse:
    """Send 200 with this body a byte at a time, spread evenly over `seconds`. Raises ConnectionError."""
    response = await _begun(request, body)
    clock = asyncio.get_running_loop().time
    begin = clock()
    for at in range(len(body)):
        await asyncio.sleep(begin + seconds * (at + 1) / len(body) - clock())
        await response.write(body[at : at + 1])
    await response.write_eof()
    return response


async def send_half(request: web.BaseRequest, body: bytes) -> web.StreamResponse:
    """Send 200 with the first half of this body, then RST. Raises ConnectionError where the client goes first."""
    response = await _begun(request, body)
    await response.write(body[: len(body) // 2])
    await asyncio.sleep(_READING_SECONDS)
    reset(request)
    return response


async def _begun(request: web.BaseRequest, body: bytes) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    response.content_length = len(body)
    await response.prepare(request)
    return response


def count_start(file: Path) -> int:
    """How often a server was started with this file, now included. UserError where it holds no number."""
    try:
        starts = int(file.read_text()) + 1
    except FileNotFoundError:
        starts = 1
    except ValueError:
        raise fail(UserError, "the file that counts starts holds no number", given=file) from None
    file.write_text(str(starts))
    return starts


def resident_bytes() -> int:
    """Memory of this process that lies in RAM; where the system has no /proc, the most that it ever was."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except FileNotFoundError:
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024
