"""While a run goes on: what it costs nothing to watch."""
