"""Pages: a summary, one per mechanism, one per arm, and the index (seconds each)."""

from paradox.steps import NOTEBOOKS
from paradox.study.pages import pairs

ARM_PAGE = f"{PAGES.folder}/arms/{{base}}/{{method}}/{{reward}}/s{{seed}}"
ARM_LABELS = {name: f"{{{name}}}" for name in ("base", "method", "reward", "seed")}


rule report:
    input:
        notebook=NOTEBOOKS["report"],
        summary=f"{SUMMARY}/tables/summary.json",
        did=f"{SUMMARY}/tables/did.csv",
        base=f"{SUMMARY}/tables/base.csv",
        figures=expand(f"{SUMMARY}/figures/{{figure}}.svg", figure=PAGES.shown(FIGURES)),
        verdicts=MECHANISMS.verdicts,
        records=[
            f"{SUMMARY}/tables/tables.record.json",
            *map(MECHANISMS.record, ["verdicts"] * len(MECHANISMS.verdicts)),
            *expand(f"{SUMMARY}/figures/{{figure}}.record.json", figure=PAGES.shown(FIGURES)),
        ],
        code=STUDY.code("report"),
        lock=LOCK,
    output:
        html=shown(f"{PAGES.folder}/report.html", "page", page="report"),
        record=f"{PAGES.folder}/report.record.json",
    log:
        f"{LOGS}/report.log",
    conda:
        "../../envs/conda.yaml"
    threads: STUDY.need("summary", "threads")
    resources:
        **STUDY.resources("summary"),
    params:
        spec=PAGES.report_spec(),
        figures=several("figures"),
        verdicts=[f"verdicts+={path}" for path in MECHANISMS.verdicts],
    shell:
        STUDY.command(
            "summary",
            "report --spec {params.spec:q}"
            " --in notebook={input.notebook} summary={input.summary} did={input.did}"
            " base={input.base} {params.figures} {params.verdicts}"
            " --out html={output.html}",
        )


rule mechanism_page:
    input:
        notebook=NOTEBOOKS["mechanism_page"],
        read=lambda w: sum(PAGES.figure_inputs(w.figure).values(), []),
        records=lambda w: PAGES.figure_records(w.figure),
        code=STUDY.code("mechanism_page"),
        lock=LOCK,
    output:
        html=shown(
            f"{PAGES.folder}/mechanisms/{{figure}}.html",
            "page",
            "Mechanisms",
            mechanism="{figure}",
        ),
        record=f"{PAGES.folder}/mechanisms/{{figure}}.record.json",
    log:
        f"{LOGS}/mechanisms/{{figure}}.log",
    wildcard_constraints:
        figure="|".join(MECHANISMS.figures) or "(?!)",
    conda:
        "../../envs/conda.yaml"
    threads: STUDY.need("summary", "threads")
    resources:
        **STUDY.resources("summary"),
    params:
        spec=lambda w: PAGES.figure_spec(w.figure),
        read=lambda w: pairs(PAGES.figure_inputs(w.figure)),
    shell:
        STUDY.command(
            "summary",
            "mechanism_page --label 'page {wildcards.figure}'"
            " --spec {params.spec:q} --in notebook={input.notebook} {params.read}"
            " --out html={output.html}",
        )


rule arm_page:
    input:
        notebook=NOTEBOOKS["arm_page"],
        read=lambda w: sum(PAGES.arm_inputs(w).values(), []),
        records=lambda w: PAGES.arm_records(w),
        code=STUDY.code("arm_page", *PAGES.arm_modules()),
        lock=LOCK,
    output:
        html=shown(f"{ARM_PAGE}.html", "page", "Arms", **ARM_LABELS),
        record=f"{ARM_PAGE}.record.json",
    log:
        f"{LOGS}/arms/{{base}}/{{method}}/{{reward}}/s{{seed}}.log",
    conda:
        "../../envs/conda.yaml"
    threads: STUDY.need("summary", "threads")
    resources:
        **STUDY.resources("summary"),
    params:
        spec=lambda w: PAGES.arm_spec(w),
        read=lambda w: pairs(PAGES.arm_inputs(w)),
    shell:
        STUDY.command(
            "summary",
            "arm_page"
            " --label 'page {wildcards.base}/{wildcards.method}/{wildcards.reward}/s{wildcards.seed}'"
            " --spec {params.spec:q} --in notebook={input.notebook} {params.read}"
            " --out html={output.html}",
        )


rule index_page:
    input:
        notebook=NOTEBOOKS["index_page"],
        did=f"{SUMMARY}/tables/did.csv",
        pages=PAGES.all,
        records=[
            f"{SUMMARY}/tables/tables.record.json",
            *[path.rpartition(".")[0] + ".record.json" for path in PAGES.all],
        ],
        code=STUDY.code("index_page"),
        lock=LOCK,
    output:
        html=shown(f"{PAGES.folder}/index.html", "page", page="index"),
        record=f"{PAGES.folder}/index.record.json",
    log:
        f"{LOGS}/index.log",
    conda:
        "../../envs/conda.yaml"
    threads: STUDY.need("summary", "threads")
    resources:
        **STUDY.resources("summary"),
    params:
        spec=PAGES.index_spec(),
        pages=[f"pages+={path}" for path in PAGES.all],
    shell:
        STUDY.command(
            "summary",
            "index_page --spec {params.spec:q}"
            " --in notebook={input.notebook} did={input.did} {params.pages}"
            " --out html={output.html}",
        )
