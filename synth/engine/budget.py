"""What a run may spend. A budget that is used up ends the run's wave cleanly: what is complete is released."""

from __future__ import annotations

from pydantic import Field

from synth.config import Config
from synth.errors import Interrupted


class Budget(Config):
    """`[run.budget]`, of one run; 0 = no limit. Nothing new is sent once one is reached; what is in flight is still paid."""

    max_usd: float = Field(
        0.0, ge=0, description="US dollars, by the price card: tokens, and GPU time with loading and idling."
    )
    max_gpu_hours: float = Field(0.0, ge=0, description="GPU hours, loading and idling included.")
    max_asks: int = Field(0, ge=0, description="Answers from endpoints; those replayed cost nothing and do not count.")
    target_kept_tokens: int = Field(
        0,
        ge=0,
        description="Generated tokens of kept documents, those of the pinned release included, before near-duplicates of "
        "this wave are removed. No partition is begun once it is reached.",
    )

    @property
    def limited(self) -> bool:
        """Whether spending has a limit."""
        return bool(self.max_usd or self.max_gpu_hours or self.max_asks)

    def reached(self, dollars: float, gpu_hours: float, asks: int) -> str | None:
        """Which limit is reached, in words; None when there is room."""
        if self.max_usd and dollars >= self.max_usd:
            return f"max_usd = {self.max_usd:g}"
        if self.max_gpu_hours and gpu_hours >= self.max_gpu_hours:
            return f"max_gpu_hours = {self.max_gpu_hours:g}"
        return f"max_asks = {self.max_asks}" if self.max_asks and asks >= self.max_asks else None


class BudgetReached(Interrupted):
    """Nothing more may be sent. `limit` names the one that was reached, `in_flight` how many asks were under way."""

    def __init__(self, limit: str, in_flight: int) -> None:
        super().__init__(f"the budget is used up: {limit}")
        self.limit = limit
        self.in_flight = in_flight
