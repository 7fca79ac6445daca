"""The command line. User mistakes print their message and exit 2; anything unexpected keeps its traceback and exits 1."""

from __future__ import annotations

import argparse
import errno
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from synth.errors import Interrupted, SynthError
from synth.store import no_space

EXIT_INTERRUPTED = 130
PREVIEW_SEEDS = 3


def parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    top = argparse.ArgumentParser(
        prog="synth", description="Synthetic pre-training corpora: made, filtered, deduplicated, audited, released."
    )
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)
    home = argparse.ArgumentParser(add_help=False)
    home.add_argument("--home", type=Path, help="the home folder (default: SYNTH_HOME, the recipe's, or ./corpus)")
    machine = argparse.ArgumentParser(add_help=False)
    machine.add_argument("--json", action="store_true", help="print JSON instead of a table")
    recipe = argparse.ArgumentParser(add_help=False)
    recipe.add_argument("recipe", type=Path, help="a recipe (.toml)")
    recipe.add_argument(
        "--set", action="append", default=[], metavar="A.B=C", dest="assignments", help="change a field of the recipe"
    )
    run = commands.add_parser(
        "run", parents=[recipe, home, machine], help="make what the recipe says, or go on with it"
    )
    run.add_argument("--no-prefect", action="store_true", help="run on plain threads, without Prefect")
    run.add_argument(
        "--new-model",
        action="store_true",
        help="a model that changed while partitions are open is meant to have changed",
    )
    run.add_argument(
        "--preview",
        nargs="?",
        type=_seeds,
        const=PREVIEW_SEEDS,
        metavar="N",
        help=f"only N seeds (default {PREVIEW_SEEDS}): show prompts, texts, drops and costs; the home is not touched",
    )
    commands.add_parser("plan", parents=[recipe, home, machine], help="what would run, what is done; starts nothing")
    sql = commands.add_parser("sql", parents=[home, machine], help="ask the catalogue")
    sql.add_argument("query", help='for example "SELECT family, count(*) FROM kept GROUP BY family"')
    audit = commands.add_parser("audit", parents=[home, machine], help="check the newest release again, from its files")
    audit.add_argument("name", nargs="?", help="the recipe's name (default: all in the home)")
    families = commands.add_parser(
        "families", parents=[machine], help="what can be written from seeds, and from which prompts"
    )
    families.add_argument("name", nargs="?", help="show all of this one: options, roles, prompts, axes, criteria")
    families.add_argument("--file", type=Path, help="a family of your own (.py)")
    weights = commands.add_parser("weights", parents=[machine], help="model files: what is known, what is here")
    weights.add_argument("name", nargs="?", help="fetch this one")
    return top


def _seeds(given: str) -> int:
    """The N of --preview."""
    if not given.isdecimal() or int(given) < 1:
        raise argparse.ArgumentTypeError(f"{given!r} is no number of seeds; write `synth run RECIPE --preview 5`")
    return int(given)


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
    if options.command == "run" and options.preview:
        from flows.commands import preview

        return preview.main(options)
    if options.command == "run":
        from flows.commands import run

        return run.main(options)
    if options.command == "families":
        from flows.commands import families

        return families.main(options)
    if options.command == "plan":
        from flows.commands import plan

        return plan.main(options)
    if options.command == "weights":
        from flows.commands import weights

        return weights.main(options)
    from flows.commands import ask

    return ask.sql(options) if options.command == "sql" else ask.audit(options)


if __name__ == "__main__":
    sys.exit(main())
