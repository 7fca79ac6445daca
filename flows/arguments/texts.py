"""Options of the commands that work on texts in anybody's files, without a home."""

from __future__ import annotations

import argparse
from pathlib import Path

from flows.arguments.common import Commands, Parents


def add_filter(commands: Commands, parents: Parents) -> None:
    """filter."""
    told = commands.add_parser(
        "filter", parents=[parents.machine], help="score and judge texts in files, without a home"
    )
    told.set_defaults(call="flows.commands.filter:main")
    told.add_argument(
        "files", nargs="*", type=Path, metavar="IN", help=".parquet or .jsonl(.gz, .zst), or folders of them"
    )
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


def add_training(commands: Commands, parents: Parents) -> None:
    """filter-train, filter-calibrate."""
    told = commands.add_parser(
        "filter-train", parents=[parents.home, parents.machine], help="train a quality model, and say its worth"
    )
    told.set_defaults(call="flows.commands.filter_train:main")
    told.add_argument(
        "--positives", nargs="+", type=Path, metavar="FILE", help=".parquet, .jsonl(.gz, .zst) or .txt: good"
    )
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
    told = commands.add_parser(
        "filter-calibrate", parents=[parents.home, parents.machine], help="which threshold keeps which share"
    )
    told.set_defaults(call="flows.commands.filter_calibrate:main")
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


def add_dedup(commands: Commands, parents: Parents) -> None:
    """dedup, index."""
    texts = argparse.ArgumentParser(add_help=False)
    texts.add_argument(
        "files", nargs="+", type=Path, metavar="IN", help=".parquet or .jsonl(.gz, .zst), or folders of them"
    )
    texts.add_argument("--text", default="text", metavar="COLUMN", help="the column of the text (default: text)")
    texts.add_argument("--id", metavar="COLUMN", help="the column of the id (default: id, where there is one)")
    texts.add_argument("--workers", type=int, metavar="N", help="threads (default: one per core)")
    dedup = commands.add_parser(
        "dedup", parents=[texts, parents.machine], help="find near-duplicates in files, without a home"
    )
    dedup.set_defaults(call="flows.commands.dedup:main")
    dedup.add_argument("--out", type=Path, required=True, help="the folder for dedup.parquet")
    dedup.add_argument(
        "--against",
        action="append",
        default=[],
        metavar="OTHER",
        help="texts that stay: a folder made by synth index, HOME#RECIPE, or the file of a release",
    )
    runners = ("threads", "processes", "ray")
    dedup.add_argument("--runner", choices=runners, default="threads", help="where work is done (default: threads)")
    dedup.add_argument("--memory-gb", type=float, metavar="X", help="memory to plan with (default 4)")
    dedup.add_argument("--recipe", type=Path, help="a recipe whose [dedup] says what a duplicate is")
    dedup.add_argument("--set", action="append", default=[], metavar="A.B=C", dest="assignments", help="change a field")
    dedup.add_argument("--jaccard", type=float, metavar="X", help="smallest similarity that drops (default 0.75)")
    dedup.add_argument(
        "--containment", type=float, metavar="X", help="smallest share contained that drops (default 0.95)"
    )
    dedup.add_argument("--samples", type=int, default=1, metavar="N", help="pairs shown of each kind (default 1)")
    index = commands.add_parser("index", parents=[texts, parents.machine], help="sign texts, for synth dedup --against")
    index.set_defaults(call="flows.commands.dedup:index")
    index.add_argument("--out", type=Path, required=True, help="the folder for the index")
