"""Configuration of the documentation: `python3 tools/run.py docs` builds it into docs/_build/html.

The sources are the repository's own Markdown files, where they lie: links between them are the
same on the site and in the repository. Nothing is fetched from the network, neither to build the
site nor to read it.
"""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "docs" / "_ext")]

import funcgraph  # noqa: E402

project = "funcgraph"
version = release = funcgraph.__version__
html_title = f"funcgraph {version}"
html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_copyright = False
python_maximum_signature_line_length = 88
html_extra_path = ["_root"]  # from the site's root to docs/index.html

root_doc = "docs/index"
include_patterns = ["*.md", "benchmarks/*.md", "docs/**.md"]
exclude_patterns = [".*", "docs/_build"]
extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "myst_nb",
    "api",
    "docstrings",
    "mathml",
]

nitpicky = True
default_role = "py:obj"  # `name` in a docstring: a link if it is ours, else code
nitpick_ignore_regex = [
    ("py:obj", ".*"),
    ("py:class", r"(?!funcgraph\.).*|.*\.[A-Z]|.*\._\w*"),  # others', type variables, private
]

autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints = "signature"
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False

html_math_renderer = "mathml"
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

# Notebooks run with this tree, and their failures are warnings, which end a strict build.
os.environ["PYTHONPATH"] = str(ROOT)
logging.getLogger("traitlets").setLevel(logging.WARNING)
nb_execution_mode = "force"
nb_execution_timeout = 60
nb_execution_show_tb = True

copybutton_prompt_text = ">>> "
