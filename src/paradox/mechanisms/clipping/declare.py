"""What the study of clipping declares."""

from __future__ import annotations

from paradox.declare import Declaration

DECLARATION = Declaration(
    question="Is clipping what moves a model under a reward that ignores the response?", place=120
)
