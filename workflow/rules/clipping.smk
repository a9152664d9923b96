"""The study of clipping: coin-reward arms of methods that differ in clipping only (seconds)."""

from paradox.study.clipping import clipping_base, clipping_spec


rule clipping:
    input:
        evaluations=clipping_base(STUDY, "items.csv") + clipping_runs(STUDY, "items.csv"),
        curves=clipping_runs(STUDY, "train.csv"),
        samples=clipping_base(STUDY, "samples.parquet"),
        item_table=f"{STUDY.folder}/data/items.csv",
        records=[
            f"{STUDY.folder}/data/data.record.json",
            *clipping_base(STUDY, "evaluate.record.json"),
            *clipping_runs(STUDY, "train.record.json"),
            *clipping_runs(STUDY, "evaluate.record.json"),
        ],
        code=STUDY.code("clipping"),
        lock=LOCK,
    output:
        table=report(
            f"{SUMMARY}/tables/clipping.csv",
            caption="../report/table.rst",
            category="Tables",
            labels={"table": "clipping", "scale": STUDY.scale},
        ),
        reading=f"{SUMMARY}/tables/clipping.json",
        record=f"{SUMMARY}/tables/clipping.record.json",
    log:
        f"{LOGS}/clipping.log",
    conda:
        "../../envs/conda.yaml"
    threads: STUDY.need("summary", "threads")
    resources:
        mem_mb=STUDY.need("summary", "mem_mb"),
        runtime=STUDY.need("summary", "runtime"),
        gpu=STUDY.need("summary", "gpu"),
    params:
        spec=clipping_spec(STUDY),
        evaluations=lambda w, input: [f"evaluations+={path}" for path in input.evaluations],
        curves=lambda w, input: [f"curves+={path}" for path in input.curves],
        disk=STUDY.need("summary", "disk_mb"),
    shell:
        "python -m paradox run clipping --spec {params.spec:q}"
        " --in {params.evaluations} {params.curves} samples={input.samples}"
        " items={input.item_table}"
        " --out table={output.table} reading={output.reading}"
        " --producers {input.records}"
        " --code {input.code} --lock {input.lock} --record {output.record}"
        " --threads {threads} --disk-mb {params.disk} --log {log}"


rule clipping_figure:
    input:
        table=f"{SUMMARY}/tables/clipping.csv",
        records=[f"{SUMMARY}/tables/clipping.record.json"],
        code=STUDY.code("clipping_figure"),
        lock=LOCK,
    output:
        svg=report(
            f"{SUMMARY}/figures/clipping.svg",
            caption="../report/figure.rst",
            category="Figures",
            labels={"figure": "clipping", "scale": STUDY.scale},
        ),
        png=f"{SUMMARY}/figures/clipping.png",
        csv=f"{SUMMARY}/figures/clipping.csv",
        record=f"{SUMMARY}/figures/clipping.record.json",
    log:
        f"{LOGS}/figures/clipping.log",
    conda:
        "../../envs/conda.yaml"
    threads: STUDY.need("summary", "threads")
    resources:
        mem_mb=STUDY.need("summary", "mem_mb"),
        runtime=STUDY.need("summary", "runtime"),
        gpu=STUDY.need("summary", "gpu"),
    params:
        disk=STUDY.need("summary", "disk_mb"),
    shell:
        "python -m paradox run clipping_figure --label 'figure clipping' --spec '{{}}'"
        " --in table={input.table}"
        " --out svg={output.svg} png={output.png} csv={output.csv}"
        " --producers {input.records}"
        " --code {input.code} --lock {input.lock} --record {output.record}"
        " --threads {threads} --disk-mb {params.disk} --log {log}"
