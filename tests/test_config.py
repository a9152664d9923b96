"""The configuration: schema in sync, every error says what to do."""

from __future__ import annotations

import copy
import importlib.metadata
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import ROOT

from paradox.errors import ConfigError
from paradox.steps import TRAINERS
from paradox.study.config import schema_text
from paradox.study.load import load_config, merge
from paradox.study.methods import resolved
from paradox.study.plan import Study, environment_lock

SCALES = sorted(path.stem for path in (ROOT / "config/scales").glob("*.yaml"))


def test_schema_is_in_sync() -> None:
    committed = (ROOT / "workflow/schemas/config.schema.json").read_text()
    assert committed == schema_text(), "run `make schema`"


@pytest.mark.parametrize("scale", SCALES)
def test_every_scale_plans(scale: str, smoke_config: dict[str, Any]) -> None:
    study = Study.load(merge(smoke_config, {"scale": scale}), ROOT)
    assert study.scale == scale
    assert len(study.arms) == len(set(study.arms)) > 0


def test_arms_are_the_product_less_the_exclusions(smoke_config: dict[str, Any]) -> None:
    study = Study.load(smoke_config, ROOT)
    cells = {(arm.base, arm.reward) for arm in study.arms}
    assert ("contaminated", "constant") in cells
    assert ("clean", "constant") not in cells
    assert len(study.arms) == (2 * 5 - 2) * 3


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ({"scale": "tinny"}, ["config/config.yaml", "'tinny'", "smoke, tiny", "'tiny'"]),
        ({"arms": {"rewrads": []}}, ["arms.rewrads", "allowed: bases", "Did you mean 'rewards'"]),
        ({"grpo": {"lerning_rate": 1}}, ["grpo.lerning_rate", "Did you mean 'learning_rate'"]),
        ({"arms": {"rewards": ["fromat"]}}, ["arms.rewards[0] = 'fromat'", "'format'"]),
        ({"arms": {"bases": ["contamnated"]}}, ["arms.bases[0]", "Did you mean 'contaminated'"]),
        ({"arms": {"methods": ["gpro"]}}, ["arms.methods[0] = 'gpro'", "Did you mean 'grpo'"]),
        ({"mechanisms": {"rewards": ["fromat"]}}, ["mechanisms.rewards: 'fromat'", "'format'"]),
        (
            {"mechanisms": {"methods_of": {"eap": ["gpro"], "boundary": []}}},
            ["mechanisms.methods_of.eap: 'gpro' is unknown", "Did you mean 'grpo'"],
        ),
        ({"arms": {"seeds": [-1]}}, ["arms.seeds[0] = -1", "greater than or equal to 0"]),
        ({"arms": {"seeds": []}}, ["arms.seeds = []", "at least 1"]),
        ({"grpo": {"loss_type": "grop"}}, ["grpo.loss_type = 'grop'", "Did you mean 'grpo'"]),
        ({"grpo": {"updates": 7}}, ["grpo.updates = 7", "multiple of updates_per_rollout"]),
        ({"grpo": {"micro_batch": 7}}, ["grpo.micro_batch = 7", "must be a multiple"]),
        ({"arms": {"methods": ["dr_grop"]}}, ["arms.methods[0] = 'dr_grop'", "'dr_grpo'"]),
        ({"methods": {"dpo": {"betta": 1}}}, ["methods.dpo.betta", "Did you mean 'beta'"]),
        ({"methods": {"rloo": {"lam": 1}}}, ["unknown key 'methods.rloo.lam'", "allowed: trainer"]),
        ({"methods": {"dpo": {"trainer": "dop"}}}, ["methods.dpo.trainer = 'dop'", "'dpo'"]),
        ({"methods": {"mine": {"beta": 1}}}, ["methods.mine.trainer' is missing"]),
        (
            {"methods": {"mine": {"trainer": "rloo", "beta": 0}}, "arms": {"methods": ["mine"]}},
            ["config/methods.yaml: methods.mine.epsilon is missing"],
        ),
        (
            {"methods": {"mine": {"trainer": "grpo", "updates": 7}}, "arms": {"methods": ["mine"]}},
            ["methods.mine.updates = 7", "multiple of updates_per_rollout"],
        ),
        ({"methods": {"base": {"trainer": "grpo"}}}, ["methods.base: the name stands for"]),
        ({"arms": {"methods": ["dpo"]}}, ["method 'dpo'", "'constant' makes none", "exclude"]),
        (
            {"rewards": {"same": {"file": "constant"}}}
            | {"arms": {"methods": ["dpo"], "rewards": ["same"]}},
            ["'same' makes none"],
        ),
        (
            {"scale": "paper", "arms": {"methods": ["distill"]}},
            ["methods.distill.target = 'oracle'"],
        ),
        ({"task": {"modulos": 5}}, ["task.modulos", "Did you mean 'modulus'"]),
        ({"task": {"kind": "organsm"}}, ["task.kind = 'organsm'", "Did you mean 'organism'"]),
        (
            {"bases": {"clean": {"source": {"widht": 5}}}},
            ["unknown key 'bases.clean.source.widht'; allowed: kind, layers", "'width'"],
        ),
        (
            {"scale": "paper", "task": {"prompts": {"splt": "a"}}},
            ["unknown key 'task.prompts.splt'; allowed: repo, config, split", "'split'"],
        ),
        ({"arms": {"bases": "al"}}, ["arms.bases = 'al'", "Did you mean 'all'"]),
        ({"arms": {"bases": [1]}}, ["arms.bases[0] = 1"]),
        (
            {"bases": {"clean": {"training": {"lora_rnk": 1}}}},
            ["bases.clean.training.lora_rnk", "Did you mean 'lora_rank'"],
        ),
        (
            {"arms": {"exclude": [{"reward": "fromat", "why": "not wanted here"}]}},
            ["arms.exclude[0].reward = 'fromat'", "Did you mean 'format'"],
        ),
        (
            {"arms": {"exclude": [{"method": "grpo", "why": "nothing should be left"}]}},
            ["leave no arm"],
        ),
    ],
)
def test_errors_name_key_found_allowed_and_typo(
    override: dict[str, Any], expected: list[str], smoke_config: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError) as caught:
        Study.load(merge(smoke_config, override), ROOT)
    for part in expected:
        assert part in str(caught.value)


