"""What the likelihood of fixed texts declares."""

from __future__ import annotations

from paradox.declare import Declaration

DECLARATION = Declaration(
    question="Do remembered answers get likelier and prompts less likely?", place=5
)
