"""Mechanism analyses in the workflow: what is planned, and a run at scale smoke."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
import yaml
from conftest import ROOT, copy_repository, snakemake
from test_docs import ANALYSIS, edited
from test_workflow import changed

from paradox.mechanisms.steering.declare import Steering
from paradox.provenance.chain import Chain, verify
from paradox.study.mechanisms import ANALYSES, FIGURES, Mechanisms
from paradox.study.plan import Study
from paradox.study.registry import REGISTRY

GRID = {
    "products": [
        {
            "bases": ["contaminated", "clean"],
            "methods": ["grpo"],
            "rewards": ["format", "constant"],
            "seeds": [0],
        }
    ],
    "exclude": [{"base": "clean", "reward": "constant", "why": "as in the default grid"}],
    "figures": list(FIGURES),
    "pages": False,
}
RUN = ["--config", "scale=smoke", "grid=where"]
RUN += ["mechanisms={rewards: [format], permutations: 200}", "statistics={resamples: 200}"]


def study(**given: object) -> Study:
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    return Study.load(config | given, ROOT)


def planned(folder: Path, *targets: str) -> dict[str, int]:
    run = snakemake(folder, "--dry-run", *targets, *RUN)
    assert run.returncode == 0, run.stderr
    rows = re.findall(r"^(\w+) +(\d+)$", run.stdout + run.stderr, flags=re.MULTILINE)
    return {rule: int(count) for rule, count in rows}


def test_analysed_arms_are_those_of_the_configuration() -> None:
    default = Mechanisms(study())
    assert default.figures == [name for name in study().figures if name in FIGURES]
    assert set(default.figures) == set(FIGURES)
    bases = ["contaminated/base/none/s0", "clean/base/none/s0"]
    keys = [arm.key for arm in default.arms("lens")]
    assert keys[:2] == bases and len(keys) == 2 + 4 * 3 + 3 * 3
    rewards = {"ground_truth", "format", "incorrect", "random"}
    assert {arm.reward for arm in default.arms("labels")} == rewards
    assert {arm.key for arm in default.arms("eap")} == set(keys)
    other = Mechanisms(study(mechanisms={**_section(), "rewards": []}))
    assert other.arms("labels") == [] and "patching" not in other.figures
    assert [arm.key for arm in other.arms("lens")] == bases
    assert "labels" not in other.targets


def _section() -> dict[str, object]:
    return yaml.safe_load((ROOT / "config/config.yaml").read_text())["mechanisms"]


def test_doses_need_both_sides_of_one() -> None:
    given = yaml.safe_load((ROOT / "config/scales/smoke.yaml").read_text())["mechanisms"][
        "steering"
    ]
    with pytest.raises(ValueError, match="doses lacks 1, 5; null_doses needs one below"):
        Steering(**{**given, "doses": [0.5, 2.0], "null_doses": [2.0, 5.0]})
    assert Steering(**given)


def test_optional_inputs_are_given_where_there_are() -> None:
    default = Mechanisms(study())
    arm = SimpleNamespace(base="contaminated", method="grpo", reward="format", seed="0")
    given = default.inputs("decontamination", arm)
    assert set(given) == {"items", "manifest", "base", "reference", "corpus"}
    assert given["reference"].endswith("checkpoints/clean/base/none/s0/manifest.json")
    assert default.producers("decontamination", arm)[1].endswith("corpus/contaminated.record.json")
    arm.base = "clean"
    assert set(default.inputs("decontamination", arm)) == {"items", "manifest", "base", "corpus"}


def test_a_figure_may_show_any_table_of_a_summary() -> None:
    default = Mechanisms(study())
    tables, records = default.figure_sources("steering")
    assert [Path(path).name for path in tables.values()] == [
        "steering_doses.csv",
        "steering_tests.csv",
    ]
    assert [Path(path).name for path in records] == ["steering.record.json"]


def test_benchmarks_have_no_pairs_and_no_planted_base() -> None:
    published = Mechanisms(study(scale="paper"))
    assert published.arms("probes") == published.arms("cross_item") == []
    assert published.arms("partial_prompts") == []
    assert "memory" not in published.figures and "lens" in published.figures
    assert not {"error_rates", "signatures", "reading"} & set(published.summaries)


@pytest.fixture(scope="module")
def where(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository in which all analyses have run on some arms at scale smoke."""
    folder = copy_repository(tmp_path_factory.mktemp("where"))
    for name in ("results", ".snakemake"):
        shutil.copytree(finished / name, folder / name)
    (folder / "config/grids/where.yaml").write_text(yaml.safe_dump(GRID))
    run = snakemake(folder, *RUN)
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-6000:]
    return folder


