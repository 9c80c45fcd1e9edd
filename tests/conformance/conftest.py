"""Settings of the conformance tests."""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite("tests.conformance.oracle")

from funcgraph.transforms import tape  # noqa: E402


@pytest.fixture(autouse=True)
def nothing_is_kept_for_convenience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take away from small arrays too what a rule has not asked for (`keep`, transposes)."""
    monkeypatch.setattr(tape, "SMALL", -1)
