"""The choice between tiles and closed forms, which follows from shapes, made by a test."""

from __future__ import annotations

import pytest

from dmlkernels.backends.blocked import closed_form as closed_forms


def choose_closed_form(patch: pytest.MonkeyPatch, closed_form: bool) -> None:
    """Closed forms wherever there is one, or nowhere, on every backend."""
    patch.setattr(closed_forms, "is_cheaper", lambda pairs, float64_cost=1: closed_form)
