"""One prefix of an S3 bucket: the only place that talks to S3, through botocore.

Endpoint, region and credentials are those of the usual AWS environment variables and files. What S3 answers for a moment
(503 SlowDown, 500, a cut connection) is tried again; what it says for good is an error in the user's words. Uploads carry
MD5 sums, so that S3 refuses bytes that were damaged on their way.
"""

from __future__ import annotations

import base64
import hashlib
import os
import random
import re
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, TypeVar

from synth.errors import HomeError, SynthError, WorldError, fail
from synth.s3_errors import Refused, final_error, gave_up, short

PART_BYTES = 16 << 20
"""Files above this size are uploaded in parts of at least this size."""
_MOST_PARTS = 9_000  # S3 takes 10,000
PAGE_KEYS = 1000
"""Keys that one listing request gives, and one removing request takes: as many as S3 allows."""
_AT_ONCE = 16  # requests side by side for many small things
_PARTS_AT_ONCE = 4
_CHUNK_BYTES = 1 << 20
GIVE_UP_SECONDS = 300.0
"""How long one thing is tried again and again: a throttled bucket heals within minutes."""
FIRST_SECONDS = 15.0
"""The same before S3 has answered for the first time: then the endpoint is more likely wrong than busy."""
_TELL_SECONDS = 5.0
FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.2, 15.0
_CONNECT_SECONDS, _READ_SECONDS = 10, 60

_T = TypeVar("_T")
_Name = TypeVar("_Name")


@dataclass(frozen=True, slots=True)
class Entry:
    """An object in the bucket: its key without the prefix."""

    key: str
    size_bytes: int
    etag: str


@dataclass(frozen=True, slots=True)
class Got:
    """A small object, and how old it is by S3's own clock."""

    data: bytes
    etag: str
    age_seconds: float


def split_url(url: str) -> tuple[str, str]:
    """Bucket and prefix of `s3://bucket/some/prefix`."""
    found = re.fullmatch(r"s3://([A-Za-z0-9.\-_:/]+?)/*", url)
    bucket, _, prefix = found[1].partition("/") if found else ("", "", "")
    if not bucket or any(part in ("", ".", "..") for part in prefix.split("/") if prefix):
        raise fail(
            HomeError,
            "the home's URL does not name a bucket and a prefix",
            given=url,
            allowed="s3://BUCKET/PREFIX, of letters, digits and - _ . /",
        )
    return bucket, prefix


