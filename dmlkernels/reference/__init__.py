"""Every loss written densely and plainly, as the tests' idea of the truth. Autograd gives the gradients.

Computed in the dtype of the inputs, float64 included; B x C matrices throughout. Only tests and benchmarks import it.
"""

from .adaptive import adaface_loss, curricularface_loss, magface_loss
from .anchor import proxy_anchor_loss
from .circle import circle_loss
from .decidability import decidability, decidability_loss, pd_loss
from .field import potential_field, potential_field_loss
from .fused import fused_objective
from .odba import odba_penalty
from .soft_triple import soft_triple_loss
from .softmax import arcface_loss, cosface_loss, normalized_softmax_loss, proxy_nca_loss
from .sub_center import sub_center_arcface_loss
from .symmetric_kl import symmetric_kl_loss

__all__ = [
    "adaface_loss",
    "arcface_loss",
    "circle_loss",
    "cosface_loss",
    "curricularface_loss",
    "decidability",
    "decidability_loss",
    "fused_objective",
    "magface_loss",
    "normalized_softmax_loss",
    "odba_penalty",
    "pd_loss",
    "potential_field",
    "potential_field_loss",
    "proxy_anchor_loss",
    "proxy_nca_loss",
    "soft_triple_loss",
    "sub_center_arcface_loss",
    "symmetric_kl_loss",
]
