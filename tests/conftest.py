"""Warnings are errors (pyproject); one thread a worker, so that parallel workers do not fight for the cores."""

from __future__ import annotations

import os

import torch

if "PYTEST_XDIST_WORKER" in os.environ:
    torch.set_num_threads(1)
