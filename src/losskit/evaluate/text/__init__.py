"""Documents from anywhere, tokenizers of any make, and which text each token owns."""
