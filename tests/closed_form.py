"""The choice between tiles and closed forms, which follows from shapes, made by a test."""

from __future__ import annotations

import pytest

from dmlkernels.backends import blocked
from dmlkernels.backends.gpu import closed


def choose_closed_form(patch: pytest.MonkeyPatch, closed_form: bool) -> None:
    """Closed forms wherever there is one, or nowhere, on every backend."""
    patch.setattr(blocked, "prefers_closed_form", lambda pairs: closed_form)
    patch.setattr(closed, "is_cheaper", lambda pairs: closed_form)
