"""The signatures ``anchor`` and ``anchor_local``: memory passes through middle blocks' MLPs."""

from __future__ import annotations

from paradox.mechanisms.tables.pairs import Array
from paradox.mechanisms.tables.signatures import Given, Part, Rows, Tester, by_curves, span
from paradox.mechanisms.tables.verdict import ANCHOR, MIDDLE, inside


def anchor(given: Given) -> Rows:
    """Yield the rows of ``anchor`` (2601.11061): two parts, of which each has to be above 0.

    The gap (exposed minus twins) of the log-probability lost without a middle block's MLP is
    larger than without another block's MLP, *and* larger than without a middle block's attention
    (means over blocks, nats).
    """
    return by_curves(given, ("mlp@all", "attn@all"), "logp_drop", _parts)


def _parts(test: Tester, values: list[Array]) -> list[Part]:
    mlp, attention = values
    chosen = inside(mlp.shape[1], MIDDLE)
    over = (mlp - attention)[:, chosen].mean(axis=1)
    return [test.window(mlp, MIDDLE), test.test(over, span(chosen))]


def anchor_local(given: Given) -> Rows:
    """Yield the rows of ``anchor_local`` (2601.11061): a rise into the anchor, a drop after it.

    The gap (exposed minus twins) of the log-probability lost without the MLP of a block at the
    published depth (`ANCHOR`) is larger than without the MLP of the block before it, *and* of the
    block after it (nats).
    """
    return by_curves(
        given, ("mlp@all",), "logp_drop", lambda test, values: test.local(values[0], ANCHOR)
    )
