"""Options of the commands about what a home keeps: releases in spite of a gate, retractions, and what nobody needs."""

from __future__ import annotations

from flows.arguments.common import Commands, Parents


def add_keeping(commands: Commands, parents: Parents) -> None:
    """release, retract, gc."""
    told = commands.add_parser(
        "release",
        parents=[parents.recipe, parents.home, parents.machine],
        help="release what a run has made; --accept lets a failed gate pass, with a reason",
    )
    told.set_defaults(call="flows.commands.release:main")
    told.add_argument("--accept", action="append", default=[], metavar="GATE", help="let this gate pass, this once")
    told.add_argument("--because", metavar="WHY", help="the reason, recorded in the release")
    _add_retract(commands, parents)
    told = commands.add_parser(
        "gc", parents=[parents.home, parents.machine], help="what no release and no run needs; --yes removes it"
    )
    told.set_defaults(call="flows.commands.gc:main")
    told.add_argument("--yes", action="store_true", help="remove it (without: only list it)")
    told.add_argument(
        "--answers",
        action="store_true",
        help="answers, too, that no release stands on: a changed recipe then pays for them again",
    )
    told.add_argument(
        "--drop-releases-before",
        action="append",
        default=[],
        metavar="NAME:N",
        help="of this recipe, files that only releases before N list: those can be read no more",
    )


def _add_retract(commands: Commands, parents: Parents) -> None:
    told = commands.add_parser(
        "retract",
        parents=[parents.home, parents.machine],
        help="take documents out of a recipe's releases, and keep them out",
    )
    told.set_defaults(call="flows.commands.retract:main")
    told.add_argument("name", metavar="RECIPE", help="the recipe's name, or its file")
    what = told.add_mutually_exclusive_group(required=True)
    many = {"nargs": "+", "metavar": "X"}
    what.add_argument("--seed", **many, help="all that was made of these seeds (ids, or their first digits)")
    what.add_argument("--source", **many, help="all that was made of seeds of these sources")
    what.add_argument("--license", **many, help="all that was made of seeds of these licences")
    what.add_argument("--model", **many, help="all that these models had a part in")
    what.add_argument("--family", **many, help="all of these families")
    what.add_argument("--sql", metavar="SELECT", help='documents one by one: "SELECT id FROM documents WHERE …"')
    told.add_argument("--because", required=True, metavar="WHY", help="the reason, recorded in the release")
    told.add_argument("--yes", action="store_true", help="do it (without: only show what would go)")
