"""Choosing a loss: what the data look like, which losses fit, with reason, code and numbers; on request a proof by training."""
