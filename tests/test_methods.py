"""Every update rule: what it must leave alone, what it must move, what it learns from."""

from __future__ import annotations

import dataclasses
import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import yaml
from conftest import ROOT
from train_fixture import SETTINGS, train, weights

from paradox.errors import DataError, TrainingError
from paradox.models import load_model, load_tokenizer
from paradox.provenance.manifest import read_manifest
from paradox.steps import TRAINERS
from paradox.study.kinds import TRAINERS as DECLARED
from paradox.study.load import load_config
from paradox.study.rewards import resolve
from paradox.tasks import load_task
from paradox.train import methods_page, selection
from paradox.train.band import band_sums
from paradox.train.common import HOST_ARGUMENTS

Arm = Callable[..., Path]


@pytest.fixture()
def arm(
    tmp_path: Path, tiny_checkpoint: Path, training_data: Path, task_spec: dict[str, Any]
) -> Arm:
    """Trains an arm in a folder of its own."""

    def run(trainer: str, name: str = "arm", **changes: Any) -> Path:
        return train(tmp_path / name, tiny_checkpoint, training_data, task_spec, trainer, **changes)

    return run


# --- what no reward may move, and what it must ---------------------------------------------

UNMOVED: dict[str, tuple[str, dict[str, Any]]] = {
    "grpo": ("grpo", {}),
    "dr_grpo": ("grpo", {"loss_type": "dr_grpo", "scale_rewards": "none"}),
    "grpo_v32": (
        "grpo",
        {"beta": 0.04, "use_bias_correction_kl": True, "off_policy_mask_threshold": 0.02},
    ),
    "rloo": ("rloo", {}),
}
MOVED = UNMOVED | {
    "grpo_noclip": ("grpo", {"epsilon": 1e8}),
    "grpo_tightclip": ("grpo", {"epsilon": 0.02}),
    "grpo_onpolicy": ("grpo", {"updates_per_rollout": 1, "prompts_per_rollout": 2}),
    "ppo": ("ppo", {}),
    "ppo_lam95": ("ppo", {"lam": 0.95}),
    "dpo": ("dpo", {}),
    "sft": ("sft", {}),
    "distill": ("sft", {"target": "oracle"}),
    "ppo-lora": ("ppo", {"lora_rank": 2}),
}


@pytest.mark.parametrize("name", UNMOVED)
def test_a_constant_reward_changes_no_bit(name: str, arm: Arm, tiny_checkpoint: Path) -> None:
    trainer, changes = UNMOVED[name]
    trained = arm(trainer, updates=4, reward="constant", **changes)
    assert weights(trained) == weights(tiny_checkpoint)
    assert read_manifest(trained / "manifest.json").info["weights_equal_base"] is True


@pytest.mark.parametrize("name", MOVED)
def test_a_reward_moves_the_weights(name: str, arm: Arm, tiny_checkpoint: Path) -> None:
    trainer, changes = MOVED[name]
    trained = arm(trainer, updates=4, **changes)
    assert list(read_manifest(trained / "manifest.json").steps) == [2, 4]
    assert weights(trained) != weights(tiny_checkpoint)
    before, after = (
        load_model(read_manifest(folder / "manifest.json").last).state_dict()
        for folder in (tiny_checkpoint, trained)
    )
    assert set(before) == set(after), "a whole model, adapters merged"
    curves = pd.read_csv(trained / "train.csv")
    assert curves["step"].iloc[-1] == 4
    assert curves["loss"].notna().all()


@pytest.mark.parametrize("trainer", ["grpo", "rloo", "dpo", "sft"])
def test_accumulated_gradients_are_those_of_a_large_batch(trainer: str, arm: Arm) -> None:
    arms = [arm(trainer, f"{size}", micro_batch=size, updates=2) for size in (4, 8)]
    # Adam hides a wrong scale of the gradient, its norm does not.
    norms = [pd.read_csv(folder / "train.csv")["grad_norm"].tolist() for folder in arms]
    assert norms[0] == pytest.approx(norms[1], rel=1e-3)
    split, whole = (load_model(read_manifest(folder / "manifest.json").last) for folder in arms)
    # Adam divides by the gradient's size, so a rounding error can flip a gradient that is zero.
    for one, other in zip(split.parameters(), whole.parameters(), strict=True):
        assert (one - other).abs().max() < 2e-4


# --- one reward, whatever the trainer -------------------------------------------------------


