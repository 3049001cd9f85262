"""A class that is one row in a hundred: what weighting, focal loss and logit adjustment change, and what they do not."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..losses.binary import binary_cross_entropy_with_logits
from ..losses.focal import binary_focal_loss
from ..losses.imbalance import logit_adjusted_loss
from . import Cell, Chart, Column, Figure, Mark, Measure, Result, Series, Table, Tick, demo, generator, measure
from .data import digits

__all__ = ["Plan", "rare_class"]

RARE = 8
POSITIVES, NEGATIVES = 9, 811
PRIOR = POSITIVES / (POSITIVES + NEGATIVES)
HIDDEN = 16
RATE = 0.01
RECALLS = tuple(i / 40 for i in range(1, 41))
