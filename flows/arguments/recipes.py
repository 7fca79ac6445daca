"""Options of the commands about recipes: which there are, and what can stand in one."""

from __future__ import annotations

from flows.arguments.common import Commands, Parents


def add_recipes(commands: Commands, parents: Parents) -> None:
    """recipes, schema."""
    recipes = commands.add_parser(
        "recipes",
        parents=[parents.machine],
        help="the recipes that come with the package; `recipes show NAME > mine.toml`",
    )
    recipes.set_defaults(call="flows.commands.recipes:main")
    actions = recipes.add_subparsers(metavar="show NAME")
    show = actions.add_parser("show", help="print one, to start your own from")
    show.set_defaults(call="flows.commands.recipes:show")
    show.add_argument("name", help="a bundled recipe's name")
    schema = commands.add_parser(
        "schema", parents=[parents.machine], help="every field of a recipe: type, unit, default, source"
    )
    schema.set_defaults(call="flows.commands.schema:main")
    schema.add_argument(
        "table", nargs="?", help="only this one, such as run.models, families.textbook, keep.gates, presets"
    )
