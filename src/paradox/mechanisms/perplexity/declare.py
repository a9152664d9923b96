"""What the likelihood of fixed texts declares."""

from __future__ import annotations

from paradox.declare import Declaration

DECLARATION = Declaration(question="Do remembered texts get likelier along training?", place=5)
