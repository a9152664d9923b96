"""Where results come from: content hashes of what was written."""
