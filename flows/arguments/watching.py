"""Options of the command that looks at a run from another shell."""

from __future__ import annotations

from flows.arguments.common import Commands, Parents


def add_status(commands: Commands, parents: Parents) -> None:
    """status."""
    status = commands.add_parser(
        "status",
        parents=[parents.home, parents.machine],
        help="how the run on a home stands: done, speed, money, endpoints, or how it ended and how to go on",
    )
    status.set_defaults(call="flows.commands.status:main")
