"""Names in the tables of step ``trajectories``; summaries read them without loading torch."""

ANSWER, PROMPT, QUESTION, TEXT = "answer", "prompt", "question", "text"
FLOW, FLOW_PATH = "flow", "flow_path"
BASE, AFTER, CHANGE = "base", "after", "change"
# Sets of pairs.
COUNTED, SELECTION, TEST = "counted", "selection", "test"
# Orders of the layers that a flow is fitted to.
ORDERED, REORDERED = "as_it_is", "shuffled"
# The published construction and its variants.
PUBLISHED_FLOW = "published"
AS_IS, PERMUTED, SHUFFLED = "as_published", "permuted_labels", "shuffled_layers"
