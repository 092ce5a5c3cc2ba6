"""Check a pod from inside, before the renderer starts: `python -m tasks.cluster.pod_check` in the init container.

It finds in a second what would otherwise end an hour of rendering: a missing device, a small /dev/shm, other weights.
"""

import argparse
import os
import re
import shutil
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tasks.cluster.quantity import format_gibibytes, parse_quantity
from tasks.settings import Settings, settings

DIGEST_FILE = "DIGEST"  # written into a weights volume last, when every file in it has been checked
TMPFS_SLACK = 0.99  # the kernel rounds a tmpfs down to whole pages
SHM_PER_GPU = 1 << 30  # what NCCL's buffers between the GPUs of one machine take, with room
_DEVICE = re.compile(r"^nvidia\d+$")
_DEFAULT_PORTS = {"http": 80, "https": 443, "postgresql": 5432}


@dataclass(frozen=True)
class PodNeeds:
    """What the pod was asked to be; sizes in bytes."""

    gpus: int
    shm_bytes: int
    scratch: Path
    weights: Path | None = None
    digest: str = ""
    services: tuple[tuple[str, int], ...] = ()  # (host, port)


@dataclass(frozen=True)
class PodFacts:
    """What the pod found; sizes in bytes."""

    gpus: int
    shm_bytes: int
    scratch_writable: bool
    digest: str  # of the mounted weights; empty: no weights, or a volume that was never finished
    unreachable: tuple[str, ...]


def pod_faults(needs: PodNeeds, facts: PodFacts) -> list[str]:
    """Return every reason why this pod cannot render, for a person to read."""
    faults = []
    if facts.gpus < needs.gpus:
        faults.append(f"{facts.gpus} GPUs are visible, {needs.gpus} were asked for; look at the node's device plugin")
    if facts.shm_bytes < needs.shm_bytes * TMPFS_SLACK:
        found, wanted = (format_gibibytes(parse_quantity(size)) for size in (facts.shm_bytes, needs.shm_bytes))
        faults.append(f"/dev/shm has {found}, {wanted} were asked for; look at the volume `shm` of the job template")
    if needs.gpus > 1 and needs.shm_bytes < needs.gpus * SHM_PER_GPU:
        asked, wanted = (format_gibibytes(parse_quantity(size)) for size in (needs.shm_bytes, needs.gpus * SHM_PER_GPU))
        faults.append(
            f"/dev/shm of {asked} is too small for {needs.gpus} GPUs that talk through it: {wanted} at least; "
            "set the job variables shm and memory together with gpus"
        )
    if not facts.scratch_writable:
        faults.append(
            f"{needs.scratch} cannot be written by user {os.getuid()}; look at fsGroup and the volume `scratch`"
        )
    if needs.digest and facts.digest != needs.digest:
        found = facts.digest or "no finished weights"
        faults.append(f"{needs.weights} holds {found}, not {needs.digest}; fill the volume again (k8s/README.md)")
    faults += [
        f"{service} does not answer; look at the network policies and the service" for service in facts.unreachable
    ]
    return faults


def look(
    needs: PodNeeds, *, devices: Path = Path("/dev"), shm: Path = Path("/dev/shm"), wait_seconds: float = 5
) -> PodFacts:
    """Return what is really here. Sizes in bytes."""
    marker = needs.weights / DIGEST_FILE if needs.weights else None
    return PodFacts(
        gpus=sum(1 for path in devices.iterdir() if _DEVICE.match(path.name)),
        shm_bytes=shutil.disk_usage(shm).total,
        scratch_writable=os.access(needs.scratch, os.W_OK | os.X_OK),
        digest=marker.read_text().strip() if marker is not None and marker.is_file() else "",
        unreachable=tuple(f"{host}:{port}" for host, port in needs.services if not _answers(host, port, wait_seconds)),
    )


def services(config: Settings) -> tuple[tuple[str, int], ...]:
    """Return host and port of the database and the object store, where they are across a network."""
    found = []
    for url in (config.database_url, config.s3_endpoint):
        parts = urlsplit(url)
        scheme = parts.scheme.partition("+")[0]
        if parts.hostname and scheme in _DEFAULT_PORTS:
            found.append((parts.hostname, parts.port or _DEFAULT_PORTS[scheme]))
    return tuple(found)


def _answers(host: str, port: int, wait_seconds: float) -> bool:
    try:
        with socket.create_connection((host, port), timeout=wait_seconds):
            return True
    except OSError:
        return False


def parse(arguments: list[str]) -> PodNeeds:
    """Return the needs that the job template wrote into the init container's command."""
    parser = argparse.ArgumentParser(prog="python -m tasks.cluster.pod_check", description=__doc__)
    parser.add_argument("--gpus", type=int, default=0)
    parser.add_argument("--shm", default="0", help="a Kubernetes quantity, such as 16Gi")
    parser.add_argument("--scratch", type=Path, required=True)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--digest", default="")
    given = parser.parse_args(arguments)
    shm_bytes = int(parse_quantity(given.shm))
    return PodNeeds(given.gpus, shm_bytes, given.scratch, given.weights, given.digest, services(settings()))


def main(arguments: list[str]) -> int:
    """Print every fault and return 1, or 0 when the pod may render."""
    needs = parse(arguments)
    faults = pod_faults(needs, look(needs))
    for fault in faults:
        print(f"preflight: {fault}", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