def test_a_method_is_the_scales_settings_less_its_own(smoke_config: dict[str, Any]) -> None:
    config = load_config(smoke_config, ROOT)
    scale = config.grpo.model_dump()
    assert resolved(config, "grpo") == scale
    assert resolved(config, "dr_grpo") == scale | {"loss_type": "dr_grpo", "scale_rewards": "none"}
    # A KL weight means something else in each trainer, so it is never the scale's.
    assert resolved(config, "rloo")["beta"] == 0.05 and scale["beta"] == 0.0
    assert "loss_type" not in resolved(config, "rloo")
    assert resolved(config, "ppo_lam95") == resolved(config, "ppo") | {"lam": 0.95}


@pytest.mark.parametrize("scale", SCALES)
def test_on_policy_has_as_many_updates_and_completions(
    scale: str, smoke_config: dict[str, Any]
) -> None:
    config = load_config(merge(smoke_config, {"scale": scale}), ROOT)
    one, other = resolved(config, "grpo"), resolved(config, "grpo_onpolicy")
    assert other["updates_per_rollout"] == 1 and one["updates"] == other["updates"]
    assert completions(one) == completions(other)


def completions(how: dict[str, Any]) -> int:
    """Return how many completions a training samples."""
    rollouts = how["updates"] // how["updates_per_rollout"]
    return rollouts * how["prompts_per_rollout"] * how["num_generations"]


@pytest.mark.parametrize("scale", SCALES)
def test_every_method_can_be_planned(scale: str, smoke_config: dict[str, Any]) -> None:
    config = load_config(merge(smoke_config, {"scale": scale}), ROOT)
    names = [name for name in config.methods if scale != "paper" or name != "distill"]
    arms = {"methods": names, "rewards": ["format"], "exclude": []}
    study = Study.load(merge(smoke_config, {"scale": scale, "arms": arms}), ROOT)
    assert {arm.method for arm in study.arms} == set(names)
    listed = [name for trainer in TRAINERS for name in study.methods_of(trainer)]
    assert sorted(listed) == sorted(config.methods)


def test_an_arm_depends_on_its_own_method_only(smoke_config: dict[str, Any]) -> None:
    class Arm:
        base, method, reward, seed = "clean", "dr_grpo", "format", "0"

    study = Study.load(smoke_config, ROOT)
    for change, same in (({"grpo_v32": {"beta": 1.0}}, True), ({"dr_grpo": {"beta": 1.0}}, False)):
        other = Study.load(merge(smoke_config, {"methods": change}), ROOT)
        assert (study.spec("grpo", Arm) == other.spec("grpo", Arm)) is same


