"""Small tables of every analysis that the paper quotes, with known numbers."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
from told_fixture import claims

from paradox.files import write_json

UNTRAINED = {"base": "contaminated", "method": "base", "reward": "none"}
TRAINED = {"base": "contaminated", "method": "grpo", "reward": "format"}
CLEAN = {"base": "clean", "method": "base", "reward": "none"}
ENDS = {"value": 0.5, "low": 0.4, "high": 0.6}
NONE = {"value": 0.01, "low": -0.1, "high": 0.1}
LOOKS = {
    "ablation": [("mlp@all", "logp_drop"), ("attn@all", "logp_drop")],
    "lens": [("resid", "logp")],
    "attribution": [("mlp", "logit"), ("attention", "logit")],
    "jsd": [("gate@all", "excess"), ("up@all", "excess")],
}
DETAILED = {
    "patching": ["gold_logp", "mode_logp"],
    "leakage": ["posterior", "any_of_4"],
    "separation_peak": ["answer"],
    "reset": ["gold_logp"],
    "steering": ["all"],
    "boundary: crossing": ["exposed", "twin"],
}


def signatures() -> list[str]:
    """Return a signature of every claim that is judged, as the table of verdicts names it."""
    found = []
    for name in (claim.name for claim in claims() if claim.section):
        joint = ", " if name.startswith("boundary") else ": "
        found += [f"{name}{joint}{detail}" for detail in DETAILED.get(name, [])] or [name]
    return found


def verdicts() -> pd.DataFrame:
    """Return verdicts: reproduced after training, not in the untrained and in the clean base."""
    rows = [
        {**arm, "signature": name, "effect": of["value"], "low": of["low"], "high": of["high"]}
        | {"p": p, "holm": p, "items": 32, "replicates": 3, "verdict": said}
        for name in signatures()
        for arm, of, p, said in (
            (UNTRAINED, NONE, 0.5, "not reproduced"),
            (TRAINED, ENDS, 0.001, "reproduced"),
            (CLEAN, NONE, 0.6, "not decidable"),
        )
    ]
    lacking = [
        {"signature": claim.name, "verdict": "not testable here", "reason": "one task"}
        for claim in claims()
        if not claim.section
    ]
    return pd.DataFrame(rows + lacking)


def _layers() -> Iterator[tuple[str, pd.DataFrame]]:
    states = [(UNTRAINED, "base", ENDS), (TRAINED, "change", ENDS), (CLEAN, "base", NONE)]
    for name, looks in LOOKS.items():
        yield (
            name,
            pd.DataFrame(
                {**arm, "component": component, "measure": measure, "state": state}
                | {"contrast": "difference", "layer": layer, **of}
                | {"corrected": 0.001 if of is ENDS else 0.8}
                for (component, measure), (arm, state, of), layer in product(looks, states, (0, 1))
            ),
        )


def _steering() -> Iterator[tuple[str, pd.DataFrame]]:
    sides = {f"{side}{end}": 0.2 for side in ("up", "down") for end in ("", "_low", "_high")}
    tests = [
        {**arm, "signature": "steering: all", "blocks": "1", **sides} for arm in (TRAINED, CLEAN)
    ]
    yield "steering_tests", pd.DataFrame(tests)
    half = {"chain": 0.01, "chain_low": 0.0, "chain_high": 0.02, "verdict": "reproduced"}
    missed = {"verdict": "not reproduced"}
    rows = [
        {**UNTRAINED, "way": "neurons", "alpha": 0.0, "reached": 1.0, **half},
        {**TRAINED, "way": "neurons", "alpha": 0.0, "reached": 0.1, **missed},
        {**TRAINED, "way": "task_vector", "alpha": 1.0, "reached": 0.0, **missed},
        {**CLEAN, "way": "neurons", "alpha": 0.0, "reached": 0.0, **missed},
    ]
    yield "decontamination_half", pd.DataFrame(rows)


def _edges(arms: list[dict[str, str]]) -> pd.DataFrame:
    fixed = {"attribution": "gradient", "alpha": 1.0, "filter": "all", "group": "all"}
    return pd.DataFrame(
        {**arm, **fixed, "measure": "intensity", "state": state, **ENDS, "p": 0.001}
        for arm, state in product(arms, ("base", "change", "weights", "text"))
    )


def _errors() -> Iterator[tuple[str, pd.DataFrame]]:
    rate = {"runs": 200, "rejected": 10, "rate": 0.05, "low": 0.02, "high": 0.09}
    of = {"analysis": "lens", "measure": "logp"}
    rows = [
        {**of, "base": "all", "kind": "false_positive", **rate},
        {**of, "base": "contaminated", "kind": "power", "exposure": 128, "pairs": 16}
        | {**rate, "rate": 0.9},
    ]
    yield "error_rates", pd.DataFrame(rows)
    steered = {**of, "analysis": "steering", "kind": "false_positive", "base": "clean", **rate}
    yield "steering_rates", pd.DataFrame([{**steered, "exposure": None, "pairs": 16}])
    yield "eap_rates", pd.DataFrame([{**TRAINED, **rate}])
    yield "equivalence", pd.DataFrame({"equivalent": [True, False]})
    yield "rule_rates", pd.DataFrame(_simulated())


def _simulated() -> Iterator[dict[str, Any]]:
    cases = (("no memory", "after", 0.0), ("memory changed", "change", 0.5))
    cases += (("memory changed", "change", 1.0), ("memory changed", "change", 5.0))
    for (world, state, effect), replicates, seen in product(cases, (3, 8), (True, False)):
        found = effect / 10 if effect < 5 else 0.9 - 0.4 * (replicates == 3)
        said = {"reproduced": found, "negligible": 0.0, "not_reproduced": 0.0}
        said |= {"not_decidable": 1 - found, "wrong": found * (effect < 5)}
        named = {"world": world, "state": state, "rule": "window", "effect": effect}
        named |= {"replicates": replicates, "seed_sd": 1.5 if seen else 0.0, "observed": seen}
        yield named | said | {"studies": 200, "low": 0.0, "high": 0.1}


def _tables() -> Iterator[tuple[str, pd.DataFrame]]:
    yield "verdicts", verdicts()
    groups = (("8", "exposed"), ("exposed", "exposed"), ("exposed", "twin"))
    changed = {"step": 80, "value": 2.0, "change": 0.5, "low": 0.4, "high": 0.6}
    rows = [
        {**TRAINED, **changed, "exposure": exposure, "group": group, "part": part}
        for (exposure, group), part in product(groups, ("prompt", "mode", "content"))
    ]
    yield "perplexity_parts", pd.DataFrame(rows)
    yield from _layers()
    force = {"component": "answer", "set": "counted", "corrected": 0.001}
    rows = [{**UNTRAINED, **force, "state": "base", "layer": layer, **ENDS} for layer in (0, 1)]
    yield "trajectories_table", pd.DataFrame(rows)
    yield from _steering()
    yield "eap_table", _edges([TRAINED])
    crossed = {"source": "after", "kind": "below", "k": 0.0, "largest_k": 64}
    groups = product(("right", "worked"), ("exposed", "twin"))
    rows = [{**TRAINED, "measure": one, "group": two, **crossed} for one, two in groups]
    yield "boundary_crossings", pd.DataFrame(rows)
    yield from _errors()


def write_tables(folder: Path) -> list[Path]:
    """Write the tables of the run's mechanisms."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in _tables():
        table.to_csv(folder / f"{name}.csv", index=False)
    return sorted(folder.glob("*.csv"))


