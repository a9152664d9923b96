"""Tables over all arms, figures, the paper and the lineage page (seconds to a minute)."""

from paradox.study.clipping import clipping_runs
from paradox.study.mechanisms import FIGURES as MECHANISM_FIGURES
from paradox.study.mechanisms import Mechanisms
from paradox.study.pages import Pages
from paradox.study.paper import quoted, recorded, sources

# Tables and figures belong to a grid; those of the grid `default` have no folder of their own.
SUMMARY, LOGS = STUDY.summed, STUDY.logs
FIGURES = STUDY.figures
if not clipping_runs(STUDY, "items.csv"):
    # The command line can leave a grid without the arms of this study.
    FIGURES = [name for name in FIGURES if name != "clipping"]
MECHANISMS = Mechanisms(STUDY)
# The study of clipping and the mechanisms have rules of their own.
DRAWN = [name for name in FIGURES if name not in ("clipping", *MECHANISM_FIGURES)]
FIGURES = [name for name in FIGURES if name not in MECHANISM_FIGURES or name in MECHANISMS.figures]
PAGES = Pages(STUDY, MECHANISMS)
QUOTED, QUOTED_RECORDS = quoted(MECHANISMS)
RECORDED = recorded(STUDY.scale)


rule tables:
    input:
        evaluations=STUDY.runs("items.csv"),
        nlls=STUDY.runs("nll.csv"),
        item_table=f"{STUDY.folder}/data/items.csv",
        records=[
            f"{STUDY.folder}/data/data.record.json",
            *STUDY.runs("evaluate.record.json"),
            *STUDY.runs("perplexity.record.json"),
        ],
        code=STUDY.code("tables"),
        lock=LOCK,
    output:
        accuracy=shown(f"{SUMMARY}/tables/accuracy.csv", "table", table="accuracy"),
        did=shown(f"{SUMMARY}/tables/did.csv", "table", table="did"),
        perplexity=shown(f"{SUMMARY}/tables/perplexity.csv", "table", table="perplexity"),
        base=shown(f"{SUMMARY}/tables/base.csv", "table", table="base"),
        trajectory=shown(f"{SUMMARY}/tables/trajectory.csv", "table", table="trajectory"),
        summary=f"{SUMMARY}/tables/summary.json",
        record=f"{SUMMARY}/tables/tables.record.json",
    log:
        f"{LOGS}/tables.log",
    conda:
        "../../envs/conda.yaml"
    threads: STUDY.need("summary", "threads")
    resources:
        **STUDY.resources("summary"),
    params:
        spec=STUDY.spec("tables"),
        read=several("evaluations", "nlls"),
    shell:
        STUDY.command(
            "summary",
            "tables --spec {params.spec:q}"
            " --in {params.read} items={input.item_table}"
            " --out accuracy={output.accuracy} did={output.did} perplexity={output.perplexity}"
            " base={output.base} trajectory={output.trajectory} summary={output.summary}",
        )


rule figure:
    input:
        accuracy=f"{SUMMARY}/tables/accuracy.csv",
        perplexity=f"{SUMMARY}/tables/perplexity.csv",
        base=f"{SUMMARY}/tables/base.csv",
        trajectory=f"{SUMMARY}/tables/trajectory.csv",
        did=f"{SUMMARY}/tables/did.csv",
        records=[f"{SUMMARY}/tables/tables.record.json"],
        code=STUDY.code("figure"),
        lock=LOCK,
    output:
        svg=shown(f"{SUMMARY}/figures/{{figure}}.svg", "figure", figure="{figure}"),
        png=f"{SUMMARY}/figures/{{figure}}.png",
        csv=f"{SUMMARY}/figures/{{figure}}.csv",
        record=f"{SUMMARY}/figures/{{figure}}.record.json",
    log:
        f"{LOGS}/figures/{{figure}}.log",
    wildcard_constraints:
        figure="|".join(DRAWN) or "(?!)",
    conda:
        "../../envs/conda.yaml"
    threads: STUDY.need("summary", "threads")
    resources:
        **STUDY.resources("summary"),
    params:
        spec=lambda w: STUDY.spec("figure", w),
    shell:
        STUDY.command(
            "summary",
            "figure --label 'figure {wildcards.figure}' --spec {params.spec:q}"
            " --in accuracy={input.accuracy} perplexity={input.perplexity}"
            " base={input.base} trajectory={input.trajectory} did={input.did}"
            " --out svg={output.svg} png={output.png} csv={output.csv}",
        )


rule paper:
    input:
        sources=sources(),
        summary=f"{SUMMARY}/tables/summary.json",
        figures=expand(f"{SUMMARY}/figures/{{figure}}.svg", figure=FIGURES),
        tables=QUOTED,
        recorded=RECORDED,
        records=[
            f"{SUMMARY}/tables/tables.record.json",
            *QUOTED_RECORDS,
            *expand(f"{SUMMARY}/figures/{{figure}}.record.json", figure=FIGURES),
        ],
        code=STUDY.code("paper"),
        lock=[LOCK, "envs/paper.lock"],
    output:
        pdf=shown(f"{SUMMARY}/paper/paper.pdf", "page", page="paper"),
        quoted=f"{SUMMARY}/tables/paper.json",
        record=f"{SUMMARY}/paper/paper.record.json",
    log:
        f"{LOGS}/paper.log",
    conda:
        "../../envs/conda.yaml"
    threads: STUDY.need("summary", "threads")
    resources:
        **STUDY.resources("summary"),
    params:
        spec=STUDY.spec("paper"),
        read=several("sources", "figures", "tables", "recorded"),
    shell:
        STUDY.command(
            "summary",
            "paper --spec {params.spec:q}"
            " --in summary={input.summary} {params.read}"
            " --out pdf={output.pdf} quoted={output.quoted}",
        )


rule lineage:
    input:
        template="workflow/report/lineage.html",
        figures=expand(f"{SUMMARY}/figures/{{figure}}.svg", figure=FIGURES),
        records=[
            *STUDY.records(),
            *MECHANISMS.records(),
            f"{SUMMARY}/tables/tables.record.json",
            *expand(f"{SUMMARY}/figures/{{figure}}.record.json", figure=FIGURES),
            f"{SUMMARY}/reports/report.record.json",
            f"{SUMMARY}/paper/paper.record.json",
        ],
        code=STUDY.code("lineage"),
        lock=LOCK,
    output:
        html=shown(f"{SUMMARY}/reports/lineage.html", "page", page="lineage"),
        record=f"{SUMMARY}/reports/lineage.record.json",
    log:
        f"{LOGS}/lineage.log",
    conda:
        "../../envs/conda.yaml"
    threads: STUDY.need("summary", "threads")
    resources:
        **STUDY.resources("summary"),
    params:
        spec=STUDY.spec("lineage"),
        read=several("figures", "records"),
    shell:
        STUDY.command(
            "summary",
            "lineage --spec {params.spec:q}"
            " --in template={input.template} {params.read}"
            " --out html={output.html}",
        )
