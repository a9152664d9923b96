"""The paper: what it says follows the tables, and what is missing stops the build."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from conftest import ROOT
from paper_fixture import signatures, verdicts, write_figures, write_recorded, write_tables
from study_fixture import SPEC, SUBSETS, table_paths, write_study
from test_workflow import changed
from told_fixture import claims

from paradox.errors import DataError
from paradox.evaluate import tables
from paradox.files import read_json
from paradox.progress import Progress
from paradox.provenance.identity import PREFIX, VARIABLE, embedded
from paradox.report import paper
from paradox.report import words as paper_words
from paradox.report.mechanisms import claim_words
from paradox.report.numbers import Numbers
from paradox.report.sources import Claim, Sources, printed
from paradox.study import paper as study_paper
from paradox.study.load import MAIN
from paradox.study.mechanisms import Mechanisms
from paradox.study.plan import Study

QUIET = Progress("test", streams=(open("/dev/null", "w"),))
FIGURES = ["accuracy", "perplexity", "perplexity_parts", "memory", "steering", "eap", "boundary"]
TASK = {"kind": "organism", "operands": 4, "modulus": 13, "documents": 128000, "step_noise": 0.15}
TASK |= {"exposures": [8, 128], "items_per_exposure": 64, "break_off_share": 0.25}
GRPO = {"num_generations": 8, "epsilon": 0.2, "updates": 80, "learning_rate": 5e-5, "beta": 0.0}
TOLD = {"scale": "tiny", "planted": "contaminated", "settings": {"task": TASK, "grpo": GRPO}}
TOLD |= {"claims": [claim._asdict() for claim in claims()]}
SOURCE = [ROOT / path for path in study_paper.sources(ROOT)]


def summary(folder: Path, **study: Any) -> Path:
    outputs = table_paths(folder / "tables")
    tables.main(SPEC, write_study(folder / "in", **study), outputs, QUIET)
    return outputs["summary"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Everything that the paper can be given."""
    folder = tmp_path_factory.mktemp("whole")
    more = summary(folder / "recorded/grids/seeds", seeds=(0, 1, 2, 3))
    return {
        "sources": SOURCE,
        "summary": summary(folder),
        "figures": write_figures(folder / "figures", FIGURES),
        "tables": write_tables(folder / "quoted"),
        "recorded": [*write_recorded(folder / "recorded"), more],
    }


def gather(inputs: dict[str, Any]) -> dict[str, Any]:
    files = [*inputs["figures"], *inputs.get("tables", []), *inputs.get("recorded", [])]
    sources = Sources(files, "contaminated", claims())
    return paper.gather(TOLD, Numbers.read(inputs["summary"]), sources)


def compiled(inputs: dict[str, Any], output: Path) -> bytes:
    outputs = {"pdf": output, "quoted": output.with_suffix(".json")}
    paper.main(TOLD, inputs, outputs, QUIET)
    return output.read_bytes()


def edited(whole: dict[str, Any], tmp_path: Path, name: str, change: Any) -> dict[str, Any]:
    """Return the inputs with one quoted table changed."""
    folder = tmp_path / "quoted"
    shutil.copytree(whole["tables"][0].parent, folder)
    table = pd.read_csv(folder / f"{name}.csv")
    change(table).to_csv(folder / f"{name}.csv", index=False)
    return whole | {"tables": sorted(folder.glob("*.csv"))}


# --- the whole paper --------------------------------------------------------------------------


