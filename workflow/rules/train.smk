"""Bases and arms. Weights lie beside their manifest; the manifest is what other rules read."""


rule base:
    input:
        corpus=lambda w: (
            [f"results/{w.scale}/data/corpus/{w.base}.parquet"] if STUDY.trains(w.base) else []
        ),
        records=lambda w: (
            [f"results/{w.scale}/data/corpus/{w.base}.record.json"] if STUDY.trains(w.base) else []
        ),
        code=STUDY.code("base"),
        lock=LOCK,
    output:
        manifest="results/{scale}/checkpoints/{base}/base/none/s0/manifest.json",
        curves="results/{scale}/runs/{base}/base/none/s0/train.csv",
        record="results/{scale}/runs/{base}/base/none/s0/train.record.json",
    log:
        "logs/{scale}/base/{base}.log",
    # Bases come first: every arm waits for one.
    priority: 10
    conda:
        "../../envs/conda.yaml"
    threads: STUDY.need("base", "threads")
    resources:
        **STUDY.resources("base"),
    params:
        spec=lambda w: STUDY.spec("base", w),
        corpus=lambda w, input: f"--in corpus={input.corpus}" if input.corpus else "",
    shell:
        STUDY.command(
            "base",
            "base --label 'base {wildcards.base}' --spec {params.spec:q}"
            " {params.corpus} --out manifest={output.manifest} curves={output.curves}",
        )


rule samples:
    input:
        base="results/{scale}/checkpoints/{base}/base/none/s0/manifest.json",
        prompts="results/{scale}/data/prompts.csv",
        records=[
            "results/{scale}/runs/{base}/base/none/s0/train.record.json",
            "results/{scale}/data/data.record.json",
        ],
        code=STUDY.code("samples"),
        lock=LOCK,
    output:
        samples="results/{scale}/data/samples/{base}/s{seed}.parquet",
        record="results/{scale}/data/samples/{base}/s{seed}.record.json",
    log:
        "logs/{scale}/samples/{base}/s{seed}.log",
    conda:
        "../../envs/conda.yaml"
    threads: STUDY.need("evaluate", "threads")
    resources:
        **STUDY.resources("evaluate"),
    params:
        spec=lambda w: STUDY.spec("samples", w),
    shell:
        STUDY.command(
            "evaluate",
            "samples --label 'samples {wildcards.base}/s{wildcards.seed}'"
            " --spec {params.spec:q} --in base={input.base} prompts={input.prompts}"
            " --out samples={output.samples}",
        )


# Samples of a base, for the trainers that learn from them.
SAMPLES = "results/{scale}/data/samples/{base}/s{seed}"

for _trainer in TRAINERS:

    rule:
        name:
            f"train_{_trainer}"
        input:
            base="results/{scale}/checkpoints/{base}/base/none/s0/manifest.json",
            prompts="results/{scale}/data/prompts.csv",
            records=[
                "results/{scale}/runs/{base}/base/none/s0/train.record.json",
                "results/{scale}/data/data.record.json",
                *([f"{SAMPLES}.record.json"] if STUDY.from_samples(_trainer) else []),
            ],
            samples=[f"{SAMPLES}.parquet"] if STUDY.from_samples(_trainer) else [],
            # The only files that belong to one reward condition alone.
            reward=STUDY.reward_files,
            votes=STUDY.votes,
            votes_record=lambda w: STUDY.votes(w, "record.json"),
            code=STUDY.code(_trainer),
            lock=LOCK,
        output:
            manifest="results/{scale}/checkpoints/{base}/{method}/{reward}/s{seed}/manifest.json",
            curves="results/{scale}/runs/{base}/{method}/{reward}/s{seed}/train.csv",
            arguments="results/{scale}/runs/{base}/{method}/{reward}/s{seed}/arguments.json",
            record="results/{scale}/runs/{base}/{method}/{reward}/s{seed}/train.record.json",
        log:
            "logs/{scale}/train/{base}/{method}/{reward}/s{seed}.log",
        wildcard_constraints:
            method="|".join(STUDY.methods_of(_trainer)) or "(?!)",
        conda:
            "../../envs/conda.yaml"
        threads: STUDY.need("train", "threads")
        resources:
            **STUDY.resources("train"),
        params:
            trainer=_trainer,
            spec=lambda w, trainer=_trainer: STUDY.spec(trainer, w),
            reward=lambda w, input: [f"reward+={path}" for path in input.reward],
            votes=lambda w, input: f"votes={input.votes}" if input.votes else "",
            samples=lambda w, input: f"samples={input.samples}" if input.samples else "",
        shell:
            STUDY.command(
                "train",
                "{params.trainer} --spec {params.spec:q}"
                " --label 'train {wildcards.base}/{wildcards.method}/{wildcards.reward}/s{wildcards.seed}'"
                " --in base={input.base} prompts={input.prompts}"
                " {params.reward} {params.votes} {params.samples}"
                " --out manifest={output.manifest} curves={output.curves} arguments={output.arguments}",
                producers="{input.records} {input.votes_record}",
            )
