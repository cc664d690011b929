"""Fourier intervention of CouCE-style training: new amplitudes per radial band, the phase kept."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from dmlkernels.couce.layout import as_given, channels_first
from dmlkernels.functional.checks import check_choice, check_integer, check_number

MODES = ("mix", "scale")
FLOOR = 1e-8  # amplitudes below it count as zero
CORNER = math.sqrt(0.5)  # radius of the Nyquist frequency in both directions, in cycles per sample


def fourier_intervention(
    feature_map: Tensor,  # (B, C, H, W) or (B, H, W, C)
    *,
    edges: Sequence[float] = (1 / 3, 2 / 3),
    eta: Sequence[float] = (0.5, 1.0, 1.0),
    mode: str = "mix",
    sigma: float = 0.2,
    max_gain: float = 10.0,
    generator: torch.Generator | None = None,
    layout: str | None = None,
) -> Tensor:  # as feature_map
    """Change the amplitude spectrum of every sample band by band and keep its phase (CouCE-style).

    With ``X = rfft2(F, norm="ortho")``, one ``lambda ~ U(0, eta[band])`` per sample and radial band, shared by the
    channels, and a donor that is a random other sample of the batch (each sample is donor once)::

        mode="mix"     g = ((1 - lambda) |X| + lambda |X_donor|) / max(|X|, 1e-8)
        mode="scale"   g = 1 + sigma xi,  xi normal, one per sample and band
        F' = irfft2(clip(g, 0, max_gain) X)

    CouCE-style: a reconstruction from the abstract of CouCE (Yuan et al., 2026, arXiv 2606.30365) and from published
    building blocks, because its full text was not available. It claims to reproduce no number of that paper.

    After a global average pool only the DC bin survives: intervene where something non-linear still follows.

    Args:
        feature_map: (B, C, H, W) feature maps or images, or (B, H, W, C) with ``layout="NHWC"``; float16, bfloat16,
            float32 or float64, any strides and sizes.
        edges: increasing borders of the radial bands in (0, 1), see ``radial_bands``.
        eta: upper end of lambda for each of the ``len(edges) + 1`` bands, in [0, 1]; 0 leaves a band alone.
        mode: "mix" or "scale". A batch of one has no donor: "mix" then returns ``feature_map`` itself.
        sigma: spread of the gain in mode "scale", at least 0 (ours: 0.2).
        max_gain: largest gain, at least 1, for bins that the donor has and the sample lacks.
        generator: makes the draws repeatable; on the CPU or on the device of ``feature_map``. Default: torch's own.
        layout: "NCHW" or "NHWC", which dimension holds the channels (of the shape; the memory format does not matter).
            Default: NCHW, but a shape that looks like NHWC, such as Swin's (2, 28, 28, 192), is refused.

    Returns:
        A tensor with the shape and dtype of ``feature_map``. The transforms run in float32, in float64 for float64
        input, also under autocast.

    Raises:
        TypeError: ``feature_map`` or a number has the wrong type.
        ValueError: ``feature_map`` is not 4-D or looks like another layout, or an option is out of range.

    Gradients: the gain is held fixed, so the result is linear in ``feature_map``, and the filter is its own adjoint:
        backward applies it to the incoming gradient. Nothing flows to the donors.

    Memory and determinism: two real half spectra besides what the transforms take; one of them, the gain, is kept for
        backward. No host synchronisation. Bit for bit the same from equal generator states.

    Example:
        >>> features = torch.randn(4, 8, 7, 7)
        >>> generator = torch.Generator().manual_seed(0)
        >>> fourier_intervention(features, generator=generator).shape
        torch.Size([4, 8, 7, 7])
        >>> unchanged = fourier_intervention(features, eta=(0.0, 0.0, 0.0))
        >>> torch.allclose(unchanged, features, atol=1e-6)
        True
    """
    check_intervention(edges=edges, eta=eta, mode=mode, sigma=sigma, max_gain=max_gain, generator=generator)
    maps = channels_first("feature_map", feature_map, layout)
    if feature_map.numel() == 0 or (mode == "mix" and feature_map.shape[0] == 1):
        return feature_map

    wide = maps.to(torch.promote_types(feature_map.dtype, torch.float32))
    num_samples, num_bands = feature_map.shape[0], len(edges) + 1
    source = wide.device if generator is None else generator.device
    donors = None
    if mode == "mix":
        draws = torch.rand(num_samples, num_bands, dtype=wide.dtype, device=source, generator=generator)
        strengths = torch.stack([draws[:, band] * upper for band, upper in enumerate(eta)], dim=1)
        donors = _random_donors(num_samples, source, generator).to(wide.device)
    else:
        draws = torch.randn(num_samples, num_bands, dtype=wide.dtype, device=source, generator=generator)
        strengths = draws.mul_(sigma).add_(1.0).clamp_(0.0, max_gain)
    band = _band_of_bins(wide.shape[2], wide.shape[3], edges, wide.device)
    per_bin = strengths.to(wide.device)[:, band].unsqueeze(1)  # (B, 1, H, W // 2 + 1)
    changed: Tensor = _Intervention.apply(wide, per_bin, donors, max_gain)
    return as_given(changed, layout).to(feature_map.dtype)


def radial_bands(
    height: int,
    width: int,
    edges: Sequence[float] = (1 / 3, 2 / 3),
    device: torch.device | str | None = None,
) -> Tensor:  # (len(edges) + 1, H, W // 2 + 1), bool
    """Masks that split the half spectrum of ``torch.fft.rfft2`` into rings; every bin is in exactly one.

    Band i holds the bins with ``edges[i - 1] <= radius < edges[i]``. The radius is the length of the frequency vector
    over that of the corner of the spectrum, Nyquist in both directions (ours), so a bin's band does not depend on the
    size of the map. The first band holds the DC bin.

    Args:
        height: rows of the map, at least 1.
        width: columns of the map, at least 1.
        edges: increasing borders in (0, 1).
        device: where to put the masks.

    Raises:
        ValueError: a size below 1, or bad ``edges``.

    Example:
        >>> masks = radial_bands(7, 7)
        >>> masks.shape, bool((masks.sum(0) == 1).all())
        (torch.Size([3, 7, 4]), True)
    """
    check_integer("height", height, at_least=1)
    check_integer("width", width, at_least=1)
    _check_edges(edges)
    band = _band_of_bins(height, width, edges, device)
    return torch.stack([band == index for index in range(len(edges) + 1)])


def check_intervention(
    *,
    edges: Sequence[float],
    eta: Sequence[float],
    mode: str,
    sigma: float,
    max_gain: float,
    generator: torch.Generator | None,
) -> None:
    """The options make an intervention."""
    _check_edges(edges)
    _check_numbers("eta", eta)
    if len(eta) != len(edges) + 1 or not all(0 <= value <= 1 for value in eta):
        raise ValueError(f"eta: got {tuple(eta)}, expected {len(edges) + 1} numbers in [0, 1], one for each band")
    check_choice("mode", mode, MODES)
    check_number("sigma", sigma, at_least=0)
    check_number("max_gain", max_gain, at_least=1)
    if generator is not None and not isinstance(generator, torch.Generator):
        raise TypeError(f"generator: got {type(generator).__name__}, expected a torch.Generator or None")


def _check_numbers(name: str, values: object) -> None:
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise TypeError(f"{name}: got {type(values).__name__}, expected a sequence of numbers")
    for value in values:
        check_number(name, value)


def _check_edges(edges: Sequence[float]) -> None:
    _check_numbers("edges", edges)
    if not all(0 < edge < 1 for edge in edges) or not all(low < high for low, high in pairwise(edges)):
        raise ValueError(f"edges: got {tuple(edges)}, expected increasing numbers in (0, 1)")


def _band_of_bins(
    height: int, width: int, edges: Sequence[float], device: torch.device | str | None
) -> Tensor:  # (H, W // 2 + 1) int64
    rows = torch.fft.fftfreq(height, device=device, dtype=torch.float32).unsqueeze(1)
    columns = torch.fft.rfftfreq(width, device=device, dtype=torch.float32)
    radius = torch.hypot(rows, columns)
    band = torch.zeros_like(radius, dtype=torch.int64)
    for edge in edges:  # against Python numbers: a tensor of edges would be a copy from the host
        band += radius >= edge * CORNER
    return band


def _random_donors(num_samples: int, device: torch.device, generator: torch.Generator | None) -> Tensor:  # (B,)
    """A permutation without fixed point: each sample's donor is the one before it on a random cycle through all."""
    cycle = torch.rand(num_samples, device=device, generator=generator).argsort()
    return torch.empty_like(cycle).scatter_(0, cycle, cycle.roll(1))


