"""The signature ``patching``: training changed recall through the MLPs of middle blocks."""

from __future__ import annotations

from paradox.mechanisms.tables.signatures import Given, Part, Rows, by_arm, row
from paradox.mechanisms.tables.verdict import ALPHA, MIDDLE, NOT, OPEN, REPRODUCED, inside
from paradox.stats.bootstrap import Estimate


def patching(given: Given) -> Rows:
    """Yield a row ``patching: MEASURE`` per arm and measure (2601.11061).

    What an MLP's states at all prompt positions carry back (``denoise``) and take away (``noise``),
    beyond noise of the same size, is largest at a middle block: share of the gap of exposed items,
    total effect. Reproduced: both directions, interval above 0 and more than in twins; not
    reproduced: a direction with its interval above 0 is largest elsewhere; not decidable: no gap to
    close.
    """
    table = given.table()
    chosen = table[(table["effect"] == "total") & (table["source"] == "states")]
    chosen = chosen[(chosen["kind"] == "mlp_out") & (chosen["positions"] == "prompt")]
    chosen = chosen[chosen["minus"] == "states_noise"]
    for measure, rows in chosen.groupby("measure", sort=True):
        for key, rows_of_arm in by_arm(rows):
            parts, clear, middle = [], [], []
            for _, one in rows_of_arm.groupby("direction", sort=True):
                recovered = one[(one["quantity"] == "recovery") & (one["contrast"] == "exposed")]
                recovered = recovered.set_index("layer").sort_index()
                if recovered["value"].isna().any():
                    continue
                best = recovered.loc[recovered["value"].idxmax()]
                tested = one[(one["quantity"] == "change") & (one["contrast"] == "difference")]
                p = float(tested.set_index("layer").loc[best.name, "corrected"])
                ends = (float(best[end]) for end in ("value", "low", "high"))
                parts.append(Part(Estimate(*ends, 0, 0), p, str(best.name)))
                clear.append(best["low"] > 0)
                middle.append(bool(inside(len(recovered), MIDDLE)[int(best.name)]))
            nothing = Part(Estimate(*[float("nan")] * 3, 0, 0), float("nan"), "")
            line = row(f"{given.name}: {measure}", key, parts or [nothing], given.share)
            shown = len(parts) == 2 and all(clear) and all(middle) and line["p"] <= ALPHA
            other = any(c and not m for c, m in zip(clear, middle, strict=True))
            yield line | {"verdict": REPRODUCED if shown else NOT if other else OPEN}