def test_every_table_and_figure_is_made(where: Path) -> None:
    summed = where / "results/smoke/grids/where"
    assert {path.stem for path in (summed / "figures").glob("*.svg")} == set(FIGURES)
    for path in summed.rglob("*.csv"):
        # One method leaves nothing to compare methods by.
        assert len(pd.read_csv(path)) or path.stem == "eap_methods", path
    said = json.loads((summed / "tables/reading.json").read_text())["paragraphs"]
    assert {"ablation", "lens", "attribution", "jsd", "labels", "probes"} <= set(said)
    verdicts = pd.read_csv(summed / "tables/verdicts.csv")
    tested = verdicts[verdicts["base"].notna()]
    assert set(tested["analysis"]) == set(REGISTRY.verdicts) and verdicts["verdict"].notna().all()
    chain = Chain.load(where / "results/smoke")
    ends = [entry for path, entry in chain.records.items() if "/grids/where/" in path]
    assert len(ends) == len(list(summed.rglob("*.record.json")))
    assert not [text for entry in ends for text in verify(chain, entry)]


def test_planted_memory_is_found_and_the_clean_base_has_none(where: Path) -> None:
    table = pd.read_csv(where / "results/smoke/grids/where/tables/ablation.csv")
    chosen = (table["measure"] == "logp_drop") & (table["contrast"] == "difference")
    rows = table[chosen & (table["state"] == "base") & table["component"].str.endswith("@all")]
    largest = rows.groupby("base")["value"].max()
    assert largest["contaminated"] > 0.5 > 0.2 > largest["clean"]
    assert rows[rows["base"] == "contaminated"]["corrected"].min() <= 0.05


def test_an_edited_analysis_runs_alone(where: Path) -> None:
    assert planned(where) == {}
    edited = where / "src/paradox/mechanisms/patching/cross_item.py"
    before = edited.read_text()
    edited.write_text(before + "# edited\n")
    try:
        jobs = planned(where)
        assert jobs.pop("cross_item") == 4
        assert set(jobs) == {"table_cross_item", "all", "total"}
    finally:
        edited.write_text(before)
    assert set(ANALYSES) & set(planned(where)) == set()


def test_the_guides_analysis_is_found_and_shown(where: Path) -> None:
    ((edits, command, output),) = ANALYSIS
    summed = "results/smoke/grids/where"
    targets = [word for word in command.split() if word.startswith("results/smoke/")]
    targets = [target.replace("results/smoke", summed) for target in targets]
    arm = "arms/contaminated/grpo/format/s0"
    more = [f"{summed}/tables/error_rates.csv", f"{summed}/reports/{arm}.html"]
    more += [f"{summed}/reports/mechanisms/entropy.html"]
    grid = yaml.safe_dump(GRID | {"figures": [*FIGURES, "entropy"]})
    with edited(where, edits), changed(where / "config/grids/where.yaml", grid):
        jobs = planned(where, *targets)
        run = snakemake(where, *targets, *more, *RUN)
    assert jobs == {rule: int(n) for rule, n in re.findall(r"^(\w+) +(\d+)$", output, re.M)}
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-6000:]
    verdicts = pd.read_csv(where / summed / "tables/verdicts.csv").set_index(["signature", "base"])
    assert set(verdicts.loc[("certainty", "contaminated"), "verdict"]) == {"reproduced"}
    assert set(verdicts.loc[("certainty", "clean"), "verdict"]) != {"reproduced"}
    rates = pd.read_csv(where / summed / "tables/error_rates.csv")
    assert {"false_positive", "power"} <= set(rates.loc[rates["analysis"] == "entropy", "kind"])
    pages = [(where / path).read_text() for path in more[1:]]
    assert "entropy of the answer after a block, nats" in pages[0]
    assert "Sure is not right" in pages[1]