def test_all_sections_compile_and_equal_inputs_give_equal_bytes(
    whole: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert all(gather(whole)["has"][name] for name in paper.SECTIONS)
    monkeypatch.setenv(VARIABLE, "0a" * 32)
    first = compiled(whole, tmp_path / "a.pdf")
    assert first.startswith(b"%PDF") and b"CreationDate" not in first
    assert first == compiled(whole, tmp_path / "elsewhere" / "b.pdf")
    assert embedded(first) == "0a" * 32
    monkeypatch.setenv(VARIABLE, "0b" * 32)
    assert embedded(compiled(whole, tmp_path / "c.pdf")) == "0b" * 32
    monkeypatch.delenv(VARIABLE)
    assert PREFIX.encode() not in compiled(whole, tmp_path / "d.pdf")


@pytest.mark.parametrize("study", SUBSETS.values(), ids=SUBSETS)
def test_any_subset_gives_a_paper(study: dict[str, Any], tmp_path: Path) -> None:
    figures = write_figures(tmp_path / "figures", FIGURES[:2])
    inputs = {"sources": SOURCE, "summary": summary(tmp_path, **study), "figures": figures}
    has = gather(inputs)["has"]
    assert not any(has[name] for name in paper.SECTIONS)
    assert has["planted"] == study.get("known", True)
    assert compiled(inputs, tmp_path / "paper.pdf").startswith(b"%PDF")


def test_the_plan_hands_over_what_the_sections_quote(smoke_config: dict[str, Any]) -> None:
    mechanisms = Mechanisms(Study.load(smoke_config, ROOT))
    paths, records = study_paper.quoted(mechanisms)
    figures = [Path(f"results/smoke/figures/{name}.svg") for name in mechanisms.study.figures]
    others = [
        Path(f"reference/smoke/grids/{grid}/{name}")
        for grid, names in study_paper.RECORDED.items()
        for name in names
    ]
    given = Sources([*map(Path, paths), *figures, *others])
    quoted = {name for names in (*paper.SECTIONS.values(), paper.MORE) for name in names}
    assert quoted <= set(given.files) and len(records) == len(set(records))
    assert {Path(path).stem for path in paths} <= quoted


def test_only_recorded_tables_of_other_grids_are_handed_over(tmp_path: Path) -> None:
    assert study_paper.recorded("tiny", tmp_path) == []
    table = tmp_path / "reference/tiny/grids/clipping/tables/clipping.csv"
    table.parent.mkdir(parents=True)
    table.touch()
    assert study_paper.recorded("tiny", tmp_path) == [str(table.relative_to(tmp_path))]


def test_more_trainings_of_the_same_arms_are_shown(whole: dict[str, Any], tmp_path: Path) -> None:
    found = gather(whole)
    (said,) = found["sentences"]["more"]
    assert found["has"]["more"] and "With 4 trainings of each arm instead of 3" in said
    columns = found["tables"]["effects"]["columns"]
    assert columns[-2:] == ["DiD", "DiD, 4 trainings"]
    more = Numbers.read(whole["recorded"][-1])
    points = more.points("did/contaminated/format").replace(" points", "")
    assert printed(points) in [row[-1] for row in found["tables"]["effects"]["rows"]]
    # Other arms than the run's, and no more trainings than the run's, are not shown.
    for study in ({"rewards": ("format",), "seeds": (0, 1, 2, 3)}, {}):
        other = summary(tmp_path / f"{len(study)}/grids/seeds", **study)
        assert not gather(whole | {"recorded": [*whole["recorded"][:-1], other]})["has"]["more"]


def test_an_interval_that_moves_with_more_trainings_is_named() -> None:
    same = {"value": 0.1, "low": 0.05, "high": 0.15, "n": 4}
    fewer = {"did/clean/format": same, "did/clean/random": same}
    fewer |= {"design/seeds": same | {"value": 2}}
    more = fewer | {"did/clean/random": same | {"low": -0.01}, "design/seeds": same | {"value": 5}}
    (said,) = paper_words.more_words(Numbers(fewer), Numbers(more))
    assert "1 of 2 intervals" in said and "clean base, random: +10.0 points [-1.0, +15.0]" in said
    (said,) = paper_words.more_words(Numbers(fewer), Numbers(fewer | {"design/seeds": same}))
    assert "2 of 2" in said and "not so" not in said


# --- the recorded paper -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the recorded tables and figures, to change."""
    root = tmp_path_factory.mktemp("recorded")
    shutil.copytree(ROOT / "reference/tiny", root / "reference/tiny")
    return root


def unsupported(root: Path) -> list[str]:
    """Return what the recorded paper says and the recorded tables do not."""
    study = Study.load(yaml.safe_load((ROOT / MAIN).read_text()), ROOT)
    here = root / "reference/tiny"
    tables, _ = study_paper.quoted(Mechanisms(study))
    files = [here / Path(path).relative_to("results/tiny") for path in tables]
    files += [here / f"figures/{name}.svg" for name in study.figures]
    files += [root / path for path in study_paper.recorded("tiny", root)]
    spec = json.loads(study.spec("paper"))
    numbers = Numbers.read(here / "tables/summary.json")
    told = [Claim(**claim) for claim in spec["claims"]]
    now = paper.gather(spec, numbers, Sources(files, spec["planted"], told))
    then = read_json(here / "tables/paper.json")
    said, says = (set(each(of)) for of in ({k: now[k] for k in paper.KEPT}, then))
    return sorted(says - said) + sorted(f"not printed: {text}" for text in said - says)


def each(value: Any) -> Iterator[str]:
    """Yield each text of what was gathered; of tables a row is one."""
    if isinstance(value, dict):
        yield from (text for part in value.values() for text in each(part))
    elif isinstance(value, list) and value and isinstance(value[0], list):
        yield from (json.dumps(row, ensure_ascii=False, sort_keys=True) for row in value)
    elif isinstance(value, list):
        yield from (text for part in value for text in each(part))
    else:
        yield str(value)


def test_the_recorded_paper_says_what_the_recorded_tables_say(reference: Path) -> None:
    assert unsupported(reference) == []


def double(*columns: str, **key: Any) -> Any:
    """Return a change of a table: numbers of the rows with this key become twice as large."""

    def twice(path: Path) -> str:
        table = pd.read_csv(path)
        rows = (table[list(key)].astype(str) == [str(v) for v in key.values()]).all(axis=1)
        assert rows.any()
        table.loc[rows, list(columns)] *= 2
        return table.to_csv(index=False)

    return twice


def doubled(name: str) -> Any:
    def twice(path: Path) -> str:
        entries = read_json(path)
        entries[name]["value"] *= 2
        return json.dumps(entries)

    return twice


TRAINED_ARM = {"base": "contaminated", "reward": "ground_truth"}
SAID = {
    "tables/summary.json": (doubled("did/contaminated/format"), "the paradox (exposed items gain"),
    "tables/verdicts.csv": (
        double("effect", **TRAINED_ARM, signature="steering: all"),
        "steers recall both ways",
    ),
    "tables/ablation.csv": (double("value", "corrected"), "MLP ablated"),
    "tables/steering_tests.csv": (
        double("up", **TRAINED_ARM, signature="steering: all"),
        "amplified and suppressed",
    ),
    "tables/decontamination_half.csv": (double("chain"), "chosen neurons"),
    "tables/eap_table.csv": (double("value"), ""),
    "tables/error_rates.csv": (double("rate"), ""),
    "grids/seeds/tables/summary.json": (doubled("did/clean/random"), '"Clean", "random"'),
    "grids/methods/tables/did.csv": (double("did", reward="format", seed="all"), ""),
    "grids/clipping/tables/clipping.csv": (double("value", seed="all"), ""),
}


@pytest.mark.parametrize("file", SAID)
def test_a_changed_value_names_the_sentence(file: str, reference: Path) -> None:
    path = reference / "reference/tiny" / file
    if not path.exists():
        pytest.skip("no run of the grid is recorded")
    change, said = SAID[file]
    with changed(path, change(path)):
        assert [text for text in unsupported(reference) if said in text]


def test_no_number_is_typed_into_the_sources() -> None:
    """What stays: levels, formulas, lengths, keys of references and an article's furniture."""
    allowed = [r"\$[^$]*\$", r"@\w+", r"\d*\.?\d+(cm|pt|em|fr)\b", r"\b(95|90|5) %", r"`[^`]*`"]
    allowed += [r'"[^"]*"', r"\(\d\)", r"\.(at|slice)\([\d, ]+", r"since step 0"]
    for path in SOURCE:
        if path.suffix == ".typ" and path.name != paper.TEMPLATE:
            text = re.sub("|".join(allowed), "", path.read_text())
            assert re.findall(r".*\d.*", text) == [], path.name


# --- what is missing stops the build ----------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('#n("did/contaminated/formt")', r"'did/contaminated/formt'.*mean 'did/contaminated/form"),
        ('#s("paradx")', r"no entry 'paradx' in the gathered sentences.*Did you mean 'paradox'"),
        ('#shown("effcts")[]', r"no entry 'effcts' in the gathered tables.*mean 'effects'"),
        ('#if has("tris") {}', "no section called"),
        ("#nothing", r"paper/paper.typ, line 2: unknown variable: nothing"),
    ],
)
def test_an_unknown_name_stops_the_build(
    text: str, message: str, whole: dict[str, Any], tmp_path: Path
) -> None:
    shutil.copy(ROOT / "paper/template.typ", tmp_path)
    (tmp_path / "paper.typ").write_text(f'#import "template.typ": *\n{text}\n')
    given = whole | {"sources": [tmp_path / "paper.typ", tmp_path / "template.typ"]}
    with pytest.raises(DataError, match=message):
        compiled(given, tmp_path / "paper.pdf")
    assert not (tmp_path / "paper.pdf").exists()


