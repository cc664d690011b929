"""The Fourier intervention as a module."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dmlkernels.couce.fourier import check_intervention, fourier_intervention
from dmlkernels.couce.layout import check_layout


class FourierIntervention(nn.Module):
    """``fourier_intervention`` in training mode, the identity in evaluation mode (MSRCI, CouCE-style).

    CouCE-style: a reconstruction, see ``fourier_intervention``, which also describes the arguments.

    Args:
        edges: increasing borders of the radial bands in (0, 1).
        eta: strength of each of the ``len(edges) + 1`` bands, in [0, 1].
        mode: "mix" or "scale".
        sigma: spread of the gain in mode "scale", at least 0 (ours: 0.2).
        max_gain: largest gain, at least 1.
        generator: makes the draws repeatable; not part of the state dict.
        layout: of the feature maps, "NCHW" or "NHWC"; see ``fourier_intervention``.

    Raises:
        TypeError: a number of the wrong type.
        ValueError: an option out of range.

    Gradients, memory and determinism: as ``fourier_intervention``. No parameters, no buffers.

    Example:
        >>> import torch
        >>> from dmlkernels import FourierIntervention
        >>> intervention = FourierIntervention(eta=(0.2, 0.5, 1.0))
        >>> features = torch.randn(4, 8, 7, 7)
        >>> torch.equal(intervention(features), features), torch.equal(intervention.eval()(features), features)
        (False, True)
    """

    def __init__(
        self,
        *,
        edges: Sequence[float] = (1 / 3, 2 / 3),
        eta: Sequence[float] = (0.5, 1.0, 1.0),
        mode: str = "mix",
        sigma: float = 0.2,
        max_gain: float = 10.0,
        generator: torch.Generator | None = None,
        layout: str | None = None,
    ) -> None:
        super().__init__()
        check_intervention(edges=edges, eta=eta, mode=mode, sigma=sigma, max_gain=max_gain, generator=generator)
        check_layout(layout)
        self.edges, self.eta = tuple(edges), tuple(eta)
        self.mode, self.sigma, self.max_gain, self.generator = mode, sigma, max_gain, generator
        self.layout = layout

    def forward(self, feature_map: Tensor) -> Tensor:  # any layout
        """The intervened map, or ``feature_map`` itself in evaluation mode."""
        if not self.training:
            return feature_map
        return fourier_intervention(
            feature_map,
            edges=self.edges,
            eta=self.eta,
            mode=self.mode,
            sigma=self.sigma,
            max_gain=self.max_gain,
            generator=self.generator,
            layout=self.layout,
        )

    def extra_repr(self) -> str:
        edges = ", ".join(f"{edge:.3g}" for edge in self.edges)
        strength = f"sigma={self.sigma}" if self.mode == "scale" else f"eta={self.eta}"
        layout = "" if self.layout is None else f", layout={self.layout!r}"
        return f"edges=({edges}), mode={self.mode!r}, {strength}, max_gain={self.max_gain}{layout}"
