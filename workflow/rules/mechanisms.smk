"""Where memory is: analyses of single arms (seconds each), their tables over all arms, figures."""

from paradox.study.mechanisms import ANALYSES, SUMMARIES
from paradox.study.pages import pairs

ARM = "results/{scale}/runs/{base}/{method}/{reward}/s{seed}"


for _analysis, _declared in ANALYSES.items():

    rule:
        name:
            _analysis
        input:
            read=lambda w, name=_analysis: list(MECHANISMS.inputs(name, w).values()),
            records=lambda w, name=_analysis: MECHANISMS.producers(name, w),
            code=STUDY.code(_analysis),
            lock=[LOCK, *_declared.locks],
        output:
            tables=[f"{ARM}/{_analysis}/{_declared.file(name)}" for name in _declared.outputs],
            record=f"{ARM}/{_analysis}/{_analysis}.record.json",
        log:
            f"logs/{{scale}}/{_analysis}/{{base}}/{{method}}/{{reward}}/s{{seed}}.log",
        conda:
            "../../envs/conda.yaml"
        threads: STUDY.need("evaluate", "threads")
        resources:
            **STUDY.resources("evaluate"),
        params:
            step=_analysis,
            spec=lambda w, name=_analysis: MECHANISMS.spec(name, w),
            read=lambda w, name=_analysis: pairs(MECHANISMS.inputs(name, w)),
            made=lambda w, output, names=_declared.outputs: pairs(dict(zip(names, output.tables))),
        shell:
            STUDY.command(
                "evaluate",
                "{params.step} --spec {params.spec:q}"
                " --label '{params.step} {wildcards.base}/{wildcards.method}/{wildcards.reward}/s{wildcards.seed}'"
                " --in {params.read} --out {params.made}",
            )


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
            tables=shown(list(MECHANISMS.outputs(_summary).values()), "table", table=_summary),
            record=MECHANISMS.record(_summary),
        log:
            f"{LOGS}/{_summary}.log",
        conda:
            "../../envs/conda.yaml"
        threads: STUDY.need("summary", "threads")
        resources:
            **STUDY.resources("summary"),
        params:
            step=SUMMARIES[_summary].step,
            name=_summary,
            # A function: braces in a declaration are no wildcards.
            spec=lambda w, name=_summary: MECHANISMS.summary_spec(name),
            read=pairs(MECHANISMS.sources(_summary)),
            made=pairs(MECHANISMS.outputs(_summary)),
        shell:
            STUDY.command(
                "summary",
                "{params.step} --label 'table {params.name}'"
                " --spec {params.spec:q} --in {params.read} items={input.item_table}"
                " --out {params.made}",
            )


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
            svg=shown(f"{SUMMARY}/figures/{_figure}.svg", "figure", figure=_figure),
            png=f"{SUMMARY}/figures/{_figure}.png",
            csv=f"{SUMMARY}/figures/{_figure}.csv",
            record=f"{SUMMARY}/figures/{_figure}.record.json",
        log:
            f"{LOGS}/figures/{_figure}.log",
        conda:
            "../../envs/conda.yaml"
        threads: STUDY.need("summary", "threads")
        resources:
            **STUDY.resources("summary"),
        params:
            step=MECHANISM_FIGURES[_figure].step,
            name=_figure,
            read=pairs(MECHANISMS.figure_sources(_figure)[0]),
            spec=lambda w, name=_figure: MECHANISMS.figure_spec(name),
        shell:
            STUDY.command(
                "summary",
                "{params.step} --label 'figure {params.name}'"
                " --spec {params.spec:q} --in {params.read}"
                " --out svg={output.svg} png={output.png} csv={output.csv}",
            )