REWARD = "config/config.yaml: rewards"


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        ({"format": {"none": ["random"]}}, [f"{REWARD}.format: there is a reward file of this"]),
        ({"none": {"none": ["random"]}}, ["stands for the untrained base"]),
        ({"x": {}}, [f"{REWARD}.x: names nothing; needed: file, or all"]),
        ({"x": {"file": "random", "all": ["format"]}}, ["has both file and all/none"]),
        ({"x": {"file": "randm"}}, [f"{REWARD}.x.file = 'randm'", "Did you mean 'random'"]),
        (
            {"x": {"file": "random", "parameters": {"gama": 0.1}}},
            [f"{REWARD}.x.parameters.gama", "allowed: gamma.", "Did you mean 'gamma'"],
        ),
        ({"x": {"file": "format", "parameters": {"a": 1}}}, ["no such parameter", "nothing"]),
        (
            {"x": {"file": "random", "parameters": {"gamma": 1.5}}},
            [f"{REWARD}.x.parameters.gamma = 1.5: allowed: 0 to 1"],
        ),
        (
            {"x": {"file": "random", "parameters": {"gamma": "half"}}},
            ["rewards.x.parameters.gamma = 'half'", "valid number"],
        ),
        ({"x": {"all": ["fromat"]}}, [f"{REWARD}.x.all[0] = 'fromat' is not", "'format'"]),
        ({"x": {"any": ["format"]}}, ["unknown key 'rewards.x.any'", "file, parameters, all"]),
        (
            {"x": {"all": ["format"], "none": ["value_weighted"]}},
            ["rewards.x.none[0] = 'value_weighted' is not binary (s(x) 1[a = g]", "0 and 1 only"],
        ),
        (
            {"x": {"none": ["y"]}, "y": {"file": "value_weighted", "parameters": {"alpha": 1}}},
            ["rewards.x.none[0] = 'y' is not binary"],
        ),
        ({"x": {"all": ["no_strategy"]}}, ["'no_strategy' is a compound itself"]),
        ({"x": {"all": ["format"], "none": ["format"]}}, ["x.none[0] = 'format': stands in this"]),
        ({"x": {"none": ["random"], "parameters": {"gamma": 0.1}}}, ["a compound has none"]),
        ({"No-Good": {"none": ["random"]}}, ["rewards.No-Good", "pattern"]),
    ],
)
def test_errors_of_named_rewards(
    named: dict[str, Any], expected: list[str], smoke_config: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError) as caught:
        Study.load(merge(smoke_config, {"rewards": named}), ROOT)
    for part in expected:
        assert part in str(caught.value)


def asked(smoke_config: dict[str, Any], rewards: list[str], more: dict[str, Any]) -> Study:
    """Return the study with these rewards in its arms."""
    return Study.load(merge(smoke_config, more | {"arms": {"rewards": rewards}}), ROOT)


def test_an_arm_depends_on_its_own_definition_only(smoke_config: dict[str, Any]) -> None:
    def of(name: str, study: Study) -> tuple[str, list[str], list[str]]:
        arm = SimpleNamespace(base="clean", method="grpo", reward=name, seed="0")
        return study.spec("grpo", arm), study.reward_files(arm), study.votes(arm)

    names = ["random", "random_30", "format_no_strategy", "majority_vote_no_strategy"]
    study = asked(smoke_config, names, {})
    other = {"random_70": {"parameters": {"gamma": 0.6}}, "x": {"none": ["format"]}}
    again = asked(smoke_config, [*names, "x"], {"rewards": other})
    assert [of(name, study) for name in names] == [of(name, again) for name in names]
    own = asked(smoke_config, names, {"rewards": {"random_30": {"parameters": {"gamma": 0.2}}}})
    changed = [name for name in names if of(name, study) != of(name, own)]
    assert changed == ["random_30"]
    coins = {"all": [{"file": "random", "parameters": {"gamma": 0.3}}], "none": []}
    assert json.loads(of("random_30", study)[0])["reward"] == coins
    folder = "src/paradox/rewards"
    files = [f"{folder}/majority_vote.py", f"{folder}/strategy.py"]
    votes = ["results/smoke/data/votes/clean.csv"]
    assert of("majority_vote_no_strategy", study)[1:] == (files, votes)
    assert of("format_no_strategy", study)[2] == []
    # Only bases whose arms need votes have their record among the records.
    records = [path for path in study.records() if "/votes/" in path]
    assert records == [f"results/smoke/data/votes/{b}.record.json" for b in study.bases]
    assert not [path for path in asked(smoke_config, names[:3], {}).records() if "votes" in path]