class Bucket:
    """A prefix in a bucket. Keys are relative to it. Safe to use from several threads."""

    def __init__(self, url: str, tell: Callable[[str], None]) -> None:
        self.bucket, self.prefix = split_url(url)
        self.url = url
        self._tell = tell
        self._client = _client()
        self._answered = False

    @property
    def endpoint(self) -> str:
        """Where requests go; all of AWS is one place."""
        endpoint = str(self._client.meta.endpoint_url)
        return "aws" if _is_aws(endpoint) else endpoint

    def _key(self, key: str) -> str:
        return "/".join(filter(None, (self.prefix, key)))

    def _relative(self, key: str) -> str:
        return key[len(self._base("")) :]

    # Reading

    def head(self, key: str) -> Mapping[str, Any] | None:
        """What S3 knows of an object, or None."""
        try:
            return self._ask("head_object", key)
        except FileNotFoundError:
            return None

    def get(self, key: str) -> Got:
        """A small object whole. Raises FileNotFoundError."""

        def attempt() -> Got:
            answer = self._send("get_object", key)
            data = answer["Body"].read()
            now = parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
            return Got(data, answer["ETag"], (now - answer["LastModified"]).total_seconds())

        return self._again(f"reading {key}", attempt)

    def download(self, key: str, target: Path, etag: str | None = None) -> bool:
        """Write an object to a new local file; after a cut connection it goes on where it was. False when the object
        still has this `etag`. Raises FileNotFoundError."""
        seen: dict[str, Any] = {}

        def attempt() -> bool:
            at = target.stat().st_size if seen else 0
            more: dict[str, Any] = {"Range": f"bytes={at}-", "IfMatch": seen["etag"]} if at else {}
            answer = self._send("get_object", key, **more, **({"IfNoneMatch": etag} if etag and not at else {}))
            with target.open("ab" if at else "wb") as file:
                seen.update(etag=answer["ETag"])
                for chunk in answer["Body"].iter_chunks(_CHUNK_BYTES):
                    file.write(chunk)
                file.flush()
                os.fsync(file.fileno())
            return True

        try:
            return self._again(f"reading {key}", attempt)
        except Refused as refused:
            if refused.status == 304:
                return False
            target.unlink()  # it was written anew in the meantime
            return self.download(key, target)

    def entries(self, folder: str) -> Iterator[Entry]:
        """All objects below a folder, a thousand with each request."""
        yield from (
            Entry(self._relative(one["Key"]), one["Size"], one["ETag"])
            for page in self._pages(folder)
            for one in page.get("Contents", ())
        )

    def names(self, folder: str) -> list[str]:
        """Names right inside a folder, of objects and of folders, sorted as S3 sorts them."""
        start = len(self._base(folder))
        pages = list(self._pages(folder, Delimiter="/"))
        files = [one["Key"][start:] for page in pages for one in page.get("Contents", ())]
        folders = [one["Prefix"][start:].rstrip("/") for page in pages for one in page.get("CommonPrefixes", ())]
        return sorted(filter(None, [*files, *folders]))

    def _base(self, folder: str) -> str:
        base = self._key(folder)
        return f"{base}/" if base else ""

    def _pages(self, folder: str, **parameters: Any) -> Iterator[Mapping[str, Any]]:
        token: dict[str, Any] = {}
        while True:
            page = self._ask(
                "list_objects_v2", None, Prefix=self._base(folder), MaxKeys=PAGE_KEYS, **parameters, **token
            )
            yield page
            if not page.get("IsTruncated"):
                return
            token = {"ContinuationToken": page["NextContinuationToken"]}

    # Writing

    def put(self, key: str, data: bytes, *, absent: bool = False, etag: str | None = None) -> str | None:
        """Write an object. With `absent` only where there is none, with `etag` only over exactly that one. The new ETag, or
        None when the condition does not hold.

        An answer that is lost on its way makes the second try fail on the first one's success: each call has a token of
        its own, by which its own write is known again.
        """
        token = secrets.token_hex(16)
        condition = {"IfNoneMatch": "*"} if absent else {"IfMatch": etag} if etag else {}
        parameters: dict[str, Any] = {"ContentMD5": _md5_base64(data), "Metadata": {"writer": token}, **condition}

        def attempt() -> str:
            answer = self._send("put_object", key, Body=data, **parameters)
            self._refuse_other_bytes(key, answer, data)
            return str(answer["ETag"])

        try:
            return self._again(f"writing {key}", attempt)
        except (Refused, FileNotFoundError):  # the latter: to be replaced, and gone
            return self._if_ours(key, token)

    def _if_ours(self, key: str, token: str) -> str | None:
        head = self.head(key)
        return str(head["ETag"]) if head and head["Metadata"].get("writer") == token else None

    def _refuse_other_bytes(self, key: str, answer: Mapping[str, Any], data: bytes) -> None:
        """An ETag is the MD5 of a plain upload, except under some kinds of encryption."""
        found = answer["ETag"].strip('"')
        encrypted = answer.get("ServerSideEncryption", "AES256") != "AES256" or "SSECustomerAlgorithm" in answer
        if not encrypted and re.fullmatch("[0-9a-f]{32}", found) and found != md5_hex(data):
            raise ConnectionError(f"{key} arrived as other bytes")

    def upload(self, key: str, path: Path, sha256: str, absent: bool = True) -> bool:
        """Write a file, large ones in parts, and remember its sha256 with it. False when `absent` and there is one."""
        size = path.stat().st_size
        if size > PART_BYTES:
            return _Multipart(self, key, path, sha256, absent).run()
        data = path.read_bytes()
        token = secrets.token_hex(16)
        condition = {"IfNoneMatch": "*"} if absent else {}
        metadata = {"writer": token, "sha256": sha256}

        def attempt() -> bool:
            parameters: dict[str, Any] = {"ContentMD5": _md5_base64(data), "Metadata": metadata, **condition}
            self._refuse_other_bytes(key, self._send("put_object", key, Body=data, **parameters), data)
            return True

        try:
            return self._again(f"writing {key}", attempt)
        except Refused:
            return self._if_ours(key, token) is not None

    def delete(self, keys: Iterable[str]) -> None:
        """Remove objects, a thousand with each request; those that are not there are gone already."""
        rest = list(keys)
        while rest:
            some, rest = rest[:PAGE_KEYS], rest[PAGE_KEYS:]
            listed = {"Objects": [{"Key": self._key(key)} for key in some], "Quiet": True}
            answer = self._ask("delete_objects", None, Delete=listed)
            if failed := answer.get("Errors"):
                raise fail(
                    WorldError,
                    f"{len(failed)} objects of {self.url} could not be removed",
                    given=f"{failed[0].get('Key')}: {failed[0].get('Message')}",
                    do="run the same command again",
                )

    def abort_uploads(self, folder: str) -> int:
        """Throw away the parts of uploads that were never completed; how many. A bucket that does not let us is left alone."""
        try:
            answer = self._ask("list_multipart_uploads", None, Prefix=self._base(folder))
            uploads = answer.get("Uploads", ())
            for one in uploads:
                self._ask("abort_multipart_upload", self._relative(one["Key"]), UploadId=one["UploadId"])
        except (SynthError, FileNotFoundError, Refused):
            return 0
        return len(uploads)

    # One request

    def _ask(self, operation: str, key: str | None, **parameters: Any) -> Mapping[str, Any]:
        what = f"{operation.replace('_', ' ')} {key or self.prefix}"
        return self._again(what, lambda: self._send(operation, key, **parameters))

    def _send(self, operation: str, key: str | None, **parameters: Any) -> Mapping[str, Any]:
        if key is not None:
            parameters["Key"] = self._key(key)
        answer: Mapping[str, Any] = getattr(self._client, operation)(Bucket=self.bucket, **parameters)
        self._answered = True
        return answer

    def _again(self, what: str, attempt: Callable[[], _T]) -> _T:
        """Try until it works, with growing pauses of random length. FileNotFoundError, Refused (a condition does not
        hold), HomeError, or WorldError when S3 fails for too long."""
        import botocore.exceptions  # type: ignore[import-untyped]

        began, tries = time.monotonic(), 0
        while True:
            try:
                return attempt()
            except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError, ConnectionError) as error:
                final = final_error(error, what, self.url, self.endpoint)
                self._answered = self._answered or isinstance(final, FileNotFoundError | Refused)
                if final:
                    raise final from error
                last = error
            tries += 1
            passed = time.monotonic() - began
            limit = GIVE_UP_SECONDS if self._answered else FIRST_SECONDS
            pause = random.uniform(0.05, 1) * min(FIRST_PAUSE_SECONDS * 2**tries, _LONGEST_PAUSE_SECONDS)
            if passed >= limit:
                raise gave_up(last, what, self.url, self.endpoint, passed) from last
            if passed < _TELL_SECONDS <= passed + pause:
                self._tell(f"S3 does not answer as it should ({short(last)}): trying again for up to {limit:.0f} s")
            time.sleep(min(pause, limit - passed))


