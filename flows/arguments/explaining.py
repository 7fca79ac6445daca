"""Options of the commands that explain: one item of a home, or the state of an installation."""

from __future__ import annotations

from pathlib import Path

from flows.arguments.common import Commands, Parents


def add_explaining(commands: Commands, parents: Parents) -> None:
    """explain, doctor."""
    explain = commands.add_parser(
        "explain", parents=[parents.home, parents.machine], help="all that is known of one document or seed"
    )
    explain.set_defaults(call="flows.commands.explain:main")
    explain.add_argument("id", nargs="?", metavar="ID", help="its id, or any start of it that is unique")
    explain.add_argument(
        "--shard", type=Path, metavar="FILE", help="in place of an id: the document in a row of a shard"
    )
    explain.add_argument("--row", type=int, metavar="N", help="which row of --shard, the first being 0")
    explain.add_argument("--full", action="store_true", help="show long texts whole")
    doctor = commands.add_parser(
        "doctor", parents=[parents.home, parents.machine], help="is this installation, home and recipe fit for a run?"
    )
    doctor.set_defaults(call="flows.commands.doctor:main")
    doctor.add_argument("recipe", nargs="?", type=Path, help="look at what this recipe needs, too")
    doctor.add_argument(
        "--set", action="append", default=[], metavar="A.B=C", dest="assignments", help="change a field of the recipe"
    )
    doctor.add_argument("--network", action="store_true", help="ask the endpoints and servers that are named, too")
