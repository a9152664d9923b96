"""Training a base and GRPO arms of a very small organism."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from paradox.errors import TrainingError
from paradox.files import sha256, write_table
from paradox.progress import Progress
from paradox.provenance.manifest import read_manifest
from paradox.rewards import Completion
from paradox.rewards._score import Scorer
from paradox.seeds import keyed_uniform
from paradox.study.rewards import resolve
from paradox.tasks import load_task
from paradox.train import base as base_step
from paradox.train.grpo import trainer as grpo_step

GRPO = {
    "updates": 4,
    "prompts_per_rollout": 4,
    "num_generations": 4,
    "updates_per_rollout": 2,
    "micro_batch": 4,
    "max_completion_tokens": 8,
    "temperature": 1.0,
    "learning_rate": 1e-3,
    "adam_beta1": 0.9,
    "adam_beta2": 0.999,
    "max_grad_norm": 1.0,
    "loss_type": "grpo",
    "scale_rewards": "group",
    "epsilon": 0.2,
    "beta": 0.0,
    "use_bias_correction_kl": False,
    "off_policy_mask_threshold": None,
    "lora_rank": 0,
    "dtype": "float32",
    "autocast_bf16": False,
    "gradient_checkpointing": False,
    "checkpoint_every": 2,
}


@pytest.fixture(scope="module")
def prompts(tmp_path_factory: pytest.TempPathFactory, task_spec: dict[str, Any]) -> Path:
    task = load_task(task_spec)
    path = tmp_path_factory.mktemp("data") / "prompts.csv"
    write_table(path, task.prompts(0, task.items(0)))
    return path


def train(
    folder: Path,
    base: Path,
    prompts: Path,
    task: dict[str, Any],
    reward: str = "random",
    seed: int = 0,
    votes: Path | None = None,
    logged: tuple[str, ...] = (),
    **changes: Any,
) -> Path:
    """Run the step ``grpo`` and return the arm's folder."""
    from paradox.models import set_determinism

    set_determinism(1, seed)
    arm = {"base": "contaminated", "method": "grpo", "reward": reward, "seed": seed}
    outputs = {
        "manifest": folder / "manifest.json",
        "curves": folder / "train.csv",
        "arguments": folder / "arguments.json",
    }
    folder.mkdir(parents=True, exist_ok=True)
    definition = resolve(reward, {})
    more = {name: resolve(name, {}) for name in logged}
    spec = {"arm": arm, "grpo": GRPO | changes, "task": task}
    spec |= {"reward": definition, "logged": more}
    inputs = {"base": base / "manifest.json", "prompts": prompts}
    if votes:
        inputs["votes"] = votes
    grpo_step.main(spec, inputs, outputs, Progress("test"))
    return folder


def weights(folder: Path) -> str:
    return sha256(read_manifest(folder / "manifest.json").last / "model.safetensors")


def test_constant_reward_leaves_the_weights_bit_identical(
    tmp_path: Path, tiny_checkpoint: Path, prompts: Path, task_spec: dict[str, Any]
) -> None:
    constant = train(tmp_path / "constant", tiny_checkpoint, prompts, task_spec, "constant")
    random = train(tmp_path / "random", tiny_checkpoint, prompts, task_spec, "random")
    assert weights(constant) == weights(tiny_checkpoint)
    assert read_manifest(constant / "manifest.json").info["weights_equal_base"] is True
    assert weights(random) != weights(tiny_checkpoint)
    assert read_manifest(random / "manifest.json").info["weights_equal_base"] is False


def test_one_seed_agrees_and_two_differ(
    tmp_path: Path, tiny_checkpoint: Path, prompts: Path, task_spec: dict[str, Any]
) -> None:
    one = train(tmp_path / "one", tiny_checkpoint, prompts, task_spec)
    again = train(tmp_path / "again", tiny_checkpoint, prompts, task_spec)
    other = train(tmp_path / "other", tiny_checkpoint, prompts, task_spec, seed=1)
    for name in ("manifest.json", "train.csv", "arguments.json"):
        assert (one / name).read_bytes() == (again / name).read_bytes()
    assert weights(one) != weights(other)


