"""The residual graph of a model: sources, readers and edges (`paradox.mechanisms.eap.edges`)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

EMBEDDING, ATTENTION, MLP, LOGITS = "embedding", "attn", "mlp", "logits"
READERS = ("q", "k", "v", MLP)


class Graph(NamedTuple):
    """Sources (1 + 2 L), destinations (4 L + 1) and edges (4 L^2 + 3 L + 1) of L blocks."""

    blocks: int

    @property
    def sources(self) -> list[tuple[str, int]]:
        """Return kind and block of each source; the embedding's block is -1."""
        return [(EMBEDDING, -1)] + [(k, n) for n in range(self.blocks) for k in (ATTENTION, MLP)]

    @property
    def destinations(self) -> list[tuple[str, int]]:
        """Return kind and block of each destination; the logits' block is L."""
        inner = [(kind, n) for n in range(self.blocks) for kind in READERS]
        return [*inner, (LOGITS, self.blocks)]

    def reads(self, kind: str, block: int) -> int:
        """Return how many of the sources a destination reads: the first ones."""
        return 1 + 2 * block + (kind == MLP)

    @property
    def real(self) -> NDArray[np.bool_]:
        """Return which entries of the matrix (sources, destinations) are edges."""
        counts = [self.reads(*destination) for destination in self.destinations]
        return np.arange(1 + 2 * self.blocks)[:, None] < np.array(counts)

    @property
    def edges(self) -> list[tuple[int, int]]:
        """Return the edges as (source, destination), in the order of the flattened matrix."""
        return [(int(source), int(reader)) for source, reader in np.argwhere(self.real)]
