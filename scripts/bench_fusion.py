"""Print what sharing a shot over pods costs: latents and megabytes per pod and step, for every mode of fusion.

50 steps, 704x1216 (214,016 values per latent). The share of a step assumes 28 s of computing per window (two branches
at 790 TFLOP/s) and 100 MB/s to the store. Integers only, but for the last lines: what holding the windows still on
cached steps changes, against the released rule: features that a pod would read, and the error around the recorded toy
(`farm ablate --only cache` has the same on the small network).
"""

from dataclasses import dataclass

from golden_sampler import GOLDEN, RELEASED_FUSION, ToyNetwork, load_case, load_toy, toy_conditions, toy_shot

from model.exchange import plan_exchange
from model.guidance import Guided
from model.latent_cache import CachedNetwork
from model.noise import given_noise
from model.sampler import FLOAT32, Take, sample
from model.schedule import ScheduleConfig, moves, plan_steps
from model.windows import FusionConfig, FusionMode, ShotLatents, shot_latents

VALUES_PER_LATENT = 16 * 88 * 152
FEATURES_PER_LATENT = 44 * 76 * 3072  # values of one branch: a row a token
NUM_STEPS = 50
STEP_SECONDS = 28.0
STORE_MEGABYTES_PER_SECOND = 100.0
CASES: tuple[tuple[FusionMode, int], ...] = (
    ("released", 250), ("released", 300), ("released", 388),
    ("aligned", 261), ("aligned", 1581), ("guarded", 261), ("guarded", 1581),
)  # fmt: skip


@dataclass(frozen=True)
class Traffic:
    """What one pod reads between two steps, in latents; published is the same on average."""

    pods: int
    mean: float
    most: int
    busiest_windows: float  # mean over steps of the longest pod's latents, as a share of an even split


def traffic(shot: ShotLatents, fusion: FusionConfig, pods: int, cache: bool = False) -> Traffic:
    """Count one render's exchange."""
    moved = moves(plan_steps(ScheduleConfig(NUM_STEPS, cache=cache)))
    steps = [plan_exchange(shot, fusion, step, pods, moved) for step in range(1, NUM_STEPS)]
    reads = [part.num_latents_read for parts in steps for part in parts]
    loads = [max(sum(len(w.latents) for w in part.windows) for part in parts) for parts in steps]
    covered = [sum(len(w.latents) for part in parts for w in part.windows) for parts in steps]
    return Traffic(pods, sum(reads) / len(reads), max(reads), pods * sum(loads) / sum(covered))


def row(name: str, shot: ShotLatents, found: Traffic) -> str:
    """Return one line of the table."""
    half, single = (found.mean * VALUES_PER_LATENT * size / 1e6 for size in (2, 4))
    share = 2 * half / STORE_MEGABYTES_PER_SECOND / STEP_SECONDS  # written and read
    return (
        f"{name:<26}{shot.total:>6}{found.pods:>6}{found.mean:>9.1f}{found.most:>6}{half:>10.2f}{single:>10.2f}"
        f"{100 * share:>9.2f} %{found.busiest_windows:>9.2f}"
    )


def features_read(shot: ShotLatents, fusion: FusionConfig, hold_shift: bool) -> float:
    """Return the megabytes of features that a pod of one window reads on a cached step: bf16, both branches.

    They are those of the latents that its window has moved onto since the step before.
    """
    steps = plan_steps(ScheduleConfig(NUM_STEPS, cache=True, hold_shift=hold_shift))
    pods = shot.num_windows
    held = [
        [{latent for window in part.windows for latent in window.latents} for part in parts]
        for parts in (plan_exchange(shot, fusion, step.index, pods, moves(steps)) for step in steps)
    ]
    cached = [step.index for step in steps if step.cached]
    new = sum(len(held[i][pod] - held[i - 1][pod]) for i in cached for pod in range(pods))
    return new / len(cached) / pods * FEATURES_PER_LATENT * 2 * 2 / 1e6


def cache_errors() -> dict[str, float]:
    """Return how far each cached render of toy_L65 is from the uncached one, as a share of its spread."""
    case = load_case(GOLDEN / "toy_L65.npz")
    shot = toy_shot(case["audio"].shape[1])
    renders = {}
    for name, cache, held in (
        ("off", False, False), ("released rule", True, False), ("held shift", True, True),
    ):  # fmt: skip
        steps = plan_steps(ScheduleConfig(rule="released", cache=cache, hold_shift=held))
        take = Take(shot, RELEASED_FUSION, steps, given_noise(case["latents"][0]), FLOAT32)
        network = ToyNetwork(load_toy(GOLDEN), toy_conditions(case, shot))
        renders[name] = sample(Guided(CachedNetwork(network, held)), take)
    exact = renders.pop("off")
    return {name: float((out - exact).abs().mean() / exact.std()) for name, out in renders.items()}


def main() -> None:
    """Print the table."""
    print(__doc__)
    print(
        f"{'mode':<26}{'L':>6}{'pods':>6}{'latents':>9}{'most':>6}{'MB fp16':>10}{'MB fp32':>10}"
        f"{'of a step':>11}{'load':>9}"
    )
    for mode, num_frames in CASES:
        fusion = FusionConfig(mode)
        shot = shot_latents(num_frames, fusion)
        for pods in sorted({2, shot.num_windows}):
            print(row(mode, shot, traffic(shot, fusion, pods)))
    fusion = aligned = FusionConfig("aligned")
    shot = take = shot_latents(1581, fusion)
    print(row("aligned, cache, held shift", shot, traffic(shot, fusion, shot.num_windows, cache=True)))
    fusion = FusionConfig("guarded", 9, 2, max_window_latents=13)
    shot = shot_latents(1500, fusion)
    print(row("guarded, puppet's windows", shot, traffic(shot, fusion, shot.num_windows)))
    print("\nfeature cache on toy_L65, mean error as a share of the spread (20 of 50 steps cached)")
    errors = cache_errors()
    for name, hold_shift in (("released rule", False), ("held shift", True)):
        read = features_read(take, aligned, hold_shift)
        print(f"{name:<26}{100 * errors[name]:>8.2f} %, features read per pod and cached step {read:.0f} MB")


if __name__ == "__main__":
    main()
