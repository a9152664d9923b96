"""The analyses of the models: what each reads and makes, and in which figures it is shown.

See `paradox.study.mechanisms` for the words.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Analysis:
    """An analysis of single arms; its name is that of its step.

    Attributes
    ----------
    outputs
        Names of its tables.
    needs
        What it reads beside the arm's checkpoint and the items: ``base`` (the untrained base's
        checkpoint), ``reference`` (the clean base's) or ``samples`` (of the base and of the arm,
        in place of the arm's checkpoint); ``reference?`` (unless it is the arm's own) and
        ``corpus?`` (that the base was trained on) where there are.
    trained
        Whether untrained bases are left out.
    paired
        Whether every exposed item needs a twin of its own.
    suffix
        Of its tables; those with a row per item, component and layer are large.
    locks
        Of packages that only this analysis needs.
    """

    outputs: tuple[str, ...] = ("table",)
    needs: tuple[str, ...] = ()
    trained: bool = False
    paired: bool = False
    suffix: str = "csv"
    locks: tuple[str, ...] = ()

    def file(self, output: str) -> str:
        """Return the name of an output's file."""
        return f"{output}.{self.suffix}"


@dataclass(frozen=True)
class Summary:
    """Tables of a grid; its name is that of the first.

    Attributes
    ----------
    step
        What makes them.
    files
        Role -> analysis and output: a file of every arm.
    tables
        Role -> another summary, or ``summary:role``, an output of it that is not the first.
    measures
        Columns that are summed up.
    outputs
        Role -> file.
    planted
        Whether there must be a contaminated base.
    """

    step: str
    files: dict[str, tuple[str, str]] = field(default_factory=dict)
    tables: dict[str, str] = field(default_factory=dict)
    measures: tuple[str, ...] | dict[str, tuple[str, ...]] = ()
    outputs: dict[str, str] = field(default_factory=dict)
    planted: bool = False


@dataclass(frozen=True)
class Figure:
    """A figure.

    Attributes
    ----------
    step
        What draws it.
    tables
        As in `Summary`; a role that ends in + takes a list of files.
    beside
        Summaries that are made with it.
    planted
        Whether it is told which base is the contaminated one.
    """

    step: str
    tables: dict[str, str]
    beside: tuple[str, ...] = ()
    planted: bool = False


ANALYSES = {
    "labels": Analysis(("labels", "confusion", "rules"), ("samples",), trained=True),
    "partial_prompts": Analysis(("items", "contrast"), ("reference",)),
    "lens": Analysis(("lens", "attribution", "emergence"), suffix="parquet"),
    "jsd": Analysis(suffix="parquet"),
    "ablation": Analysis(suffix="parquet"),
    "probes": Analysis(("table", "change", "rates"), ("base",), paired=True),
    "cross_model": Analysis(needs=("base",), trained=True, suffix="parquet"),
    "cross_item": Analysis(paired=True, suffix="parquet"),
    "trajectories": Analysis(
        ("pairs", "null", "fits", "rates"),
        ("base",),
        paired=True,
        suffix="parquet",
        locks=("envs/flow.lock",),
    ),
    "reset_keep": Analysis(
        ("table", "profile"), ("base",), trained=True, paired=True, suffix="parquet"
    ),
    "steering": Analysis(
        ("table", "sets", "side", "neurons"), ("corpus?",), paired=True, suffix="parquet"
    ),
    "decontamination": Analysis(
        needs=("base", "reference?", "corpus?"), paired=True, suffix="parquet"
    ),
    "eap": Analysis(("scores", "ablation"), ("base",), paired=True, suffix="parquet"),
    "boundary": Analysis(needs=("base",), paired=True, suffix="parquet"),
}
PATCHED = ("gold_logp", "mode_logp")
# What the layer tests are about.
TESTED = {
    "lens": ("logp",),
    "attribution": ("logit",),
    "jsd": ("excess",),
    "ablation": ("logp_drop", "correct_drop"),
    "partial_prompts": ("exact_greedy", "edit", "nll", "lift"),
}
ITEMS = {
    "ablation": ("ablation", "table"),
    "jsd": ("jsd", "table"),
    "lens": ("lens", "lens"),
    "attribution": ("lens", "attribution"),
}


def _by_layer(name: str, *measures: str) -> Summary:
    return Summary("by_layer", {"tables": ITEMS[name]}, measures=measures)


def _collected(analysis: str, output: str) -> Summary:
    return Summary("collected", {"tables": (analysis, output)})


def _named(prefix: str, *roles: str) -> dict[str, str]:
    """Return names of a summary's files by role; what is read in words is JSON."""
    return {role: f"{prefix}_{role}.{'json' if role == 'reading' else 'csv'}" for role in roles}


def _recovery(analysis: str) -> Summary:
    # So many rows are ten times as large in csv.
    outputs = {"table": f"{analysis}.parquet"}
    return Summary("recovery", {"tables": (analysis, "table")}, measures=PATCHED, outputs=outputs)


