"""How often tests reject permuted labels, and how often verdicts deny what was simulated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from paradox.mechanisms.tables.verdict import NEGLIGIBLE, REPRODUCED
from paradox.report.sources import Sources, percent
from paradox.stats.bootstrap import binomial_interval

# Columns of the simulated verdicts, in the order of `VERDICTS`.
SHARES = ["reproduced", "negligible", "not_reproduced", "not_decidable"]


def false_positives(tables: Path) -> pd.DataFrame:
    """Return how often each test of a grid rejects at 5 % where labels are permuted.

    Columns: analysis (and test), runs, rate with its exact 95 % interval. Of tests that are kept
    arm by arm, rejections are counted together.
    """
    rates = pd.read_csv(tables / "error_rates.csv")
    parts = [rates[(rates["kind"] == "false_positive") & (rates["base"] == "all")]]
    steering = pd.read_csv(tables / "steering_rates.csv")
    steering = steering[(steering["kind"] == "false_positive") & (steering["base"] != "all")]
    eap = pd.read_csv(tables / "eap_rates.csv").assign(analysis="eap")
    for named, rows in (("{analysis}: {measure}", steering), ("{analysis}", eap)):
        names = [named.format(**row) for row in rows.to_dict("records")]
        counted = rows.groupby(names, sort=False)[["rejected", "runs"]].sum()
        shares = [binomial_interval(int(k), int(n)) for k, n in counted.itertuples(index=False)]
        counted["rate"] = [share.value for share in shares]
        counted["low"], counted["high"] = zip(*((s.low, s.high) for s in shares), strict=True)
        parts.append(counted.rename_axis("analysis").reset_index())
    columns = ["analysis", "runs", "rate", "low", "high"]
    return pd.concat([rows[columns] for rows in parts], ignore_index=True)


def _simulated(sources: Sources) -> pd.DataFrame:
    columns = ("world", "state", "rule", "effect", "replicates", "seed_sd", "observed", "wrong")
    table = sources.table("rule_rates", *columns, *SHARES)
    return table.assign(observed=table["observed"].astype(bool))


def rules_table(sources: Sources) -> dict[str, Any]:
    """Return how often each verdict is given, mean over rules.

    Trainings differ as those of the run do or, where it has one of each arm, not at all.
    """
    table = _simulated(sources)
    table = table[table["observed"] if table["observed"].any() else table["seed_sd"] == 0]
    trainings = sorted(table["replicates"].unique())
    rows = []
    for (world, state, effect), own in table.groupby(["world", "state", "effect"], sort=False):
        means = own.groupby("replicates")[SHARES].mean()
        cells = [" / ".join(f"{100 * share:.0f}" for share in means.loc[n]) for n in trainings]
        asked = "change" if state == "change" else "after training"
        rows.append([str(world), asked, f"{effect:g}", *cells])
    titles = ["What was simulated", "Asked of", "Effect in margins"]
    return {"columns": [*titles, *(f"{n} trainings" for n in trainings)], "rows": rows}


def rules_words(sources: Sources) -> list[str]:
    """Say how often verdicts deny what was simulated, and how often they find it."""
    table = _simulated(sources)
    effect = table["effect"]
    parts = [
        (effect == 0, f"Of no effect, {REPRODUCED} or {NEGLIGIBLE} was said in"),
        ((effect > 0) & (effect < 1), f"Of an effect within the margin, {REPRODUCED} was said in"),
        (effect > 1, "An effect beyond the margin was denied in"),
    ]
    said = [f"{words} {_mean(table[rows])}." for rows, words in parts if rows.any()]
    if effect.max() > 1:
        found = table[effect == effect.max()].groupby("replicates")["reproduced"].mean()
        counts = [f"{100 * share:.0f} % with {n} trainings" for n, share in found.items()]
        said.append(f"The largest effect was {REPRODUCED} in {', '.join(counts)}.")
    said.append(f"In the table, {_spread(table)}.")
    return [" ".join(said), *_at_the_margin(table)]


def _spread(table: pd.DataFrame) -> str:
    spread = table[table["observed"]].groupby("state")["seed_sd"].first()
    if spread.empty:
        return "trainings do not differ, as the run has one of each arm"
    words = {"after": "after training", "change": "in the change by it"}
    seen = [f"{spread[state]:.2g} {said}" for state, said in words.items() if state in spread]
    return (
        "trainings differ as the run's own do; their standard deviation, in standard errors of the "
        f"mean over items, is {' and '.join(seen)}"
    )


def _mean(table: pd.DataFrame) -> str:
    top = table.loc[table["wrong"].idxmax()]
    most = percent(top["wrong"], top["low"], top["high"])
    where = f"{top['rule']}, {top['replicates']} trainings, {top['effect']:g} margins"
    return f"{100 * table['wrong'].mean():.1f} % of studies (at most {most}: {where})"


def _at_the_margin(table: pd.DataFrame) -> list[str]:
    own = table[table["effect"] == 1]
    if own.empty:
        return []
    return [
        f"An effect of exactly the margin, which should count as none, was {REPRODUCED} in "
        f"{_mean(own)}: the rule asks that the value, not its interval, is above the margin."
    ]
