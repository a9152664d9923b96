"""What all phases share: outputs that the report shows, and inputs on the command line."""


def shown(paths, caption, category=None, **labels):
    """Return outputs that the report of Snakemake shows, with their labels."""
    return report(
        paths,
        caption=f"../report/{caption}.rst",
        category=category or f"{caption.capitalize()}s",
        labels={**labels, "scale": STUDY.scale},
    )


def several(*roles):
    """Return a function for params: role+=path for each path of these inputs."""
    return lambda wildcards, input: [
        f"{role}+={path}" for role in roles for path in getattr(input, role)
    ]
