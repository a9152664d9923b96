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
        mem_mb=STUDY.need("data", "mem_mb"),
        runtime=STUDY.need("data", "runtime"),
        gpu=STUDY.need("data", "gpu"),
    params:
        spec=STUDY.spec("data"),
        disk=STUDY.need("data", "disk_mb"),
    shell:
        "python -m paradox run data --label data --spec {params.spec:q}"
        " --out items={output.item_table} prompts={output.prompts}"
        " --code {input.code} --lock {input.lock} --record {output.record}"
        " --threads {threads} --disk-mb {params.disk} --log {log}"


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
        mem_mb=STUDY.need("data", "mem_mb"),
        runtime=STUDY.need("data", "runtime"),
        gpu=STUDY.need("data", "gpu"),
    params:
        spec=lambda w: STUDY.spec("corpus", w),
        disk=STUDY.need("data", "disk_mb"),
    shell:
        "python -m paradox run corpus --label 'corpus {wildcards.base}' --spec {params.spec:q}"
        " --in items={input.item_table} prompts={input.prompts} --out corpus={output.corpus}"
        " --producers {input.records}"
        " --code {input.code} --lock {input.lock} --record {output.record}"
        " --threads {threads} --disk-mb {params.disk} --log {log}"


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
        mem_mb=STUDY.need("evaluate", "mem_mb"),
        runtime=STUDY.need("evaluate", "runtime"),
        gpu=STUDY.need("evaluate", "gpu"),
    params:
        spec=lambda w: STUDY.spec("votes", w),
        disk=STUDY.need("evaluate", "disk_mb"),
    shell:
        "python -m paradox run votes --label 'votes {wildcards.base}' --spec {params.spec:q}"
        " --in base={input.base} prompts={input.prompts} --out votes={output.votes}"
        " --producers {input.records}"
        " --code {input.code} --lock {input.lock} --record {output.record}"
        " --threads {threads} --disk-mb {params.disk} --log {log}"
