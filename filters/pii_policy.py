"""What a recipe wants done about personal data: per kind a label, a mask or a drop, for documents and for seeds."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from filters.gates import Gate
from filters.pii import COLUMNS, KINDS
from synth.config import Config

RULE = "pii"  # the rule that finds it

Action = Literal["label", "mask", "drop"]


class PiiConfig(Config):
    """Personal data by kind: `label` only counts it, `mask` writes a placeholder such as <EMAIL> where it stands in the
    shards, `drop` drops the document. What is reserved for documentation (example.com, 192.0.2.1, 555-0123) is nobody's.
    """

    email: Action = Field("label", description="E-mail addresses.")
    phone: Action = Field("label", description="Telephone numbers.")
    ipv4: Action = Field("label", description="Public IPv4 addresses.")
    ipv6: Action = Field("label", description="Global IPv6 addresses.")
    iban: Action = Field("label", description="Bank accounts whose check digits fit.")
    card: Action = Field("label", description="Payment cards whose check digit fits.")
    ssn: Action = Field("label", description="US social security numbers.")
    aws_key: Action = Field("label", description="Ids of AWS access keys.")
    github_token: Action = Field("label", description="GitHub tokens whose checksum fits.")
    jwt: Action = Field("label", description="Signed JSON Web Tokens.")
    private_key: Action = Field("label", description="Blocks of private keys.")
    api_key: Action = Field("label", description="Keys of other services whose form is unmistakable.")
    seeds: Literal["drop", "label", "none"] = Field(
        "drop",
        description="`drop`: a seed with a kind that is dropped is dropped by screen, so that no model is sent it. `label`: "
        "seeds are only counted. `none`: they are not looked at. Masks change no seed: its id covers its text.",
    )

    def action(self, kind: str) -> Action:
        """What happens to a kind. AttributeError: there is no such kind."""
        found: Action = getattr(self, kind)
        return found

    def gates(self) -> tuple[Gate, ...]:
        """What drops documents."""
        return tuple(
            Gate(column=column, max=0, evidence="pii_kinds", reason=column)
            for kind, column in COLUMNS.items()
            if self.action(kind) == "drop"
        )

    def seed_gates(self) -> tuple[Gate, ...]:
        """What drops seeds."""
        return self.gates() if self.seeds == "drop" else ()

    def hidden(self) -> tuple[str, ...]:
        """The rules whose spans must not stand in a shard. Of a dropped kind nothing is left in a kept text, but thoughts
        are not scored: there it is masked."""
        return tuple(COLUMNS[kind] for kind in sorted(KINDS) if self.action(kind) != "label")
