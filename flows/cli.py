"""The command line. User mistakes print their message and exit 2; anything unexpected keeps its traceback and exits 1."""

from __future__ import annotations

import argparse
import errno
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from synth.errors import Interrupted, SynthError
from synth.store import no_space

EXIT_INTERRUPTED = 130
PREVIEW_SEEDS = 3
WHOLE_OR_NOTHING = ("filter", "dedup")  # commands whose files appear when all of them are whole


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
    _add_filter(commands, machine)
    _add_dedup(commands, machine)
    _add_training(commands, home, machine)
    weights = commands.add_parser("weights", parents=[machine], help="model files: what is known, what is here")
    weights.add_argument("name", nargs="?", help="fetch this one")
    return top


def _add_filter(commands: Any, machine: argparse.ArgumentParser) -> None:
    told = commands.add_parser("filter", parents=[machine], help="score and judge texts in files, without a home")
    told.add_argument("files", nargs="*", type=Path, metavar="IN", help=".parquet or .jsonl(.gz), or folders of them")
    told.add_argument("--out", type=Path, help="the folder for scores, drops, verdicts and spans (.parquet)")
    told.add_argument("--recipe", type=Path, help="a recipe, or a .toml with [screen], [pii], [decontamination] alone")
    told.add_argument("--set", action="append", default=[], metavar="A.B=C", dest="assignments", help="change a field")
    told.add_argument(
        "--preset", action="append", default=[], metavar="NAME", help="without a recipe: judge by this one"
    )
    told.add_argument(
        "--rule", action="append", default=[], metavar="NAME", help="without a recipe: score by this, too"
    )
    told.add_argument("--presets", action="store_true", help="list the presets and their bounds")
    told.add_argument("--as", choices=("seeds", "documents"), dest="judge_as", help="which part of a recipe judges")
    told.add_argument("--text", default="text", metavar="COLUMN", help="the column of the text (default: text)")
    told.add_argument("--id", metavar="COLUMN", help="the column of the id (default: id, where there is one)")
    told.add_argument("--sweep", metavar="SCORE", help="draw what each threshold on this score would keep, per family")
    told.add_argument("--workers", type=int, metavar="N", help="threads (default: one per core)")


def _add_training(commands: Any, home: argparse.ArgumentParser, machine: argparse.ArgumentParser) -> None:
    told = commands.add_parser("filter-train", parents=[home, machine], help="train a quality model, and say its worth")
    told.add_argument("--positives", nargs="+", type=Path, metavar="FILE", help=".parquet, .jsonl(.gz) or .txt: good")
    told.add_argument("--negatives", nargs="+", type=Path, metavar="FILE", help="the same, of bad texts")
    told.add_argument("--labelled", nargs="+", type=Path, metavar="FILE", help="files that hold both, see --label")
    told.add_argument("--label", metavar="COLUMN", help="the column of --labelled files that says which are good")
    told.add_argument("--good", metavar="LABEL", help="the label of good texts, where that is not clear")
    told.add_argument(
        "--from-catalogue", action="store_true", help="what a home kept of --family against what it dropped"
    )
    told.add_argument("--family", help="the family, with --from-catalogue")
    told.add_argument("--recipe", metavar="NAME", help="the recipe's name, where the home holds several")
    told.add_argument("--reasons", nargs="+", default=[], metavar="REASON", help="only drops for these reasons are bad")
    told.add_argument("--text", default="text", metavar="COLUMN", help="the column of the text (default: text)")
    told.add_argument("--root", metavar="COLUMN", help="the column of what texts of one origin share (default: none)")
    told.add_argument("--pairs", type=Path, metavar="FILE", help="the same facts in two styles, columns a and b")
    told.add_argument("--out", type=Path, required=True, metavar="DIR", help="a new folder for the model and its card")
    told.add_argument("--lr", type=float, help="learning rate (default: 0.1)")
    told.add_argument("--dim", type=int, help="numbers per word (default: 100)")
    told.add_argument("--ngrams", type=int, dest="word_ngrams", help="longest word n-gram (default: 2)")
    told.add_argument("--epochs", type=int, help="passes over the texts (default: 5)")
    told.add_argument(
        "--bucket", type=int, help="slots for n-grams (default: 2000000; the file takes bucket x dim x 4 bytes)"
    )
    told.add_argument("--min-count", type=int, help="rarer words are unknown (default: 1)")
    told.add_argument("--quantize", action="store_true", help="write a compressed model.ftz")
    told = commands.add_parser("filter-calibrate", parents=[home, machine], help="which threshold keeps which share")
    told.add_argument("--recipe", metavar="NAME", help="the recipe's name, where the home holds several")
    told.add_argument("--scores", type=Path, help="in place of a home: a scores.parquet, as synth filter writes it")
    told.add_argument("--texts", nargs="+", type=Path, metavar="FILE", help="the texts of --scores, for samples")
    told.add_argument("--text", default="text", metavar="COLUMN", help="the column of the text (default: text)")
    told.add_argument("--id", metavar="COLUMN", help="the column of the id (default: id, where there is one)")
    told.add_argument(
        "--score", action="append", default=[], metavar="COLUMN", help="a score (default: quality_score, quality_delta)"
    )
    told.add_argument("--family", action="append", default=[], metavar="F", help="only this family")
    told.add_argument("--keep", type=float, metavar="SHARE", help="the share to keep of each family (default: 0.9)")
    told.add_argument("--threshold", type=float, help="in place of --keep: this one for all families")
    told.add_argument("--pairs", type=Path, metavar="FILE", help="the same facts in two styles, columns a and b")
    told.add_argument("--model", type=Path, help="the model that scores --pairs (default: the one the run trained)")
    told.add_argument("--svg", type=Path, metavar="FILE", help="draw kept share against threshold here")


