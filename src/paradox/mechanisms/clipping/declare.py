"""What the study of clipping declares."""

from __future__ import annotations

from paradox.declare import Declaration

DECLARATION = Declaration(
    question="Does clipping alone move a model under a reward without information?", place=120
)
