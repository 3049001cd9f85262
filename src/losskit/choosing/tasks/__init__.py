"""One file a task: ``advise(seen)`` makes of what was seen a first choice, alternatives, and what to avoid."""
