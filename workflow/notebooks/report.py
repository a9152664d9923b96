# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% tags=["parameters"]
# To read along, open this notebook from the repository's root after a run at this scale.
scale = "tiny"
summary = "results/tiny/tables/summary.json"
did = "results/tiny/tables/did.csv"
base = "results/tiny/tables/base.csv"
figures = [
    "results/tiny/figures/accuracy.svg",
    "results/tiny/figures/perplexity.svg",
    "results/tiny/figures/recall.svg",
]
samples = []
readings = []
verdicts = []
excluded = []

# %%
import json
from pathlib import Path

from IPython.display import HTML, display

from paradox.figures import page, style, words
from paradox.figures.verdicts import in_words
from paradox.files import read_table

numbers = words.Numbers.read(Path(summary))
drawn = {Path(path).stem: path for path in figures}


def say(texts):
    """Show texts as a list."""
    display(HTML(page.paragraphs(texts)))


def say_of_bases(sentences):
    """Show what a function of `words` says about each base."""
    say([words.about(name, sentences(numbers, name)) for name in numbers.bases])


def show(name, caption):
    """Show a figure, when this run has drawn it."""
    if name in drawn:
        display(HTML(page.image(drawn[name], caption, page.origin(drawn[name]))))


display(HTML(f"<h1>Spurious rewards and remembered answers: scale {scale}</h1>"))

# %% [markdown]
# A reward that does not know the right answer can still raise a benchmark score. This report asks
# whether such a gain is memory. *Exposed* items stood in a base's training text (or, where exposure
# is not known, may have); *twins* are of the same kind and did not. Training with a reward may lift
# both. The **difference in differences** (DiD), gain of exposed items minus gain of twins, is what
# memory adds.
#
# All brackets are 95 % intervals over items, crossed with training seeds where there are several.
# An effect is stated only when its interval leaves out zero.

# %%
facts = [
    f"{numbers.count('design/items_exposed')} exposed items and "
    f"{numbers.count('design/items_twin')} twins, "
    f"{numbers.count('design/seeds')} training seed(s), "
    f"{numbers.count('design/samples')} samples per item and model."
]
if numbers.has("design/exposed_from"):
    facts.append(
        "An exposed item counts in the DiD from "
        f"{numbers.count('design/exposed_from')} exposures on; figure accuracy shows the others."
    )
else:
    facts.append(
        "How often the exposed items were seen is not known; they are suspected, not planted."
    )
facts += [
    "Not run: "
    + ", ".join(f"{key} {value}" for key, value in entry.items() if key != "why")
    + f" ({entry['why']})."
    for entry in excluded
]
say(facts)

# %% [markdown]
# ## What the bases know before training

# %%
say_of_bases(words.base_sentences)
known = read_table(Path(base), ["base", "level", "recall_answer", "accuracy"])
known["base"] = known["base"].map(style.label)
shown = page.estimates(
    known,
    {
        "recall_answer": "answer at once right, %",
        "accuracy": "sampled accuracy, %",
        "greedy": "greedy accuracy, %",
        "recall_share": "answered at once, %",
    },
)
display(HTML(page.table(known[["base", "level", "items"]].join(shown))))

# %% [markdown]
# ## Which rewards wake memory

# %%
say_of_bases(words.did_sentences)
show(
    "accuracy",
    "Sampled accuracy before (dashes) and after training, by reward and number of exposures. Bars: "
    "95 % intervals over items and seeds.",
)
say_of_bases(words.gain_sentences)

# %%
found = read_table(Path(did), ["base", "method", "reward", "seed", "did"])
found = found.assign(base=found["base"].map(style.label), reward=found["reward"].map(style.label))
shown = page.estimates(
    found,
    {
        "did": "DiD, points",
        "exposed_gain": "gain of exposed, points",
        "twin_gain": "gain of twins, points",
        "minus_ground_truth": "DiD minus ground truth's",
        "minus_clean": "DiD minus clean base's",
    },
)
display(HTML(page.table(found[["base", "method", "reward", "seed", "step"]].join(shown))))

# %% [markdown]
# ## Against the true reward and against the clean base
#
# "Significant here, not there" is not a test; these differences are tested directly, on the same
# items and seeds.

# %%
say(
    [
        words.about(name, words.against_sentences(numbers, name))
        for name in numbers.bases
        if words.against_sentences(numbers, name)
    ]
    or ["This run has no arm to compare with."]
)

# %% [markdown]
# ## Likelihood of fixed texts
#
# The texts were fixed before training and made without a model: a text that a trained model wrote
# itself gets likelier under any training.

# %%
say_of_bases(words.perplexity_sentences)
show(
    "perplexity",
    "Change of the mean negative log-likelihood since step 0; below zero a text got likelier. "
    "Bars: 95 % intervals over items and seeds.",
)

# %% [markdown]
# ## Mode of answering

# %%
say_of_bases(words.recall_sentences)
show(
    "recall",
    "Share of samples that state the answer at once, along training. Thin lines are single seeds.",
)

# %%
CAPTIONS = {
    "memory": "Exposed minus twins in every analysis beside the causal truth (what recall loses "
    "without a block), in units of its own null: from -1 to 1 lies what permuted labels give.",
    "ablation": "What recall of exposed items loses more than that of twins when a block's MLP or "
    "attention is replaced by its mean.",
    "lens": "Log-probability and rank of the right answer, read off the residual by block.",
    "attribution": "What each attention and MLP adds to the right answer's logit, and to that of a "
    "wrong answer of the same form.",
    "jsd": "Divergence of the output, in bits, when a part of an MLP is replaced by its mean, "
    "beyond a random change of the same length.",
    "probes": "How well a linear probe tells exposed items from their twins.",
    "patching": "What a block's states carry from one model into the other, exposed minus twins.",
    "labels": "Items by label of each rule, exposed and twins; black marks: what the rule would "
    "have called so had nothing changed.",
    "partial_prompts": "Completing questions of which the model sees the beginning.",
    "trajectories": "The force that sets exposed items and twins apart at each block, beside what "
    "a flow fitted to the states and the published construction say.",
    "reset_keep": "What resetting or keeping the change of some blocks does to recall.",
    "steering": "Recall when chosen MLP neurons are scaled; grey: random neurons like them.",
    "decontamination": "Recall that is left beside reasoning that is left, by way of taking memory "
    "out.",
    "eap": "Change of the scores of edges by training, in per cent of the untrained base's.",
    "boundary": "Share of items solved in k samples, base and trained.",
    "verdicts": "Every published signature on every arm.",
}
if any(name in drawn for name in CAPTIONS):
    display(HTML("<h2>Where memory is in the models</h2>"))
    said = {}
    for reading in readings:
        said |= json.loads(Path(reading).read_text())["paragraphs"]
    for name, caption in CAPTIONS.items():
        show(name, caption)
        if name in said:
            say([said[name]])
    for verdict in verdicts:
        display(HTML(page.table(in_words(read_table(Path(verdict))), code=["signature"])))

# %% [markdown]
# ## Sample responses
#
# Responses of the first arms, as the models gave them.

# %%
rows = page.sample_responses(samples)
if len(rows):
    display(HTML(page.table(rows, code=["response"])))
else:
    say(["This run kept no responses."])

# %% [markdown]
# ## Limits
#
# - The intervals cover the choice of items and of training seeds, not the choice of task, of model
#   size or of training settings.
# - With few seeds the spread between trainings is known only roughly; the tables keep every seed.
# - An interval that holds zero does not show that there is no effect; only the equivalence test
#   speaks about that, within the margin that was set beforehand.
# - Many differences are shown and none is corrected for their number.
