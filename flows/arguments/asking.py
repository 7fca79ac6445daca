"""Options of the commands that ask a home what is in it."""

from __future__ import annotations

from flows.arguments.common import Commands, Parents


def add_questions(commands: Commands, parents: Parents) -> None:
    """sql, audit."""
    sql = commands.add_parser("sql", parents=[parents.home, parents.machine], help="ask the catalogue")
    sql.set_defaults(call="flows.commands.ask:sql")
    sql.add_argument("query", help='for example "SELECT family, count(*) FROM kept GROUP BY family"')
    audit = commands.add_parser(
        "audit", parents=[parents.home, parents.machine], help="check the newest release again, from its files"
    )
    audit.set_defaults(call="flows.commands.ask:audit")
    audit.add_argument("name", nargs="?", help="the recipe's name (default: all in the home)")
