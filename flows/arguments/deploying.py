"""Options of `synth deploy`."""

from __future__ import annotations

from pathlib import Path

from flows.arguments.common import Commands, Parents


def add_deploy(commands: Commands, parents: Parents) -> None:
    """deploy."""
    deploy = commands.add_parser(
        "deploy", parents=[parents.home, parents.machine], help="run a recipe on a schedule: what no release covers yet"
    )
    deploy.set_defaults(call="flows.commands.deploy:main")
    deploy.add_argument("recipe", nargs="?", type=Path, help="a recipe (.toml)")
    deploy.add_argument(
        "--set", action="append", default=[], metavar="A.B=C", dest="assignments", help="change a field of the recipe"
    )
    deploy.add_argument("--cron", metavar="EXPRESSION", help='fire by the clock: "0 2 * * *" is at two each night')
    deploy.add_argument("--every", metavar="TIME", help="fire now and then again and again: 90s, 10m, 2h, 1d, 1h30m")
    deploy.add_argument("--timezone", metavar="ZONE", help="of --cron, such as Europe/Berlin (default: this machine's)")
    deploy.add_argument("--name", help="what to call it (default: the recipe's name)")
    deploy.add_argument("--list", action="store_true", help="what is deployed, when it fires next, how it ended last")
    deploy.add_argument("--remove", metavar="NAME", help="stop serving it and forget it; the home stays")
