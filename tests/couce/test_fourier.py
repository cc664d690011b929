"""The Fourier intervention, function and module."""

from __future__ import annotations

import copy
import itertools
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor

from dmlkernels.couce.fourier import _random_donors, fourier_intervention, radial_bands
from dmlkernels.couce.intervention import FourierIntervention

SIZES = [1, 2, 3, 4, 5, 7, 8, 9, 14, 16, 27, 56]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_map(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, dtype=dtype, generator=seeded(7))


def spectrum(feature_map: Tensor) -> Tensor:
    return torch.fft.rfft2(feature_map, norm="ortho")


@pytest.mark.parametrize("edges", [(1 / 3, 2 / 3), (0.5,), (0.1, 0.2, 0.7, 0.9), ()])
def test_masks_partition_the_spectrum(edges: tuple[float, ...]) -> None:
    for height, width in itertools.product(SIZES, SIZES):
        masks = radial_bands(height, width, edges)
        assert masks.shape == (len(edges) + 1, height, width // 2 + 1)
        assert masks.dtype == torch.bool
        assert (masks.sum(0) == 1).all()
        assert masks[0, 0, 0]


@pytest.mark.parametrize(("height", "width"), [(7, 7), (8, 8), (5, 12)])
def test_bands_are_rings_symmetric_in_the_vertical_frequency(height: int, width: int) -> None:
    masks = radial_bands(height, width)
    mirrored = masks[:, (-torch.arange(height)) % height]
    assert torch.equal(masks, mirrored)
    rows, columns = torch.fft.fftfreq(height).abs()[:, None], torch.fft.rfftfreq(width)
    radius = (rows**2 + columns**2).sqrt() / 0.5**0.5
    for mask, low, high in zip(masks, (0, 1 / 3, 2 / 3), (1 / 3, 2 / 3, 1.01), strict=True):
        inside = radius[mask]
        assert (inside >= low - 1e-6).all() and (inside < high + 1e-6).all()


@pytest.mark.parametrize("mode", ["mix", "scale"])
@pytest.mark.parametrize(("height", "width"), [(7, 7), (8, 8), (5, 12), (1, 6), (6, 1), (1, 1)])
def test_unit_gain_is_the_identity(mode: str, height: int, width: int) -> None:
    features = random_map(3, 4, height, width)
    unchanged = fourier_intervention(features, mode=mode, eta=(0.0, 0.0, 0.0), sigma=0.0)
    assert torch.allclose(unchanged, features, rtol=0, atol=1e-14)


def test_unit_gain_is_the_identity_for_tiny_features() -> None:
    features = random_map(3, 4, 8, 8) * 1e-6
    unchanged = fourier_intervention(features, eta=(0.0, 0.0, 0.0))
    assert torch.allclose(unchanged, features, rtol=1e-9, atol=1e-18)


@pytest.mark.parametrize("mode", ["mix", "scale"])
@pytest.mark.parametrize(("height", "width"), [(7, 7), (8, 8), (5, 12)])
def test_phase_is_kept(mode: str, height: int, width: int) -> None:
    features = random_map(4, 3, height, width)
    before = spectrum(features)
    after = spectrum(fourier_intervention(features, mode=mode, sigma=0.5, generator=seeded()))
    gain = after / before
    assert torch.allclose(gain.imag, torch.zeros_like(gain.imag), atol=1e-12)
    assert (gain.real > -1e-12).all() and (gain.real < 10 + 1e-12).all()
    assert not torch.allclose(gain.real, torch.ones_like(gain.real), atol=0.1)


def test_mix_moves_the_amplitude_towards_one_donor_by_one_strength_per_band() -> None:
    features = random_map(5, 6, 7, 8)
    before, masks = spectrum(features).abs(), radial_bands(7, 8)
    after = spectrum(fourier_intervention(features, max_gain=1e6, generator=seeded())).abs()
    for sample in range(5):
        strengths = []
        for donor in set(range(5)) - {sample}:
            towards = before[donor] - before[sample]
            shares = (after[sample] - before[sample]) / towards
            per_band = [shares[:, mask] for mask in masks]
            if all(torch.allclose(share, share.flatten()[0].expand_as(share), atol=1e-6) for share in per_band):
                strengths.append([share.flatten()[0].item() for share in per_band])
        assert len(strengths) == 1
        assert all(0 <= strength <= upper for strength, upper in zip(strengths[0], (0.5, 1.0, 1.0), strict=True))


def test_scale_has_one_gain_per_sample_and_band() -> None:
    features = random_map(5, 6, 7, 8)
    gain = (spectrum(fourier_intervention(features, mode="scale", generator=seeded())) / spectrum(features)).real
    for mask in radial_bands(7, 8):
        in_band = gain[:, :, mask].flatten(1)
        assert torch.allclose(in_band, in_band[:, :1].expand_as(in_band))
        assert in_band[:, 0].unique().numel() == 5


def test_a_band_of_strength_zero_is_left_alone() -> None:
    features = random_map(4, 3, 9, 8)
    after = spectrum(fourier_intervention(features, eta=(0.0, 1.0, 1.0)))
    low, *others = radial_bands(9, 8)
    assert torch.allclose(after[..., low], spectrum(features)[..., low])
    assert all(not torch.allclose(after[..., band], spectrum(features)[..., band]) for band in others)


def test_the_gain_is_clipped() -> None:
    features = random_map(2, 3, 8, 8)
    features[0] *= 1e-3
    gain = (spectrum(fourier_intervention(features, max_gain=2.0)) / spectrum(features)).real
    assert gain[0].max() == pytest.approx(2.0) and (gain < 2 + 1e-9).all()


def test_an_empty_amplitude_stays_finite() -> None:
    features = torch.zeros(2, 3, 8, 8)
    features[1] = random_map(3, 8, 8, dtype=torch.float32)
    changed = fourier_intervention(features)
    assert changed.isfinite().all()
    assert (changed[0] == 0).all()


@pytest.mark.parametrize("num_samples", [2, 3, 4, 17, 128])
def test_the_donor_is_a_permutation_and_never_the_sample_itself(num_samples: int) -> None:
    generator = seeded()
    for _ in range(50):
        donors = _random_donors(num_samples, torch.device("cpu"), generator)
        assert torch.equal(donors.sort().values, torch.arange(num_samples))
        assert (donors != torch.arange(num_samples)).all()


def test_every_other_sample_is_an_equally_likely_donor() -> None:
    generator = seeded()
    draws = torch.stack([_random_donors(4, torch.device("cpu"), generator) for _ in range(3000)])
    for sample in range(4):
        shares = torch.bincount(draws[:, sample], minlength=4) / 3000
        expected = torch.full((4,), 1 / 3)
        expected[sample] = 0
        assert torch.allclose(shares, expected, atol=0.04)


def test_a_batch_of_one_has_no_donor() -> None:
    features = random_map(1, 3, 8, 8)
    assert fourier_intervention(features) is features
    assert not torch.allclose(fourier_intervention(features, mode="scale", sigma=0.5), features)


@pytest.mark.parametrize("mode", ["mix", "scale"])
def test_the_generator_makes_it_repeatable(mode: str) -> None:
    features = random_map(6, 3, 7, 8, dtype=torch.float32)
    first, second, other = (fourier_intervention(features, mode=mode, generator=seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    state = torch.get_rng_state()
    fourier_intervention(features, mode=mode, generator=seeded())
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("mode", ["mix", "scale"])
@pytest.mark.parametrize(("height", "width"), [(5, 4), (4, 5), (3, 3), (1, 4)])
def test_gradients(mode: str, height: int, width: int) -> None:
    features = random_map(3, 2, height, width).requires_grad_()
    gain = (spectrum(fourier_intervention(features, mode=mode, generator=seeded())) / spectrum(features)).real.detach()

    def by_autograd(values: Tensor) -> Tensor:
        return torch.fft.irfft2(spectrum(values) * gain, s=values.shape[2:], norm="ortho")

    changed = fourier_intervention(features, mode=mode, generator=seeded())
    upstream = random_map(*changed.shape)
    (grad,) = torch.autograd.grad(changed, features, upstream, retain_graph=True)
    (again,) = torch.autograd.grad(changed, features, upstream)
    (expected,) = torch.autograd.grad(by_autograd(features), features, upstream)
    assert torch.allclose(changed, by_autograd(features), atol=1e-12)
    assert torch.allclose(grad, expected, atol=1e-12)
    assert torch.equal(grad, again)


def test_gradcheck_in_mode_scale() -> None:
    features = random_map(2, 2, 4, 5).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda values: fourier_intervention(values, mode="scale", generator=seeded()), features
    )


def test_autograd_keeps_one_real_half_spectrum() -> None:
    features = random_map(4, 8, 14, 14, dtype=torch.float32).requires_grad_()
    saved: list[int] = []

    def pack(tensor: Tensor) -> Tensor:
        saved.append(tensor.numel() * tensor.element_size())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        fourier_intervention(features)
    assert sum(saved) == 4 * 8 * 14 * 8 * 4


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("autocast", [False, True])
def test_dtypes_come_back_and_the_transform_is_wide(dtype: torch.dtype, autocast: bool) -> None:
    features = random_map(4, 3, 7, 9).to(dtype).requires_grad_()
    wide = torch.promote_types(dtype, torch.float32)
    expected = fourier_intervention(features.detach().to(wide), generator=seeded()).to(dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        changed = fourier_intervention(features, generator=seeded())
    changed.sum().backward()
    assert changed.dtype == dtype and torch.equal(changed, expected)
    assert features.grad is not None and features.grad.dtype == dtype


def test_strides_do_not_matter_and_the_input_is_untouched() -> None:
    features = random_map(4, 3, 7, 8)
    layouts = [
        features.contiguous(memory_format=torch.channels_last),
        features.permute(3, 2, 1, 0).contiguous().permute(3, 2, 1, 0),
        torch.stack((features, features), -1)[..., 0],
    ]
    expected = fourier_intervention(features, generator=seeded())
    for layout in layouts:
        before = layout.clone()
        assert torch.allclose(fourier_intervention(layout, generator=seeded()), expected, atol=1e-13)
        assert torch.equal(layout, before)


def test_nan_features_do_not_give_plausible_numbers() -> None:
    features = random_map(3, 2, 4, 4)
    features[0, 0, 0, 0] = torch.nan
    assert fourier_intervention(features)[0, 0].isnan().all()


def test_the_record_of_host_reads_works(host_reads: Any) -> None:
    values = torch.arange(4.0)
    with host_reads:
        values[values > 1]
        values.sum().item()
        values.nonzero()
    assert host_reads.found == ["index", "_local_scalar_dense", "nonzero"]


@pytest.mark.parametrize("mode", ["mix", "scale"])
def test_nothing_is_read_on_the_host(mode: str, host_reads: Any) -> None:
    features = random_map(4, 3, 7, 8).requires_grad_()
    with host_reads:
        fourier_intervention(features, mode=mode).sum().backward()
    assert host_reads.found == []


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # torch.compile's own doing
@pytest.mark.parametrize("mode", ["mix", "scale"])
def test_compiles_into_one_graph(mode: str) -> None:
    features = random_map(4, 3, 7, 8).requires_grad_()
    compiled = torch.compile(fourier_intervention, backend="aot_eager", fullgraph=True)
    torch.manual_seed(3)
    expected = fourier_intervention(features, mode=mode)
    torch.manual_seed(3)
    changed = compiled(features, mode=mode)
    assert torch.allclose(changed, expected)
    (grad,) = torch.autograd.grad(changed.square().sum(), features)
    (expected_grad,) = torch.autograd.grad(expected.square().sum(), features)
    assert torch.allclose(grad, expected_grad)


@pytest.mark.parametrize(
    ("options", "argument"),
    [
        ({"edges": (0.5, 0.5)}, "edges"),
        ({"edges": (0.7, 0.2)}, "edges"),
        ({"edges": (0.0, 0.5)}, "edges"),
        ({"edges": (0.5, float("nan"))}, "edges"),
        ({"eta": (0.5, 1.0)}, "eta"),
        ({"eta": (0.5, 1.0, 1.5)}, "eta"),
        ({"eta": (0.5, 1.0, float("nan"))}, "eta"),
        ({"mode": "swap"}, "mode"),
        ({"sigma": -1.0}, "sigma"),
        ({"sigma": float("inf")}, "sigma"),
        ({"max_gain": 0.5}, "max_gain"),
        ({"max_gain": float("nan")}, "max_gain"),
    ],
)
def test_bad_options(options: dict[str, Any], argument: str) -> None:
    with pytest.raises(ValueError, match=f"^{argument}: got .* expected"):
        fourier_intervention(random_map(2, 3, 4, 4), **options)
    with pytest.raises(ValueError, match=f"^{argument}: got .* expected"):
        FourierIntervention(**options)


@pytest.mark.parametrize(
    "options",
    [{"eta": None}, {"eta": (None, 1.0, 1.0)}, {"edges": 0.5}, {"sigma": None}, {"max_gain": "10"}, {"generator": 7}],
    ids=str,
)
def test_options_of_another_type(options: dict[str, Any]) -> None:
    (argument,) = options
    with pytest.raises(TypeError, match=f"^{argument}: got .* expected"):
        fourier_intervention(random_map(2, 3, 4, 4), **options)
    with pytest.raises(TypeError, match=f"^{argument}: got .* expected"):
        FourierIntervention(**options)


@pytest.mark.parametrize(
    ("features", "error"),
    [
        (torch.zeros(3, 4, 4), ValueError),
        (torch.zeros(2, 3, 4, 4, dtype=torch.uint8), TypeError),
        (torch.zeros(2, 3, 4, 4, dtype=torch.complex64), TypeError),
        ([[1.0]], TypeError),
    ],
)
def test_bad_feature_maps(features: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"^feature_map: got .* expected"):
        fourier_intervention(features)


@pytest.mark.parametrize("size", [(0, 4), (4, 0)])
def test_bad_sizes(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        radial_bands(*size)


@pytest.mark.parametrize("shape", [(0, 3, 4, 4), (2, 0, 4, 4), (2, 3, 0, 4)])
def test_empty_maps_pass(shape: tuple[int, ...]) -> None:
    assert fourier_intervention(torch.zeros(shape)).shape == shape


def test_module_acts_in_training_mode_only() -> None:
    features = random_map(4, 3, 7, 8)
    module = FourierIntervention(mode="scale", sigma=0.3, max_gain=4.0, generator=seeded())
    expected = fourier_intervention(features, mode="scale", sigma=0.3, max_gain=4.0, generator=seeded())
    assert torch.equal(module(features), expected)
    assert module.eval()(features) is features


def test_module_has_no_state_and_can_be_copied() -> None:
    module = FourierIntervention(eta=(0.1, 0.2, 0.3), generator=seeded())
    assert not module.state_dict() and not list(module.parameters())
    features = random_map(4, 3, 7, 8)
    copies = [copy.deepcopy(module), pickle.loads(pickle.dumps(module))]
    expected = module(features)
    assert all(torch.equal(twin(features), expected) for twin in copies)
    assert "eta=(0.1, 0.2, 0.3)" in repr(module) and "edges=(0.333, 0.667)" in repr(module)
