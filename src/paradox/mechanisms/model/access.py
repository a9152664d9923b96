"""The one way into a causal language model of the transformers library: read, patch, ablate.

By forward hooks on the unchanged model, as context managers that always remove them. Blocks are
0 .. L-1; axes are (item, position, ...); the logits that predict token t sit at t - 1. A node is
``Node(kind, block)``:

========== ================== ==============================================================
kind       shape              what it is
========== ================== ==============================================================
resid_pre  (B, T, d)          residual before the block (block 0: the scaled embeddings)
resid_post (B, T, d)          residual after the block (the last: before the final norm)
attn_out   (B, T, d)          what attention adds to the residual
mlp_out    (B, T, d)          what the MLP adds to the residual
gate, up   (B, T, f)          outputs of ``gate_proj`` (before the activation) and ``up_proj``
key        (B, T, f)          act(gate) * up, the input of ``down_proj``
head_in    (B, T, h, d_head)  input of ``o_proj``, split by heads
head_out   (B, T, h, d)       each head's part of the output of ``o_proj``, without its bias
========== ================== ==============================================================

resid_post = resid_pre + attn_out + mlp_out always holds: where a block normalises what a branch
returns (OLMo 2, Gemma), they are taken after that norm, and the heads' parts add up to what goes
into it. Hooks on one node run in the order of entering: a `capture` inside a `patch` sees the
patched value. Captured tensors are the model's own and carry gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from paradox.errors import hint
from paradox.mechanisms.model.architecture import AccessError, find_blocks, title

RESID_PRE, RESID_POST = "resid_pre", "resid_post"
ATTN_OUT, MLP_OUT = "attn_out", "mlp_out"
GATE, UP, KEY = "gate", "up", "key"
HEAD_IN, HEAD_OUT = "head_in", "head_out"
KINDS = (RESID_PRE, RESID_POST, ATTN_OUT, MLP_OUT, GATE, UP, KEY, HEAD_IN, HEAD_OUT)


class Node(NamedTuple):
    """A place in a model: a kind (see the module's table) and a block."""

    kind: str
    block: int


Value = Tensor | Callable[[Tensor], Tensor]


class Access:
    """Reads and writes the nodes of one model with gated MLPs (Qwen, Llama, OLMo 2, Gemma 3 ...).

    Its parts are found by structure: those of each block (`blocks`), the final `norm` and the
    output embedding (`head`); `heads` is the number of attention heads (queries). Raises
    `AccessError` when a part is missing or, on two tokens, the residual is not the sum of what was
    found.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model
        self.blocks, self.norm = find_blocks(model)
        self.head: nn.Module = model.get_output_embeddings()
        text = model.config.get_text_config()
        self.heads: int = text.num_attention_heads
        self._softcap: float | None = getattr(text, "final_logit_softcapping", None)
        self._probe()

    def logits(self, residual: Tensor) -> Tensor:
        """Return the logits of a residual: final norm, output embedding, cap if there is one."""
        logits = self.head(self.norm(residual))
        if self._softcap is not None:
            logits = torch.tanh(logits / self._softcap) * self._softcap
        return logits

    def nodes(self, *kinds: str) -> list[Node]:
        """Return the nodes of these kinds in all blocks."""
        return [self._checked(Node(kind, n)) for kind in kinds for n in range(len(self.blocks))]

    @contextmanager
    def capture(
        self, nodes: Iterable[Node], positions: Tensor | list[int] | None = None
    ) -> Iterator[dict[Node, Tensor]]:
        """Yield a dictionary that each forward pass fills anew with the nodes' values.

        `positions`: what to keep: the same for all items (K,) or one row per item (B, K).
        """
        values: dict[Node, Tensor] = {}

        def keep(node: Node, value: Tensor) -> None:
            values[node] = value if positions is None else _take(value, positions)

        with self._hooks({node: partial(keep, node) for node in nodes}):
            yield values

    @contextmanager
    def patch(self, values: Mapping[Node, Value], where: Tensor | None = None) -> Iterator[None]:
        """Replace nodes in every forward pass inside the context.

        `values`: for each node a tensor that broadcasts to it, or a function from its current
        value.
        `where`: boolean mask of what to replace, see `at`: the first axes of the node, (B, T) or
        more; None replaces everything. What is not replaced keeps its exact bits.
        """
        change = {node: partial(_replace, node, new, where) for node, new in values.items()}
        with self._hooks(change):
            yield

    @contextmanager
    def ablate(
        self,
        nodes: Iterable[Node],
        means: Mapping[Node, Tensor] | None = None,
        where: Tensor | None = None,
    ) -> Iterator[None]:
        """Replace nodes by zero, or by their `means` (see `means`), where the mask says."""
        values: dict[Node, Value] = {
            node: torch.zeros_like if means is None else means[node] for node in nodes
        }
        with self.patch(values, where):
            yield

    @torch.no_grad()
    def means(
        self, nodes: Iterable[Node], batches: Iterable[Mapping[str, Tensor]]
    ) -> dict[Node, Tensor]:
        """Return each node's mean over all tokens that are not padding (``attention_mask``).

        `batches`: keyword arguments of forward passes.
        """
        chosen, sums, count = list(nodes), {}, 0.0
        for batch in batches:
            with self.capture(chosen) as values:
                self.model(**batch, use_cache=False)
            mask = batch.get("attention_mask")
            real = torch.ones_like(batch["input_ids"]) if mask is None else mask
            count += float(real.sum())
            for node, value in values.items():
                # Long sums of float32 lose digits.
                total = value[real.bool()].double().sum(0)
                sums[node] = sums.get(node, 0.0) + total
        dtype = self.model.dtype
        return {node: (total / count).to(dtype) for node, total in sums.items()}

    # --- hooks ----------------------------------------------------------------------------

    def _checked(self, node: Node) -> Node:
        if node.kind not in KINDS:
            raise AccessError(f"No nodes of kind {node.kind!r}; {hint(node.kind, KINDS)}")
        if not 0 <= node.block < len(self.blocks):
            last = len(self.blocks) - 1
            raise AccessError(f"{node.kind}: block {node.block} found, allowed: 0 to {last}.")
        return node

    @contextmanager
    def _hooks(self, visits: Mapping[Node, Callable[[Tensor], Tensor | None]]) -> Iterator[None]:
        """Let each visit see its node's value in every forward pass, and change it if it will."""
        with ExitStack() as stack:
            for node, visit in visits.items():
                stack.callback(self._register(self._checked(Node(*node)), visit).remove)
            yield

    def _register(self, node: Node, visit: Callable[[Tensor], Tensor | None]) -> Any:
        block = self.blocks[node.block]
        attention, mlp = block.attention, block.mlp
        if node.kind == RESID_PRE:
            return on_input(block.module, visit)
        if node.kind == KEY:
            return on_input(mlp.down_proj, visit)
        if node.kind == HEAD_IN:
            return on_input(attention.o_proj, self._by_head(visit))
        if node.kind == HEAD_OUT:
            return _on_heads(attention.o_proj, self.heads, visit)
        module = {
            RESID_POST: block.module,
            ATTN_OUT: block.attention_out if _is_norm(block.attention_out) else attention.o_proj,
            MLP_OUT: block.mlp_out if _is_norm(block.mlp_out) else mlp.down_proj,
            GATE: mlp.gate_proj,
            UP: mlp.up_proj,
        }[node.kind]
        return _on_output(module, visit)

    def _by_head(self, visit: Callable[[Tensor], Tensor | None]) -> Callable[..., Tensor | None]:
        def hook(value: Tensor) -> Tensor | None:
            new = visit(value.unflatten(-1, (self.heads, -1)))
            return None if new is None else new.flatten(-2)

        return hook

    @torch.no_grad()
    def _probe(self) -> None:
        """Check on two tokens that the parts add up to the residual, and that to the logits."""
        ids = torch.tensor([[1, 2]], device=self.model.device)
        with self.capture(self.nodes(RESID_PRE, RESID_POST, ATTN_OUT, MLP_OUT)) as values:
            logits = self.model(input_ids=ids, use_cache=False).logits
        bits = 16 * torch.finfo(logits.dtype).eps
        for n in range(len(self.blocks)):
            parts = sum(values[Node(kind, n)] for kind in (RESID_PRE, ATTN_OUT, MLP_OUT))
            if not _near(values[Node(RESID_POST, n)], parts, bits):
                raise AccessError(
                    f"{title(self.model)}: block {n} does not add what its attention and its MLP "
                    "return to the residual; this architecture is not known."
                )
        if not _near(self.logits(values[Node(RESID_POST, len(self.blocks) - 1)]), logits, bits):
            raise AccessError(
                f"{title(self.model)}: final norm and output embedding do not give the logits; "
                "this architecture is not known."
            )


def at(
    shape: tuple[int, ...],
    items: list[int] | None = None,
    positions: list[int] | None = None,
    units: list[int] | None = None,
    device: torch.device | str | None = None,
) -> Tensor:
    """Return the mask that is true at these items, positions and units (heads or neurons).

    `shape`: (items, positions) or (items, positions, units).
    `items`, `positions`, `units`: indices, from the end when negative; None means all.

    >>> at((2, 3), items=[1], positions=[-1]).int().tolist()
    [[0, 0, 0], [0, 0, 1]]
    """
    mask = torch.ones(shape, dtype=torch.bool, device=device)
    for axis, chosen in enumerate((items, positions, units)):
        if chosen is not None:
            line = torch.zeros(shape[axis], dtype=torch.bool, device=device)
            line[chosen] = True
            mask &= line.view([-1 if n == axis else 1 for n in range(len(shape))])
    return mask


# --- values -------------------------------------------------------------------------------


def _take(value: Tensor, positions: Tensor | list[int]) -> Tensor:
    chosen = torch.as_tensor(positions, device=value.device)
    if chosen.ndim == 1:
        return value[:, chosen]
    return value[torch.arange(len(value), device=value.device)[:, None], chosen]


def _replace(node: Node, new: Value, where: Tensor | None, current: Tensor) -> Tensor:
    try:
        value = new(current) if callable(new) else new
        value = value.to(current).expand_as(current)
        if where is None:
            return value
        mask = where.to(current.device)
        return torch.where(
            mask.view(*mask.shape, *[1] * (current.ndim - mask.ndim)), value, current
        )
    except RuntimeError as error:
        raise AccessError(
            f"{node.kind} of block {node.block} has shape {tuple(current.shape)}; the value or "
            f"mask does not fit it ({error})."
        ) from error


def _near(one: Tensor, two: Tensor, tolerance: float) -> bool:
    return bool((one - two).abs().max() <= tolerance * two.abs().max().clamp(min=1.0))


# --- modules ------------------------------------------------------------------------------


def on_input(module: nn.Module, visit: Callable[[Tensor], Tensor | None]) -> Any:
    """Let `visit` see what a module reads, and replace it where it returns something."""

    def hook(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if args:
            new = visit(args[0])
            return None if new is None else ((new, *args[1:]), kwargs)
        new = visit(kwargs["hidden_states"])
        return None if new is None else (args, {**kwargs, "hidden_states": new})

    return module.register_forward_pre_hook(hook, with_kwargs=True)


def _on_output(module: nn.Module, visit: Callable[[Tensor], Tensor | None]) -> Any:
    def hook(_: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        if not isinstance(output, tuple):
            return visit(output)
        new = visit(output[0])
        return None if new is None else (new, *output[1:])

    return module.register_forward_hook(hook)


def _on_heads(projection: nn.Module, heads: int, visit: Callable[[Tensor], Tensor | None]) -> Any:
    def hook(_: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor | None:
        weight = projection.weight.unflatten(1, (heads, -1))
        parts = torch.einsum("bthe,dhe->bthd", args[0].unflatten(-1, (heads, -1)), weight)
        new = visit(parts)
        # The difference, so that heads replaced by themselves leave the exact bits.
        return None if new is None else output + (new - parts).sum(2)

    return projection.register_forward_hook(hook)


def _is_norm(module: nn.Module) -> bool:
    return not isinstance(module, nn.Identity)
