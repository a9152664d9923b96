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
        table=shown(f"{SUMMARY}/tables/clipping.csv", "table", table="clipping"),
        reading=f"{SUMMARY}/tables/clipping.json",
        record=f"{SUMMARY}/tables/clipping.record.json",
    log:
        f"{LOGS}/clipping.log",
    conda:
        "../../envs/conda.yaml"
    threads: STUDY.need("summary", "threads")
    resources:
        **STUDY.resources("summary"),
    params:
        spec=clipping_spec(STUDY),
        read=several("evaluations", "curves"),
    shell:
        STUDY.command(
            "summary",
            "clipping --spec {params.spec:q}"
            " --in {params.read} samples={input.samples}"
            " items={input.item_table}"
            " --out table={output.table} reading={output.reading}",
        )


rule clipping_figure:
    input:
        table=f"{SUMMARY}/tables/clipping.csv",
        records=[f"{SUMMARY}/tables/clipping.record.json"],
        code=STUDY.code("clipping_figure"),
        lock=LOCK,
    output:
        svg=shown(f"{SUMMARY}/figures/clipping.svg", "figure", figure="clipping"),
        png=f"{SUMMARY}/figures/clipping.png",
        csv=f"{SUMMARY}/figures/clipping.csv",
        record=f"{SUMMARY}/figures/clipping.record.json",
    log:
        f"{LOGS}/figures/clipping.log",
    conda:
        "../../envs/conda.yaml"
    threads: STUDY.need("summary", "threads")
    resources:
        **STUDY.resources("summary"),
    shell:
        STUDY.command(
            "summary",
            "clipping_figure --label 'figure clipping' --spec '{{}}'"
            " --in table={input.table}"
            " --out svg={output.svg} png={output.png} csv={output.csv}",
        )