def _add_dedup(commands: Any, machine: argparse.ArgumentParser) -> None:
    texts = argparse.ArgumentParser(add_help=False)
    texts.add_argument("files", nargs="+", type=Path, metavar="IN", help=".parquet or .jsonl(.gz), or folders of them")
    texts.add_argument("--text", default="text", metavar="COLUMN", help="the column of the text (default: text)")
    texts.add_argument("--id", metavar="COLUMN", help="the column of the id (default: id, where there is one)")
    texts.add_argument("--workers", type=int, metavar="N", help="threads (default: one per core)")
    dedup = commands.add_parser("dedup", parents=[texts, machine], help="find near-duplicates in files, without a home")
    dedup.add_argument("--out", type=Path, required=True, help="the folder for dedup.parquet")
    dedup.add_argument(
        "--against", action="append", default=[], type=Path, metavar="FOLDER", help="made by synth index"
    )
    dedup.add_argument("--recipe", type=Path, help="a recipe whose [dedup] says what a duplicate is")
    dedup.add_argument("--set", action="append", default=[], metavar="A.B=C", dest="assignments", help="change a field")
    dedup.add_argument("--jaccard", type=float, metavar="X", help="smallest similarity that drops (default 0.75)")
    dedup.add_argument(
        "--containment", type=float, metavar="X", help="smallest share contained that drops (default 0.95)"
    )
    dedup.add_argument("--samples", type=int, default=1, metavar="N", help="pairs shown of each kind (default 1)")
    index = commands.add_parser("index", parents=[texts, machine], help="sign texts, for synth dedup --against")
    index.add_argument("--out", type=Path, required=True, help="the folder for the index")


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
    if options.command == "run" and options.preview:
        from flows.commands import preview

        return preview.main(options)
    if options.command == "run":
        from flows.commands import run

        return run.main(options)
    if options.command == "filter":
        from flows.commands import filter as filter_command

        return filter_command.main(options)
    if options.command == "filter-train":
        from flows.commands import filter_train

        return filter_train.main(options)
    if options.command == "filter-calibrate":
        from flows.commands import filter_calibrate

        return filter_calibrate.main(options)
    if options.command in ("dedup", "index"):
        from flows.commands import dedup

        return dedup.main(options) if options.command == "dedup" else dedup.index(options)
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
