"""Tables over all arms, figures, the paper and the lineage page (seconds to a minute)."""

from paradox.study.clipping import clipping_runs
from paradox.study.mechanisms import FIGURES as MECHANISM_FIGURES
from paradox.study.mechanisms import Mechanisms
from paradox.study.pages import Pages
from paradox.study.paper import quoted, recorded, sources

# Tables and figures belong to a grid; those of the grid `default` have no folder of their own.
SUMMARY = f"results/{STUDY.scale}/{STUDY.part}".rstrip("/")
LOGS = f"logs/{STUDY.scale}/{STUDY.part}".rstrip("/")
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
        accuracy=report(
            f"{SUMMARY}/tables/accuracy.csv",
            caption="../report/table.rst",
            category="Tables",
            labels={"table": "accuracy", "scale": STUDY.scale},
        ),
        did=report(
            f"{SUMMARY}/tables/did.csv",
            caption="../report/table.rst",
            category="Tables",
            labels={"table": "did", "scale": STUDY.scale},
        ),
        perplexity=report(
            f"{SUMMARY}/tables/perplexity.csv",
            caption="../report/table.rst",
            category="Tables",
            labels={"table": "perplexity", "scale": STUDY.scale},
        ),
        base=report(
            f"{SUMMARY}/tables/base.csv",
            caption="../report/table.rst",
            category="Tables",
            labels={"table": "base", "scale": STUDY.scale},
        ),
        trajectory=report(
            f"{SUMMARY}/tables/trajectory.csv",
            caption="../report/table.rst",
            category="Tables",
            labels={"table": "trajectory", "scale": STUDY.scale},
        ),
        summary=f"{SUMMARY}/tables/summary.json",
        record=f"{SUMMARY}/tables/tables.record.json",
    log:
        f"{LOGS}/tables.log",
    conda:
        "../../envs/conda.yaml"
    threads: STUDY.need("summary", "threads")
    resources:
        mem_mb=STUDY.need("summary", "mem_mb"),
        runtime=STUDY.need("summary", "runtime"),
        gpu=STUDY.need("summary", "gpu"),
    params:
        spec=STUDY.spec("tables"),
        evaluations=lambda w, input: [f"evaluations+={path}" for path in input.evaluations],
        nlls=lambda w, input: [f"nlls+={path}" for path in input.nlls],
        disk=STUDY.need("summary", "disk_mb"),
    shell:
        "python -m paradox run tables --spec {params.spec:q}"
        " --in {params.evaluations} {params.nlls} items={input.item_table}"
        " --out accuracy={output.accuracy} did={output.did} perplexity={output.perplexity}"
        " base={output.base} trajectory={output.trajectory} summary={output.summary}"
        " --producers {input.records}"
        " --code {input.code} --lock {input.lock} --record {output.record}"
        " --threads {threads} --disk-mb {params.disk} --log {log}"


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
        svg=report(
            f"{SUMMARY}/figures/{{figure}}.svg",
            caption="../report/figure.rst",
            category="Figures",
            labels={"figure": "{figure}", "scale": STUDY.scale},
        ),
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
        mem_mb=STUDY.need("summary", "mem_mb"),
        runtime=STUDY.need("summary", "runtime"),
        gpu=STUDY.need("summary", "gpu"),
    params:
        spec=lambda w: STUDY.spec("figure", w),
        disk=STUDY.need("summary", "disk_mb"),
    shell:
        "python -m paradox run figure --label 'figure {wildcards.figure}' --spec {params.spec:q}"
        " --in accuracy={input.accuracy} perplexity={input.perplexity}"
        " base={input.base} trajectory={input.trajectory} did={input.did}"
        " --out svg={output.svg} png={output.png} csv={output.csv}"
        " --producers {input.records}"
        " --code {input.code} --lock {input.lock} --record {output.record}"
        " --threads {threads} --disk-mb {params.disk} --log {log}"


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
        pdf=report(
            f"{SUMMARY}/paper/paper.pdf",
            caption="../report/page.rst",
            category="Pages",
            labels={"page": "paper", "scale": STUDY.scale},
        ),
        quoted=f"{SUMMARY}/tables/paper.json",
        record=f"{SUMMARY}/paper/paper.record.json",
    log:
        f"{LOGS}/paper.log",
    conda:
        "../../envs/conda.yaml"
    threads: STUDY.need("summary", "threads")
    resources:
        mem_mb=STUDY.need("summary", "mem_mb"),
        runtime=STUDY.need("summary", "runtime"),
        gpu=STUDY.need("summary", "gpu"),
    params:
        spec=STUDY.spec("paper"),
        read=lambda w, input: [
            f"{role}+={path}"
            for role in ("sources", "figures", "tables", "recorded")
            for path in getattr(input, role)
        ],
        disk=STUDY.need("summary", "disk_mb"),
    shell:
        "python -m paradox run paper --spec {params.spec:q}"
        " --in summary={input.summary} {params.read}"
        " --out pdf={output.pdf} quoted={output.quoted} --producers {input.records}"
        " --code {input.code} --lock {input.lock} --record {output.record}"
        " --threads {threads} --disk-mb {params.disk} --log {log}"


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
        html=report(
            f"{SUMMARY}/reports/lineage.html",
            caption="../report/page.rst",
            category="Pages",
            labels={"page": "lineage", "scale": STUDY.scale},
        ),
        record=f"{SUMMARY}/reports/lineage.record.json",
    log:
        f"{LOGS}/lineage.log",
    conda:
        "../../envs/conda.yaml"
    threads: STUDY.need("summary", "threads")
    resources:
        mem_mb=STUDY.need("summary", "mem_mb"),
        runtime=STUDY.need("summary", "runtime"),
        gpu=STUDY.need("summary", "gpu"),
    params:
        spec=STUDY.spec("lineage"),
        figures=lambda w, input: [f"figures+={path}" for path in input.figures],
        records=lambda w, input: [f"records+={path}" for path in input.records],
        disk=STUDY.need("summary", "disk_mb"),
    shell:
        "python -m paradox run lineage --spec {params.spec:q}"
        " --in template={input.template} {params.figures} {params.records}"
        " --out html={output.html} --producers {input.records}"
        " --code {input.code} --lock {input.lock} --record {output.record}"
        " --threads {threads} --disk-mb {params.disk} --log {log}"
