"""Where memory is: analyses of single arms (seconds each), their tables over all arms, figures."""

from paradox.study.mechanisms import ANALYSES, SUMMARIES

ARM = "results/{scale}/runs/{base}/{method}/{reward}/s{seed}"


def pairs(named):
    """Return role=path for each path; roles that end in + take several."""
    return [f"{role}={path}" for role, paths in named.items() for path in paths]


for _analysis, _how in ANALYSES.items():

    rule:
        name:
            _analysis
        input:
            read=lambda w, name=_analysis: list(MECHANISMS.inputs(name, w).values()),
            records=lambda w, name=_analysis: MECHANISMS.producers(name, w),
            code=STUDY.code(_analysis),
            lock=[LOCK, *_how.locks],
        output:
            tables=[f"{ARM}/{_analysis}/{_how.file(name)}" for name in _how.outputs],
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
            read=lambda w, name=_analysis: [
                f"{role}={path}" for role, path in MECHANISMS.inputs(name, w).items()
            ],
            made=lambda w, output, names=_how.outputs: [
                f"{name}={path}" for name, path in zip(names, output.tables)
            ],
            disk=STUDY.need("evaluate", "disk_mb"),
        shell:
            "python -m paradox run {params.step} --spec {params.spec:q}"
            " --label '{params.step} {wildcards.base}/{wildcards.method}/{wildcards.reward}/s{wildcards.seed}'"
            " --in {params.read} --out {params.made} --producers {input.records}"
            " --code {input.code} --lock {input.lock} --record {output.record}"
            " --threads {threads} --disk-mb {params.disk} --log {log}"


for _summary in MECHANISMS.summaries:

    rule:
        name:
            f"table_{_summary}"
        input:
            read=[path for paths in MECHANISMS.sources(_summary).values() for path in paths],
            item_table=f"{STUDY.folder}/data/items.csv",
            records=[
                f"{STUDY.folder}/data/data.record.json",
                *MECHANISMS.source_records(_summary),
            ],
            code=MECHANISMS.code(SUMMARIES[_summary]),
            lock=LOCK,
        output:
            tables=report(
                list(MECHANISMS.outputs(_summary).values()),
                caption="../report/table.rst",
                category="Tables",
                labels={"table": _summary, "scale": STUDY.scale},
            ),
            record=MECHANISMS.record(_summary),
        log:
            f"{LOGS}/{_summary}.log",
        conda:
            "../../envs/conda.yaml"
        threads: STUDY.need("summary", "threads")
        resources:
            mem_mb=STUDY.need("summary", "mem_mb"),
            runtime=STUDY.need("summary", "runtime"),
            gpu=STUDY.need("summary", "gpu"),
        params:
            step=SUMMARIES[_summary].step,
            name=_summary,
            # A function: braces in a declaration are no wildcards.
            spec=lambda w, name=_summary: MECHANISMS.summary_spec(name),
            read=pairs(MECHANISMS.sources(_summary)),
            made=[f"{role}={path}" for role, path in MECHANISMS.outputs(_summary).items()],
            disk=STUDY.need("summary", "disk_mb"),
        shell:
            "python -m paradox run {params.step} --label 'table {params.name}'"
            " --spec {params.spec:q} --in {params.read} items={input.item_table}"
            " --out {params.made} --producers {input.records}"
            " --code {input.code} --lock {input.lock} --record {output.record}"
            " --threads {threads} --disk-mb {params.disk} --log {log}"


for _figure in MECHANISMS.figures:

    rule:
        name:
            f"figure_{_figure}"
        input:
            read=list(MECHANISMS.figure_sources(_figure)[0].values()),
            records=MECHANISMS.figure_sources(_figure)[1],
            code=MECHANISMS.code(MECHANISM_FIGURES[_figure]),
            lock=LOCK,
        output:
            svg=report(
                f"{SUMMARY}/figures/{_figure}.svg",
                caption="../report/figure.rst",
                category="Figures",
                labels={"figure": _figure, "scale": STUDY.scale},
            ),
            png=f"{SUMMARY}/figures/{_figure}.png",
            csv=f"{SUMMARY}/figures/{_figure}.csv",
            record=f"{SUMMARY}/figures/{_figure}.record.json",
        log:
            f"{LOGS}/figures/{_figure}.log",
        conda:
            "../../envs/conda.yaml"
        threads: STUDY.need("summary", "threads")
        resources:
            mem_mb=STUDY.need("summary", "mem_mb"),
            runtime=STUDY.need("summary", "runtime"),
            gpu=STUDY.need("summary", "gpu"),
        params:
            step=MECHANISM_FIGURES[_figure].step,
            name=_figure,
            read=[f"{role}={path}" for role, path in MECHANISMS.figure_sources(_figure)[0].items()],
            spec=lambda w, name=_figure: MECHANISMS.figure_spec(name),
            disk=STUDY.need("summary", "disk_mb"),
        shell:
            "python -m paradox run {params.step} --label 'figure {params.name}'"
            " --spec {params.spec:q} --in {params.read}"
            " --out svg={output.svg} png={output.png} csv={output.csv}"
            " --producers {input.records}"
            " --code {input.code} --lock {input.lock} --record {output.record}"
            " --threads {threads} --disk-mb {params.disk} --log {log}"