def write_recorded(folder: Path) -> list[Path]:
    """Write tables of the grids `methods` and `clipping`, and files of the grid `seeds`."""
    grids: dict[str, dict[str, Any]] = {"methods": {}, "clipping": {}}
    arms = [TRAINED, TRAINED | {"method": "dpo"}]
    did = {"seed": "all", "did": 0.3, "did_low": 0.2, "did_high": 0.4}
    grids["methods"]["did"] = pd.DataFrame({**arm, **did} for arm in arms)
    grids["methods"]["eap_table"] = _edges(arms)
    fixed = {"attribution": "gradient", "alpha": 1.0, "filter": "all", "group": "all"}
    pattern = {"part": "pattern", "definition": "fixed", "published": "yes", "agrees": "yes"}
    rows = [{**arm, **fixed, **pattern, "verdict": "reproduced"} for arm in arms]
    grids["methods"]["eap_signature"] = pd.DataFrame(rows)
    drift = {"method": "grpo", "seed": "all", "against": None, "positive": 4, "negative": 4}
    rows = [
        {**drift, "measure": "toward_prior", "primary": True, **NONE},
        {**drift, "measure": "outside", "primary": False, "value": 0.0004},
    ]
    grids["clipping"]["clipping"] = pd.DataFrame(rows)
    found = []
    for grid, made in grids.items():
        tables = folder / "grids" / grid / "tables"
        tables.mkdir(parents=True)
        for name, table in made.items():
            found.append(tables / f"{name}.csv")
            table.to_csv(found[-1], index=False)
    found += write_figures(folder / "grids/seeds/figures", ["accuracy"])
    found.append(folder / "grids/clipping/tables/clipping.json")
    write_json(found[-1], {"verdicts": {"grpo": "none"}, "text": ""})
    return found


def write_figures(folder: Path, names: list[str]) -> list[Path]:
    """Write pictures that stand for figures."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        text = '<svg xmlns="http://www.w3.org/2000/svg" width="90" height="30">'
        text += '<rect width="90" height="30"/></svg>'
        (folder / f"{name}.svg").write_text(text)
    return [folder / f"{name}.svg" for name in names]
