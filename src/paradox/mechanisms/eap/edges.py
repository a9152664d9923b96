"""Edge attribution patching: what every edge of the residual graph does to a loss, per item.

*Sources* are what is added to the residual, *destinations* what reads it, before their norm; an
edge joins a source to a destination computed after it (`Graph`). One forward and one backward pass
per batch on the unchanged model: each norm of the residual is stood in for by one of the same
values whose backward pass receives its readers' gradients one by one. Padding gets no gradient, so
an item's scores do not depend on its batch. Norms are computed in the model's own precision
(float64 stays).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from paradox.mechanisms.eap.graph import ATTENTION, EMBEDDING, LOGITS, MLP, Graph
from paradox.mechanisms.eap.readers import (
    Norm,
    Normed,
    Readers,
    Reading,
    frozen,
    normed,
    replaced,
    stand_in,
)
from paradox.mechanisms.model.access import ATTN_OUT, MLP_OUT, RESID_PRE, Access, Node
from paradox.mechanisms.model.architecture import AccessError, title
from paradox.mechanisms.model.norms import wide
from paradox.mechanisms.model.recalls import Batch


class Scores(NamedTuple):
    """What one batch gave: rows as in the batch.

    `edges` has the shape (items, sources, destinations), 0 where there is no edge; `loss` is the
    mean cross-entropy of an item's scored tokens (nats), `gradient` the norm of its gradient at all
    destinations together.
    """

    edges: Tensor
    loss: Tensor
    gradient: Tensor


class Edges:
    """Scores and ablates the edges of one model.

    Raises an `AccessError` when the model's parts are not found, a norm is no RMS norm, or the
    stand-ins do not give the model's logits.
    """

    def __init__(self, access: Access) -> None:
        self.access = access
        self.graph = Graph(len(access.blocks))
        self._probe()

    def scores(self, batch: Batch, steps: int = 0) -> Scores:
        """Return the scores of all edges for every item; the loss is over its gold tokens.

        A score is minus the product, over positions and width, of the source's output with the
        loss's gradient at the destination's input: to first order the rise of the loss under zero
        ablation.

        With `steps` they are integrated gradients, over so many passes on the way from a text
        without words (each token's embedding is the mean of the text's) to the text. Outputs count
        by how they differ from those at the start: what the loss would rise by if the edge carried
        no words.
        """
        scores, outputs = self._pass(batch, 1.0, None)
        if not steps:
            return scores
        outputs = outputs - self._outputs(batch, 0.0)
        total = torch.zeros_like(scores.edges)
        for step in range(steps):
            total += self._pass(batch, (step + 0.5) / steps, outputs)[0].edges
        return scores._replace(edges=total / steps)

    @torch.no_grad()
    def losses(self, batch: Batch, lost: Tensor | None = None) -> Tensor:
        """Return the loss of every item when edges are cut.

        `lost` is the share of each edge that is taken away (1: ablated to zero), of shape (sources,
        destinations) or (items, sources, destinations). What a source adds is that of the cut
        model.
        """
        with self._read(_Cut(self, lost)) as reading, self.access.capture(self._nodes) as captured:
            reading.captured = captured
            return self._loss(batch)

    def _pass(self, batch: Batch, share: float, outputs: Tensor | None) -> tuple[Scores, Tensor]:
        """Return scores of `outputs`, or of the pass's own, and the outputs."""
        reading = _Gradients(self)
        with (
            frozen(self.access.model),
            torch.enable_grad(),
            self._read(reading),
            self._start(batch, share),
            self.access.capture(self._nodes) as captured,
        ):
            loss = self._loss(batch)
            if outputs is None:
                outputs = torch.stack([captured.pop(node).detach() for node in self._nodes], 1)
            reading.start(outputs)
            loss.sum().backward()
        return Scores(reading.scores, loss.detach(), reading.squares.sqrt()), outputs

    @torch.no_grad()
    def _outputs(self, batch: Batch, share: float) -> Tensor:
        with self._start(batch, share), self.access.capture(self._nodes) as captured:
            self.access.model(**batch.inputs, use_cache=False, logits_to_keep=1)
        return torch.stack([captured[node] for node in self._nodes], 1)

    def _start(self, batch: Batch, share: float) -> AbstractContextManager[None]:
        """Begin with embeddings that keep a `share` of how they differ from the text's mean."""

        def blend(embedding: Tensor) -> Tensor:
            whole = embedding.detach()
            if share < 1:
                real = batch.mask[..., None].to(whole)
                mean = (real * whole).sum(1, keepdim=True) / real.sum(1, keepdim=True)
                whole = torch.lerp(mean, whole, share)
            return whole.requires_grad_(torch.is_grad_enabled())

        return self.access.patch({self._nodes[0]: blend})

    @cached_property
    def _nodes(self) -> list[Node]:
        kinds = {ATTENTION: ATTN_OUT, MLP: MLP_OUT}
        return [
            Node(RESID_PRE, 0) if kind == EMBEDDING else Node(kinds[kind], block)
            for kind, block in self.graph.sources
        ]

    def _loss(self, batch: Batch) -> Tensor:
        positions = batch.ids.shape[1] - batch.at
        logits = self.access.model(**batch.inputs, use_cache=False, logits_to_keep=positions).logits
        lost = nn.functional.cross_entropy(
            wide(logits).flatten(0, 1), batch.gold.flatten(), reduction="none"
        ).view_as(batch.gold)
        return torch.where(batch.real, lost, 0).sum(-1) / batch.real.sum(-1)

    @contextmanager
    def _read(self, reading: Reading) -> Iterator[Any]:
        """Let `reading` stand in for everything that reads the residual."""
        blocks = self.access.blocks
        with ExitStack() as stack:
            for number, block in enumerate(blocks):
                stand_in(stack, block, number, reading, self._norms)
            final, only = self._norms[self.access.norm], [(LOGITS, len(blocks))]
            stack.enter_context(replaced(self.access.norm, lambda x: reading(x, final, only)[0]))
            yield reading

    @cached_property
    def _norms(self) -> dict[nn.Module, Norm]:
        """Return what each norm of the residual or of a branch does."""
        parts = [
            norm
            for block in self.access.blocks
            for norm in (block.attention_in, block.attention_out, block.mlp_in, block.mlp_out)
            if not isinstance(norm, nn.Identity)
        ]
        return {norm: Norm.of(norm) for norm in [*parts, self.access.norm]}

    @torch.no_grad()
    def _probe(self) -> None:
        """Check on three tokens that every destination reads the sum of its sources."""
        ids = torch.tensor([[1, 2, 1]], device=self.access.model.device)
        usual = self.access.model(input_ids=ids, use_cache=False).logits
        seen: list[tuple[tuple[str, int], Tensor]] = []

        def reading(x: Tensor, norm: Norm | None, readers: Readers) -> list[Tensor]:
            seen.extend((reader, x) for reader in readers)
            return [normed(x, norm)[0]] * max(1, len(readers))

        with self._read(reading), self.access.capture(self._nodes) as captured:
            logits = self.access.model(input_ids=ids, use_cache=False).logits
        # The library's norms may be less precise than the stand-ins.
        bound = 1e3 * max(torch.finfo(usual.dtype).eps, torch.finfo(torch.float32).eps)
        known = [reader for reader, _ in seen] == self.graph.destinations
        pairs = [(logits, usual)] if known else []
        for reader, x in seen if known else ():
            read = [captured[node] for node in self._nodes[: self.graph.reads(*reader)]]
            pairs.append((torch.stack(read).sum(0), x))
        if not known or any(
            (one - two).abs().max() > bound * two.abs().max().clamp(min=1.0) for one, two in pairs
        ):
            raise AccessError(
                f"{title(self.access.model)}: its queries, keys, values and MLPs do not read the "
                "residual one after the other as edges assume; this architecture is not known."
            )


