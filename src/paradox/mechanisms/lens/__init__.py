"""The answer read off the residual stream, and what each part adds to its logit."""
