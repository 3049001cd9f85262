"""One finding a file: its rule, its cause, its fix. A new file here is a new finding."""