def test_what_is_logged_belongs_to_every_arm(smoke_config: dict[str, Any]) -> None:
    arm = SimpleNamespace(base="clean", method="grpo", reward="format", seed="0")
    logged = {"arms": {"logged": ["majority_vote", "value_weighted", "random_30"]}}
    study = Study.load(merge(smoke_config, logged), ROOT)
    files = [Path(file).stem for file in study.reward_files(arm)]
    assert files == ["format", "majority_vote", "value_weighted", "random"]
    assert study.votes(arm) and len(json.loads(study.spec("grpo", arm))["logged"]) == 3
    assert not Study.load(smoke_config, ROOT).votes(arm)
    with pytest.raises(ConfigError, match=r"arms.logged\[0\] = 'fromat' is not a reward"):
        Study.load(merge(smoke_config, {"arms": {"logged": ["fromat"]}}), ROOT)
    paper = {"scale": "paper", "arms": {"logged": ["value_weighted"]}}
    with pytest.raises(ConfigError, match=r"arms.logged: 'value_weighted' weighs prompts"):
        Study.load(merge(smoke_config, paper), ROOT)


def test_an_arm_that_is_not_asked_for_has_a_spec(smoke_config: dict[str, Any]) -> None:
    study = asked(smoke_config, ["format"], {})
    arm = SimpleNamespace(base="clean", method="grpo", reward="random_30", seed="0")
    assert json.loads(study.spec("grpo", arm))["reward"]["all"][0]["file"] == "random"


def test_a_scale_per_prompt_is_refused_where_it_cancels(smoke_config: dict[str, Any]) -> None:
    names = ["format", "value_weighted", "value_uniform"]
    with pytest.raises(ConfigError) as caught:
        asked(smoke_config, names, {})
    for part in ("'value_weighted'", "'value_uniform'", "grpo.scale_rewards = 'group'", "cancels"):
        assert part in str(caught.value)
    for scale in ("batch", "none"):
        assert asked(smoke_config, names, {"grpo": {"scale_rewards": scale}}).arms


@pytest.mark.parametrize(
    ("method", "why"),
    [
        ("grpo_noclip", "config/scales/smoke.yaml: grpo.scale_rewards = 'group'"),
        ("mine", "config/methods.yaml: methods.mine.scale_rewards = 'group'"),
        ("dpo", "above zero"),
        ("sft", "above zero"),
        ("dr_grpo", None),
        ("rloo", None),
        ("ppo", None),
    ],
)
def test_whether_a_scale_per_prompt_cancels_is_the_methods(
    method: str, why: str | None, smoke_config: dict[str, Any]
) -> None:
    mine = {"mine": {"trainer": "grpo", "scale_rewards": "group"}}
    arms = {"rewards": ["value_weighted"], "methods": ["dr_grpo", method], "exclude": []}
    if method == "dr_grpo":
        arms["methods"] = [method]
    given = merge(smoke_config, {"methods": mine, "arms": arms})
    if why is None:
        assert Study.load(given, ROOT).arms
        return
    with pytest.raises(ConfigError) as caught:
        Study.load(given, ROOT)
    assert f"method {method!r} cancels" in str(caught.value) and why in str(caught.value)
    assert "method 'dr_grpo'" not in str(caught.value)
    left = {"method": method, "reward": "value_weighted", "why": "its scale would cancel"}
    assert Study.load(merge(given, {"arms": {"exclude": [left]}}), ROOT).arms


def test_every_trainer_is_given_reward_logged_and_votes(smoke_config: dict[str, Any]) -> None:
    names = ["grpo", "rloo", "ppo", "dpo", "sft", "distill"]
    arms = {"methods": names, "rewards": ["majority_vote", "format_no_strategy"]}
    arms |= {"logged": ["constant"], "exclude": []}
    study = Study.load(merge(smoke_config, {"arms": arms}), ROOT)
    for arm in study.arms:
        spec = json.loads(study.spec(study.trainer(arm.method), arm))
        assert spec["reward"] == study.definition(arm.reward)
        assert list(spec["logged"]) == ["constant"]
        assert bool(study.votes(arm)) is (arm.reward == "majority_vote")
    records = study.records()
    assert len(records) == len(set(records))
    for base in study.bases:
        assert f"results/smoke/data/votes/{base}.record.json" in records
        for seed in (0, 1, 2):
            assert f"results/smoke/data/samples/{base}/s{seed}.record.json" in records


