"""The page that `view` makes: template, styles, scripts, data and pictures in one text.

The template and what stands in it are in `assets`; the data are those of `page`; the pictures show
the graph with more and more boxes open. May import all layers below `pictures`.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from importlib import resources
from typing import Any

from funcgraph.pictures.build import build
from funcgraph.pictures.layout import place
from funcgraph.pictures.links import label, links_of, part_labels
from funcgraph.pictures.page import PageData
from funcgraph.pictures.scene import Scene
from funcgraph.pictures.steps import Recording
from funcgraph.pictures.svg import svg_text
from funcgraph.pictures.words import title_of

__all__ = ["page_text"]

_STYLES = ("view.css", "panel.css", "graph.css")
_SCRIPTS = ("run.js", "numbers.js", "graph.js", "panel.js", "controls.js")
_DEEPEST = 4  # levels of boxes that can be opened one after the other
_LARGE = 2000  # nodes that are not drawn if there is a picture with fewer
_MANY = 150  # nodes that are shown at first, if that can be chosen


def _scenes(recording: Recording, page: PageData) -> Iterator[Scene]:
    """Yield the picture of the graph with more and more boxes open."""
    names = [leaf.name for leaf in recording.leaves]
    inside = [k for k, leaf in enumerate(recording.leaves) if not leaf.path.isidentifier()]
    before = 0
    for depth in (*range(_DEEPEST), 99):
        scene = build(
            recording.run.graph,
            inputs=names, parameters=inside, depth=depth, opaque=True, fold=False,
        ).scene  # fmt: skip
        if before and len(scene.nodes) > _LARGE:
            return
        if len(scene.nodes) != before:
            label(scene, page)
            part_labels(place(scene))
            yield scene
        before = len(scene.nodes)


def _asset(name: str) -> str:
    return (resources.files(__package__) / "assets" / name).read_text("utf-8")


def _json(data: Any) -> str:
    """Return JSON that may stand in a <script>: no tag or comment can begin in it."""
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def page_text(recording: Recording) -> str:
    """Return the page of a run: HTML that needs nothing else."""
    page = PageData(recording)
    pictures, scenes = [], []
    for k, scene in enumerate(_scenes(recording, page)):
        prefix = f"s{k}-"  # ids are unique in a page
        pictures.append(svg_text(scene).replace(' id="', f' id="{prefix}'))
        scenes.append(links_of(scene, page, prefix))
    few = [k for k, s in enumerate(scenes) if len(s["nodes"]) <= _MANY]
    title = title_of(recording)
    parts = {
        "title": html.escape(title),
        "style": "\n".join(map(_asset, _STYLES)),
        "pictures": "\n".join(pictures),
        "data": _json({**page.data, "scenes": scenes, "level": few[-1] if few else 0}),
        "script": '"use strict";\n' + "\n".join(map(_asset, _SCRIPTS)),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], _asset("view.html"))