class _Gradients:
    """Reads the residual as the model does and scores its readers in the backward pass."""

    def __init__(self, edges: Edges) -> None:
        self.graph = edges.graph
        self.places = {name: n for n, name in enumerate(self.graph.destinations)}

    def __call__(self, x: Tensor, norm: Norm | None, readers: Readers) -> tuple[Tensor, ...]:
        sink = None if not readers else lambda back: self.score(back, readers)
        return Normed.apply(x, norm, max(1, len(readers)), sink)

    def start(self, outputs: Tensor) -> None:
        """Take the sources' outputs, shape (items, sources, positions, width)."""
        self.outputs = wide(outputs).flatten(2)
        shape = (len(outputs), outputs.shape[1], len(self.places))
        self.scores = self.outputs.new_zeros(shape)
        self.squares = self.outputs.new_zeros(len(outputs))

    def score(self, back: Tensor, readers: Readers) -> None:
        """Score the edges to some readers of the same sources."""
        first, reads = self.places[readers[0]], self.graph.reads(*readers[0])
        flat = wide(back).flatten(2)
        products = torch.bmm(self.outputs[:, :reads], flat.mT)
        self.scores[:, :reads, first : first + len(readers)] = products.neg_()
        self.squares += torch.linalg.vector_norm(flat, dim=(1, 2)).square_()


class _Cut:
    """Reads the residual without the edges that are cut."""

    captured: dict[Node, Tensor]

    def __init__(self, edges: Edges, lost: Tensor | None) -> None:
        self.edges, self.lost = edges, lost
        self.places = {name: n for n, name in enumerate(edges.graph.destinations)}

    def __call__(self, x: Tensor, norm: Norm | None, readers: Readers) -> list[Tensor]:
        whole = normed(x, norm)[0]
        return [self._one(x, norm, reader, whole) for reader in readers] or [whole]

    def _one(self, x: Tensor, norm: Norm | None, reader: tuple[str, int], whole: Tensor) -> Tensor:
        if self.lost is None:
            return whole
        shares = self.lost[..., : self.edges.graph.reads(*reader), self.places[reader]]
        cut = shares.reshape(-1, shares.shape[-1]).any(0).nonzero()[:, 0].tolist()
        if not cut:
            return whole
        for source in cut:
            share = shares[..., source].to(x).reshape(-1, 1, 1)
            x = x - share * self.captured[self.edges._nodes[source]]
        return normed(x, norm)[0]
