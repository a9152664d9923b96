"""Step ``ppo``: an arm trained by TRL's PPOTrainer under one reward condition.

Proximal policy optimisation (1707.06347) with a value model: the advantage of a token is the
generalised advantage estimate (1506.02438) of the reward at the completion's end, whitened over
the rollout. The prompts, their order, the group size and the rewards are those of ``grpo``.

The trainer keeps no state to go on from (the value model and its optimiser are never saved), so
a killed training starts again. It clips no gradients: ``max_grad_norm`` has no effect.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from datasets import Dataset
from torch import nn
from torch.utils.data import DataLoader
from transformers import (
    AutoModelForSequenceClassification,
    PreTrainedModel,
    TrainerControl,
    TrainerState,
    TrainingArguments,
    set_seed,
)
from transformers.modeling_outputs import BaseModelOutputWithPast
from transformers.tokenization_utils_base import PreTrainedTokenizerBase
from trl.experimental.ppo import PPOConfig, PPOTrainer

from paradox.errors import TrainingError
from paradox.models import DTYPES
from paradox.progress import Progress
from paradox.provenance.manifest import read_manifest
from paradox.seeds import torch_seed
from paradox.train.callbacks import TIMES, Watch
from paradox.train.common import SaveWeights, Start, common_arguments, train_arm
from paradox.train.lora import lora_config
from paradox.train.prompts import prompt_dataset, reward_adapter, scoring

Score = Callable[..., list[float]]


def main(
    spec: dict[str, Any], inputs: dict[str, Path], outputs: dict[str, Path], progress: Progress
) -> None:
    """Train one arm; inputs and outputs are those of the step ``grpo``."""
    arm, settings = spec["arm"], spec["ppo"]
    scorer, table = scoring(spec, inputs, settings["prompts_per_rollout"])
    prompts = prompt_dataset(table, scorer.task, arm["seed"])
    score = reward_adapter(arm["reward"], scorer, settings["num_generations"])
    seed = torch_seed(arm["seed"], "ppo")

    def build(start: Start) -> Trainer:
        if start.tokenizer.pad_token_id == start.tokenizer.eos_token_id:
            raise TrainingError(
                f"{arm['base']}: the trainer ppo finds a completion's end by its padding, and this "
                "tokenizer pads with the end-of-sequence token. Choose another method."
            )
        value = value_model(read_manifest(inputs["base"]).last, settings["dtype"])
        # The trainer itself seeds PyTorch only, and NumPy orders the mini-batches.
        set_seed(seed)
        rewards = RewardModel(score, prompts, start.tokenizer, settings)
        return Trainer(
            args=arguments(settings, seed, start.work),
            processing_class=start.tokenizer,
            model=start.model,
            ref_model=None,
            reward_model=rewards,
            value_model=value.to(start.model.device),
            train_dataset=rewards.queries,
            callbacks=[Watch(progress), *start.callbacks],
            peft_config=lora_config(settings["lora_rank"]),
        )

    train_arm(
        spec,
        inputs,
        outputs,
        progress,
        settings,
        build,
        resumable=False,
        without=TIMES | {"eps"},
        saver=SavePolicy,
    )


def arguments(settings: dict[str, Any], seed: int, work: Path) -> PPOConfig:
    """Return the trainer's arguments; every one that changes the result is written out."""
    rollout = settings["prompts_per_rollout"] * settings["num_generations"]
    rollouts = settings["updates"] // settings["updates_per_rollout"]
    common = common_arguments(settings, seed, work) | {"save_strategy": "no"}
    return PPOConfig(
        **common,
        total_episodes=rollouts * rollout,
        # The optimiser steps once per batch of this size or mini-batch, whichever is smaller;
        # accumulation would silently make the steps fewer.
        per_device_train_batch_size=rollout,
        gradient_accumulation_steps=1,
        num_mini_batches=settings["updates_per_rollout"],
        num_ppo_epochs=1,
        local_rollout_forward_batch_size=rollout,
        response_length=settings["max_completion_tokens"],
        temperature=settings["temperature"],
        # Without it nothing stops a completion.
        stop_token="eos",
        missing_eos_penalty=None,
        whiten_rewards=False,
        kl_coef=settings["kl_coef"],
        kl_estimator="k1",
        cliprange=settings["cliprange"],
        cliprange_value=settings["cliprange_value"],
        vf_coef=settings["vf_coef"],
        gamma=settings["gamma"],
        lam=settings["lam"],
        num_sample_generations=0,
        # The trainer logs every rollout, whatever is said.
        logging_steps=1,
    )


