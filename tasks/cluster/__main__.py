"""The cluster's own commands: `python -m tasks.cluster --help` lists them."""

import argparse
import asyncio
import json
import sys
from pathlib import Path

from tasks.cluster.api import connect
from tasks.cluster.drain import cordon, nodes_of, uncordon, wait_until_empty
from tasks.cluster.facts import check_cluster, shapes_of
from tasks.cluster.job_template import write_templates
from tasks.cluster.pool_shape import CPU_POOL, GPU_POOL, RENDER_NAMESPACE
from tasks.cluster.pools import ensure_pool, pause_pool
from tasks.cluster.sweep_round import sweep
from tasks.cluster.weights_volume import claim_manifests, fill_volume, publish_weights
from tasks.errors import FarmError
from tasks.settings import settings
from tasks.store import Store, open_store

POOLS = (CPU_POOL.pool, GPU_POOL.pool)


def _preflight(given: argparse.Namespace) -> int:
    shapes = shapes_of(given.gpus, given.weights_digest, given.kueue, given.namespace)
    findings = check_cluster(connect(given.context, given.kubeconfig), shapes)
    print("\n".join(str(finding) for finding in findings))
    return 1 if any(finding.level == "error" for finding in findings) else 0


def _sweep(given: argparse.Namespace) -> int:
    async def round_() -> int:
        from prefect.client.orchestration import get_client

        async with get_client() as prefect:
            found = await sweep(
                prefect, connect(given.context, given.kubeconfig), given.namespace, POOLS, apply=given.apply
            )
        for verdict in found:
            print(f"{verdict.kind}: {verdict.run_id}: {verdict.sentence}")
        print(f"{len(found)} {'put right' if given.apply else 'found'}")
        return 0

    return asyncio.run(round_())


def _drain(given: argparse.Namespace) -> int:
    api = connect(given.context, given.kubeconfig)
    nodes = nodes_of(api, given.pool, given.nodes)
    asyncio.run(_pause(given.pool, paused=True))
    print(f"paused {given.pool}; cordoned {', '.join(cordon(api, given.pool, nodes)) or 'nothing new'}")
    wait, evicting = given.wait_seconds, given.evict
    left = wait_until_empty(api, given.namespace, given.pool, nodes, wait_seconds=wait, evicting=evicting)
    print(f"still running: {', '.join(left)}" if left else f"{len(nodes)} nodes are empty")
    return 1 if left else 0


def _undrain(given: argparse.Namespace) -> int:
    print(f"opened {', '.join(uncordon(connect(given.context, given.kubeconfig), given.pool)) or 'nothing'}")
    asyncio.run(_pause(given.pool, paused=False))
    return 0


async def _pause(pool: str, *, paused: bool) -> None:
    from prefect.client.orchestration import get_client

    async with get_client() as prefect:
        await pause_pool(prefect, pool, paused)


def _pool(given: argparse.Namespace) -> int:
    async def ensure() -> str:
        from prefect.client.orchestration import get_client

        async with get_client() as prefect:
            return await ensure_pool(prefect, given.pool, json.loads(given.template.read_text()))

    print(f"{given.pool}: {asyncio.run(ensure())}")
    return 0


def _templates(given: argparse.Namespace) -> int:
    chosen = {"weights_digest": given.weights_digest, "image": given.image}
    print("\n".join(map(str, write_templates(given.folder, kueue=given.kueue, gpus=given.gpus, **chosen))))
    return 0


def _store() -> Store:
    return open_store(settings().store_url, endpoint=settings().s3_endpoint)


def _publish_weights(given: argparse.Namespace) -> int:
    print(publish_weights(_store(), given.folder))
    return 0


def _fill_weights(given: argparse.Namespace) -> int:
    fetched = fill_volume(_store(), given.digest, given.folder)
    print(f"{given.folder} holds {given.digest}; {fetched} files fetched")
    return 0


def _weights_claim(given: argparse.Namespace) -> int:
    for manifest in claim_manifests(given.digest, given.size, given.storage_class, given.image or GPU_POOL.image):
        print(f"---\n{json.dumps(manifest, indent=2)}")  # JSON is YAML
    return 0


def parser() -> argparse.ArgumentParser:
    """Return the parser; each command's namespace carries the function that runs it as `run`."""
    top = argparse.ArgumentParser(prog="python -m tasks.cluster", description=__doc__)
    commands = top.add_subparsers(required=True)

    def command(name: str, run: object, text: str, *, pool: bool = False) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=text, description=text)
        made.set_defaults(run=run)
        made.add_argument("--context", default="", help="a context of the kubeconfig")
        made.add_argument("--kubeconfig", default="", help="default: the cluster we are in, else KUBECONFIG")
        made.add_argument("--namespace", default=RENDER_NAMESPACE, help="where the renderers run")
        if pool:
            made.add_argument("pool", nargs="?", default=GPU_POOL.pool)
        return made

    check = command("preflight", _preflight, "Say whether this cluster can render.")
    sweeping = command("sweep", _sweep, "Find, and with --apply put right, orphaned Jobs and stuck or lost runs.")
    sweeping.add_argument("--apply", action="store_true")
    draining = command("drain", _drain, "Pause the pool, cordon its nodes, wait until they are empty.", pool=True)
    draining.add_argument("--nodes", default="", help="label selector; a GPU pool's default: every node with GPUs")
    draining.add_argument("--evict", action="store_true", help="have pods save their step and go, instead of waiting")
    draining.add_argument("--wait-seconds", type=float, default=3600.0)
    command("undrain", _undrain, "Open the nodes that a drain closed and resume the pool.", pool=True)
    pool = command("pool", _pool, "Make a work pool, or give it this template.", pool=True)
    pool.add_argument("--template", type=Path, required=True)
    templates = command("templates", _templates, "Write the pools' base job templates.")
    templates.add_argument("--folder", type=Path, required=True)
    templates.add_argument("--image", default="", help="the renderer's image")
    publish = command(
        "publish-weights", _publish_weights, "Put a checkpoint's files into the store; print their digest."
    )
    publish.add_argument("--folder", type=Path, required=True)
    fill = command("fill-weights", _fill_weights, "Fetch a set of weights into a volume and mark it finished.")
    fill.add_argument("--folder", type=Path, required=True)
    claim = command("weights-claim", _weights_claim, "Print the claim for a set of weights and the Job that fills it.")
    claim.add_argument("--size", default="200Gi")
    claim.add_argument("--storage-class", required=True, help="one that gives ReadWriteMany")
    claim.add_argument("--image", default="", help="the renderer's image")
    for weights in (fill, claim):
        weights.add_argument("digest")
    for chosen in (check, templates):
        chosen.add_argument("--gpus", type=int, default=1, help="GPUs of one pod; memory and /dev/shm grow with them")
        chosen.add_argument("--weights-digest", default="", help="sha256 of the weights; empty: the puppet profile")
        chosen.add_argument("--kueue", action="store_true", help="Kueue owns admission")
    return top


def main(arguments: list[str]) -> int:
    """Run one command; print a farm error as one sentence and return 1."""
    given = parser().parse_args(arguments)
    try:
        return int(given.run(given))
    except FarmError as exc:
        print(f"error: {exc}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
