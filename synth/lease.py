"""The lock of a home on S3: one small object that its holder renews, and that others may take over once it is stale.

Every step is a conditional put, so of several that try only one succeeds. Ages are read off S3's own clock. A holder that
was asleep for too long finds its lease taken at its next write, and stops; what it wrote until then was put-if-absent.
"""

from __future__ import annotations

import os
import secrets
import socket
import threading
import time
from typing import Any

import orjson

from synth.errors import HomeError, HomeInUseError, SynthError, fail
from synth.s3 import Bucket, Got

LEASE = "lease.json"
RENEW_SECONDS = 20.0
STALE_SECONDS = 120.0
"""Without a sign of life for this long, a holder counts as dead."""


class Lease:
    """One run's hold on a home. `mirror` names the local folder whose lock the run holds, too."""

    def __init__(self, bucket: Bucket, mirror: str, who: str) -> None:
        self._bucket = bucket
        self._mirror, self._who = mirror, who
        self._host = socket.gethostname()
        self._token = secrets.token_hex(8)
        self._etag: str | None = None
        self._renewals = 0
        self._renewed_at = 0.0
        self._lost = False
        self._guard = threading.Lock()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)

    def acquire(self) -> None:
        """Take the lease, or raise HomeError that names the holder."""
        data = self._content("held")
        etag = self._bucket.put(LEASE, data, absent=True)
        while etag is None:
            try:
                held = self._bucket.get(LEASE)
            except FileNotFoundError:
                etag = self._bucket.put(LEASE, data, absent=True)
                continue
            self._refuse_living(held)
            etag = self._bucket.put(LEASE, data, etag=held.etag)  # None: somebody else was faster, look again
        self._etag, self._renewed_at = etag, time.monotonic()
        self._thread.start()

    def _refuse_living(self, held: Got) -> None:
        """A lease may be taken when it was given back, when it is stale, or when its holder died on this machine: it held
        the lock of the mirror that we hold now."""
        value: dict[str, Any] = orjson.loads(held.data)
        ours = value["mirror"] == self._mirror and value["host"] == self._host
        left = STALE_SECONDS - held.age_seconds
        if value["state"] == "free" or ours or left <= 0:
            return
        raise fail(
            HomeInUseError,
            f"the home {self._bucket.url} is in use by another run",
            given=f"process {value['process']} on {value['host']}: {value['who']}; its last sign of life was "
            f"{max(held.age_seconds, 0):.0f} s ago",
            do=f"wait for it, stop it, or use another --home; if it was killed, run again in {left:.0f} s",
        )

    def check(self) -> None:
        """Raise HomeError when this run no longer holds the home: it slept, or S3 was out of reach, for too long."""
        if not self._lost and time.monotonic() - self._renewed_at > STALE_SECONDS / 2:
            self._renew()
        if self._lost:
            raise fail(
                HomeError,
                f"another run took over the home {self._bucket.url}: this one gave no sign of life for "
                f"{STALE_SECONDS:.0f} s",
                do="let that one work; nothing of what it writes was touched",
            )

    def _keep(self) -> None:
        while not self._end.wait(RENEW_SECONDS) and not self._lost:
            try:
                self._renew()
            except SynthError:
                continue  # S3 is out of reach: whoever writes next hears of it

    def _renew(self) -> None:
        with self._guard:
            began = time.monotonic()
            etag = self._bucket.put(LEASE, self._content("held"), etag=self._etag)
            if etag is None:
                self._lost = True
            else:
                self._etag, self._renewed_at = etag, began

    def release(self) -> None:
        """Give the lease back. When S3 is out of reach it goes stale by itself."""
        self._end.set()
        with self._guard:
            if self._etag is None or self._lost:
                return
            try:
                self._bucket.put(LEASE, self._content("free"), etag=self._etag)
            except SynthError:
                return

    def _content(self, state: str) -> bytes:
        self._renewals += 1
        value = {
            "state": state,
            "host": self._host,
            "process": os.getpid(),
            "who": self._who,
            "mirror": self._mirror,
            "token": self._token,
            "renewals": self._renewals,
        }
        return orjson.dumps(value)
