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
arm = {"base": "contaminated", "method": "grpo", "reward": "format", "seed": 0}
summed = {"exposed_from": 128, "equivalence_margin": 0.1, "chance": None, "clean_base": None}
run = "results/tiny/runs/contaminated"
items = "results/tiny/data/items.csv"
evaluations = [f"{run}/base/none/s0/items.csv", f"{run}/grpo/format/s0/items.csv"]
nlls = [f"{run}/base/none/s0/nll.csv", f"{run}/grpo/format/s0/nll.csv"]
curves = f"{run}/grpo/format/s0/train.csv"
samples = f"{run}/grpo/format/s0/samples.parquet"
analyses = {}
shown = {}
tables = []
records = []

# %%
from pathlib import Path

from IPython.display import HTML, display

from paradox.pages import arm_analyses, arm_names, arm_records, arm_tables, page
from paradox.report import numbers as words

UP = "../../../../"
trained = arm["method"] != "base"
counted = summed["exposed_from"]


def say(sentences):
    """Show sentences as a list, the first letter of each as a capital."""
    display(HTML(page.paragraphs([text[0].upper() + text[1:] for text in sentences])))


def show(rows, said):
    """Show a table, when it has rows."""
    if len(rows):
        display(HTML(page.table(rows, caption=said)))


display(HTML(f"<h1>{arm_names.title(arm)}: scale {scale}</h1>"))
links = {f"{UP}index.html": "all arms and mechanisms", f"{UP}report.html": "summary"}
if trained:
    links[f"{UP}arms/{arm['base']}/base/none/s0.html"] = "its untrained base"
display(HTML(page.links(links)))

# %% [markdown]
# One arm: numbers of a single training, so its intervals cover the choice of items only. What
# holds over seeds is in the summary. *Exposed* items stood in the base's training text (or, where
# exposure is not known, may have); *twins* are of the same kind and did not.

# %% [markdown]
# ## Accuracy by exposure

# %%
if trained:
    sums = arm_tables.summed(summed, Path(items), evaluations, nlls)
    numbers, base = sums.numbers, arm["base"]
    say(words.did_sentences(numbers, base) + words.gain_sentences(numbers, base))
    rows = arm_tables.before_and_after(sums, counted)
    show(rows, "Per cent of samples (greedy: of items), with 95 % intervals over items.")
else:
    rows = arm_tables.untrained(summed, Path(items), Path(evaluations[0]), Path(nlls[0]))
    show(rows, "Per cent of samples (greedy, recalled: of items), with 95 % intervals.")

# %% [markdown]
# ## Training

# %%
drawn, logged = arm_tables.training(Path(curves))
if len(logged):
    display(HTML(page.chart(drawn, "What the training logged, step by step.")))
    display(HTML(page.excerpt(logged, curves, "What the training logged.", most=30)))
else:
    say(["this base was taken as it is, without training."])

# %%
if trained:
    said = "Share of samples right, and answered at once, along training; step 0: untrained base."
    display(HTML(page.chart(arm_tables.course(sums), said)))
    say(words.recall_sentences(numbers, base))

# %% [markdown]
# ## Likelihood of fixed texts

# %%
if trained:
    say(words.perplexity_sentences(numbers, base))
    said = "Mean negative log-likelihood; below zero a change made the text likelier."
    show(arm_tables.texts(sums), said)
else:
    rows = arm_tables.untrained_texts(Path(items), Path(nlls[0]), counted)
    show(rows, "Mean negative log-likelihood of fixed texts.")

# %%
if analyses:
    display(HTML("<h2>What the analyses found on this arm</h2>"))
    say(
        [
            "means of this arm alone, without a test; the pages of the mechanisms have the nulls, "
            "the intervals over seeds and the corrections for the number of blocks."
        ]
    )
    for said, rows in arm_analyses.shown(shown, [*map(Path, tables)], Path(items), counted):
        show(rows, said)
    entries = ""
    for analysis, titles in analyses.items():
        links = [page.link(f"{UP}mechanisms/{name}.html", titles[name]) for name in titles]
        entries += f"<li>{analysis}: {', '.join(links)}</li>" if links else ""
    display(HTML(f"<p>Pages of these analyses:</p><ul>{entries}</ul>"))

# %% [markdown]
# ## Sample responses

# %%
rows = arm_tables.responses(Path(samples), Path(items))
said = "Responses of the last checkpoint, as the model gave them."
display(HTML(page.table(rows, code=["question", "response"], caption=said)))

# %% [markdown]
# ## Where the numbers come from

# %%
rows = arm_records.derivations(records, UP)
said = "The records of this arm's results; `paradox trace` prints the whole chain of a file."
display(HTML(page.table(rows, code=["derivation", "file"], raw=["chain"], caption=said)))