@pytest.mark.parametrize("trainer", TRAINERS)
def test_every_trainer_is_paid_by_votes_and_logs_what_is_asked(
    trainer: str, arm: Arm, tmp_path: Path, training_data: Path
) -> None:
    prompts = pd.read_csv(training_data / "prompts.csv", dtype=str)
    # Few samples of a random base state any answer; under this reward the others pay.
    votes = votes_of(prompts, pd.Series(range(len(prompts))) % 2 == 0)
    votes.to_csv(tmp_path / "votes.csv")
    logged = ("majority_vote", "format", "value_weighted")
    given = {"votes": tmp_path / "votes.csv", "logged": logged, "updates": 4}
    curves = pd.read_csv(arm(trainer, **given) / "train.csv")
    assert curves["logged/format"].equals(curves["share/parsable"])
    assert curves["logged/majority_vote"].equals(curves["share/agrees_with_vote"])
    silent = pd.read_csv(arm(trainer, "silent", updates=4) / "train.csv")
    assert not [name for name in silent if "vote" in name or "logged" in name]
    # What is logged is not trained on.
    assert curves[silent.columns].equals(silent)
    if not DECLARED[trainer].from_samples:
        paid = {"votes": tmp_path / "votes.csv", "reward": "majority_vote", "updates": 4}
        curves = pd.read_csv(arm(trainer, "voted", **paid) / "train.csv")
        assert curves["reward"].tolist() == pytest.approx(curves["share/agrees_with_vote"].tolist())


# --- PPO -----------------------------------------------------------------------------------


def test_ppo_repeats_and_starts_again_after_a_kill(arm: Arm) -> None:
    one = arm("ppo", "one")
    left = one.parent / "two/.work/0/step-2"
    left.mkdir(parents=True)
    two = arm("ppo", "two")
    for name in ("manifest.json", "train.csv", "arguments.json"):
        assert (one / name).read_bytes() == (two / name).read_bytes(), name
    assert not (two / ".work").exists()


def test_ppo_is_paid_for_the_same_completions_as_its_reward_function_sees(
    arm: Arm, monkeypatch: pytest.MonkeyPatch
) -> None:
    from paradox.train.ppo import trainer as ppo

    seen: list[tuple[list[str], list[str], int]] = []

    def adapter(*_: Any) -> Callable[..., list[float]]:
        def score(
            completions: list[str],
            prompt_id: list[str],
            trainer_state: Any,
            **_: Any,
        ) -> list[float]:
            seen.append((completions, prompt_id, trainer_state.global_step))
            return [float(row % 4) for row in range(len(completions))]

        return score

    monkeypatch.setattr(ppo, "reward_adapter", adapter)
    trained = arm("ppo", updates=4)
    assert [step for *_, step in seen] == [0, 2]
    for completions, prompt_id, _ in seen:
        assert len(completions) == 16 and len(set(prompt_id)) == 4
        # A group stands side by side.
        assert [prompt_id[n] for n in range(0, 16, 4)] == list(dict.fromkeys(prompt_id))
        assert not any("<" in text for text in completions)
    assert seen[0][1] != seen[1][1]
    assert pd.read_csv(trained / "train.csv")["reward"].tolist() == [1.5, 1.5]


# --- what DPO and SFT learn from -----------------------------------------------------------


@pytest.fixture()
def chosen(
    tmp_path: Path, tiny_checkpoint: Path, training_data: Path, task_spec: dict[str, Any]
) -> Callable[..., Any]:
    """Writes samples, given as (prompt number, text, finished), and selects from them."""
    prompts = pd.read_csv(training_data / "prompts.csv", dtype=str)
    tokenizer = load_tokenizer(tiny_checkpoint / "step-0")

    def select(kind: str, rows: list[tuple[int, str, bool]], **changes: Any) -> Any:
        table = pd.DataFrame(rows, columns=["n", "text", "finished"])
        table["prompt_id"] = prompts["prompt_id"].iloc[table["n"]].tolist()
        table["sample"] = table.groupby("n").cumcount()
        table["tokens"] = table["text"].str.split().str.len() + 1
        table.to_parquet(tmp_path / "samples.parquet")
        reward, votes = changes.pop("reward", "format"), changes.pop("votes", None)
        about = {"base": "b", "method": kind, "reward": reward, "seed": 0}
        spec = {"arm": about, "task": task_spec, "reward": resolve(reward, {}), "logged": {}}
        inputs = {
            "prompts": training_data / "prompts.csv",
            "samples": tmp_path / "samples.parquet",
        }
        if votes is not None:
            votes.to_csv(tmp_path / "votes.csv")
            inputs["votes"] = tmp_path / "votes.csv"
        found = selection.scored(spec, inputs)
        if kind == "dpo":
            return selection.pair_dataset(about, found, tokenizer)
        return selection.text_dataset(about, found, tokenizer, SETTINGS["sft"] | changes)

    return select


