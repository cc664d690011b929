"""Exact, fast and memory-light losses for proxy-based deep metric learning in PyTorch."""

from importlib.metadata import PackageNotFoundError, version

from dmlkernels.backends import available_backends, use_backend
from dmlkernels.couce.criterion import CouCE
from dmlkernels.couce.dictionary import BackgroundDictionary
from dmlkernels.couce.fourier import fourier_intervention
from dmlkernels.couce.intervention import FourierIntervention
from dmlkernels.couce.second_view import captured, intervened_forward
from dmlkernels.functional.adacos import adacos_scale
from dmlkernels.functional.adaface import adaface_loss
from dmlkernels.functional.anchor import proxy_anchor_loss
from dmlkernels.functional.circle import circle_loss
from dmlkernels.functional.class_size import class_size_margins
from dmlkernels.functional.curricular import curricularface_loss
from dmlkernels.functional.decidability import decidability, decidability_loss, pd_loss
from dmlkernels.functional.field import potential_field, potential_field_loss
from dmlkernels.functional.fused import fused_objective
from dmlkernels.functional.magface import magface_loss
from dmlkernels.functional.odba import odba_penalty
from dmlkernels.functional.soft_triple import soft_triple_loss
from dmlkernels.functional.softmax import arcface_loss, cosface_loss, normalized_softmax_loss, proxy_nca_loss
from dmlkernels.functional.sub_center import sub_center_arcface_loss
from dmlkernels.functional.symmetric_kl import symmetric_kl_loss
from dmlkernels.functional.validation import validation
from dmlkernels.modules.adaptive import AdaCosLoss, AdaFaceLoss, CurricularFaceLoss, MagFaceLoss
from dmlkernels.modules.anchor import ProxyAnchorLoss
from dmlkernels.modules.circle import CircleLoss
from dmlkernels.modules.decidability import DecidabilityLoss, PDLoss
from dmlkernels.modules.field import PotentialFieldLoss
from dmlkernels.modules.fused import FusedObjective
from dmlkernels.modules.loss_module import LossModule
from dmlkernels.modules.memory import CrossBatchMemory
from dmlkernels.modules.proxy_loss import ProxyLoss
from dmlkernels.modules.sharding import shard_proxies
from dmlkernels.modules.soft_triple import SoftTripleLoss
from dmlkernels.modules.softmax import ArcFaceLoss, CosFaceLoss, NormalizedSoftmaxLoss, ProxyNCALoss
from dmlkernels.modules.sub_center import SubCenterArcFaceLoss

try:
    __version__ = version("dmlkernels")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "unknown"

__all__ = [
    "AdaCosLoss",
    "AdaFaceLoss",
    "ArcFaceLoss",
    "BackgroundDictionary",
    "CircleLoss",
    "CosFaceLoss",
    "CouCE",
    "CrossBatchMemory",
    "CurricularFaceLoss",
    "DecidabilityLoss",
    "FourierIntervention",
    "FusedObjective",
    "LossModule",
    "MagFaceLoss",
    "NormalizedSoftmaxLoss",
    "PDLoss",
    "PotentialFieldLoss",
    "ProxyAnchorLoss",
    "ProxyLoss",
    "ProxyNCALoss",
    "SoftTripleLoss",
    "SubCenterArcFaceLoss",
    "adacos_scale",
    "adaface_loss",
    "arcface_loss",
    "available_backends",
    "captured",
    "circle_loss",
    "class_size_margins",
    "cosface_loss",
    "curricularface_loss",
    "decidability",
    "decidability_loss",
    "fourier_intervention",
    "fused_objective",
    "intervened_forward",
    "magface_loss",
    "normalized_softmax_loss",
    "odba_penalty",
    "pd_loss",
    "potential_field",
    "potential_field_loss",
    "proxy_anchor_loss",
    "proxy_nca_loss",
    "shard_proxies",
    "soft_triple_loss",
    "sub_center_arcface_loss",
    "symmetric_kl_loss",
    "use_backend",
    "validation",
]
