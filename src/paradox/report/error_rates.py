"""How often tests reject where labels are permuted, from the tables of a grid."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from paradox.stats.bootstrap import binomial_interval


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
