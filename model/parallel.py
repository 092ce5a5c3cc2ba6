"""One segment on several GPUs of a pod: xfuser's Ulysses and ring sequence parallelism, and guidance parallelism.

Every process holds all weights, all latents of its windows and all text; of each frame's tokens it holds a share. Only
attention talks (all-to-all over heads, keys and values around a ring); the audio and emotion adapters see one token at
a time and stay local. A window's velocity is put together at the end, so all processes step alike.

b batch, c latent channels, t latents, h w latent size, n tokens of a share and of the text, h heads, e head width.
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from datetime import timedelta
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from model.attention import Layout
from model.blocks import PLAIN, Options
from model.denoiser import Cache
from model.guidance import Branch, BranchNetwork, Guided, guide
from model.latent_cache import CachedNetwork
from model.sampler import Denoiser
from model.schedule import Step
from model.shares import ParallelTables, ParallelTransformer, Share
from model.shot import ShotConditions
from model.shot_network import SharedGuided, TabledNetwork
from model.tables import build_tables
from model.transformer import VideoTransformer
from model.windows import Window

BLOCKED = -3e4  # added to a key's logits, times the scale: no weight, and representable in fp16
GUARD_WIDTH = 8  # channels added for it; kernels want multiples of 8
BRANCHES: tuple[Branch, Branch] = ("uncond", "cond")


@dataclass(frozen=True)
class Degrees:
    """How processes share the work. Ulysses divides heads, ring divides keys, guidance divides the two branches."""

    ulysses: int = 1
    ring: int = 1
    guidance: int = 1

    @property
    def sequence(self) -> int:
        return self.ulysses * self.ring

    @property
    def processes(self) -> int:
        return self.sequence * self.guidance


def pick_degrees(num_processes: int, heads: int, guided: bool) -> Degrees:
    """Return the cheapest division: branches first (one velocity exchanged), then heads, the ring for what is left.

    Raises: ValueError for fewer than one process.
    """
    if num_processes < 1:
        raise ValueError(f"{num_processes} processes cannot share a segment; at least 1 is needed")
    guidance = 2 if guided and num_processes % 2 == 0 else 1
    sequence = num_processes // guidance
    ulysses = max(k for k in range(1, sequence + 1) if sequence % k == 0 and heads % k == 0)
    return Degrees(ulysses, sequence // ulysses, guidance)


def join(degrees: Degrees, device: torch.device, timeout_seconds: float = 600) -> None:
    """Meet the other processes that torchrun started and form xfuser's groups.

    Raises: ValueError when there are not exactly as many processes as the degrees need.
    """
    import torch.distributed as dist

    backend = "nccl" if device.type == "cuda" else "gloo"
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group(backend, timeout=timedelta(seconds=timeout_seconds))
    if dist.get_world_size() != degrees.processes:
        raise ValueError(f"{degrees} are for {degrees.processes} processes, and there are {dist.get_world_size()}")
    from xfuser.core.distributed import init_distributed_environment, initialize_model_parallel

    rank = dist.get_rank()
    local_rank = rank if device.index is None else device.index
    init_distributed_environment(dist.get_world_size(), rank, "env://", local_rank, backend)
    initialize_model_parallel(
        classifier_free_guidance_degree=degrees.guidance,
        sequence_parallel_degree=degrees.sequence,
        ulysses_degree=degrees.ulysses,
        ring_degree=degrees.ring,
        backend=backend,
    )


def leave() -> None:
    """Dissolve the groups."""
    import torch.distributed as dist
    from xfuser.core.distributed.parallel_state import destroy_distributed_environment, destroy_model_parallel

    destroy_model_parallel()
    destroy_distributed_environment()
    if dist.is_initialized():
        dist.destroy_process_group()


def gather_sequence(local: Float[Tensor, "*shape"]) -> Float[Tensor, "k *shape"]:
    """Return what every process of this one's sequence group holds, by share."""
    from xfuser.core.distributed import get_sp_group

    whole: Tensor = get_sp_group().all_gather(local[None].contiguous(), dim=0)
    return whole


