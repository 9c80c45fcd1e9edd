"""SAMPLES: inputs of every primitive, by its name; one module per chapter."""

from __future__ import annotations

from tests.conformance.collect import tables
from tests.conformance.spec import Sample

SAMPLES: dict[str, list[Sample]] = {}
for _table in tables(__name__, list(__path__), "SAMPLES"):
    for _name, _samples in _table.items():
        SAMPLES.setdefault(_name, []).extend(_samples)
