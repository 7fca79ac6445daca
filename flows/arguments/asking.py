"""Options of the commands that ask a home what is in it."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from flows.arguments.common import Commands, Parents


def add_questions(commands: Commands, parents: Parents) -> None:
    """sql, audit."""
    sql = commands.add_parser(
        "sql",
        parents=[parents.home, parents.machine],
        help="ask the catalogue; without a query, what can be asked",
        description="Ask the catalogue. A query reads its views, nothing else, and cannot write: it is safe to hand around.",
    )
    sql.set_defaults(call="flows.commands.sql:main")
    sql.add_argument(
        "query",
        nargs="?",
        help='a SELECT ("SELECT family, count(*) FROM kept GROUP BY family"), the name of a canned question, or - for stdin',
    )
    sql.add_argument("--csv", action="store_true", help="print comma-separated values; nested ones are JSON")
    sql.add_argument("--parquet", type=Path, metavar="FILE", help="write the answer here")
    sql.add_argument("--limit-seconds", type=_positive, metavar="N", help="stop it then (default: 60)")
    sql.add_argument("--memory", metavar="SIZE", help="for the work, and for an answer that is shown (default: 2GB)")
    audit = commands.add_parser(
        "audit", parents=[parents.home, parents.machine], help="check the newest release again, from its files"
    )
    audit.set_defaults(call="flows.commands.ask:audit")
    audit.add_argument("name", nargs="?", help="the recipe's name (default: all in the home)")


def _positive(given: str) -> float:
    """A number of seconds."""
    try:
        seconds = float(given)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"{given!r} is no number of seconds")
    return seconds
