"""`synth sql`: one question to the catalogue of a home, answered by a process that can do nothing else."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import orjson
import pyarrow as pa

from flows.commands import answers
from flows.commands.home import home_of
from flows.display import say
from synth.audit.asking import Question, ask
from synth.audit.canned import canned, canned_titles
from synth.audit.copies import bring_here
from synth.audit.limits import DEFAULT_MEMORY, DEFAULT_SECONDS, size_bytes, within
from synth.config import nearest
from synth.errors import UserError, fail


def main(options: argparse.Namespace) -> int:
    """Print the answer to a query, or to a canned question; without one, what can be asked."""
    home, memory = str(home_of(options)), options.memory or DEFAULT_MEMORY
    size_bytes(memory)
    if options.query is None:
        bring_here(Path(home), None, say)
        return _list(home, options.json)
    if options.csv + options.json + (options.parquet is not None) > 1:
        raise fail(UserError, "one form of answer at a time", allowed="--json, --csv or --parquet FILE")
    text = _query(options.query)
    bring_here(Path(home), text, say)
    with ask(Question(home, text, options.limit_seconds or DEFAULT_SECONDS, memory)) as reader:
        if options.parquet:
            rows = answers.write_parquet(reader, options.parquet)
            print(f"{rows:,} rows in {options.parquet}", file=sys.stderr)
        elif options.csv:
            answers.print_csv(reader)
        elif options.json:
            print(orjson.dumps(answers.as_json(within(reader, memory)), option=answers.JSON_OPTIONS).decode())
        else:
            answers.print_table(within(reader, memory))
    return 0


def _query(given: str) -> str:
    """The SQL itself, that of a canned question by its name, or what stdin holds (`-`)."""
    if given == "-":
        return sys.stdin.read()
    if not given.strip().replace("_", "").isalnum():
        return given
    titles = canned_titles()
    if given.strip() not in titles:
        raise fail(
            UserError,
            f"no canned question {given.strip()!r}{nearest(given.strip(), titles)}",
            allowed=f"a SELECT, or one of {', '.join(titles)}",
            do="`synth sql` alone lists the views and the questions",
        )
    return canned(given.strip())


def _list(home: str, json: bool) -> int:
    """The views with what they show, and the canned questions."""
    with ask(Question(home, None)) as reader:
        views = reader.read_all().to_pylist()
    titles = canned_titles()
    if json:
        questions = [{"question": name, "title": title, "sql": canned(name)} for name, title in titles.items()]
        print(orjson.dumps({"views": views, "questions": questions}, option=orjson.OPT_INDENT_2).decode())
        return 0
    newest = [view for view in views if not view["view"].startswith("all_")]
    answers.print_table(
        pa.Table.from_pylist([{"view": one["view"], "shows": one["shows"]} for one in newest]), all_rows=True
    )
    print('\nMost have a twin all_…, over every object that was ever published. Columns: synth sql "DESCRIBE kept"\n')
    rows = [{"question": name, "answers": title} for name, title in titles.items()]
    answers.print_table(pa.Table.from_pylist(rows), all_rows=True)
    print("\nAsk one by its name: synth sql drops_by_reason")
    return 0
