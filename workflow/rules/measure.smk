"""What every arm's checkpoints are measured by: behaviour on the items, and mechanisms."""


rule evaluate:
    input:
        manifest="results/{scale}/checkpoints/{base}/{method}/{reward}/s{seed}/manifest.json",
        item_table="results/{scale}/data/items.csv",
        records=[
            "results/{scale}/runs/{base}/{method}/{reward}/s{seed}/train.record.json",
            "results/{scale}/data/data.record.json",
        ],
        code=STUDY.code("evaluate"),
        lock=LOCK,
    output:
        item_table="results/{scale}/runs/{base}/{method}/{reward}/s{seed}/items.csv",
        samples="results/{scale}/runs/{base}/{method}/{reward}/s{seed}/samples.parquet",
        record="results/{scale}/runs/{base}/{method}/{reward}/s{seed}/evaluate.record.json",
    log:
        "logs/{scale}/evaluate/{base}/{method}/{reward}/s{seed}.log",
    conda:
        "../../envs/conda.yaml"
    threads: STUDY.need("evaluate", "threads")
    resources:
        **STUDY.resources("evaluate"),
    params:
        spec=lambda w: STUDY.spec("evaluate", w),
    shell:
        STUDY.command(
            "evaluate",
            "evaluate --spec {params.spec:q}"
            " --label 'evaluate {wildcards.base}/{wildcards.method}/{wildcards.reward}/s{wildcards.seed}'"
            " --in manifest={input.manifest} items={input.item_table}"
            " --out items={output.item_table} samples={output.samples}",
        )


# Behind what an arm wrote and the two models that it is scored under: for an untrained base, one.
SCORED = [
    "results/{scale}/runs/{base}/{method}/{reward}/s{seed}/train.record.json",
    "results/{scale}/runs/{base}/base/none/s0/train.record.json",
    "results/{scale}/runs/{base}/{method}/{reward}/s{seed}/evaluate.record.json",
    "results/{scale}/data/data.record.json",
]


rule perplexity:
    input:
        manifest="results/{scale}/checkpoints/{base}/{method}/{reward}/s{seed}/manifest.json",
        base="results/{scale}/checkpoints/{base}/base/none/s0/manifest.json",
        item_table="results/{scale}/data/items.csv",
        samples="results/{scale}/runs/{base}/{method}/{reward}/s{seed}/samples.parquet",
        records=lambda w: list(dict.fromkeys(expand(SCORED, **dict(w.items())))),
        code=STUDY.code("perplexity"),
        lock=LOCK,
    output:
        table="results/{scale}/runs/{base}/{method}/{reward}/s{seed}/nll.csv",
        record="results/{scale}/runs/{base}/{method}/{reward}/s{seed}/perplexity.record.json",
    log:
        "logs/{scale}/perplexity/{base}/{method}/{reward}/s{seed}.log",
    conda:
        "../../envs/conda.yaml"
    threads: STUDY.need("evaluate", "threads")
    resources:
        **STUDY.resources("evaluate"),
    params:
        spec=lambda w: STUDY.spec("perplexity", w),
    shell:
        STUDY.command(
            "evaluate",
            "perplexity --spec {params.spec:q}"
            " --label 'perplexity {wildcards.base}/{wildcards.method}/{wildcards.reward}/s{wildcards.seed}'"
            " --in manifest={input.manifest} base={input.base} items={input.item_table}"
            " samples={input.samples} --out table={output.table}",
        )