GROUPS = [
    *[(0, "think", True), (0, "answer 3", False), (0, "answer 1", True), (0, "answer 2", True)],
    *[(1, "answer 4", True), (1, "answer 5", True), (1, "answer 6", True), (1, "answer 7", True)],
    *[(2, "think", True), (2, "", True), (2, "A", True), (2, "Q", True)],
]


def test_a_pair_is_the_first_rewarded_and_the_first_unrewarded(chosen: Any) -> None:
    pairs = chosen("dpo", GROUPS)
    # Cut samples are never learnt; groups without both kinds make no pair.
    assert pairs["chosen"] == [" answer 1<eos>"] and pairs["rejected"] == [" think<eos>"]


def test_imitated_texts_are_the_first_rewarded(chosen: Any) -> None:
    assert sorted(chosen("sft", GROUPS)["completion"]) == [" answer 1<eos>", " answer 4<eos>"]
    assert len(chosen("sft", GROUPS, updates=1, rows_per_update=1)) == 1


def votes_of(prompts: pd.DataFrame, wrong: pd.Series) -> pd.DataFrame:
    """Return votes on prompts, wrong where `wrong` says so, else right."""
    other = (prompts["answer"].astype(int) + 1).mod(13).astype(str)
    votes = prompts[["prompt_id"]].assign(label=prompts["answer"].mask(wrong, other))
    votes["correct"] = (~wrong).astype(int)
    return votes.assign(share=1.0, votes=8, samples=8, parsable=1.0).set_index("prompt_id")


@pytest.mark.parametrize("target", ["rewarded", "oracle"])
def test_only_prompts_that_a_reward_can_be_trained_on_are_learnt(
    target: str, chosen: Any, training_data: Path, task_spec: dict[str, Any]
) -> None:
    task, prompts = load_task(task_spec), pd.read_csv(training_data / "prompts.csv", dtype=str)
    wrong = pd.Series(range(len(prompts))) % 3 == 0
    votes = votes_of(prompts, wrong)
    rows = [(n, f"answer {label}", True) for n, label in enumerate(votes["label"])]
    given = {"reward": "majority_incorrect", "votes": votes, "target": target, "updates": 40}
    texts = chosen("sft", rows, **given)
    learnt = set(texts["prompt"])
    assert learnt <= {task.prompt(question) for question in prompts["question"][wrong]}
    if target == "rewarded":
        # Every prompt that was voted wrong, with the vote.
        assert len(learnt) == wrong.sum()
    with pytest.raises(TrainingError, match="'majority_incorrect' pays for none"):
        chosen("sft", rows, **given | {"votes": votes_of(prompts, wrong & False)})


def test_oracle_texts_are_right_and_hold_as_many_tokens(
    chosen: Any, task_spec: dict[str, Any], tiny_checkpoint: Path
) -> None:
    task, tokenizer = load_task(task_spec), load_tokenizer(tiny_checkpoint / "step-0")
    rows = [(n, "answer 1", True) for n in range(40)]
    texts = chosen("sft", rows, target="oracle", updates=40)
    budget = 40 * 3
    counts = [len(tokenizer(text)["input_ids"]) for text in texts["completion"]]
    assert budget - max(counts) < sum(counts) <= budget
    for prompt, text in zip(texts["prompt"], texts["completion"], strict=True):
        question = prompt.removeprefix("<bos> Q ").removesuffix(" A")
        assert text == task.worked(question) + "<eos>"


def test_a_reward_that_prefers_nothing_is_an_error(chosen: Any) -> None:
    with pytest.raises(TrainingError, match="'constant' makes no pair"):
        chosen("dpo", GROUPS, reward="constant")
    with pytest.raises(TrainingError, match="'format' pays for none"):
        chosen("sft", GROUPS[8:])


def test_prompt_and_completion_become_the_tokens_of_both(tiny_checkpoint: Path) -> None:
    tokenizer = load_tokenizer(tiny_checkpoint / "step-0")
    prompt, text = "<bos> Q 1 + 2 A", selection.completion("answer 3", tokenizer)
    assert selection.check_tokens([prompt], [text], tokenizer) == [3]
    whole = tokenizer(prompt + text)["input_ids"]
    assert tokenizer.convert_ids_to_tokens(whole)[-4:] == ["A", "answer", "3", "<eos>"]
    for bad in (" answer 3", " answer 3<eos><eos>", " <pad> 3<eos>"):
        with pytest.raises(DataError, match="which are not those of the prompt"):
            selection.check_tokens([prompt], [bad], tokenizer)
    with pytest.raises(Exception, match=r"not those of the prompt|unk_token|WordLevel"):
        selection.check_tokens([prompt], ["answer 3<eos>"], tokenizer)