class _Multipart:
    """One upload in parts. Until it is completed nothing is there; one that failed is aborted, or found by abort_uploads."""

    def __init__(self, bucket: Bucket, key: str, path: Path, sha256: str, absent: bool) -> None:
        self._bucket, self._key, self._path = bucket, key, path
        self._token = secrets.token_hex(16)
        self._condition = {"IfNoneMatch": "*"} if absent else {}
        self._metadata = {"writer": self._token, "sha256": sha256}
        self._size = path.stat().st_size
        self._part_bytes = _part_bytes(self._size)

    def run(self) -> bool:
        """False when there is such an object already."""
        begun = self._bucket._ask("create_multipart_upload", self._key, Metadata=self._metadata)
        upload = str(begun["UploadId"])
        try:
            numbers = range(1, -(-self._size // self._part_bytes) + 1)
            with ThreadPoolExecutor(_PARTS_AT_ONCE, thread_name_prefix="s3-part") as pool:
                parts = list(pool.map(lambda number: self._part(upload, number), numbers))
            return self._complete(upload, parts)
        except BaseException:
            self._abort(upload)
            raise

    def _part(self, upload: str, number: int) -> dict[str, Any]:
        with self._path.open("rb") as file:
            file.seek((number - 1) * self._part_bytes)
            data = file.read(self._part_bytes)
        parameters: dict[str, Any] = {
            "UploadId": upload,
            "PartNumber": number,
            "Body": data,
            "ContentMD5": _md5_base64(data),
        }
        answer = self._bucket._ask("upload_part", self._key, **parameters)
        return {"PartNumber": number, "ETag": answer["ETag"]}

    def _complete(self, upload: str, parts: list[dict[str, Any]]) -> bool:
        listed: dict[str, Any] = {"UploadId": upload, "MultipartUpload": {"Parts": parts}, **self._condition}
        try:
            self._bucket._ask("complete_multipart_upload", self._key, **listed)
        except (Refused, FileNotFoundError) as error:  # the latter: completed already, the answer was lost
            if self._bucket._if_ours(self._key, self._token):
                return True
            if isinstance(error, FileNotFoundError):
                raise fail(
                    WorldError, f"the upload of {self._key} was thrown away by somebody else", do="run again"
                ) from error
            self._abort(upload)
            return False
        return True

    def _abort(self, upload: str) -> None:
        try:
            self._bucket._ask("abort_multipart_upload", self._key, UploadId=upload)
        except (SynthError, FileNotFoundError, Refused):
            return  # the next run's abort_uploads finds it


def _part_bytes(size_bytes: int) -> int:
    return max(PART_BYTES, -(-size_bytes // _MOST_PARTS))


def etag_of(path: Path) -> str:
    """The ETag that S3 gave a file when we uploaded it, unless it is encrypted in some ways."""
    size = path.stat().st_size
    part_bytes = _part_bytes(size)
    with path.open("rb") as file:
        if size <= PART_BYTES:
            return f'"{md5_hex(file.read())}"'
        parts = [bytes.fromhex(md5_hex(part)) for part in iter(lambda: file.read(part_bytes), b"")]
    return f'"{md5_hex(b"".join(parts))}-{len(parts)}"'


def side_by_side(work: Callable[[_Name], _T], names: Iterable[_Name]) -> list[_T]:
    """Do something for each of many things, several at a time; results in their order, the first error raised."""
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="s3") as pool:
        return list(pool.map(work, names))


def md5_hex(data: bytes) -> str:
    """What S3 calls a plain object's ETag, without its quotes."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def _md5_base64(data: bytes) -> str:
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()


def _is_aws(endpoint: str) -> bool:
    return re.search(r"\.amazonaws\.com(\.cn)?$", endpoint.rstrip("/")) is not None


def _client() -> Any:
    """A client as the environment describes it. Retries are ours: only we know what a second try of a conditional put means."""
    import botocore.exceptions
    from botocore.config import Config  # type: ignore[import-untyped]
    from botocore.session import Session  # type: ignore[import-untyped]

    settings: dict[str, Any] = {
        "retries": {"total_max_attempts": 1},
        "connect_timeout": _CONNECT_SECONDS,
        "read_timeout": _READ_SECONDS,
        "max_pool_connections": 4 * _AT_ONCE,
        "request_checksum_calculation": "when_required",  # we send MD5 sums, which every S3 knows
        "response_checksum_validation": "when_supported",
    }
    try:
        session = Session()
        client = session.create_client("s3", config=Config(**settings))
        chosen = (session.get_scoped_config().get("s3") or {}).get("addressing_style")
        if not _is_aws(str(client.meta.endpoint_url)) and not chosen:  # a bucket is no host name there
            client = session.create_client("s3", config=Config(**settings, s3={"addressing_style": "path"}))
    except (botocore.exceptions.BotoCoreError, ValueError) as error:
        raise fail(HomeError, f"the AWS settings cannot be used: {error}", do="mend them, see AWS_PROFILE") from error
    return client
