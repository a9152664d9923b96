# ---
# jupyter:
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
verdicts = []
mechanisms = []
excluded = []

# %%
from pathlib import Path

from IPython.display import HTML, display

from paradox.figures import names
from paradox.pages import page
from paradox.report import numbers as words
from paradox.pages.verdict_table import in_words, untestable
from paradox.files import read_table

numbers = words.Numbers.read(Path(summary))
drawn = {Path(path).stem: path for path in figures}


def say(texts):
    """Show texts as a list."""
    display(HTML(page.paragraphs(texts)))


def say_of_bases(sentences):
    """Show what a function of `words` says about each base."""
    say([words.about(name, sentences(numbers, name)) for name in numbers.bases])


def show(name, said):
    """Show a figure, when this run has drawn it."""
    if name in drawn:
        display(HTML(page.image(drawn[name], said, page.origin(drawn[name]))))


display(HTML(f"<h1>Spurious rewards and remembered answers: scale {scale}</h1>"))
links = {"index.html": "all arms and mechanisms", "../paper/paper.pdf": "paper"}
links |= {"lineage.html": "where each figure comes from"}
display(HTML(page.links(links)))

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
facts += [
    f"An exposed item counts in the DiD from {numbers.count('design/exposed_from')} exposures on; "
    "figure accuracy shows the others."
    if numbers.has("design/exposed_from")
    else "How often the exposed items were seen is not known; they are suspected, not planted."
]
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
known["base"] = known["base"].map(names.label)
shown = page.estimates(
    known,
    {
        "recall_answer": "answer at once right, %",
        "accuracy": "sampled accuracy, %",
        "greedy": "greedy accuracy, %",
        "recall_share": "answered at once, %",
    },
)
said = "Items that each base answers before training, by how often they were seen."
display(HTML(page.table(known[["base", "level", "items"]].join(shown), caption=said)))

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
dids = read_table(Path(did), ["base", "method", "reward", "seed", "did"])
dids = dids.assign(base=dids["base"].map(names.label), reward=dids["reward"].map(names.label))
shown = page.estimates(
    dids,
    {
        "did": "DiD, points",
        "exposed_gain": "gain of exposed, points",
        "twin_gain": "gain of twins, points",
        "minus_ground_truth": "DiD minus ground truth's",
        "minus_clean": "DiD minus clean base's",
    },
)
said = "Gains and their difference; seed “all” crosses items with seeds."
rows = dids[["base", "method", "reward", "seed", "step"]].join(shown)
display(HTML(page.table(rows, caption=said)))

# %% [markdown]
# ## Against the true reward and against the clean base
#
# "Significant here, not there" is not a test; these differences are tested directly, on the same
# items and seeds.

# %%
against = {name: words.against_sentences(numbers, name) for name in numbers.bases}
compared = [words.about(name, sentences) for name, sentences in against.items() if sentences]
say(compared or ["This run has no arm to compare with."])

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
if mechanisms:
    display(HTML("<h2>Where memory is in the models</h2>"))
    for each in mechanisms:
        # Of the mechanisms, only what is about all is among the figures of this page.
        show(each["name"], each["text"])
    for verdict in verdicts:
        table = read_table(Path(verdict))
        said = "Every published signature on every arm."
        display(HTML(page.table(in_words(table), code=["signature"], caption=said)))
        said = "Published claims that cannot be tested here."
        display(HTML(page.table(untestable(table), code=["signature"], caption=said)))
    links = [page.link(f"mechanisms/{each['name']}.html", each["title"]) for each in mechanisms]
    display(HTML("<p>A page for each analysis: " + ", ".join(links) + ".</p>"))

# %% [markdown]
# ## Limits
#
# - The intervals cover the choice of items and of training seeds, not the choice of task, of model
#   size or of training settings.
# - With few seeds the spread between trainings is known only roughly; the tables keep every seed.
# - An interval that holds zero does not show that there is no effect; only the equivalence test
#   speaks about that, within the margin that was set beforehand.
# - Many differences are shown and none is corrected for their number.
