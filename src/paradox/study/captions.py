"""What Snakemake's report says beside each table, figure and page."""

from __future__ import annotations

from paradox.study.registry import REGISTRY

TABLES = {
    "accuracy.csv": "Accuracy before and after training for each arm and exposure level, with 95 % "
    "intervals.",
    "did.csv": "Gain of exposed items, gain of twins, and their difference in differences for each "
    "arm, with 95 % intervals and the equivalence test. ``seed`` = all crosses items with seeds.",
    "perplexity.csv": "Negative log-likelihoods (nats per token) of fixed texts along training, "
    "with 95 % intervals.",
    "base.csv": "What each base knows before training: recalled answers and sampled accuracy by "
    "exposure level.",
    "trajectory.csv": "Accuracy and share of recall along training, for each arm and exposure "
    "level.",
    "clipping.csv": "Drifts under the random reward by method, per seed and over seeds (``seed`` = "
    "all) with Student's 95 % interval, exact tests and the comparison of methods seed by seed "
    "(``against``). ``clipping.json`` beside it puts the numbers into words.",
}
# Of a summary of analyses, behind its folder's question.
ANALYSIS = (
    "What was found for each arm, exposed items beside their twins; docs/guide leads to what each "
    "column is."
)
TABLES |= {
    file: f"{declaration.question} {ANALYSIS}"
    for declaration in REGISTRY.declarations.values()
    for name, summary in declaration.summaries.items()
    for file in (summary.outputs or {"table": f"{name}.csv"}).values()
}
FIGURES = {
    "accuracy": "Sampled accuracy before (dashes) and after training, by reward and number of "
    "exposures. Bars: 95 % intervals over items and seeds.",
    "change": "Change of sampled accuracy under each reward and method, on exposed items and on "
    "twins, and the difference of the two. Bars: 95 % intervals over items and seeds.",
    "perplexity": "Change of the mean negative log-likelihood of fixed texts since step 0; below "
    "zero a text got likelier. Bars: 95 % intervals over items and seeds.",
    "recall": "Share of samples that state the answer at once, along training. Thin lines are "
    "single seeds.",
    "clipping": "Left: drift per seed (dots) with mean and 95 % interval over seeds. Middle: "
    "tokens outside the clip band. Right: the closed form of the bias that clipping adds, for a "
    "token of low and of high old probability (hatched: no ratio can get there).",
    **{name: figure.caption.text for name, figure in REGISTRY.figures.items()},
}
# By rule.
PAGES = {
    "report": "What this run shows, in words that follow the numbers, with figures and sample "
    "responses.",
    "index_page": "Links to the page of every arm and every mechanism, to the summary, the paper "
    "and the lineage page.",
    "arm_page": "One arm: its training, accuracy before and after by exposure, likelihoods, what "
    "the analyses found on it, sample responses and the records of its results.",
    "mechanism_page": "One analysis of the models: what it measures, its figure beside the "
    "numbers, what was read from them, what misleads, and where it comes from.",
    "paper": "The paper; its numbers, sentences and tables are read from this run's tables.",
    "lineage": "For each figure, the report and the paper: the chain of records down to the data "
    "and the code of each reward, with parameters, seeds and hashes.",
}
CAPTIONS = {"tables": TABLES, "analysis": ANALYSIS, "figures": FIGURES, "pages": PAGES}