class Trainer(PPOTrainer):
    """TRL's trainer on prompts in the given order, with its log in this study's words."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        # The trainer's own loader shuffles, which tears groups apart.
        loader = DataLoader(
            self.train_dataset,
            batch_size=self.local_dataloader_batch_size,
            collate_fn=self.data_collator,
            drop_last=True,
        )
        self.dataloader = self.accelerator.prepare(loader)

    def log(self, logs: dict[str, Any], start_time: float | None = None) -> None:
        """Log a rollout; steps are optimiser steps, as in the other trainers."""
        named = {"reward": logs["objective/scores"], "loss": logs["loss/policy_avg"]}
        super().log(named | logs | self.reward_model.logged, start_time)
        self.state.log_history[-1]["step"] = self.state.global_step * self.args.num_mini_batches


class SavePolicy(SaveWeights):
    """Save the policy; the trainer counts rollouts, this study optimiser steps."""

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: Any = None,
        **_: Any,
    ) -> None:
        """Save when it is time."""
        steps = args.num_mini_batches
        self.save_when_due(state.global_step * steps, state.max_steps * steps, model.policy)


def value_model(base: Path, dtype: str) -> PreTrainedModel:
    """Return the base with a head that says 0 for every token."""
    model = AutoModelForSequenceClassification.from_pretrained(
        base, num_labels=1, dtype=DTYPES[dtype], use_safetensors=True, local_files_only=True
    )
    nn.init.zeros_(model.score.weight)
    return model


class RewardModel(nn.Module):
    """A reward function in the shape of a reward model, which is all that the trainer takes.

    It is asked once per rollout, for tokens only; the prompt that a row starts with says which
    prompt it is.
    """

    base_model_prefix = "backbone"

    def __init__(
        self,
        score: Score,
        prompts: Dataset,
        tokenizer: PreTrainedTokenizerBase,
        settings: dict[str, Any],
    ) -> None:
        super().__init__()
        self.ask, self.tokenizer, self.settings = score, tokenizer, settings
        self.rollouts = 0
        # Of the last rollout: means that are told and never trained on.
        self.logged: dict[str, float] = {}
        ids = tokenizer(list(prompts["prompt"]))["input_ids"]
        self.rows = {tuple(row): prompts[n] for n, row in enumerate(ids)}
        self.lengths = sorted({len(row) for row in ids}, reverse=True)
        repeated = pd.Series(ids).repeat(settings["num_generations"]).tolist()
        self.queries = Dataset.from_dict({"input_ids": repeated})

    def backbone(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, **_: Any
    ) -> BaseModelOutputWithPast:
        """Return each row's reward in the place of its hidden states."""
        rows = [
            self._read(row[mask].tolist())
            for row, mask in zip(input_ids, attention_mask, strict=True)
        ]
        columns = {name: [row[name] for row, _ in rows] for name in rows[0][0]}
        step = self.rollouts * self.settings["updates_per_rollout"]
        self.rollouts += 1
        self.logged.clear()
        rewards = self.ask(
            **columns,
            completions=[text for _, text in rows],
            trainer_state=TrainerState(global_step=step),
            log_metric=self.logged.__setitem__,
        )
        paid = torch.tensor(rewards, dtype=torch.float32, device=input_ids.device)
        hidden = paid[:, None, None].expand(-1, input_ids.shape[1], 1)
        return BaseModelOutputWithPast(hidden_states=(hidden,))

    def score(self, hidden: torch.Tensor) -> torch.Tensor:
        """Return what `backbone` found."""
        return hidden

    def _read(self, ids: list[int]) -> tuple[dict[str, Any], str]:
        """Return the dataset's row and the completion's text."""
        for length in self.lengths:
            if row := self.rows.get(tuple(ids[:length])):
                return row, self.tokenizer.decode(ids[length:], skip_special_tokens=True)
        raise TrainingError(f"ppo: the tokens {ids} start with none of the prompts.")
