"""GRPO with a count of the tokens whose probability ratio has left the clip band.

Under a reward that is independent of the response, the clipped surrogate still has an expected
gradient: +mu times that of the ratio below the band, -mu above it, and 0 inside (2506.10947).
Which tokens are outside, by the sign of their advantage and by their old probability, is
therefore what a drift by clipping must show in. Nothing of the training is changed.
"""

from __future__ import annotations

from typing import Any

import torch
from trl import GRPOTrainer

# The band that is counted where clipping is out of reach.
UNCLIPPED = 0.2


class BandTrainer(GRPOTrainer):
    """TRL's trainer, which also logs ``band/*``: shares of an update's completion tokens.

    ``band/{above,below}_{pos,neg}_{high,low}``: ratio above 1 + epsilon or below 1 - epsilon,
    advantage above or below 0, old probability above 1 / (1 + epsilon) (no ratio can pass the
    upper edge then) or not. ``band/share_high``: tokens of high old probability.
    ``band/probability``: the mean old probability.
    """

    def _get_per_token_logps_and_entropies(self, *args: Any, **kwargs: Any) -> Any:
        tokens = super()._get_per_token_logps_and_entropies(*args, **kwargs)
        self._latest = tokens[0].detach()
        return tokens

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        loss = super()._compute_loss(model, inputs)
        # The policy's log-probabilities are the last that the loss asks for.
        mask = inputs["completion_mask"] * inputs.get("tool_mask", 1)
        old = inputs.get("old_per_token_logps", self._latest)
        epsilon = self.epsilon_low if self.epsilon_low < 1 else UNCLIPPED
        sums = band_sums(self._latest, old, inputs["advantages"], mask, epsilon)
        total = self.accelerator.gather(torch.stack([*sums.values(), mask.sum()])[None]).sum(0)
        mode = "train" if self.model.training else "eval"
        for name, share in zip(sums, (total[:-1] / total[-1].clamp(min=1)).tolist(), strict=True):
            self._metrics[mode][f"band/{name}"].append(share)
        return loss


def band_sums(
    new: torch.Tensor,
    old: torch.Tensor,
    advantages: torch.Tensor,
    mask: torch.Tensor,
    epsilon: float,
) -> dict[str, torch.Tensor]:
    """Return how many tokens are of each kind, and the sum of their old probabilities.

    Parameters
    ----------
    new, old
        Log-probabilities (natural) of the tokens, shape (completions, tokens).
    advantages
        Shape (completions,).
    mask
        1 where a token counts, shape (completions, tokens).
    epsilon
        Half the width of the band around a ratio of 1.
    """
    ratio, prior = torch.exp(new - old), torch.exp(old)
    high = prior > 1 / (1 + epsilon)
    outside = {"above": ratio > 1 + epsilon, "below": ratio < 1 - epsilon}
    signs = {"pos": advantages[:, None] > 0, "neg": advantages[:, None] < 0}
    sums = {
        f"{side}_{sign}_{name}": (mask * (tokens & chosen & region)).sum().float()
        for side, tokens in outside.items()
        for sign, chosen in signs.items()
        for name, region in {"high": high, "low": ~high}.items()
    }
    return sums | {"share_high": (mask * high).sum().float(), "probability": (mask * prior).sum()}
