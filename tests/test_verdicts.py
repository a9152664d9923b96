"""Verdicts on published signatures: which rows count, and how they are drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from told_fixture import summary as told

from paradox.mechanisms.overview import verdicts as step
from paradox.mechanisms.overview import verdicts_figure as figure
from paradox.pages.verdict_table import in_words
from paradox.progress import Progress
from paradox.tasks import load_task

ARM = {"base": "contaminated", "method": "grpo", "reward": "format"}
FOUND = {"effect": 0.5, "low": 0.3, "high": 0.7, "p": 0.01, "margin": 0.1, "verdict": "reproduced"}
FOUND |= {"items": 8, "replicates": 3, "reason": None}

SPEC = told("verdicts") | {"exposed_from": 16}
# Of the folders that have verdicts, three are given here.
SPEC["verdicts"] = [
    own for own in SPEC["verdicts"] if own["analysis"] in ("layers", "eap", "boundary")
]
SPEC["untestable"] = [{"analysis": "overview", "signature": "data", "reason": "one task only"}]


def rows(path: Path, *made: dict[str, Any]) -> Path:
    pd.DataFrame([ARM | FOUND | row for row in made]).to_csv(path, index=False)
    return path


@pytest.fixture()
def inputs(tmp_path: Path, task_spec: dict[str, Any]) -> dict[str, Path]:
    load_task(task_spec).items(0).to_csv(tmp_path / "items.csv", index=False)
    eap = {"attribution": "gradient", "filter": "all", "group": "all", "definition": "fixed"}
    eap |= {"part": "intensity", "items": 7, "alpha": 1.0}
    bound = {"signature": "crossing", "group": "twin", "measure": "right", "items": 9}
    bound |= {"detail": "twin"}
    return {
        "items": tmp_path / "items.csv",
        "layers": rows(
            tmp_path / "layers.csv",
            {"signature": "anchor", "state": "after"},
            {"signature": "anchor", "state": "change"},
        ),
        "eap": rows(
            tmp_path / "eap.csv",
            eap,
            eap | {"alpha": 0.5},
            eap | {"part": "pattern"},
            eap | {"definition": "published"},
            eap | {"group": "exposed"},
            eap | {"filter": "right"},
            eap | {"attribution": "integrated"},
        ),
        "boundary": rows(
            tmp_path / "boundary.csv",
            bound,
            bound | {"method": "base", "reward": "none"},
            bound | {"measure": "same"},
            bound | {"signature": "above_all"},
        ),
    }


def test_one_row_per_signature_and_arm(inputs: dict[str, Path], tmp_path: Path) -> None:
    out = {"table": tmp_path / "verdicts.csv"}
    step.main(SPEC, inputs, out, Progress("t"))
    table = pd.read_csv(out["table"])
    lacking = table.iloc[-1]
    assert (lacking["signature"], lacking["verdict"]) == ("data", "not testable here")
    assert lacking["reason"] == "one task only" and lacking[["base", "effect", "holm"]].isna().all()
    table = table.iloc[:-1]
    assert table["signature"].tolist() == ["anchor", "eap: intensity", "boundary: crossing, twin"]
    assert "over items and trainings" in table["null"].iloc[1]
    assert table["items"].tolist() == [8, 7, 9] and (table["replicates"] == 3).all()
    assert table["holm"].tolist() == pytest.approx([0.03] * 3)
    # .8 power of a test at 5 %, from the width of a 95 % interval
    error = 0.4 / (2 * 1.96)
    np.testing.assert_allclose(table["detectable"], 2.8016 * error, rtol=1e-3)


def test_the_figure_marks_each_verdict(inputs: dict[str, Path], tmp_path: Path) -> None:
    out = {"table": tmp_path / "verdicts.csv"}
    step.main(SPEC, inputs, out, Progress("t"))
    table = pd.read_csv(out["table"])
    table.loc[1, "verdict"], table.loc[2, "verdict"] = "not reproduced", "present but negligible"
    (axis,) = figure.draw(table).axes
    marks = {
        (line.get_marker(), line.get_fillstyle()): len(line.get_xdata()) for line in axis.lines
    }
    assert marks["o", "full"] == marks["o", "none"] == marks["x", "full"] == 1
    assert marks["$?$", "full"] == 0
    assert [text.get_text() for text in axis.get_yticklabels()] == table["signature"].tolist()


def test_every_signature_has_a_null_and_a_cell(inputs: dict[str, Path], tmp_path: Path) -> None:
    out = {"table": tmp_path / "verdicts.csv"}
    step.main(SPEC, inputs, out, Progress("t"))
    table = pd.read_csv(out["table"])
    table.loc[2, ["base", "method", "reward"]] = ["clean", "base", "none"]
    table = table.astype({"reason": object})
    table.loc[2, ["effect", "verdict", "reason"]] = [float("nan"), "not decidable", "no gap"]
    read = in_words(table)
    assert read.columns.tolist() == [
        "signature",
        "null",
        "contaminated base, format",
        "clean base, untrained",
    ]
    shown = "reproduced: +0.5 [+0.3, +0.7], p = 0.01 (Holm 0.03); 7 items x 3, finds 0.29"
    assert read.loc[1].tolist()[2:] == [shown, ""]
    assert read.loc[2].tolist()[2:] == ["", "not decidable (no gap)"]
    with pytest.raises(ValueError):
        step._null("unheard_of", SPEC["nulls"])
