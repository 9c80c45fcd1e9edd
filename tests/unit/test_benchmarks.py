"""The suite of benchmarks: subjects agree, tables say what was measured. Nothing is timed here."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
OURS = ("funcgraph eager", "funcgraph numpy", "funcgraph xla", "numpy, value", "numpy by hand")


@pytest.fixture
def suite(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("chain of 150 operations", {"n": 10}),
        ("HMM forward", {"steps": 5, "states": 3}),
    ],
)
def test_subjects_compute_what_jax_does_in_float64(suite, name, size):
    pytest.importorskip("jax")
    worker, workloads = suite("suite_worker"), suite("suite_workloads")
    workload = workloads.WORKLOADS[name]
    args = workload.arguments(**size)
    wanted = worker.reference(workload, args)
    for subject in OURS:
        worker.agree(subject, workloads.run_of(workload, subject, args)(), wanted, False)


def test_a_wrong_gradient_is_not_timed(suite):
    worker = suite("suite_worker")
    wanted = [np.array(1.0), np.ones(3)]
    with pytest.raises(AssertionError, match="torch: array 1 is off by"):
        worker.agree("torch", (np.array(1.0), np.array([1.0, 1.0, 1.001])), wanted, False)
    with pytest.raises(AssertionError, match=r"torch: array 1 is \(1, 3\), not \(3,\)"):
        worker.agree("torch", (np.array(1.0), np.ones((1, 3))), wanted, True)


def test_every_workload_has_arguments_and_three_growing_sizes(suite):
    workloads = suite("suite_workloads")
    for workload in workloads.WORKLOADS.values():
        volumes = [np.prod([n + 1 for n in size.values()]) for size in workload.sizes]
        assert len(volumes) == 3 and volumes == sorted(set(volumes)), workload.name
        leaves = suite("suite_libraries").leaves(workload.arguments(**workload.sizes[0]))
        assert {x.dtype.name for x in leaves} <= {"float32", "float64", "int32"}


def test_floors_count_products_and_operations_of_loops(suite):
    floors, workloads = suite("suite_floors"), suite("suite_workloads")
    hmm = workloads.WORKLOADS["HMM forward"]
    few, many = (
        floors.floors(hmm, hmm.arguments(steps=steps, states=3))["operations"] for steps in (5, 50)
    )
    assert many - few > 45 * 4
    mlp = workloads.WORKLOADS["MLP 784-512-512-10"]
    assert floors.floors(mlp, mlp.arguments(batch=2))["products"] > 0


ENTRY = {
    "workload": "chain",
    "size": "n 10",
    "machine": "a machine; 2 threads",
    "load": 0.1,
    "figures": {
        "jax.jit": {"first": 1.0, "min": 2e-3, "median": 3e-3, "fresh": 1.5, "peak": 6e7},
        "funcgraph numpy": {"first": 0.1, "min": 3e-3, "median": 3e-3, "fresh": 0.3, "peak": 6e6},
        "torch": {"first": 0.1, "min": 1e-3, "median": 1e-3},
        "autograd": {"error": "TimeoutError: more than 20 s"},
    },
    "floors": {"products": 0.0, "memory": 1e-6, "dispatch": 2e-3, "operations": 7},
}


def test_tables_show_ratios_to_jax(suite):
    report = suite("suite_report")
    lines = report.table(ENTRY).splitlines()
    assert lines[0] == "chain, n 10"
    assert lines[3].split() == ["funcgraph", "numpy", "3.00", "3.00", "1.50x", "100", "300", "6.00"]
    assert lines[5].split(maxsplit=1) == ["autograd", "TimeoutError: more than 20 s"]
    assert lines[-1] == "  floors, ms: 0 / 0.00100 / 2.00"
    page = report.page([ENTRY])
    assert "Taken on: a machine; 2 threads." in page and "busy" not in page
    assert "**The machine was busy** (a load of 7.0)" in report.page([ENTRY | {"load": 7.0}])
    assert "| chain | n 10 | 2.00 |  | 1.50 |  |  | 0.500 |" in page
    assert "| chain | n 10 | torch, 1.00 ms | funcgraph numpy | 3.00x |" in page
    assert "| chain | n 10 | 60.0 |  | 0.100 |  |  |  |  |  |  | 0.100 |" in page
    wanted = (
        "| peak of memory, least of ours / least peer | chain, n 10 | 1.2 | 0.100 | 0.100 | 1 |"
    )
    assert f"{wanted} reached |" in page
    assert "| fastest of ours / fastest peer | chain, n 10 |  | 3.00 | 3.00 | 1 |  |" in page
    assert "numpy by hand: HMM" not in page  # of which nothing was measured
    eager = {"funcgraph eager": {"first": 0.04, "min": 0.04, "median": 0.04}}
    page = report.page([ENTRY | {"figures": ENTRY["figures"] | eager}])
    assert "| chain | n 10 | 1,000 |  | 100 | 40.0 | 20.0 |" in page
    assert "| chain, n 10 | 10 | 20.0 | 20.0 | 1 | missed |" in page
    page = report.page([ENTRY])
    assert "* autograd: more than 20 s: chain (n 10)." in page


def test_figures_of_a_workload_replace_those_before(suite, tmp_path):
    program, workloads = suite("suite"), suite("suite_workloads")
    file = tmp_path / "figures.json"
    rnn, chain = workloads.WORKLOADS["RNN"], workloads.WORKLOADS["chain of 150 operations"]
    for workload, number in ((rnn, 1), (chain, 2), (rnn, 3)):
        program.remember(
            file,
            {"workload": workload.name, "size": workloads.label(workload.sizes[0]), "k": number},
        )
    entries = json.loads(file.read_text())
    assert [entry["k"] for entry in entries] == [2, 3]


def test_axes_of_scaling_run_and_grow(suite):
    scaling = suite("scaling")
    for name, axis in scaling.AXES.items():
        assert axis.group in scaling.GROUPS and list(axis.sizes) == sorted(set(axis.sizes)), name
        if not name.endswith("XLA"):
            axis.make(axis.sizes[0])()


def test_slopes_are_those_of_the_largest_sizes(suite, tmp_path):
    scaling = suite("scaling")
    points = [[n, 1e-3 + 1e-6 * n**2, None] for n in (1.0, 1e2, 1e4, 1e5, 1e6)]
    assert scaling.slope(points) == pytest.approx(2.0, abs=1e-3)
    assert scaling.slope([[n, 3e-6 * n, None] for n in (10.0, 100.0)]) == pytest.approx(1.0)
    row = scaling.cells("tape", [[100, 2e-4, None], [10_000, 3e-2, 1_500_000]])
    assert row == ["tape", "operation, value and gradient", "100 to 10,000", "2.00", "3.00",
                   "0.0300", "150", "1.09"]  # fmt: skip
    found = {"machine": "a machine", "points": [[100, 2e-4, None], [10_000, 2e-2, None]]}
    file = tmp_path / "figures.json"
    for name in ("staging", "tape"):
        scaling.remember(file, name, found)
    figures = json.loads(file.read_text())
    assert list(figures) == ["tape", "staging"]
    page = scaling.page(figures)
    assert "Taken on: a machine." in page and "2.00 | 2.00 | 0.0200 |  | 1.00 |" in page
