"""The figure and the words of edge attribution follow the numbers, whichever way they fall."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from paradox.errors import DataError
from paradox.mechanisms.eap import figure
from paradox.mechanisms.eap.reading import reading
from paradox.progress import Progress

ARMS = [("contaminated", method, "format") for method in ("grpo", "dpo")]
KEY = {"attribution": "gradient", "alpha": 1.0, "filter": "all", "group": "all"}
PARTS = ("intensity", "complexity", "kurtosis", "diversity")


def arm(names: tuple[str, str, str]) -> dict[str, Any]:
    return dict(zip(("base", "method", "reward"), names, strict=True))


def ends(value: float) -> dict[str, Any]:
    return {"value": value, "low": value - 0.1, "high": value + 0.1, "items": 20, "replicates": 3}


def table(weights: float) -> pd.DataFrame:
    rows = [
        arm(one)
        | KEY
        | {"state": state, "measure": measure, **ends(value)}
        | {"p": 0.01 if abs(value) > 0.3 else 0.5, "null_low": -0.3, "null_high": 0.3}
        for one in ARMS
        for measure in (*PARTS, "intensity_per_gradient")
        for state, value in (("base", 2.0), ("change", 1.0), ("weights", weights), ("text", 0.2))
    ]
    return pd.DataFrame(rows)


def tables(verdicts: tuple[str, str], agrees: tuple[str, str], p: float) -> dict[str, Any]:
    signature = [
        arm(one)
        | KEY
        | {"definition": "fixed", "part": part, "verdict": verdict, "reason": "too wide"}
        | {"effect": 0.3, "low": 0.2, "high": 0.4, "least": "diversity", "state": "weights"}
        | {"published": claim, "agrees": agree if part == "pattern" else ""}
        for one, verdict, agree, claim in zip(ARMS, verdicts, agrees, ("yes", "no"), strict=True)
        for part in (*PARTS, "node_entropy", "pattern")
    ]
    methods = arm(ARMS[0]) | KEY | {"other": "dpo", "state": "change", "measure": "kurtosis"}
    cut = arm(("contaminated", "base", "none")) | {"weights": "base", "n": 9}
    cuts = [("top", 4, "actual", 3.0), ("top", 4, "predicted", 0.5), ("random", 4, "actual", 0.2)]
    ablation = [
        cut | {"kind": kind, "size": size, "quantity": name} | ends(value)
        for kind, size, name, value in [*cuts, ("single", 1, "rank_correlation", 0.9)]
    ]
    return {
        "table": table(0.8),
        "signature": pd.DataFrame(signature),
        "methods": pd.DataFrame([methods | ends(-1.0) | {"p": p}]),
        "ablation": pd.DataFrame(ablation),
    }


def test_words_follow_the_numbers() -> None:
    made = reading(tables(("reproduced", "not reproduced"), ("yes", "yes"), 0.01))
    text = made["paragraphs"]["eap"]
    assert "Reproduced for contaminated base, format (grpo)." in text
    assert (
        "Not reproduced for contaminated base, format (dpo); none of the four, least of diversity "
        "on the same text." in text
    )
    assert (
        "That the entropy of nodes' outputs rises: Reproduced for contaminated base, format (grpo) "
        "(+0.3 [+0.2, +0.4] on the same text)." in text
    )
    assert "holds in 2 of 2 arms" in text and "fails in 0" in text
    assert "+50 % [+45, +55]: +40 % [+35, +45] by the weights" in text
    assert (
        "kurtosis (own text) of grpo minus dpo (format, contaminated) -1 [-1.1, -0.9], p = .01"
        in text
    )
    assert "4 edges that score highest on other items changes the loss by +3 [" in text
    assert "(+0.5 [+0.4, +0.6] predicted)" in text and "correlation +0.9" in text
    assert len(made["verdicts"]) == 2
    other = reading(tables(("not decidable", "reproduced"), ("", "no"), 0.5))["paragraphs"]["eap"]
    assert "holds in 0 of 2 arms" in other and "fails in 1 and is not decidable in 1" in other
    assert "none has p <= .05" in other
    assert "on the same text, too wide." in other and "on the same text; too wide)" in other


def test_the_figure_is_in_per_cent_of_the_base(tmp_path: Path) -> None:
    table(0.8).to_csv(tmp_path / "table.csv", index=False)
    outputs = {name: tmp_path / f"figure.{name}" for name in ("svg", "png", "csv")}
    figure.main({}, {"table": tmp_path / "table.csv"}, outputs, Progress("test"))
    drawn = pd.read_csv(outputs["csv"])
    own = drawn[(drawn["state"] == "change") & (drawn["measure"] == "intensity")]
    assert own["value"].tolist() == [50, 50] and own["null_high"].tolist() == [15, 15]
    first = outputs["svg"].read_bytes()
    figure.main({}, {"table": tmp_path / "table.csv"}, outputs, Progress("test"))
    assert outputs["svg"].read_bytes() == first
    none = table(0.8)
    none[none["state"] == "base"].to_csv(tmp_path / "none.csv", index=False)
    with pytest.raises(DataError, match="no changes by training"):
        figure.data(tmp_path / "none.csv")