def test_a_missing_number_names_its_key(whole: dict[str, Any], tmp_path: Path) -> None:
    numbers = read_json(whole["summary"])
    del numbers["design/samples"]
    changed = tmp_path / "summary.json"
    changed.write_text(json.dumps(numbers))
    with pytest.raises(DataError, match=r"methods.typ.*'design/samples'"):
        compiled(whole | {"summary": changed}, tmp_path / "paper.pdf")


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("ablation", lambda t: t[t["component"] != "mlp@all"], r"ablation.csv.*'mlp@all'"),
        ("eap_table", lambda t: t.drop(columns="p"), r"eap_table.csv: no column 'p'"),
        ("verdicts", lambda t: t[t["signature"] != "anchor"], r"verdicts.csv.*'anchor'"),
        ("verdicts", lambda t: t.replace("dip", "dop"), r"'dip'.*Did you mean 'dop'"),
    ],
)
def test_a_table_that_lacks_what_is_quoted_is_named(
    name: str, change: Any, message: str, whole: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=message):
        gather(edited(whole, tmp_path, name, change))


def test_a_figure_that_every_paper_shows(whole: dict[str, Any]) -> None:
    with pytest.raises(DataError, match="'figure accuracy'"):
        gather(whole | {"figures": whole["figures"][1:]})


