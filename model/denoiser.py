"""The network as the sampler wants it: one shot's conditions and tables, guidance, and a cache if one is asked for."""

from collections.abc import Iterable
from typing import Literal

from model.blocks import LEAN, Options
from model.guidance import Guided
from model.latent_cache import CachedNetwork
from model.residual_cache import ResidualCache
from model.sampler import Denoiser
from model.schedule import Step
from model.shot import ShotConditions
from model.shot_network import SharedGuided, TabledNetwork
from model.tables import build_tables
from model.transformer import VideoTransformer

Cache = Literal["off", "released", "residual"]


def build_denoiser(
    network: VideoTransformer,
    conditions: ShotConditions,
    steps: Iterable[Step],
    cache: Cache = "off",
    threshold: float = 0.1,
    options: Options = LEAN,
    hold_shift: bool = True,
) -> Denoiser:
    """Return the denoiser of one shot (or of one pod's part of it), its tables built.

    `off` is exact and gives any number of pods the same bits. `released` needs a schedule with `cache=True`, and its
    `hold_shift`: where windows hold on cached steps, pods agree to the bit here too. `residual` skips what moved by
    less than `threshold` since it was last computed; a restarted pod has forgotten that, so it is not bit-reproducible.
    """
    tables = build_tables(network, conditions, steps, options)
    if cache == "released":
        return Guided(CachedNetwork(TabledNetwork(tables), hold_shift))
    if cache == "residual":
        return Guided(ResidualCache(tables, threshold))
    return SharedGuided(tables)
