"""Tables over all arms, figures, the report and the paper (seconds to a minute)."""

FIGURES = ["accuracy", "perplexity", "recall"]


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
            f"{STUDY.folder}/tables/accuracy.csv",
            caption="../report/table_accuracy.rst",
            category="Tables",
            labels={"table": "accuracy", "scale": STUDY.scale},
        ),
        did=report(
            f"{STUDY.folder}/tables/did.csv",
            caption="../report/table_did.rst",
            category="Tables",
            labels={"table": "did", "scale": STUDY.scale},
        ),
        perplexity=report(
            f"{STUDY.folder}/tables/perplexity.csv",
            caption="../report/table_perplexity.rst",
            category="Tables",
            labels={"table": "perplexity", "scale": STUDY.scale},
        ),
        base=report(
            f"{STUDY.folder}/tables/base.csv",
            caption="../report/table_base.rst",
            category="Tables",
            labels={"table": "base", "scale": STUDY.scale},
        ),
        trajectory=report(
            f"{STUDY.folder}/tables/trajectory.csv",
            caption="../report/table_trajectory.rst",
            category="Tables",
            labels={"table": "trajectory", "scale": STUDY.scale},
        ),
        summary=f"{STUDY.folder}/tables/summary.json",
        record=f"{STUDY.folder}/tables/tables.record.json",
    log:
        f"logs/{STUDY.scale}/tables.log",
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
        accuracy=f"{STUDY.folder}/tables/accuracy.csv",
        perplexity=f"{STUDY.folder}/tables/perplexity.csv",
        base=f"{STUDY.folder}/tables/base.csv",
        trajectory=f"{STUDY.folder}/tables/trajectory.csv",
        records=[f"{STUDY.folder}/tables/tables.record.json"],
        code=STUDY.code("figure"),
        lock=LOCK,
    output:
        svg=report(
            "results/{scale}/figures/{figure}.svg",
            caption="../report/figure.rst",
            category="Figures",
            labels={"figure": "{figure}", "scale": "{scale}"},
        ),
        png="results/{scale}/figures/{figure}.png",
        csv="results/{scale}/figures/{figure}.csv",
        record="results/{scale}/figures/{figure}.record.json",
    log:
        "logs/{scale}/figures/{figure}.log",
    wildcard_constraints:
        figure="|".join(FIGURES),
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
        " base={input.base} trajectory={input.trajectory}"
        " --out svg={output.svg} png={output.png} csv={output.csv}"
        " --producers {input.records}"
        " --code {input.code} --lock {input.lock} --record {output.record}"
        " --threads {threads} --disk-mb {params.disk} --log {log}"


rule report:
    input:
        notebook="workflow/notebooks/report.py",
        summary=f"{STUDY.folder}/tables/summary.json",
        did=f"{STUDY.folder}/tables/did.csv",
        base=f"{STUDY.folder}/tables/base.csv",
        figures=expand(f"{STUDY.folder}/figures/{{figure}}.svg", figure=FIGURES),
        samples=STUDY.runs("samples.parquet"),
        records=[
            f"{STUDY.folder}/tables/tables.record.json",
            *expand(f"{STUDY.folder}/figures/{{figure}}.record.json", figure=FIGURES),
            *STUDY.runs("evaluate.record.json"),
        ],
        code=STUDY.code("report"),
        lock=LOCK,
    output:
        html=report(
            f"{STUDY.folder}/reports/report.html",
            caption="../report/report.rst",
            category="Pages",
            labels={"page": "report", "scale": STUDY.scale},
        ),
        record=f"{STUDY.folder}/reports/report.record.json",
    log:
        f"logs/{STUDY.scale}/report.log",
    conda:
        "../../envs/conda.yaml"
    threads: STUDY.need("summary", "threads")
    resources:
        mem_mb=STUDY.need("summary", "mem_mb"),
        runtime=STUDY.need("summary", "runtime"),
        gpu=STUDY.need("summary", "gpu"),
    params:
        spec=STUDY.spec("report"),
        figures=lambda w, input: [f"figures+={path}" for path in input.figures],
        samples=lambda w, input: [f"samples+={path}" for path in input.samples],
        disk=STUDY.need("summary", "disk_mb"),
    shell:
        "python -m paradox run report --spec {params.spec:q}"
        " --in notebook={input.notebook} summary={input.summary} did={input.did}"
        " base={input.base} {params.figures} {params.samples}"
        " --out html={output.html} --producers {input.records}"
        " --code {input.code} --lock {input.lock} --record {output.record}"
        " --threads {threads} --disk-mb {params.disk} --log {log}"


rule paper:
    input:
        template="paper/paper.md.j2",
        summary=f"{STUDY.folder}/tables/summary.json",
        figures=expand(f"{STUDY.folder}/figures/{{figure}}.svg", figure=FIGURES),
        records=[
            f"{STUDY.folder}/tables/tables.record.json",
            *expand(f"{STUDY.folder}/figures/{{figure}}.record.json", figure=FIGURES),
        ],
        code=STUDY.code("paper"),
        lock=LOCK,
    output:
        html=report(
            f"{STUDY.folder}/paper/paper.html",
            caption="../report/paper.rst",
            category="Pages",
            labels={"page": "paper", "scale": STUDY.scale},
        ),
        record=f"{STUDY.folder}/paper/paper.record.json",
    log:
        f"logs/{STUDY.scale}/paper.log",
    conda:
        "../../envs/conda.yaml"
    threads: STUDY.need("summary", "threads")
    resources:
        mem_mb=STUDY.need("summary", "mem_mb"),
        runtime=STUDY.need("summary", "runtime"),
        gpu=STUDY.need("summary", "gpu"),
    params:
        spec=STUDY.spec("paper"),
        figures=lambda w, input: [f"figures+={path}" for path in input.figures],
        disk=STUDY.need("summary", "disk_mb"),
    shell:
        "python -m paradox run paper --spec {params.spec:q}"
        " --in template={input.template} summary={input.summary} {params.figures}"
        " --out html={output.html} --producers {input.records}"
        " --code {input.code} --lock {input.lock} --record {output.record}"
        " --threads {threads} --disk-mb {params.disk} --log {log}"


rule lineage:
    input:
        template="workflow/report/lineage.html",
        figures=expand(f"{STUDY.folder}/figures/{{figure}}.svg", figure=FIGURES),
        records=[
            *STUDY.records(),
            f"{STUDY.folder}/tables/tables.record.json",
            *expand(f"{STUDY.folder}/figures/{{figure}}.record.json", figure=FIGURES),
            f"{STUDY.folder}/reports/report.record.json",
            f"{STUDY.folder}/paper/paper.record.json",
        ],
        code=STUDY.code("lineage"),
        lock=LOCK,
    output:
        html=report(
            f"{STUDY.folder}/reports/lineage.html",
            caption="../report/lineage.rst",
            category="Pages",
            labels={"page": "lineage", "scale": STUDY.scale},
        ),
        record=f"{STUDY.folder}/reports/lineage.record.json",
    log:
        f"logs/{STUDY.scale}/lineage.log",
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
