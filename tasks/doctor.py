"""What this machine has and lacks, by profile; nothing is downloaded and nothing is changed."""

import importlib.util
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tasks.settings import Settings

GIGABYTE = 1 << 30
AVATAR_FILES = {
    "weights": "the folder with mp_rank_00_model_states.pt (or its fp8 variant and map) and the vae folder",
    "llava": "the folder of LLaVA-Llama-3-8B v1.1 in transformers' layout",
    "clip": "the folder of the CLIP-L text encoder",
    "whisper": "whisper-tiny's checkpoint, tiny.pt",
}
FACE_MODELS = (
    "only for faces left to `auto`: set FARM_FACE_MODELS to a folder of insightface models "
    "(mind their licence: non-commercial) or to a YuNet file"
)
EXTRAS = {
    "gpu": ("xfuser", "transformers"),
    "studio": ("insightface",),
    "cluster": ("kubernetes", "prefect_kubernetes"),
}


@dataclass(frozen=True)
class Finding:
    """One line of `farm doctor`; `fatal` means that not even the puppet profile can run."""

    purpose: str
    what: str
    state: str
    way_out: str = ""
    fatal: bool = False


def examine(settings: Settings) -> list[Finding]:
    """Return what was found, the shipped profile first."""
    return [*_base(settings), *_avatar(settings), *_extras()]


def examine_cluster(
    gpus: int = 1, weights_digest: str = "", kueue: bool = False, context: str = "", kubeconfig: str = ""
) -> list[Finding]:
    """Return what a Kubernetes cluster has and lacks: capacity, GPU types, volumes, quotas, permissions; errors first.

    The cluster is the one this process is in, else KUBECONFIG's. Raises: ConfigError when there is none, ValueError for
    a weights digest that is none.
    """
    from tasks.cluster.api import ClusterError, connect
    from tasks.cluster.facts import check_cluster, shapes_of

    try:
        found = check_cluster(connect(context, kubeconfig), shapes_of(gpus, weights_digest, kueue))
    except ClusterError as exc:
        way_out = "look at the address in KUBECONFIG and at your credentials"
        return [Finding("error", "API server", str(exc), way_out, fatal=True)]
    return [Finding(one.level, one.subject, one.sentence, one.way_out, one.level == "error") for one in found]


def _base(settings: Settings) -> Iterator[Finding]:
    from tasks.encode import ffmpeg_path
    from tasks.profiles import puppet_folder

    version = ".".join(map(str, sys.version_info[:3]))
    supported = (3, 11) <= sys.version_info[:2] <= (3, 12)
    yield Finding("puppet", "Python", version, "" if supported else "install Python 3.11 or 3.12", not supported)
    yield Finding("puppet", "ffmpeg", ffmpeg_path())
    weights = sorted(file.name for file in puppet_folder().glob("*.safetensors"))
    lacking = not {"network.safetensors", "vae.safetensors", "audio.safetensors"} <= set(weights)
    way_out = "check the repository out again, or train them: farm puppet train" if lacking else ""
    yield Finding("puppet", "weights", ", ".join(weights) or "missing", way_out, lacking)
    folder = settings.home if settings.home.exists() else Path(".")
    free = shutil.disk_usage(folder).free / GIGABYTE
    yield Finding(
        "puppet", "disk", f"{free:.1f} GB free", "" if free > 1 else "free 1 GB for store and scratch", free < 0.2
    )
    yield Finding("puppet", "device", _device())


def _device() -> str:
    import torch

    if not torch.cuda.is_available():
        return f"CPU, {torch.get_num_threads()} threads"
    names = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    return ", ".join(f"{gpu.name} {gpu.total_memory / GIGABYTE:.0f} GB" for gpu in names)


def _avatar(settings: Settings) -> Iterator[Finding]:
    for name, what in AVATAR_FILES.items():
        path: Path | None = getattr(settings, name)
        variable = f"FARM_{name.upper()}"
        if path is None:
            yield Finding("avatar", name, "not set", f"get {what} under its licence and set {variable} to it")
        elif not path.exists():
            yield Finding("avatar", name, f"{path} does not exist", f"correct {variable}: {what}")
        else:
            yield Finding("avatar", name, str(path))
    models = settings.face_models
    yield Finding("avatar", "face models", str(models or "not set"), "" if models else FACE_MODELS)


def _extras() -> Iterator[Finding]:
    for extra, modules in EXTRAS.items():
        missing = [module for module in modules if importlib.util.find_spec(module) is None]
        way_out = f"pip install 'avatar-farm[{extra}]'" if missing else ""
        yield Finding(extra, "packages", "missing: " + ", ".join(missing) if missing else "installed", way_out)
