"""Advice as a page."""
