"""Which frames of its shot a segment shows when a take begins: for people, not for the sampler. Pure."""

from model.windows import plan_windows, shot_latents
from tasks.plan.types import Plan, SegmentPlan, ShotPlan
from tasks.profiles import plan_sampler


def latent_frame(latent: int) -> int:
    """Return the first frame that a latent shows: latent 0 is frame 0, latent l is frames 4l - 3 to 4l."""
    return max(0, 4 * latent - 3)


def window_frames(plan: Plan, shot: ShotPlan) -> tuple[tuple[int, int], ...]:
    """Return the half-open frames of each window of a shot before the first shift."""
    fusion = plan_sampler(plan).fusion_config
    windows = plan_windows(shot_latents(shot.num_frames, fusion), 0, fusion)
    spans = []
    for window in windows:
        first, last = min(window.latents), max(window.latents)
        spans.append((latent_frame(first), min(latent_frame(last + 1), shot.num_frames)))
    return tuple(spans)


def segment_frames(plan: Plan, shot: ShotPlan, segment: SegmentPlan) -> tuple[int, int]:
    """Return the half-open frames of a segment's windows within its shot."""
    spans = window_frames(plan, shot)[segment.first_window : segment.first_window + segment.num_windows]
    return min(start for start, _ in spans), max(end for _, end in spans)