SUMMARIES = {
    "labels": _collected("labels", "rules"),
    "confusion": _collected("labels", "confusion"),
    "partial_prompts": _collected("partial_prompts", "contrast"),
    "lens": _by_layer("lens", "logp", "rank", "control_logp", "emerged"),
    "attribution": _by_layer("attribution", "logit", "control_logit"),
    "jsd": _by_layer("jsd", "jsd", "excess", "local_jsd"),
    "ablation": _by_layer("ablation", "logp_drop", "correct_drop"),
    "probes": _collected("probes", "table"),
    "probes_change": _collected("probes", "change"),
    "cross_model": _recovery("cross_model"),
    "cross_item": _recovery("cross_item"),
    "error_rates": Summary(
        "error_rates",
        ITEMS
        | {
            "labels": ("labels", "labels"),
            "partial_prompts": ("partial_prompts", "items"),
            "probes": ("probes", "rates"),
            "trajectories": ("trajectories", "rates"),
        },
        measures=TESTED,
        outputs={"rates": "error_rates.csv", "equivalence": "equivalence.csv"},
        planted=True,
    ),
    "signatures": Summary(
        "signatures",
        ITEMS | {"labels": ("labels", "labels"), "probes": ("probes", "table")},
        tables={"recovery+": "cross_model"},
        planted=True,
    ),
    "reading": Summary(
        "layer_reading",
        tables={name: name for name in ITEMS} | {"signatures": "signatures"},
        outputs={"reading": "reading.json"},
        planted=True,
    ),
    "trajectories": Summary(
        "separation",
        {role: ("trajectories", role) for role in ("pairs", "null", "fits")},
        outputs=_named("trajectories", "table", "flows", "signatures", "reading"),
        planted=True,
    ),
    "reset_keep": Summary(
        "reset_keep_tests",
        {"tables": ("reset_keep", "table")},
        measures=(*PATCHED, "correct"),
        outputs=_named("reset_keep", "windows", "doses", "verdicts"),
    ),
    "reset_keep_profile": _collected("reset_keep", "profile"),
    "reset_keep_reading": Summary(
        "reset_keep_reading",
        tables={role: f"reset_keep:{role}" for role in ("windows", "verdicts")},
        outputs=_named("reset_keep", "reading"),
    ),
    "steering": Summary(
        "dose_response",
        {"tables": ("steering", "table")} | {role: ("steering", role) for role in ("sets", "side")},
        outputs=_named("steering", "doses", "tests", "side", "rates"),
        planted=True,
    ),
    "decontamination": Summary(
        "tradeoff",
        {"tables": ("decontamination", "table")},
        outputs=_named("decontamination", "points", "half"),
    ),
    "steering_reading": Summary(
        "steering_reading",
        tables={role: f"steering:{role}" for role in ("doses", "tests", "side")}
        | {role: f"decontamination:{role}" for role in ("points", "half")},
        outputs=_named("steering", "reading"),
        planted=True,
    ),
    "eap": Summary(
        "eap_summary",
        {"scores": ("eap", "scores")},
        outputs=_named("eap", "table", "methods", "signature", "rates"),
    ),
    "eap_map": Summary(
        "eap_map",
        {"scores": ("eap", "scores"), "ablation": ("eap", "ablation")},
        outputs=_named("eap", "edges", "nodes", "ablation"),
    ),
    "eap_reading": Summary(
        "eap_reading",
        tables={role: f"eap:{role}" for role in ("table", "methods", "signature")}
        | {"ablation": "eap_map:ablation"},
        outputs=_named("eap", "reading"),
    ),
    "boundary": Summary(
        "boundary_summary",
        {"tables": ("boundary", "table")},
        outputs=_named("boundary", "curves", "coverage", "crossings", "perplexity", "verdicts"),
    ),
    "boundary_reading": Summary(
        "boundary_reading",
        tables={role: f"boundary:{role}" for role in ("crossings", "verdicts")},
        outputs=_named("boundary", "reading"),
        planted=True,
    ),
    "verdicts": Summary(
        "verdicts",
        tables={
            "layers": "signatures",
            "trajectories": "trajectories:signatures",
            "reset_keep": "reset_keep:verdicts",
            "steering": "steering:tests",
            "eap": "eap:signature",
            "boundary": "boundary:verdicts",
        },
        planted=True,
    ),
}
FIGURES = {
    "labels": Figure("labels_figure", {"tables+": "confusion"}),
    "partial_prompts": Figure("partial_prompts_figure", {"tables+": "partial_prompts"}),
    "probes": Figure("probes_figure", {"tables+": "probes", "changes+": "probes_change"}),
    "patching": Figure("patching_figure", {"table": "cross_model"}),
    "memory": Figure(
        "memory_figure",
        {name: name for name in ITEMS}
        | {"probes+": "probes", "trajectories": "trajectories", "steering": "steering:doses"},
        beside=("labels", "cross_item", "error_rates", "reading"),
    ),
    **{name: Figure("layer_figure", {"table": name}) for name in ITEMS},
    "trajectories": Figure(
        "trajectories_figure",
        {role: f"trajectories:{role}" for role in ("table", "flows")},
        planted=True,
    ),
    "reset_keep": Figure(
        "reset_keep_figure",
        {"table": "reset_keep:windows"},
        beside=("reset_keep_profile", "reset_keep_reading"),
    ),
    "steering": Figure(
        "steering_figure",
        {role: f"steering:{role}" for role in ("doses", "tests")},
        beside=("steering_reading",),
    ),
    "decontamination": Figure("decontamination_figure", {"points": "decontamination:points"}),
    "verdicts": Figure("verdicts_figure", {"table": "verdicts"}),
    "eap": Figure("eap_figure", {"table": "eap:table"}, beside=("eap_map", "eap_reading")),
    "boundary": Figure(
        "boundary_figure",
        {role: f"boundary:{role}" for role in ("curves", "crossings", "perplexity")},
        beside=("boundary_reading",),
    ),
}
