"""Words in the tables of analyses; summaries and figures read them without loading torch."""

# States of an arm, and of what is compared.
BASE, AFTER, CHANGE = "base", "after", "change"
# Rows on how training changed the planted base, minus how it changed the clean one.
BEYOND_CLEAN = "change beyond the clean base's"
# Where in a text.
PROMPT, FINAL, ANSWER, ALL = "prompt", "final", "answer", "all"
QUESTION, TEXT = "question", "text"

# Patching: what is put in, and the nulls of each.
STATES, WEIGHTS, OTHER, SHIFT = "states", "weights", "other", "shift"
STATES_NOISE, WEIGHTS_NOISE = "states_noise", "weights_noise"
NULLS = {STATES: (STATES_NOISE, OTHER, SHIFT), WEIGHTS: (WEIGHTS_NOISE,)}

# Reset and keep; methods of decontamination.
RESET, KEEP, UPSTREAM = "reset", "keep", "upstream"
NONE, NEURONS, RANDOM = "none", "neurons", "random"
TASK_VECTOR, MEMORY_VECTOR = "task_vector", "memory_vector"
METHODS = (NEURONS, RANDOM, RESET, TASK_VECTOR, MEMORY_VECTOR)
# Steering: the number of the chosen set, beside those of random ones.
CHOSEN = -1

# Edge attribution: how scores are made, and which edges are cut.
GRADIENT, INTEGRATED = "gradient", "integrated"
TOP, TOP_ONE, RANDOM_ONE = "top", "top_one", "random_one"

# Capability boundary: where responses stand among the base's own.
QUANTILES = ("quantile", "quantile_right", "quantile_wrong", "quantile_same")

# Pairs with exposures enough to count, among sets of pairs by exposure.
COUNTED = "counted"

# Trajectories: flows; sets of pairs; orders of the layers that a flow is fitted to.
FLOW, FLOW_PATH = "flow", "flow_path"
SELECTION, TEST = "selection", "test"
ORDERED, REORDERED = "as_it_is", "shuffled"
# The published construction and its variants.
PUBLISHED_FLOW = "published"
AS_IS, PERMUTED, SHUFFLED = "as_published", "permuted_labels", "shuffled_layers"
