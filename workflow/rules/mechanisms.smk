"""Where memory is: analyses of single arms, their tables over all arms, and figures (seconds)."""

from paradox.study.mechanisms import ANALYSES, SUMMARIES

ARM = "results/{scale}/runs/{base}/{method}/{reward}/s{seed}"

for _analysis, _how in ANALYSES.items():

    rule:
        name:
            _analysis
        input:
            manifest="results/{scale}/checkpoints/{base}/{method}/{reward}/s{seed}/manifest.json",
            item_table="results/{scale}/data/items.csv",
            others=lambda w, name=_analysis: list(MECHANISMS.inputs(name, w).values()),
            records=lambda w, name=_analysis: MECHANISMS.producers(name, w),
            code=STUDY.code(_analysis),
            lock=LOCK,
        output:
            tables=[f"{ARM}/{_analysis}/{name}.csv" for name in _how.outputs],
            record=f"{ARM}/{_analysis}/{_analysis}.record.json",
        log:
            f"logs/{{scale}}/{_analysis}/{{base}}/{{method}}/{{reward}}/s{{seed}}.log",
        conda:
            "../../envs/conda.yaml"
        threads: STUDY.need("evaluate", "threads")
        resources:
            mem_mb=STUDY.need("evaluate", "mem_mb"),
            runtime=STUDY.need("evaluate", "runtime"),
            gpu=STUDY.need("evaluate", "gpu"),
        params:
            step=_analysis,
            spec=lambda w, name=_analysis: MECHANISMS.spec(name, w),
            others=lambda w, name=_analysis: [
                f"{role}={path}" for role, path in MECHANISMS.inputs(name, w).items()
            ],
            tables=lambda w, output, names=_how.outputs: [
                f"{name}={path}" for name, path in zip(names, output.tables)
            ],
            disk=STUDY.need("evaluate", "disk_mb"),
        shell:
            "python -m paradox run {params.step} --spec {params.spec:q}"
            " --label '{params.step} {wildcards.base}/{wildcards.method}/{wildcards.reward}/s{wildcards.seed}'"
            " --in manifest={input.manifest} items={input.item_table} {params.others}"
            " --out {params.tables} --producers {input.records}"
            " --code {input.code} --lock {input.lock} --record {output.record}"
            " --threads {threads} --disk-mb {params.disk} --log {log}"


for _table in MECHANISMS.tables:

    rule:
        name:
            f"table_{_table}"
        input:
            tables=MECHANISMS.files(_table),
            item_table=f"{STUDY.folder}/data/items.csv",
            records=[
                f"{STUDY.folder}/data/data.record.json",
                *MECHANISMS.records(_table),
            ],
            code=STUDY.code(SUMMARIES[_table].step),
            lock=LOCK,
        output:
            table=report(
                f"{SUMMARY}/tables/{_table}.csv",
                caption="../report/table_mechanism.rst",
                category="Tables",
                labels={"table": _table, "scale": STUDY.scale},
            ),
            record=f"{SUMMARY}/tables/{_table}.record.json",
        log:
            f"{LOGS}/{_table}.log",
        conda:
            "../../envs/conda.yaml"
        threads: STUDY.need("summary", "threads")
        resources:
            mem_mb=STUDY.need("summary", "mem_mb"),
            runtime=STUDY.need("summary", "runtime"),
            gpu=STUDY.need("summary", "gpu"),
        params:
            step=SUMMARIES[_table].step,
            name=_table,
            spec=MECHANISMS.summary_spec(_table),
            tables=lambda w, input: [f"tables+={path}" for path in input.tables],
            disk=STUDY.need("summary", "disk_mb"),
        shell:
            "python -m paradox run {params.step} --label 'table {params.name}'"
            " --spec {params.spec:q} --in {params.tables} items={input.item_table}"
            " --out table={output.table} --producers {input.records}"
            " --code {input.code} --lock {input.lock} --record {output.record}"
            " --threads {threads} --disk-mb {params.disk} --log {log}"