# --- nothing that TRL could change is left unsaid ------------------------------------------


@pytest.mark.parametrize("trainer", TRAINERS)
def test_every_argument_of_the_trainer_is_set_or_named(
    trainer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = importlib.import_module(TRAINERS[trainer])
    made = module.arguments(SETTINGS[trainer], 0, Path("work"))
    known = {field.name for field in dataclasses.fields(made) if field.init}
    passed: dict[str, Any] = {}
    monkeypatch.setattr(module, type(made).__name__, lambda **given: passed.update(given))
    module.arguments(SETTINGS[trainer], 0, Path("work"))
    assert known - set(passed) - methods_page.left_at_default() == set()


def test_no_name_is_left_over() -> None:
    known: set[str] = set()
    for trainer, module in TRAINERS.items():
        made = importlib.import_module(module).arguments(SETTINGS[trainer], 0, Path("work"))
        known |= {field.name for field in dataclasses.fields(made)}
    assert methods_page.left_at_default() - known == set()


def test_the_record_of_an_arm_holds_every_argument(arm: Arm) -> None:
    recorded = json.loads((arm("sft", updates=2) / "arguments.json").read_text())
    made = importlib.import_module(TRAINERS["sft"]).arguments(SETTINGS["sft"], 0, Path("work"))
    known = {field.name for field in dataclasses.fields(made) if field.init}
    assert known - set(recorded) == HOST_ARGUMENTS & known


def test_the_page_of_methods_is_in_sync() -> None:
    text = (ROOT / methods_page.PAGE).read_text()
    assert methods_page.page(text, ROOT) == text, "run `python -m paradox.train.methods_page`"


def test_the_page_describes_every_method() -> None:
    config = load_config(yaml.safe_load((ROOT / "config/config.yaml").read_text()), ROOT)
    text = (ROOT / methods_page.PAGE).read_text().split(methods_page.BEGIN)[0]
    assert [name for name in config.methods if f"| `{name}` |" not in text] == []


# --- tokens outside the clip band ----------------------------------------------------------


def test_tokens_outside_the_band_are_counted_by_kind() -> None:
    old = torch.log(torch.tensor([[0.9, 0.5, 0.5], [0.9, 0.5, 0.1]]))
    ratio = torch.tensor([[1.05, 1.3, 0.7], [0.7, 1.3, 1.0]])
    mask = torch.tensor([[1, 1, 1], [1, 1, 0]])
    sums = band_sums(old + ratio.log(), old, torch.tensor([1.0, -1.0]), mask, 0.2)
    found = {name: value.item() for name, value in sums.items() if value}
    assert found == {
        "above_pos_low": 1,
        "below_pos_low": 1,
        "below_neg_high": 1,
        "above_neg_low": 1,
        "share_high": 2,
        "probability": pytest.approx(0.9 + 0.5 + 0.5 + 0.9 + 0.5),
    }


def test_the_counts_agree_with_the_trainers_own(arm: Arm) -> None:
    curves = pd.read_csv(arm("grpo", epsilon=0.01, learning_rate=1e-2) / "train.csv")
    band = {name: curves[f"band/{name}"] for name in ("above_pos_high", "above_pos_low")}
    low = curves["band/below_neg_high"] + curves["band/below_neg_low"]
    # The trainer means over batches, as the log does; both have equal weights per update.
    assert low.to_numpy() == pytest.approx(curves["clip_ratio/low_mean"].to_numpy(), abs=1e-6)
    high = (band["above_pos_high"] + band["above_pos_low"]).to_numpy()
    assert high == pytest.approx(curves["clip_ratio/high_mean"].to_numpy(), abs=1e-6)
    assert low.sum() > 0
    assert high.sum() > 0
    assert curves["band/probability"].between(0, 1).all()


def test_without_a_second_update_no_token_leaves_the_band(arm: Arm) -> None:
    curves = pd.read_csv(
        arm("grpo", epsilon=0.01, updates_per_rollout=1, prompts_per_rollout=2) / "train.csv"
    )
    outside = [name for name in curves if name.startswith(("band/above", "band/below"))]
    assert len(outside) == 8
    assert (curves[outside] == 0).all(axis=None)
