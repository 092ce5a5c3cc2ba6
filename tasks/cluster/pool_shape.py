"""What the pods of a work pool look like: sizes, limits, who starts them again."""

from dataclasses import dataclass, replace
from typing import Literal

from tasks.cluster.quantity import parse_quantity, times

RerunOwner = Literal["kubernetes", "prefect"]

RENDER_NAMESPACE = "avatar-farm-render"


@dataclass(frozen=True)
class PoolShape:
    """What one work pool's pods look like unless a deployment says otherwise; sizes are Kubernetes quantities."""

    pool: str
    gpus: int
    cpu: str
    memory: str
    shm: str  # part of `memory`: a memory-backed volume is charged to the pod
    scratch: str
    image: str
    priority_class: str
    weights_digest: str = ""  # sha256 of the weights, hexadecimal; empty: no weights volume (puppet profile)
    deadline_seconds: int = 6 * 3600
    grace_seconds: int = 60  # Prefect kills its engine 30 s after SIGTERM; the rest is for what it says afterwards
    finished_seconds: int = 24 * 3600  # must outlive an outage of the worker, which reads finished Jobs when it is back
    spot: bool = True
    rerun_owner: RerunOwner = "kubernetes"
    kueue_queue: str = ""
    namespace: str = RENDER_NAMESPACE

    def __post_init__(self) -> None:
        if self.gpus < 0:
            raise ValueError(f"pool {self.pool}: {self.gpus} GPUs is less than none; use 0 for a CPU pool")
        if parse_quantity(self.shm) >= parse_quantity(self.memory):
            raise ValueError(
                f"pool {self.pool}: /dev/shm of {self.shm} must be less than the memory of {self.memory}, its part"
            )
        if self.weights_digest and not is_digest(self.weights_digest):
            raise ValueError(f"pool {self.pool}: weights digest {self.weights_digest!r} is not 64 hexadecimal digits")
        if self.kueue_queue and self.rerun_owner != "kubernetes":
            raise ValueError(f"pool {self.pool}: Kueue starts a preempted Job again; rerun_owner must be kubernetes")

    def on_gpus(self, gpus: int) -> "PoolShape":
        """Return the pool with pods of `gpus` GPUs, everything else of a one-GPU pod's in proportion.

        Each rank loads the weights through the pod's memory and hands what it computes to the others in /dev/shm;
        scratch is rank 0's alone. Raises: ValueError for a pool whose pods do not have one GPU.
        """
        if self.gpus != 1 or gpus < 1:
            raise ValueError(f"pool {self.pool}: {gpus} GPUs cannot be made of a pod of {self.gpus}; start from 1")
        cpu, memory, shm = (times(text, gpus) for text in (self.cpu, self.memory, self.shm))
        return replace(self, gpus=gpus, cpu=cpu, memory=memory, shm=shm)


RENDERER_IMAGE = "ghcr.io/avatar-farm/renderer:0.1.0"

CPU_POOL = PoolShape(
    "farm-cpu", 0, cpu="2", memory="8Gi", shm="256Mi", scratch="20Gi", image=RENDERER_IMAGE,
    priority_class="farm-control", spot=False,
)  # fmt: skip
GPU_POOL = PoolShape(
    "farm-gpu", 1, cpu="8", memory="96Gi", shm="16Gi", scratch="50Gi", image=RENDERER_IMAGE,
    priority_class="farm-batch",
)  # fmt: skip


def is_digest(text: str) -> bool:
    """Say whether a text is a sha256 in lower-case hexadecimal."""
    return len(text) == 64 and set(text) <= set("0123456789abcdef")


def weights_claim(digest: str) -> str:
    """Return the name of the volume claim that holds these weights and nothing else."""
    return f"weights-{digest[:16]}"
