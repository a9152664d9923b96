"""The study's workflow; `snakemake --cores all` builds everything that config/ asks for."""


include: "workflow/Snakefile"


# An included file's first rule is not a default target.
workflow.default_target = "all"