# --- the words follow the numbers -------------------------------------------------------------


def test_numbers_and_sentences_follow_the_summary(whole: dict[str, Any], tmp_path: Path) -> None:
    before = gather(whole)
    key = "did/contaminated/format"
    assert before["numbers"][key] == printed(Numbers.read(whole["summary"]).points(key))
    assert "is shown under 1 of 2 spurious rewards" in before["sentences"]["paradox"][0]
    numbers = read_json(whole["summary"])
    numbers[key] |= {"value": 0.0123, "low": -0.2, "high": 0.3}
    changed = tmp_path / "summary.json"
    changed.write_text(json.dumps(numbers))
    after = gather(whole | {"summary": changed})
    assert after["numbers"][key] == "+1.2 points [−20.0, +30.0]"
    assert "is shown under none of 2 spurious rewards" in after["sentences"]["paradox"][0]
    assert any("+1.2 [−20.0, +30.0]" in row for row in after["tables"]["effects"]["rows"])


def test_a_changed_verdict_changes_sentence_and_table(
    whole: dict[str, Any], tmp_path: Path
) -> None:
    before = gather(whole)
    said = before["sentences"]["steering shown"]
    assert said[:1] == [
        "That scaling a few neurons steers recall both ways: reproduced in format "
        "(+0.5 [+0.4, +0.6], p = 0.001); not reproduced in the untrained base; not decidable in "
        "the clean base."
    ]

    def turned(table: pd.DataFrame) -> pd.DataFrame:
        own = table["signature"] == "steering: all"
        table.loc[own, "verdict"] = table.loc[own, "verdict"].map(
            {"reproduced": "not reproduced", "not reproduced": "reproduced"}
            | {"not decidable": "reproduced"}
        )
        return table

    after = gather(edited(whole, tmp_path, "verdicts", turned))
    text = after["sentences"]["steering shown"][0]
    assert "not reproduced in format" in text and "no sign of what training did" in text
    assert "no sign of memory" in text

    def marks(found: dict[str, Any]) -> list[str]:
        table, lacking = found["tables"]["verdicts"]
        assert all(row[2] == "one task" for row in lacking["rows"])
        row = next(r for r in table["rows"] if r[0]["claim"].startswith("scaling"))
        return [cell["mark"] for cell in row[2:]]

    assert (marks(before), marks(after)) == (["no", "yes", "open"], ["yes", "no", "yes"])
    assert before["sentences"]["counts"] != after["sentences"]["counts"]


@pytest.mark.parametrize("section", ["where", "edges"])
def test_claims_that_are_reproduced_nowhere_are_joined(section: str, tmp_path: Path) -> None:
    table = verdicts().replace({"verdict": {"reproduced": "not decidable"}})
    table.to_csv(tmp_path / "verdicts.csv", index=False)
    sources = Sources([tmp_path / "verdicts.csv"], "contaminated", claims())
    said = claim_words(sources, section)
    assert said["shown"] == [] and said["nowhere"][0].startswith("Reproduced in no model: that ")
    own = [sources.claim(name).section == section for name in signatures()]
    assert said["nowhere"][0].count("; that ") + 1 == sum(own) > 1