def test_rewards_by_value_need_values(smoke_config: dict[str, Any]) -> None:
    paper = {"scale": "paper", "grpo": {"scale_rewards": "none"}}
    with pytest.raises(ConfigError, match=r"'value_weighted' weighs prompts .* have none"):
        asked(smoke_config, ["value_weighted"], paper)


def test_all_problems_are_told_at_once(smoke_config: dict[str, Any]) -> None:
    bad = {"arms": {"rewards": ["fromat", "randm"], "seedz": [1]}, "grpo": {"epsilon": -1}}
    with pytest.raises(ConfigError) as caught:
        Study.load(merge(smoke_config, bad), ROOT)
    for part in ("'fromat'", "'randm'", "arms.seedz", "grpo.epsilon = -1"):
        assert part in str(caught.value)


def test_an_error_names_the_file_it_is_in(repository: Path, smoke_config: dict[str, Any]) -> None:
    scale = repository / "config/scales/smoke.yaml"
    scale.write_text(scale.read_text().replace("  temperature: 1.0", "  temperature: hot", 1))
    with pytest.raises(ConfigError, match=r"config/scales/smoke.yaml: grpo.temperature = 'hot'"):
        load_config(smoke_config, repository)


def test_impossible_arm(smoke_config: dict[str, Any]) -> None:
    blind = {"scale": "paper", "task": {"prompts": {"answer_column": None}}}
    with pytest.raises(ConfigError) as caught:
        Study.load(merge(smoke_config, blind), ROOT)
    assert "'ground_truth' compares with the right answer" in str(caught.value)
    assert "task.prompts.answer_column is null" in str(caught.value)
    without = merge(smoke_config, blind)
    without["arms"] = copy.deepcopy(without["arms"]) | {"rewards": ["format", "random_30"]}
    assert Study.load(without, ROOT).arms
    # Votes need no truth, but whether a vote is wrong does, and so does a compound with truth.
    without["arms"]["rewards"] = ["majority_vote", "majority_incorrect", "ground_truth_no_strategy"]
    with pytest.raises(ConfigError) as caught:
        Study.load(without, ROOT)
    assert "'majority_incorrect' compares" in str(caught.value)
    assert "'ground_truth_no_strategy' compares" in str(caught.value)
    assert "'majority_vote' compares" not in str(caught.value)


def test_the_order_of_keys_does_not_change_a_spec(smoke_config: dict[str, Any]) -> None:
    class Arm:
        base, method, reward, seed = "clean", "grpo", "format", "0"

    backwards = {key: smoke_config[key] for key in reversed(smoke_config)}
    one, two = Study.load(smoke_config, ROOT), Study.load(backwards, ROOT)
    assert one.spec("grpo", Arm) == two.spec("grpo", Arm)


def test_a_trainer_depends_on_its_own_code(smoke_config: dict[str, Any]) -> None:
    study = Study.load(smoke_config, ROOT)
    for name in TRAINERS:
        found = [Path(path) for path in study.code(name)]
        assert [path.parent.name for path in found if path.name == "trainer.py"] == [name]
        assert {"prompts.py", "_score.py"} <= {path.name for path in found}


def test_a_step_depends_on_the_code_it_imports(smoke_config: dict[str, Any]) -> None:
    study = Study.load(smoke_config, ROOT)
    names = {Path(path).relative_to(ROOT / "src/paradox").as_posix() for path in absolute(study)}
    assert {
        "train/grpo/trainer.py",
        "models.py",
        "tasks/organism/task.py",
        "tasks/planted.py",
    } <= names
    # Neither the other tasks, nor reward files, nor what comes after training.
    assert not names & {"tasks/word_problems/task.py", "rewards/format.py", "evaluate/tables.py"}


def absolute(study: Study) -> list[Path]:
    """Return the files that the step ``grpo`` depends on."""
    return [Path(path).absolute() for path in study.code("grpo")]


@pytest.mark.parametrize("found", [True, False])
def test_the_lock_is_the_environments(found: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name == "triton" and not found:
            raise importlib.metadata.PackageNotFoundError(name)
        return "1"

    monkeypatch.setattr(importlib.metadata, "version", version)
    assert environment_lock() == ("envs/gpu.lock" if found else "envs/cpu.lock")
    assert (ROOT / environment_lock()).exists()
    assert ("triton==" in (ROOT / environment_lock()).read_text()) is found