class SharedAttention:
    """`model.attention.Attention` over a sequence group; text is held by all, image tokens by shares.

    A ring in half precision needs flash-attn: torch's kernel rounds the sums that a ring joins.
    """

    def __init__(self) -> None:
        from xfuser.core.long_ctx_attention import xFuserLongContextAttention
        from yunchang.globals import HAS_FLASH_ATTN
        from yunchang.kernels import AttnType

        self.has_flash = HAS_FLASH_ATTN
        kernel = AttnType.FA if HAS_FLASH_ATTN else AttnType.TORCH_FLASH  # TORCH_MATH is silently wrong in a ring
        self.attend: Any = xFuserLongContextAttention(attn_type=kernel)

    def __call__(
        self,
        q: Float[Tensor, "b n h e"],
        k: Float[Tensor, "b n h e"],
        v: Float[Tensor, "b n h e"],
        layout: Layout,
    ) -> Float[Tensor, "b n h e"]:
        self.check(q)
        width, image = q.shape[3], layout.num_image
        if layout.key_mask is not None:
            q, k, v = guard(q, k, v, layout.key_mask)
        out: Tensor = self.attend(
            None,
            q[:, :image],
            k[:, :image],
            v[:, :image],
            joint_tensor_query=q[:, image:],
            joint_tensor_key=k[:, image:],
            joint_tensor_value=v[:, image:],
            joint_strategy="rear",
            softmax_scale=width**-0.5,
        )
        return out[..., :width]

    def check(self, q: Tensor) -> None:
        """Refuse the one combination of kernel and ring that loses precision."""
        import torch.distributed as dist

        if q.dtype != torch.float32 and not self.has_flash and dist.get_world_size(self.attend.ring_pg) > 1:
            raise ValueError(f"a ring in {q.dtype} needs flash-attn; install it, or use ulysses processes only")


def guard(
    q: Float[Tensor, "b n h e"], k: Float[Tensor, "b n h e"], v: Float[Tensor, "b n h e"], key_mask: Bool[Tensor, "b n"]
) -> tuple[Tensor, Tensor, Tensor]:
    """Return q, k, v with channels that give masked keys no weight, for kernels that know no mask."""
    extra = q.new_zeros(*q.shape[:3], GUARD_WIDTH)
    ones, blocked = extra.clone(), extra.clone()
    ones[..., 0] = 1
    blocked[..., 0] = (~key_mask)[..., None] * BLOCKED
    return torch.cat((q, ones), -1), torch.cat((k, blocked), -1), torch.cat((v, extra), -1)


@dataclass(frozen=True, eq=False)
class ParallelGuided:
    """Guidance whose branches are computed by two groups of processes at once and exchanged as velocities."""

    network: BranchNetwork

    def velocity(self, x: Float[Tensor, "c t h w"], window: Window, step: Step) -> Float[Tensor, "c t h w"]:
        """Return v_u + g (v_c - v_u); without guidance both groups compute the conditional branch."""
        from xfuser.core.distributed import get_cfg_group, get_classifier_free_guidance_rank

        if step.guidance == 1:
            return self.network.velocity(x, window, step, "cond")
        mine = self.network.velocity(x, window, step, BRANCHES[get_classifier_free_guidance_rank()])
        uncond, cond = get_cfg_group().all_gather(mine[None].contiguous(), dim=0)
        return guide(uncond, cond, step.guidance)


def build_parallel_denoiser(
    network: VideoTransformer,
    conditions: ShotConditions,
    steps: Iterable[Step],
    degrees: Degrees,
    cache: Cache = "off",
    options: Options = PLAIN,
) -> Denoiser:
    """Return the denoiser of one shot for a process that has joined; same results as `build_denoiser` up to rounding.

    Raises: ValueError for the residual cache, whose processes would each decide for themselves, and for heads that do
    not divide.
    """
    if cache == "residual":
        raise ValueError(
            "cache 'residual' decides by each process's own tokens; on several GPUs use 'released' or 'off'"
        )
    if network.config.heads % degrees.ulysses:
        raise ValueError(f"{network.config.heads} heads do not divide by ulysses {degrees.ulysses}; use pick_degrees")
    from xfuser.core.distributed import get_sequence_parallel_rank

    share = Share(get_sequence_parallel_rank(), degrees.sequence)
    local = ParallelTransformer(network, share, gather_sequence)
    tables = build_tables(local, conditions, steps, replace(options, attention=SharedAttention()))
    tables = ParallelTables(**{f.name: getattr(tables, f.name) for f in fields(tables)})
    inner: Any = TabledNetwork(tables)
    if cache == "released":
        inner = CachedNetwork(inner)
    if degrees.guidance == 2:
        return ParallelGuided(inner)
    return Guided(inner) if cache == "released" else SharedGuided(tables)