def test_what_survives_the_correction_is_counted(whole: dict[str, Any], tmp_path: Path) -> None:
    def corrected(table: pd.DataFrame) -> pd.DataFrame:
        place = table.index[table["verdict"] == "reproduced"][0]
        return table.assign(holm=table["holm"].where(table.index != place, 0.2))

    (before,) = gather(whole)["sentences"]["counts"]
    (after,) = gather(edited(whole, tmp_path, "verdicts", corrected))["sentences"]["counts"]
    many = re.search(r"Of (\d+) reproduced, (\d+) survive", before)
    assert many is not None and many[1] == many[2] and "0 present but negligible" in before
    assert f"Of {many[1]} reproduced, {int(many[1]) - 1} survive" in after


def test_a_signature_that_no_section_judges_is_left_out(
    whole: dict[str, Any], tmp_path: Path
) -> None:
    def longer(table: pd.DataFrame) -> pd.DataFrame:
        return pd.concat([table, table[:3].assign(signature="certainty")])

    assert gather(edited(whole, tmp_path, "verdicts", longer)) == gather(whole)


def test_an_unknown_signature_is_refused() -> None:
    sources = Sources([], "contaminated", claims())
    covered = sources.claim("boundary: covered, twin")
    assert covered == sources.claim("boundary: covered, exposed")
    assert covered.name == "boundary: covered" and covered.source == "yue2025"
    assert covered.detail("boundary: covered, twin") == "twins"
    assert sources.claim("leakage: any_of_4").detail("leakage: any_of_4") == "rule any of 4"
    with pytest.raises(DataError, match=r"'stering: all'.*Did you mean 'steering'"):
        sources.claim("stering: all")


def test_a_null_after_ablation_is_said(whole: dict[str, Any], tmp_path: Path) -> None:
    def nothing(table: pd.DataFrame) -> pd.DataFrame:
        return table.assign(corrected=0.7)

    assert "at 2 of 2 blocks" in " ".join(gather(whole)["sentences"]["where"])
    said = gather(edited(whole, tmp_path, "ablation", nothing))["sentences"]["where"]
    assert said[0] == "Recall is not shown to need any block's MLP."


def test_verdicts_on_simulated_studies(whole: dict[str, Any], tmp_path: Path) -> None:
    found = gather(whole)
    rates, margin = found["sentences"]["rules"]
    assert "Of no effect, reproduced or present but negligible was said in 0.0 %" in rates
    assert "within the margin, reproduced was said in 5.0 %" in rates
    assert "50 % with 3 trainings, 90 % with 8 trainings" in rates
    assert rates.endswith("mean over items, is 1.5 after training and 1.5 in the change by it.")
    assert margin.startswith("An effect of exactly the margin") and "10.0 % of studies" in margin
    table = found["tables"]["rules"]
    assert table["columns"][3:] == ["3 trainings", "8 trainings"]
    assert table["rows"][-1][2:] == ["5", "50 / 0 / 0 / 50", "90 / 0 / 0 / 10"]
    # A run with one training of each arm says so.
    single = edited(whole, tmp_path, "rule_rates", lambda table: table[~table["observed"]])
    found = gather(single)
    assert "trainings do not differ" in found["sentences"]["rules"][0]
    assert found["tables"]["rules"]["rows"]
    # Without a margin, nothing is simulated but no effect.
    none = edited(whole, tmp_path / "b", "rule_rates", lambda table: table[table["effect"] == 0])
    (said,) = gather(none)["sentences"]["rules"]
    assert "Of no effect" in said and "largest" not in said


def test_a_table_that_is_too_wide_is_cut(whole: dict[str, Any], tmp_path: Path) -> None:
    def more(table: pd.DataFrame) -> pd.DataFrame:
        trained = table[table["method"] == "grpo"]
        others = [trained.assign(reward=f"extra_{place}") for place in range(4)]
        return pd.concat([table, *others])

    found = gather(edited(whole, tmp_path, "verdicts", more))["tables"]["verdicts"]
    assert [len(part["columns"]) for part in found] == [7, 4, 3]
    assert all(len(row) == len(part["columns"]) for part in found for row in part["rows"])
