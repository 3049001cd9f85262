"""Before training: one batch tells most of it."""
