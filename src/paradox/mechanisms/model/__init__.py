"""One way into a model: its parts, states, weights and neurons, and the texts it is run on."""
