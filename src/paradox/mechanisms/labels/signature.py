"""The signature ``leakage``: items called leakage are the exposed ones."""

from __future__ import annotations

from paradox.mechanisms.tables.signatures import Given, Rows, by_arm, row
from paradox.mechanisms.tables.verdict import CEILING, LABELS


def leakage(given: Given) -> Rows:
    """Yield a row ``leakage: RULE`` per arm and rule (2601.11061).

    Exposed items are called leakage more often than their twins; one to one, so that a precision
    above 1/2 says the same. The margin is a share of 1/2, the gap of a rule that calls half of the
    exposed items and no twin. Where so few exposed items were wrong before training that not even
    all of them would pass the margin, there is no room.
    """
    table, test = given.table(), given.test
    rules = [name for name in table if f"{name}_change" in table]
    names = [*test.groups.exposed, *test.groups.twin]
    for key, rows in by_arm(table):
        for rule in rules:
            called = (rows[rule] == LABELS[0]).astype(float)
            wide = rows.assign(called=called).pivot(index="item", columns="seed", values="called")
            part = test.test(wide.loc[names].to_numpy(), "")
            exposed = rows.loc[rows["item"].isin(test.groups.exposed), rule]
            full = (~exposed.isin([LABELS[1], LABELS[2]])).mean() <= given.share / 2
            part = part._replace(unable=CEILING if full else "")
            yield row(f"{given.name}: {rule}", key, [part], given.share / 2)
