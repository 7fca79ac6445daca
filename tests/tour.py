"""The README's tour: its commands, run as a newcomer would in an empty folder, and what they print.

    python -m tests.tour            runs it and prints what differs in form from the README (`make tour`)
    python -m tests.tour --write    puts what was printed into the README

The tour stands in blocks of ```console between two marks. `$ ` begins a command, `> ` goes on with it, and what it writes to
stdout follows. A model's answers differ from run to run, so two outputs are alike when their lines say the same things, whatever
the numbers, ids and names of reasons in them.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).parent.parent
BEGIN, END = "<!-- tour -->", "<!-- end of the tour -->"
_BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LIMIT_SECONDS = 1200


@dataclass(frozen=True)
class Command:
    """One command of the tour, and what it prints."""

    text: str
    output: tuple[str, ...]


def read_tour(readme: str) -> list[list[Command]]:
    """The commands of each block."""
    tour = readme.partition(BEGIN)[2].partition(END)[0]
    return [list(_commands(found[1].splitlines())) for found in _BLOCK.finditer(tour)]


def _commands(lines: Sequence[str]) -> Iterator[Command]:
    starts = [at for at, line in enumerate(lines) if line.startswith("$ ")]
    for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        at = start + 1
        while at < end and lines[at].startswith("> "):
            at += 1
        text = "\n".join(line[2:] for line in lines[start:at])
        yield Command(text, tuple(line.rstrip() for line in lines[at:end] if line.strip()))


def written(readme: str, blocks: Sequence[Sequence[Command]]) -> str:
    """The README with these commands and outputs in place of the tour's."""
    before, _, rest = readme.partition(BEGIN)
    tour, _, after = rest.partition(END)
    told = iter(blocks)
    made = _BLOCK.sub(lambda _: "```console\n" + "".join(map(_as_lines, next(told))) + "```", tour)
    return f"{before}{BEGIN}{made}{END}{after}"


def _as_lines(command: Command) -> str:
    first, *more = command.text.split("\n")
    return "\n".join([f"$ {first}", *(f"> {line}" for line in more), *command.output]) + "\n"


def run(command: Command, folder: Path) -> Command:
    """The command with what it prints in this folder. AssertionError when it fails."""
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    environment["SYNTH_STATE"] = str(folder / ".state")  # where deployments are remembered: none is there yet
    for name in ("SYNTH_HOME", "PREFECT_API_URL"):
        environment.pop(name, None)
    done = subprocess.run(
        ["bash", "-eu", "-c", command.text],  # no pipefail: `| head` closes the pipe
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=_LIMIT_SECONDS,
    )
    is_well = done.returncode == 0 and "Traceback" not in done.stderr
    assert is_well, f"{command.text}\nexit code {done.returncode}\n{done.stdout}\n{done.stderr}"
    shown = done.stdout.replace(str(folder), "~/tour")
    return replace(command, output=tuple(line.rstrip() for line in shown.splitlines() if line.strip()))


def run_tour(
    blocks: Sequence[Sequence[Command]], folder: Path, after: Callable[[Command], None] = lambda command: None
) -> list[list[Command]]:
    """All commands, one after the other; `after` hears of each."""
    made: list[list[Command]] = []
    for block in blocks:
        made.append([])
        for command in block:
            made[-1].append(run(command, folder))
            after(made[-1][-1])
    return made


def form(line: str) -> str:
    """What a line says whatever the numbers: of a line in columns its first one, of a detail (indented) its first word, of a
    sentence all words of letters; of a text that is quoted (indented further) nothing."""
    depth = len(line) - len(line.lstrip())
    if depth >= 4:
        return ""
    label = re.match(r"\S+( \S+)*(?= {2,})", line.strip())
    words = label[0] if label else re.sub(r"[\w./'\"=:-]*[\d_/][\w./'\"=:-]*", "", line)
    found = re.findall(r"[A-Za-z][a-z-]*", words.partition("dropped by ")[1] or words)
    return " ".join(found[:1] if depth >= 2 and not label else found)


def differences(told: Sequence[Sequence[Command]], seen: Sequence[Sequence[Command]]) -> list[str]:
    """Lines that the README tells in a form which was not seen there."""
    found = []
    for expected, actual in zip(
        (one for block in told for one in block), (one for block in seen for one in block), strict=True
    ):
        forms = {form(line) for line in actual.output}
        told_lines = expected.output[:1] if expected.text.startswith("synth sql") else expected.output  # rows are data
        missing = [line for line in told_lines if form(line) and form(line) not in forms]
        found += [f"$ {expected.text}\n  not printed: {line}" for line in missing]
        if bool(expected.output) != bool(actual.output):
            found.append(f"$ {expected.text}\n  prints {'something' if actual.output else 'nothing'}")
    return found


def main() -> int:
    """Run the tour. Exit code 1 when the README tells it otherwise."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="put what was printed into the README")
    arguments = parser.parse_args()
    path = ROOT / "README.md"
    readme = path.read_text(encoding="utf-8")
    told = read_tour(readme)
    with tempfile.TemporaryDirectory(prefix="synth-tour-") as folder:
        seen = run_tour(told, Path(folder), lambda command: print(_as_lines(command), flush=True))
    if arguments.write:
        path.write_text(written(readme, seen), encoding="utf-8")
        return 0
    found = differences(told, seen)
    print("\n".join(found) or "the README tells it as it is")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