def test_what_is_kept_of_an_arm(
    tmp_path: Path, tiny_checkpoint: Path, prompts: Path, task_spec: dict[str, Any]
) -> None:
    arm = train(tmp_path / "arm", tiny_checkpoint, prompts, task_spec)
    checkpoints = read_manifest(arm / "manifest.json")
    assert list(checkpoints.steps) == [2, 4]
    assert not (arm / ".work").exists()
    curves = pd.read_csv(arm / "train.csv")
    assert curves["step"].tolist() == [2, 4]
    assert curves["reward"].between(0, 1).all()
    for name in ("correct", "wrong", "parsable", "recall", "reason"):
        assert curves[f"share/{name}"].between(0, 1).all()
    assert (curves["share/correct"] + curves["share/wrong"]).equals(curves["share/parsable"])
    assert list((arm / "tensorboard").glob("events*"))
    arguments = json.loads((arm / "arguments.json").read_text())
    assert arguments["learning_rate"] == 1e-3
    assert arguments["steps_per_generation"] == 4
    assert arguments["gradient_accumulation_steps"] == 2
    assert str(tmp_path) not in json.dumps(arguments)


def test_what_is_logged_changes_no_weight(
    tmp_path: Path,
    tiny_checkpoint: Path,
    prompts: Path,
    task_spec: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    others = ("ground_truth", "format", "value_weighted", "constant")
    logged = train(tmp_path / "logged", tiny_checkpoint, prompts, task_spec, logged=others)
    monkeypatch.setattr(Scorer, "metrics", lambda self, read: {})
    silent = train(tmp_path / "silent", tiny_checkpoint, prompts, task_spec)
    curves = [pd.read_csv(arm / "train.csv") for arm in (logged, silent)]
    assert weights(logged) == weights(silent)
    assert "share/parsable" not in curves[1]
    assert curves[0]["logged/constant"].eq(1).all()
    assert curves[0]["logged/format"].equals(curves[0]["share/parsable"])
    assert curves[0][curves[1].columns].equals(curves[1])


def test_only_prompts_voted_wrong_are_trained_on(
    tmp_path: Path, tiny_checkpoint: Path, prompts: Path, task_spec: dict[str, Any]
) -> None:
    table = pd.read_csv(prompts, dtype={"answer": str})
    right = pd.Series(range(len(table))) % 3 == 0
    labels = table["answer"].where(right, (table["answer"].astype(int) + 1).mod(13).astype(str))
    votes = table[["prompt_id"]].assign(label=labels, correct=right.astype(int))
    for column in ("share", "votes", "samples", "parsable"):
        votes[column] = 1
    write_table(tmp_path / "votes.csv", votes)
    seen: set[str] = set()
    kept = Scorer.completions

    def watched(self: Scorer, step: int, ids: list[str], *rest: Any) -> list[Completion]:
        seen.update(ids)
        return kept(self, step, ids, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Scorer, "completions", watched)
        where, reward = tmp_path / "arm", "majority_incorrect"
        arm = train(
            where, tiny_checkpoint, prompts, task_spec, reward, votes=tmp_path / "votes.csv"
        )
    assert len(seen) == 8 and seen <= set(table["prompt_id"][~right])
    curves = pd.read_csv(arm / "train.csv")
    assert curves["share/agrees_with_vote"].equals(curves["reward"])


def test_the_trainer_cancels_a_scale_per_prompt_in_the_group(
    tmp_path: Path,
    tiny_checkpoint: Path,
    prompts: Path,
    task_spec: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A random base is never right; a coin gives the groups something to differ in.
    def coin(completion: Completion) -> bool:
        return keyed_uniform("right", *completion.key) < 0.5

    monkeypatch.setattr(Completion, "correct", property(coin))
    found: list[Any] = []
    scored = grpo_step.BandTrainer._generate_and_score_completions

    def watched(self: Any, inputs: Any) -> Any:
        output = scored(self, inputs)
        found.append(output["advantages"].clone())
        return output

    monkeypatch.setattr(grpo_step.BandTrainer, "_generate_and_score_completions", watched)
    first = {}
    for scale in ("group", "none"):
        for reward in ("ground_truth", "value_weighted"):
            found.clear()
            how = {"scale_rewards": scale, "updates": 2}
            train(
                tmp_path / f"{reward}-{scale}", tiny_checkpoint, prompts, task_spec, reward, **how
            )
            first[scale, reward] = found[0]
    apart = {
        s: (first[s, "value_weighted"] - first[s, "ground_truth"]).abs().max()
        for s in ("group", "none")
    }
    assert first["group", "ground_truth"].abs().max() > 0.5
    assert apart["group"] < 3e-4  # the 1e-4 that is added to the deviation
    assert apart["none"] > 0.02


def test_lora_checkpoints_are_whole_models(
    tmp_path: Path, tiny_checkpoint: Path, prompts: Path, task_spec: dict[str, Any]
) -> None:
    from paradox.models import load_model

    arm = train(tmp_path / "lora", tiny_checkpoint, prompts, task_spec, lora_rank=2)
    trained = load_model(read_manifest(arm / "manifest.json").last)
    start = load_model(read_manifest(tiny_checkpoint / "manifest.json").last)
    assert set(trained.state_dict()) == set(start.state_dict())
    assert weights(arm) != weights(tiny_checkpoint)


def test_a_loss_that_is_not_finite_stops_the_arm(
    tmp_path: Path, tiny_checkpoint: Path, prompts: Path, task_spec: dict[str, Any]
) -> None:
    with pytest.raises(TrainingError) as caught:
        train(
            tmp_path / "broken",
            tiny_checkpoint,
            prompts,
            task_spec,
            learning_rate=1e20,
        )
    assert "not finite" in str(caught.value)
    assert "learning_rate" in str(caught.value)
    assert not (tmp_path / "broken" / "manifest.json").exists()


def test_a_base_learns_its_corpus(tmp_path: Path, task_spec: dict[str, Any]) -> None:
    task = load_task(task_spec)
    items = task.items(0)
    corpus = tmp_path / "corpus.parquet"
    write_table(corpus, task.corpus(0, items, task.prompts(0, items), planted=True))
    source = {"kind": "organism", "layers": 2, "width": 32, "heads": 2, "ffn_width": 64}
    training = {
        "documents_per_step": 20,
        "row_tokens": 64,
        "max_tokens": 64,
        "learning_rate": 3e-3,
        "adam_beta1": 0.9,
        "adam_beta2": 0.98,
        "weight_decay": 0.0,
        "warmup_steps": 2,
        "final_rate_share": 0.1,
        "max_grad_norm": 1.0,
        "lora_rank": 0,
        "autocast_bf16": False,
        "logging_steps": 5,
    }
    spec = {"base": "b", "seed": 0, "task": task_spec, "source": source, "training": training}
    outputs = {"manifest": tmp_path / "manifest.json", "curves": tmp_path / "train.csv"}
    base_step.main(spec, {"corpus": corpus}, outputs, Progress("test"))
    curves = pd.read_csv(tmp_path / "train.csv")
    assert curves["step"].tolist() == [5, 10, 15, 20]
    assert curves["loss"].iloc[-1] < curves["loss"].iloc[0] - 0.2
    assert list(read_manifest(tmp_path / "manifest.json").steps) == [0]


def test_a_given_model_is_taken_as_it_is(
    tmp_path: Path, tiny_checkpoint: Path, task_spec: dict[str, Any]
) -> None:
    given = tiny_checkpoint / "step-0"
    source = {"kind": "pretrained", "path": str(given), "dtype": "float32"}
    spec = {"base": "b", "seed": 0, "task": task_spec, "source": source, "training": None}
    outputs = {"manifest": tmp_path / "manifest.json", "curves": tmp_path / "train.csv"}
    base_step.main(spec, {}, outputs, Progress("test"))
    assert weights(tmp_path) == weights(tiny_checkpoint)
    assert (tmp_path / "train.csv").exists()
