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
name = "ablation"
title = "Ablation of blocks"
about = "What recall loses without a block."
figure = "results/tiny/figures/ablation.svg"
table = "results/tiny/figures/ablation.csv"
guide = "src/paradox/mechanisms/ablation/README.md"
readings = []
arms = []

# %%
from pathlib import Path

from IPython.display import HTML, display

from paradox.pages import arm_index, arm_names, page
from paradox.figures import names
from paradox.pages.guide import parts
from paradox.pages.verdict_table import in_words, untestable
from paradox.files import read_json, read_table

UP = "../"
display(HTML(f"<h1>{title}: scale {scale}</h1>"))
links = {f"{UP}index.html": "all arms and mechanisms", f"{UP}report.html": "summary"}
display(HTML(page.links(links)))

# %%
texts = parts(Path(guide))


def show(part):
    head, text = texts[part]
    display(HTML(f"<h2>{head}</h2>{text}"))


show("What it measures")

# %% [markdown]
# ## What was found

# %%
display(HTML(page.image(figure, about, page.origin(figure, UP))))
rows = read_table(Path(table))
if "base" in rows:
    places = {base: place for place, base in enumerate(names.bases_in_order(rows["base"]))}
    rows = rows.sort_values("base", key=lambda bases: bases.map(places), kind="stable")
if name == "verdicts":
    display(HTML(page.table(in_words(rows), code=["signature"], caption=about)))
    said = "Published claims that cannot be tested here."
    display(HTML(page.table(untestable(rows), code=["signature"], caption=said)))
display(HTML(page.excerpt(rows, table, "What the figure shows.", most=100)))

# %%
paragraphs = {}
for reading in readings:
    paragraphs |= read_json(Path(reading))["paragraphs"]
if name in paragraphs:
    display(HTML("<h2>In words</h2>"))
    display(HTML(page.paragraphs(page.sentences(paragraphs[name]))))

# %%
for part in ("How to read", "What misleads", "Known failure"):
    show(part)
for part in ("Formula", "Cost"):
    display(HTML(page.folded(*texts[part])))

# %%
if arms:
    display(HTML("<h2>Arms that were analysed</h2>"))
    items = "".join(
        f"<li>{page.link(UP + arm_index.address(arm), arm_names.title(arm))}</li>" for arm in arms
    )
    display(HTML(f"<ul>{items}</ul>"))
