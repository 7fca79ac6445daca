"""The error tree. Every message says what is wrong, what was given, what is allowed and what to do.

SynthError                  exit 1   anything this project raises on purpose
├── UserError               exit 2   the user's input is wrong: no traceback, running again changes nothing
│   ├── RecipeError                  a recipe's field
│   ├── SourceError                  a seed file, a column, a row
│   └── HomeError                    the home: newer format, not a home
│       └── HomeInUseError           another run holds it: a schedule only skips
├── GateError               exit 3   an audit gate failed: nothing was released
├── WorldError              exit 1   disk, network, servers: the same command may succeed later
│   ├── EndpointError                a model server does not answer, or died
│   └── SpaceError                   no room left on the device
└── IntegrityError          exit 1   stored bytes or counts are not what their manifest says
"""

from __future__ import annotations


class SynthError(Exception):
    """Base of all errors raised on purpose. `exit_code` is the process's exit code, `retryable` whether time may heal it."""

    exit_code = 1
    retryable = False


class UserError(SynthError):
    """The user's input is wrong; the message is all that is printed."""

    exit_code = 2


class RecipeError(UserError):
    """A field of the recipe is unknown, missing, of the wrong type or out of range."""


class SourceError(UserError):
    """A seed source cannot be read as the recipe describes it."""


class HomeError(UserError):
    """The home folder cannot be used: written by a newer version, or not a home."""


class HomeInUseError(HomeError):
    """Another run holds the home. Not a fault: a firing of a schedule counts it as still running."""


class GateError(SynthError):
    """An audit check found violations, so no release was made."""

    exit_code = 3


class WorldError(SynthError):
    """A fault of the world: nothing is lost, and the same command goes on where it stopped."""

    retryable = True


class EndpointError(WorldError):
    """A model endpoint refuses connections, answers with server errors, or its process died."""


class SpaceError(WorldError):
    """The disk is full."""


class IntegrityError(SynthError):
    """Stored bytes differ from their manifest, or counts do not add up."""


def fail(
    kind: type[SynthError], what: str, *, given: object = None, allowed: str | None = None, do: str | None = None
) -> SynthError:
    """Build an error in the project's one form: what; given; allowed; what to do. Empty parts are left out."""
    lines = [what]
    if given is not None:
        lines.append(f"  given:   {given}")
    if allowed is not None:
        lines.append(f"  allowed: {allowed}")
    if do is not None:
        lines.append(f"  do:      {do}")
    return kind("\n".join(lines))


class Interrupted(BaseException):
    """The run was told to stop. Not an Exception, so that a family's `except Exception` cannot swallow it."""
