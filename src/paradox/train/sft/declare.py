"""What the study must know of the trainer ``sft``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from paradox.declare import Rows, TrainerDeclaration


class Sft(Rows):
    """Supervised fine-tuning (TRL's SFTTrainer)."""

    target: Literal["rewarded", "oracle"] = Field(description="samples of the base, or worked text")


DECLARATION = TrainerDeclaration(name="sft", section=Sft, from_samples=True)
