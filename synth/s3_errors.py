"""What S3 and botocore say when something goes wrong: whether another try may help, and the error in the user's words."""

from __future__ import annotations

from typing import Any

from synth.errors import HomeError, SynthError, WorldError, fail

_PASSING = {
    "SlowDown",
    "InternalError",
    "ServiceUnavailable",
    "RequestTimeout",
    "RequestTimeTooSkewed",
    "Throttling",
    "ThrottlingException",
    "RequestLimitExceeded",
    "ConditionalRequestConflict",
    "OperationAborted",
    "BadDigest",
}
_DENIED = {"AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "AllAccessDisabled"}
_EXPIRED = {"ExpiredToken", "ExpiredTokenException", "InvalidToken", "TokenRefreshRequired"}


class Refused(Exception):
    """The condition of a request does not hold, or nothing changed: 412, 304, 416."""

    def __init__(self, status: int) -> None:
        super().__init__(f"status {status}")
        self.status = status


def final_error(error: Exception, what: str, url: str, endpoint: str) -> Exception | None:
    """The error to raise now, or None when another try may help. 404 is FileNotFoundError, a condition's end is Refused."""
    import botocore.exceptions as known  # type: ignore[import-untyped]

    if isinstance(error, known.ClientError):
        return _final_answer(error, what, url, endpoint)
    if isinstance(error, known.NoCredentialsError | known.PartialCredentialsError | known.CredentialRetrievalError):
        return fail(
            HomeError,
            f"no AWS credentials for {url}: {error}",
            do="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or give this machine a role",
        )
    if isinstance(error, known.ParamValidationError | known.NoRegionError | known.ProfileNotFound):
        return fail(HomeError, f"{url} cannot be used: {error}", do="mend the URL or the AWS settings")
    return None


def _final_answer(error: Any, what: str, url: str, endpoint: str) -> Exception | None:
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if code in _PASSING or status == 429 or (status >= 500 and status != 501):
        return None
    if code == "NoSuchBucket":
        return fail(HomeError, f"there is no bucket for {url} at {endpoint}", do="make it, or correct the URL")
    if status == 404:
        return FileNotFoundError(f"{url}: {what}")
    if status in (304, 412, 416):
        return Refused(status)
    if code in _EXPIRED:
        return fail(WorldError, f"the AWS credentials for {url} have expired", do="renew them and run again")
    if code in _DENIED or status in (401, 403):
        return fail(
            HomeError,
            f"S3 does not let us at {url} ({what}: {short(error)})",
            do="give the credentials the rights to list, read, write and delete below it",
        )
    return fail(WorldError, f"S3 refused {what} in {url}: {short(error)}", do="see what it says, then run again")


def gave_up(error: Exception, what: str, url: str, endpoint: str, seconds: float) -> SynthError:
    """The error when trying again has helped for too long."""
    return fail(
        WorldError,
        f"S3 failed for {seconds:.0f} s at {what} in {url}",
        given=f"{short(error)} (endpoint {endpoint})",
        do="see that the endpoint (AWS_ENDPOINT_URL) and the network are well, then run the same command again: "
        "everything published is kept",
    )


def short(error: Exception) -> str:
    """An error's text on one line."""
    return " ".join(str(error).split())[:200] or type(error).__name__
