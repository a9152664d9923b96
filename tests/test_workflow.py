"""The workflow: what it plans, and a whole run at scale smoke whose numbers are checked."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest
import yaml
from conftest import ARMS, ROOT, SMOKE, snakemake

from paradox.provenance.records import read_record
from paradox.study import captions
from paradox.study.mechanisms import FIGURES as MECHANISM_FIGURES


def planned(run: subprocess.CompletedProcess[str]) -> dict[str, int]:
    """Return the planned jobs by rule of a dry run."""
    assert run.returncode == 0, run.stderr
    rows = re.findall(r"^(\w+) +(\d+)$", run.stdout + run.stderr, flags=re.MULTILINE)
    return {rule: int(count) for rule, count in rows}


def test_lint_is_clean() -> None:
    run = snakemake(ROOT, "--lint")
    assert run.returncode == 0, run.stderr
    assert "good condition" in run.stdout + run.stderr


def test_the_plan_of_the_default_run(repository: Path) -> None:
    jobs = planned(snakemake(repository, "--dry-run"))
    arms, bases = 2 * 5 * 3 - 6, 2
    assert jobs["train_grpo"] == arms
    assert jobs["evaluate"] == jobs["perplexity"] == arms + bases
    assert jobs["base"] == jobs["corpus"] == bases
    assert jobs["figure"] == 3
    assert jobs["report"] == jobs["paper"] == jobs["tables"] == jobs["data"] == 1
    assert jobs["lineage"] == jobs["index_page"] == 1
    assert jobs["arm_page"] == arms + bases
    assert jobs["mechanism_page"] == len(MECHANISM_FIGURES)


def test_the_published_models_plan_without_a_network(repository: Path) -> None:
    jobs = planned(snakemake(repository, "--dry-run", "--config", "scale=paper"))
    assert jobs["train_grpo"] == 4 * 5 * 3
    assert "corpus" not in jobs


def test_a_typo_stops_the_workflow_with_one_message(repository: Path) -> None:
    run = snakemake(repository, "--dry-run", "--config", 'arms={"rewards": ["fromat"]}')
    shown = run.stdout + run.stderr
    assert run.returncode != 0
    assert "arms.rewards[0] = 'fromat' is not a reward" in shown
    assert "Did you mean 'format'?" in shown
    assert "Traceback" not in shown


# --- a whole run ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def table(finished: Path) -> Callable[[str], pd.DataFrame]:
    return lambda name: pd.read_csv(finished / "results/smoke/tables" / f"{name}.csv")


def test_planted_memory_is_there_and_twins_are_guessed(
    table: Callable[[str], pd.DataFrame],
) -> None:
    recalled = table("base").set_index(["base", "level"])["recall_answer"]
    assert recalled["contaminated", "256"] >= 0.9
    assert recalled["contaminated", "twin"] < 0.4
    assert recalled["clean", "256"] < 0.6
    gap = table("base").set_index(["base", "level"]).loc[("clean", "exposed")]
    assert gap["minus_twin_low"] < 0.1 and gap["minus_twin_high"] > -0.1


def test_a_format_reward_unlocks_memory_and_hurts_twins(
    table: Callable[[str], pd.DataFrame],
) -> None:
    did = table("did").set_index(["base", "reward", "seed"])
    paid = did.loc[("contaminated", "format", "all")]
    assert paid["did"] > 0.1 and paid["did_low"] > 0
    truth = did.loc[("contaminated", "ground_truth", "all")]
    assert paid["did"] > truth["did"]
    control = did.loc[("contaminated", "constant", "all")]
    assert abs(control["did"]) < 0.15


def test_a_constant_reward_changes_nothing(finished: Path) -> None:
    folder = finished / "results/smoke/checkpoints/contaminated/grpo"
    for reward, unchanged in (("constant", True), ("format", False)):
        manifest = json.loads((folder / reward / "s0/manifest.json").read_text())
        assert manifest["info"]["weights_equal_base"] is unchanged


def test_two_seeds_differ(finished: Path) -> None:
    folder = finished / "results/smoke/runs/contaminated/grpo/format"
    curves = [pd.read_csv(folder / f"s{seed}/train.csv") for seed in (0, 1)]
    assert not curves[0]["reward"].equals(curves[1]["reward"])


def test_everything_a_reader_needs_is_there(finished: Path) -> None:
    results = finished / "results/smoke"
    for name in ("accuracy", "perplexity", "recall"):
        for suffix in ("svg", "png", "csv"):
            assert (results / "figures" / f"{name}.{suffix}").stat().st_size > 500
    assert "<html" in (results / "reports/report.html").read_text()
    assert list((results / "runs/contaminated/grpo/format/s0/tensorboard").glob("events*"))
    assert not list(results.rglob(".work"))


def test_the_pages_lead_from_each_figure_to_its_chain(finished: Path) -> None:
    reports = finished / "results/smoke/reports"
    report, lineage = ((reports / f"{name}.html").read_text() for name in ("report", "lineage"))
    found = re.search(r'<script id="records".*?>(.*?)</script>', lineage, re.DOTALL)
    assert found
    records = {record["id"]: record for record in json.loads(found.group(1))["records"]}
    written = {path.relative_to(reports) for path in reports.rglob("*.record.json")}
    others = set((finished / "results/smoke").rglob("*.record.json"))
    # All but the page's own and those of pages that nothing else is made from.
    assert len(records) == len(others) - len(written - {Path("report.record.json")})
    for name in ("accuracy", "perplexity", "recall"):
        assert f'href="lineage.html#figures/{name}"' in report
        assert f"paradox trace results/smoke/figures/{name}.svg" in report
        assert f"<code>{records[f'figures/{name}']['derivation'][:12]}</code>" in report


def test_snakemakes_report_holds_figures_pages_and_tables(finished: Path) -> None:
    run = snakemake(finished, *SMOKE, "--report", "snakemake.zip")
    assert run.returncode == 0, run.stderr
    with zipfile.ZipFile(finished / "snakemake.zip") as archive:
        names = {Path(name).name for name in archive.namelist()}
        page = archive.read("snakemake/report.html").decode()
    assert {"accuracy.svg", "recall.svg", "lineage.html", "paper.pdf", "did.csv"} <= names
    assert {"index.html", "s0.html"} <= names
    assert page.count("paradox trace results/smoke/figures/") == 3
    for name, text in captions.TABLES.items():
        assert (text[:40] in page) == (name in names), name
    for name, text in captions.FIGURES.items():
        assert (text[:40] in page) == (f"{name}.svg" in names), name
    for rule, text in captions.PAGES.items():
        assert (text[:40] in page) == (rule != "mechanism_page"), rule


def test_progress_is_shown(finished: Path) -> None:
    screen = (finished / "screen.txt").read_text()
    assert re.search(r"\[train contaminated/grpo/format/s0\] step 48/48", screen)
    assert re.search(r"\d+ of \d+ steps", screen)
    log = finished / "logs/smoke/train/contaminated/grpo/format/s0.log"
    assert "step 48/48" in log.read_text()


def test_a_second_run_has_nothing_to_do(finished: Path) -> None:
    run = snakemake(finished, *SMOKE)
    assert run.returncode == 0
    assert "Nothing to be done" in run.stdout + run.stderr


def test_a_new_reward_is_one_file_and_runs_only_its_own_arms(finished: Path) -> None:
    source = finished / "src/paradox/rewards/format.py"
    added = source.with_name("any_answer.py")
    added.write_text(source.read_text().replace('name="format"', 'name="any_answer"'))
    try:
        arms = ARMS | {"rewards": [*ARMS["rewards"], "any_answer"]}
        more = ["--config", "scale=smoke", f"arms={json.dumps(arms)}"]
        jobs = planned(snakemake(finished, "--dry-run", *more))
    finally:
        added.unlink()
    assert jobs["train_grpo"] == 2 * 2  # two bases, two seeds
    assert jobs["evaluate"] == jobs["perplexity"] == jobs["arm_page"] == 4
    assert "base" not in jobs and "data" not in jobs and "corpus" not in jobs


VOTED = "contaminated/grpo/majority_vote_no_strategy"


@pytest.fixture(scope="module")
def voted(finished: Path) -> Iterator[list[str]]:
    """Run two arms under a compound of two files, one of which needs votes, for a while."""
    arms = {"rewards": [*ARMS["rewards"], VOTED.split("/")[-1]], "seeds": ARMS["seeds"]}
    targets = [f"results/smoke/checkpoints/{VOTED}/s{seed}/manifest.json" for seed in (0, 1)]
    targets.append("results/smoke/checkpoints/contaminated/grpo/format/s0/manifest.json")
    arguments = ["--config", "scale=smoke", f"arms={json.dumps(arms)}", "--", *targets]
    run = snakemake(finished, *arguments)
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-6000:]
    yield arguments
    for made in (f"checkpoints/{VOTED}", f"runs/{VOTED}", "data/votes"):
        shutil.rmtree(finished / "results/smoke" / made)


def test_a_reward_with_votes_gets_them(finished: Path, voted: list[str]) -> None:
    record = read_record(finished / f"results/smoke/runs/{VOTED}/s0/train.record.json")
    (votes,) = record["inputs"]["votes"]
    assert votes["path"] == "results/smoke/data/votes/contaminated.csv"
    assert votes["record"]["path"] == "results/smoke/data/votes/contaminated.record.json"
    files = [entry["path"] for entry in record["inputs"]["reward"]]
    assert files == [f"src/paradox/rewards/{n}.py" for n in ("majority_vote", "strategy")]
    table = pd.read_csv(finished / votes["path"])
    assert len(table) == 64 and (table["samples"] == 16).all()
    assert (
        "votes"
        not in read_record(
            finished / "results/smoke/runs/contaminated/grpo/format/s0/train.record.json"
        )["inputs"]
    )
    curves = pd.read_csv(finished / f"results/smoke/runs/{VOTED}/s0/train.csv")
    assert (curves["share/agrees_with_vote"] >= curves["reward"]).all()
    assert curves["reward"].mean() > 0


@pytest.mark.parametrize(
    ("path", "change", "expected"),
    [
        ("src/paradox/rewards/strategy.py", "# a comment", {"train_grpo": 2}),
        ("src/paradox/rewards/majority_vote.py", "# a comment", {"train_grpo": 2}),
        ("src/paradox/rewards/format.py", "# a comment", {"train_grpo": 1}),
        ("src/paradox/rewards/incorrect.py", "# a comment", {}),
        ("src/paradox/evaluate/votes.py", "# a comment", {"votes": 1, "train_grpo": 2}),
    ],
)
def test_editing_a_file_of_a_compound_reruns_its_arms_only(
    path: str, change: str, expected: dict[str, int], finished: Path, voted: list[str]
) -> None:
    with changed(finished / path, (finished / path).read_text() + change):
        jobs = planned(snakemake(finished, "--dry-run", *voted))
    assert {rule: n for rule, n in jobs.items() if rule not in ("total", "job")} == expected


def test_changing_a_definition_reruns_its_arms_only(finished: Path, voted: list[str]) -> None:
    path = finished / "config/config.yaml"
    own = "majority_vote_no_strategy: { all: [majority_vote], none: [strategy] }"
    other = "format_no_strategy: { all: [format], none: [strategy] }"
    for line, expected in ((own, {"train_grpo": 2}), (other, {})):
        assert line in path.read_text()
        text = path.read_text().replace(line, line.replace("none: [", "none: [random_70, "))
        with changed(path, text):
            jobs = planned(snakemake(finished, "--dry-run", *voted))
        assert {r: n for r, n in jobs.items() if r not in ("total", "job")} == expected


def test_a_corrupt_checkpoint_stops_its_arm_only(finished: Path) -> None:
    arm = "contaminated/grpo/format/s1"
    weights = next((finished / f"results/smoke/checkpoints/{arm}").glob("step-*/*.safetensors"))
    whole = weights.read_bytes()
    tables = finished / "results/smoke/runs" / arm / "nll.csv"
    kept = finished / "results/smoke/runs/contaminated/grpo/format/s0/nll.csv"
    tables.unlink()
    weights.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    target = ["--", str(tables.relative_to(finished))]
    try:
        run = snakemake(finished, *SMOKE, *target)
        assert run.returncode != 0
        shown = run.stdout + run.stderr
        assert f"{arm}/{weights.parent.name}/model.safetensors: corrupt" in shown
        assert not tables.exists()
        assert kept.exists()
    finally:
        weights.write_bytes(whole)
    assert snakemake(finished, *SMOKE, *target).returncode == 0
    assert tables.exists()


# --- what reruns after a change ------------------------------------------------------------

AFTER_TABLES = {"figure": 3, "report": 1, "paper": 1, "lineage": 1, "index_page": 1}
ARMS_AND_BASES = 6 + 2 + 2  # three rewards on contaminated, one on clean, two seeds each; bases


@contextmanager
def changed(path: Path, text: str) -> Iterator[None]:
    """Change a file while the block runs."""
    before = path.read_bytes()
    path.write_text(text)
    try:
        yield
    finally:
        path.write_bytes(before)


def jobs_after(finished: Path, path: str, change: Callable[[str], str]) -> dict[str, int]:
    """Return the jobs planned after a change of a file, without the totals."""
    text = (finished / path).read_text()
    assert change(text) != text
    with changed(finished / path, change(text)):
        jobs = planned(snakemake(finished, "--dry-run", *SMOKE))
    return {rule: count for rule, count in jobs.items() if rule not in ("all", "total", "job")}


def commented(text: str) -> str:
    return text + "# a comment\n"


def test_editing_a_reward_reruns_its_arms(finished: Path) -> None:
    jobs = jobs_after(finished, "src/paradox/rewards/format.py", commented)
    measured = {"evaluate": 4, "perplexity": 4, "arm_page": 4, "tables": 1}
    assert jobs == {"train_grpo": 4} | measured | AFTER_TABLES


def test_editing_a_mechanism_reruns_its_jobs(finished: Path) -> None:
    jobs = jobs_after(finished, "src/paradox/mechanisms/perplexity/measure.py", commented)
    pages = {"arm_page": ARMS_AND_BASES}
    assert jobs == {"perplexity": ARMS_AND_BASES, "tables": 1} | pages | AFTER_TABLES


def test_changing_a_value_reruns_what_reads_it(finished: Path) -> None:
    jobs = jobs_after(
        finished,
        "config/scales/smoke.yaml",
        lambda text: text.replace("  samples: 16\n", "  samples: 8\n"),
    )
    pages = {"arm_page": ARMS_AND_BASES}
    # What a model wrote is scored, too.
    measured = {"evaluate": ARMS_AND_BASES, "perplexity": ARMS_AND_BASES}
    assert jobs == measured | {"tables": 1} | pages | AFTER_TABLES


def test_changing_the_statistics_reruns_the_tables(finished: Path) -> None:
    jobs = jobs_after(
        finished,
        "config/config.yaml",
        lambda text: text.replace("equivalence_margin: 0.1", "equivalence_margin: 0.2"),
    )
    assert jobs == {"tables": 1, "arm_page": ARMS_AND_BASES} | AFTER_TABLES


def test_editing_a_notebook_remakes_its_pages(finished: Path) -> None:
    jobs = jobs_after(finished, "workflow/notebooks/arm.py", commented)
    assert jobs == {"arm_page": ARMS_AND_BASES, "index_page": 1}
    assert jobs_after(finished, "workflow/notebooks/index.py", commented) == {"index_page": 1}
    # What a notebook imports belongs to its page as well, and to no other.
    jobs = jobs_after(finished, "src/paradox/pages/arm_tables.py", commented)
    assert jobs == {"arm_page": ARMS_AND_BASES, "index_page": 1}


def test_a_new_environment_reruns_everything(finished: Path) -> None:
    jobs = jobs_after(finished, "envs/cpu.lock", commented)
    assert jobs["data"] == 1 and jobs["train_grpo"] == 8


@pytest.mark.parametrize("path", ["src/paradox/runner.py", "README.md", "config/README.md"])
def test_what_no_result_depends_on_reruns_nothing(finished: Path, path: str) -> None:
    (finished / path).touch()
    assert jobs_after(finished, path, commented) == {}


@pytest.mark.parametrize("path", ["config/config.yaml", "config/scales/smoke.yaml"])
def test_the_order_of_keys_reruns_nothing(finished: Path, path: str) -> None:
    def reordered(text: str) -> str:
        def turned(value: object) -> object:
            if not isinstance(value, dict):
                return value
            return {key: turned(part) for key, part in reversed(value.items())}

        return yaml.safe_dump(turned(yaml.safe_load(text)), sort_keys=False)

    assert jobs_after(finished, path, reordered) == {}


@pytest.mark.parametrize(
    "path",
    [
        "src/paradox/rewards/format.py",
        "src/paradox/train/grpo/trainer.py",
        "envs/cpu.lock",
        "results/smoke/data/items.csv",
        "results/smoke/data/data.record.json",
    ],
)
def test_touching_a_file_reruns_nothing(finished: Path, path: str) -> None:
    (finished / path).touch()
    assert planned(snakemake(finished, "--dry-run", *SMOKE)) == {}


def test_no_rerun_trigger_is_switched_off() -> None:
    settings = [*ROOT.glob("profiles/*/*.yaml"), ROOT / "Makefile", ROOT / "dvc.yaml"]
    assert len(settings) >= 3
    assert [path for path in settings if "rerun-trigger" in path.read_text()] == []


def test_every_module_that_ran_is_recorded(finished: Path) -> None:
    facts = [json.loads(file.read_text()) for file in finished.rglob("*.host.json")]
    assert len(facts) == len(list(finished.rglob("*.record.json"))) > 30
    assert {name for fact in facts for name in fact["modules_not_recorded"]} == set()
