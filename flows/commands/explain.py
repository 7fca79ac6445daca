"""`synth explain`: everything that is known of one document or seed."""

from __future__ import annotations

import argparse
from contextlib import closing
from pathlib import Path

import orjson

from flows import explain_document, explain_seed
from flows.commands.home import home_of
from flows.display import console, say
from flows.explain import Reader, find
from flows.explain_text import Printer
from shards.reader import find_row
from synth.errors import UserError, fail


def main(options: argparse.Namespace) -> int:
    """Explain. Exit codes: 0 done, 2 no such item, or several."""
    with closing(Reader(home_of(options), say)) as reader:
        hit = find(reader, _asked_for(reader, options))
        value = (explain_document.document if hit.kind == "document" else explain_seed.seed)(reader, hit)
        going_on, as_of = reader.running(), reader.as_of().isoformat(timespec="seconds")
    if options.json:
        catalogue = {"as_of": as_of, "run_going_on": going_on}
        print(orjson.dumps({**value, "catalogue": catalogue}, option=orjson.OPT_INDENT_2, default=str).decode())
        return 0
    if going_on:
        say(f"as of {as_of}, when the catalogue was built; a run is going on ({going_on})")
    printer = Printer(console(), options.full)
    (printer.document if hit.kind == "document" else printer.seed)(value)
    return 0


def _asked_for(reader: Reader, options: argparse.Namespace) -> str:
    """The id that is asked for, or that of the document in a row of a shard."""
    given = (options.id is not None, options.shard is not None, options.row is not None)
    if given not in ((True, False, False), (False, True, True)):
        what = "an id, or a row of a shard"
        raise fail(UserError, f"say which item: {what}", do="synth explain ID, or synth explain --shard FILE --row N")
    if options.id is not None:
        return str(options.id).strip(' "\n')  # as --csv prints it
    path = options.shard if options.shard.exists() else reader.store.local(str(options.shard))
    if not path.is_file():
        do = 'give a path from here, or from the home: synth sql "SELECT path FROM shards"'
        raise fail(UserError, f"there is no shard {options.shard}", do=do)
    return str(find_row(Path(path), options.row)["doc_id"])
