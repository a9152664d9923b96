"""Items, training prompts, corpora (seconds at every scale) and the bases' votes on the prompts."""


rule data:
    input:
        code=STUDY.code("data"),
        lock=LOCK,
    output:
        item_table="results/{scale}/data/items.csv",
        prompts="results/{scale}/data/prompts.csv",
        record="results/{scale}/data/data.record.json",
    log:
        "logs/{scale}/data.log",
    # Every base waits for it, and every arm for a base.
    priority: 10
    conda:
        "../../envs/conda.yaml"
    threads: STUDY.need("data", "threads")
    resources:
        **STUDY.resources("data"),
    params:
        spec=STUDY.spec("data"),
    shell:
        STUDY.command(
            "data",
            "data --label data --spec {params.spec:q}"
            " --out items={output.item_table} prompts={output.prompts}",
            producers="",
        )


rule corpus:
    input:
        item_table="results/{scale}/data/items.csv",
        prompts="results/{scale}/data/prompts.csv",
        records=["results/{scale}/data/data.record.json"],
        code=STUDY.code("corpus"),
        lock=LOCK,
    output:
        corpus="results/{scale}/data/corpus/{base}.parquet",
        record="results/{scale}/data/corpus/{base}.record.json",
    log:
        "logs/{scale}/corpus/{base}.log",
    # Every base waits for it, and every arm for a base.
    priority: 10
    conda:
        "../../envs/conda.yaml"
    threads: STUDY.need("data", "threads")
    resources:
        **STUDY.resources("data"),
    params:
        spec=lambda w: STUDY.spec("corpus", w),
    shell:
        STUDY.command(
            "data",
            "corpus --label 'corpus {wildcards.base}' --spec {params.spec:q}"
            " --in items={input.item_table} prompts={input.prompts} --out corpus={output.corpus}",
        )


rule votes:
    input:
        base="results/{scale}/checkpoints/{base}/base/none/s0/manifest.json",
        prompts="results/{scale}/data/prompts.csv",
        records=[
            "results/{scale}/runs/{base}/base/none/s0/train.record.json",
            "results/{scale}/data/data.record.json",
        ],
        code=STUDY.code("votes"),
        lock=LOCK,
    output:
        votes="results/{scale}/data/votes/{base}.csv",
        record="results/{scale}/data/votes/{base}.record.json",
    log:
        "logs/{scale}/votes/{base}.log",
    conda:
        "../../envs/conda.yaml"
    threads: STUDY.need("evaluate", "threads")
    resources:
        **STUDY.resources("evaluate"),
    params:
        spec=lambda w: STUDY.spec("votes", w),
    shell:
        STUDY.command(
            "evaluate",
            "votes --label 'votes {wildcards.base}' --spec {params.spec:q}"
            " --in base={input.base} prompts={input.prompts} --out votes={output.votes}",
        )
