"""The experiments whose results the explorer shows: each module has record(), which runs them and returns what is stored."""
