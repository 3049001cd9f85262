"""After it: the log that a run left."""