def _mixing_gain(spectrum: Tensor, donors: Tensor, strengths: Tensor, max_gain: float) -> Tensor:
    """Gain from the own amplitude towards the donor's; at strength 0 exactly 1, which A / (A + 1e-8) is not."""
    amplitude = torch.hypot(spectrum.real, spectrum.imag)
    gain = amplitude.index_select(0, donors).lerp_(amplitude, 1.0 - strengths)
    return gain.div_(amplitude.clamp_min_(FLOOR)).clamp_(0.0, max_gain)


def _filtered(spectrum: Tensor, gain: Tensor, height: int, width: int) -> Tensor:
    """The map of ``gain * spectrum``; overwrites the spectrum."""
    torch.view_as_real(spectrum).mul_(gain.unsqueeze(-1))
    return torch.fft.irfft2(spectrum, s=(height, width), norm="ortho")


class _Intervention(torch.autograd.Function):
    """rfft2, gain, irfft2. Real and symmetric as the gain is, the filter is its own adjoint."""

    @staticmethod
    def forward(ctx: Any, feature_map: Tensor, strengths: Tensor, donors: Tensor | None, max_gain: float) -> Tensor:
        spectrum = torch.fft.rfft2(feature_map, norm="ortho")
        gain = strengths if donors is None else _mixing_gain(spectrum, donors, strengths, max_gain)
        ctx.save_for_backward(gain)
        return _filtered(spectrum, gain, feature_map.shape[2], feature_map.shape[3])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        (gain,) = ctx.saved_tensors
        # An expanded gradient is one that torch 2.6 does not transform on a CPU.
        spectrum = torch.fft.rfft2(grad.contiguous(), norm="ortho")
        return _filtered(spectrum, gain, grad.shape[2], grad.shape[3]), None, None, None
