"""Edge attribution: finite differences, total gradients, batches and cut edges agree."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from families import FAMILIES, tiny, tokens
from torch import Tensor, nn

from paradox.errors import ParadoxError
from paradox.mechanisms.eap.edges import Edges
from paradox.mechanisms.eap.graph import Graph
from paradox.mechanisms.model.access import ATTN_OUT, MLP_OUT, RESID_PRE, Access, Node
from paradox.mechanisms.model.recalls import Batch, Recall, batches

DOUBLE = torch.float64


def precise(family: str) -> Edges:
    """Return edges of a float64 model whose norms, too, stay float64."""
    model = tiny(family).to(DOUBLE)
    for module in model.modules():
        if type(module).__name__.endswith("RMSNorm"):
            epsilon = getattr(module, "variance_epsilon", getattr(module, "eps", None))
            gain = module.weight + 1 if "Gemma" in type(module).__name__ else module.weight

            def forward(x: Tensor, gain: Tensor = gain, epsilon: float = epsilon) -> Tensor:
                return gain * x / (x.pow(2).mean(-1, keepdim=True) + epsilon).sqrt()

            module.forward = forward
    return Edges(Access(model))


def texts(rows: int) -> list[Recall]:
    """Return texts of different lengths."""
    lengths = [(4 + n, 5 - n) for n in range(rows)]
    return [
        Recall(str(n), tokens(1, a, n)[0].tolist(), tokens(1, b, 9 + n)[0].tolist(), 0)
        for n, (a, b) in enumerate(lengths)
    ]


def batch_of(chosen: list[Recall]) -> Batch:
    return next(batches(chosen, 8, torch.device("cpu")))


def loss_of(access: Access, recall: Recall) -> Tensor:
    """Return the loss of one text without any padding."""
    ids = torch.tensor([recall.prompt + recall.gold])
    logp = access.model(ids[:, :-1]).logits.log_softmax(-1)
    chosen = logp.gather(-1, ids[:, 1:, None])[0, len(recall.prompt) - 1 :, 0]
    return -chosen.mean()


@pytest.fixture(scope="module", params=list(FAMILIES))
def edges(request: Any) -> Edges:
    return precise(request.param)


@pytest.mark.parametrize(("blocks", "real"), [(12, 613), (28, 3221), (30, 3691)])
def test_the_graph_has_the_published_number_of_edges(blocks: int, real: int) -> None:
    graph = Graph(blocks)
    assert graph.real.sum() == real == len(graph.edges)
    assert graph.real.size == 2 * real - 1 == len(graph.sources) * len(graph.destinations)


def test_scores_of_a_source_add_up_to_its_total_gradient(edges: Edges) -> None:
    (recall,) = texts(1)
    found = edges.scores(batch_of([recall]))
    nodes = [Node(RESID_PRE, 0)]
    nodes += [Node(kind, n) for n in range(3) for kind in (ATTN_OUT, MLP_OUT)]
    with edges.access.capture(nodes) as outputs:
        loss = loss_of(edges.access, recall)
    gradients = torch.autograd.grad(loss, [outputs[node] for node in nodes])
    for place, (node, gradient) in enumerate(zip(nodes, gradients, strict=True)):
        wanted = -(gradient * outputs[node].detach()).sum()
        assert abs(float(found.edges[0, place].sum() - wanted)) < 1e-12
    assert float(found.loss[0] - loss.detach()) == pytest.approx(0, abs=1e-12)


def test_scores_are_the_slopes_of_cutting_an_edge(edges: Edges) -> None:
    batch = batch_of(texts(2))
    found = edges.scores(batch).edges
    size = 1e-4
    for source, reader in edges.graph.edges:
        lost = torch.zeros(found.shape[1:], dtype=DOUBLE)
        lost[source, reader] = size
        slope = (edges.losses(batch, lost) - edges.losses(batch, -lost)) / (2 * size)
        own = found[:, source, reader]
        assert float((slope - own).abs().max()) < 1e-4 * max(1e-2, float(own.abs().max()))


def test_impossible_edges_are_zero_and_batches_equal_singles(edges: Edges) -> None:
    chosen = texts(4)
    batch = batch_of(chosen)
    for steps in (0, 2):
        together = edges.scores(batch, steps)
        assert not together.edges[:, ~torch.from_numpy(edges.graph.real)].any()
        assert together.edges[:, torch.from_numpy(edges.graph.real)].any(0).all()
        for place, row in enumerate(batch.rows):
            alone = edges.scores(batch_of([chosen[row]]), steps)
            for one, other in zip(alone, together, strict=True):
                torch.testing.assert_close(one[0], other[place], atol=1e-12, rtol=1e-10)


def test_a_source_without_readers_is_ablated(edges: Edges) -> None:
    batch = batch_of(texts(3))
    for place, node in ((1, Node(ATTN_OUT, 0)), (4, Node(MLP_OUT, 1))):
        lost = torch.zeros(3, *edges.graph.real.shape, dtype=DOUBLE)
        lost[1:, place] = 1  # of the second and third item
        with edges.access.ablate([node]):
            wanted = edges.losses(batch)
        found = edges.losses(batch, lost)
        torch.testing.assert_close(found[1:], wanted[1:])
        torch.testing.assert_close(found[0], edges.losses(batch)[0])


def test_integrated_gradients_of_the_embedding_are_complete() -> None:
    edges = precise("llama")
    batch = batch_of(texts(2))
    mean = []
    for recall in (texts(2)[row] for row in batch.rows):
        ids = torch.tensor(recall.prompt + recall.gold[:-1])
        mean.append(edges.access.model.get_input_embeddings()(ids).mean(0, keepdim=True))
    found = edges.scores(batch, 200).edges[:, 0].sum(-1)
    with edges.access.patch({Node(RESID_PRE, 0): torch.stack(mean).detach()}):
        without = edges.losses(batch)
    torch.testing.assert_close(found, without - edges.losses(batch), atol=1e-3, rtol=1e-3)


def test_the_model_is_left_as_it_was() -> None:
    model = tiny("gemma3")
    before, ids = model(tokens(2, 6)).logits, tokens(2, 6)
    edges = Edges(Access(model))
    edges.scores(batch_of(texts(3)))
    edges.losses(batch_of(texts(3)), torch.ones(edges.graph.real.shape))
    assert torch.equal(model(ids).logits, before)
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    assert not any("forward" in module.__dict__ for module in model.modules())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_what_is_not_known_is_refused() -> None:
    model = tiny("qwen2")
    model.model.layers[1].input_layernorm = nn.LayerNorm(32)
    with pytest.raises(ParadoxError, match="LayerNorm is no RMS norm with a known gain"):
        Edges(Access(model))
    model = tiny("llama")
    layer = model.model.layers[1]

    def parallel(hidden_states: Tensor, **others: Any) -> Tensor:
        attended, _ = layer.self_attn(layer.input_layernorm(hidden_states), **others)
        return hidden_states + attended + layer.mlp(layer.post_attention_layernorm(hidden_states))

    layer.forward = parallel
    with pytest.raises(ParadoxError, match="do not read the residual one after the other"):
        Edges(Access(model))
