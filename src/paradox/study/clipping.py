"""What the study of clipping takes from a plan: its arms, and the parameters of its steps."""

from __future__ import annotations

from paradox.files import canonical_json
from paradox.study.methods import resolved
from paradox.study.plan import Arm, Study, untrained

REWARD = "random"
TRAINER = "grpo"
# What methods of this study may differ in; prompts_per_rollout follows updates_per_rollout.
VARIED = ("epsilon", "updates_per_rollout", "prompts_per_rollout")


def _differs_in_clipping_only(study: Study, method: str) -> bool:
    """Whether a method is the scale's GRPO but for its clip band and its updates per rollout."""
    if study.trainer(method) != TRAINER:
        return False
    settings, scale = resolved(study.config, method), study.config.grpo.model_dump(mode="json")
    # The closed form of the bias takes advantages over the group's standard deviation.
    same = all(settings[key] == scale[key] for key in settings if key not in VARIED)
    return same and settings["scale_rewards"] == "group"


def clipping_arms(study: Study) -> list[Arm]:
    """Return the coin-reward arms of methods that differ in clipping only, on the first base."""
    arms = [
        arm
        for arm in study.arms
        if arm.reward == REWARD and _differs_in_clipping_only(study, arm.method)
    ]
    return [arm for arm in arms if arm.base == arms[0].base]


def clipping_runs(study: Study, file: str) -> list[str]:
    """Return a file of the run folders of these arms."""
    return [study.run(arm, file) for arm in clipping_arms(study)]


def clipping_base(study: Study, file: str) -> list[str]:
    """Return a file of their untrained base's run folder, as a list: empty without arms."""
    bases = dict.fromkeys(arm.base for arm in clipping_arms(study))
    return [study.run(untrained(base), file) for base in bases]


def clipping_spec(study: Study) -> str:
    """Return the parameters of step ``clipping`` as canonical JSON; empty without arms.

    Methods keep their order in the configuration, the first being the one to compare with.
    """
    arms = clipping_arms(study)
    if not arms:
        return canonical_json({})
    settings = {arm.method: resolved(study.config, arm.method) for arm in arms}
    spec = {
        "base": arms[0].base,
        "reward": REWARD,
        "seeds": sorted({arm.seed for arm in arms}),
        # A list, because canonical JSON would sort names.
        "methods": [
            {"name": name} | {key: values[key] for key in ("epsilon", "updates_per_rollout")}
            for name, values in settings.items()
        ],
        "gamma": study.definition(REWARD)["all"][0]["parameters"]["gamma"],
        "group": study.config.grpo.num_generations,
        "exposed_from": study.config.contrast.exposed_from,
    }
    return canonical_json(spec)
