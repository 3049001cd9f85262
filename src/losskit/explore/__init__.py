"""Seeing a loss: its value and its gradient over one moving prediction."""
