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
grid = "default"
folder = "results/tiny/reports"
did = "results/tiny/tables/did.csv"
arms = [{"base": "contaminated", "method": "base", "reward": "none", "seed": 0}]
mechanisms = []
pages = []

# %%
from pathlib import Path

from IPython.display import HTML, display

from paradox.pages import arm_index, page
from paradox.figures import names
from paradox.files import read_table

display(HTML(f"<h1>All pages: scale {scale}, grid {grid}</h1>"))

# %% [markdown]
# ## The study

# %%
alone = {
    "report.html": "Summary: what this run shows, in words that follow the numbers",
    "../paper/paper.pdf": "Paper: question, design, methods, results, verdicts",
    "lineage.html": "Lineage: what each figure was made from",
}
items = "".join(f"<li>{page.link(*pair)}</li>" for pair in alone.items())
display(HTML(f"<ul>{items}</ul>"))

# %% [markdown]
# ## Arms
#
# An arm is one base trained with one method under one reward condition with one seed. A seed leads
# to its page. Beside it stands the difference in differences over all seeds: gain of exposed items
# minus gain of never-seen twins, in points, with its 95 % interval.

# %%
dids = read_table(Path(did), ["base", "method", "reward", "seed", "did"])
for base in names.bases_in_order(arm["base"] for arm in arms):
    rows = arm_index.of_base(arms, dids, base)
    display(HTML(page.table(rows, caption=names.label(base), raw=["page"])))

# %%
if mechanisms:
    display(HTML("<h2>Mechanisms</h2>"))
    items = ""
    for each in mechanisms:
        link = page.link(f"mechanisms/{each['name']}.html", each["title"])
        items += f"<li>{link}: {each['text']}</li>"
    display(HTML(f"<ul>{items}</ul>"))
