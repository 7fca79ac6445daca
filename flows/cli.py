"""The command line. User mistakes print their message and exit 2; anything unexpected keeps its traceback and exits 1."""

from __future__ import annotations

import argparse
import errno
import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from flows.arguments import parser
from synth.errors import Interrupted, SynthError
from synth.store import no_space

EXIT_INTERRUPTED = 130
WHOLE_OR_NOTHING = ("filter", "dedup")  # commands whose files appear when all of them are whole


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    options = parser().parse_args(arguments)
    # Arrow's own allocator keeps what each of many partitions once needed: a run of a month would only grow.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    try:
        return _dispatch(options)
    except SynthError as error:
        print(f"synth: {error}", file=sys.stderr)
        return error.exit_code
    except (Interrupted, KeyboardInterrupt):
        if options.command in WHOLE_OR_NOTHING:
            print("synth: stopped; nothing was written", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        print(f"synth: {no_space(Path(str(error.filename or '.')))}", file=sys.stderr)
        return 1


def _dispatch(options: argparse.Namespace) -> int:
    """Commands import what they need: `synth sql` does not wait for the engine's imports."""
    module, _, function = options.call.partition(":")
    return int(getattr(importlib.import_module(module), function)(options))


if __name__ == "__main__":
    sys.exit(main())
