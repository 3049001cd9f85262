"""Sphinx: Markdown in, self-contained HTML out; nothing is fetched, neither at build nor by a page."""

from __future__ import annotations

import sys
from pathlib import Path

import losskit

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "losskit"
author = "the losskit authors"
copyright = "the losskit authors, Apache-2.0"
version = release = losskit.__version__

extensions = ["myst_parser", "mathml", "cards", "findings"]
myst_enable_extensions = ["dollarmath", "deflist", "colon_fence"]
myst_heading_anchors = 3
exclude_patterns = ["_build", "guide/*_cpu.md", "guide/*_cuda.md"]  # tables that another page includes

nitpicky = True
nitpick_ignore_regex = [("py:class", r".*")]  # the types in a signature are torch's, or Python's
smartquotes = False
python_maximum_signature_line_length = 80
python_display_short_literal_types = True

html_theme = "furo"
html_title = "losskit"
html_static_path = ["_static"]
html_css_files = ["losskit.css"]
html_math_renderer = "mathml"
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {"navigation_with_keys": True, "top_of_page_buttons": []}
