"""Makes tasks/faces/drawn.safetensors from the drawn world, and prints how well it finds faces never drawn before.

python scripts/train_drawn_faces.py            train, save, measure
python scripts/train_drawn_faces.py --measure  measure only
"""

import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from tasks.faces.drawn import SIDE, DrawnFaceDetector, scan
from tasks.faces.types import Image, overlap
from tasks.plan.types import FaceBox
from tasks.puppet.world import draw_plate

OUT = Path(__file__).parents[1] / "tasks" / "faces" / "drawn.safetensors"
Array = NDArray[np.floating[Any]]
KINDS = 6
SIZES = ((192, 128), (256, 144), (128, 128))


def plate(seed: int) -> tuple[Image, list[FaceBox]]:
    """Return the drawing and face boxes of one seed: 1 to 4 characters, three picture sizes."""
    return draw_plate(seed, 1 + seed % 4, SIZES[seed // 4 % 3])


def patch(image: Image, box: FaceBox) -> Array:
    """Return a box of the picture as a normalised vector: each channel without mean, of unit norm."""
    height, width = image.shape[:2]
    x, y, w, h = box.x * width, box.y * height, box.w * width, box.h * height
    warp = np.array([[w / SIDE, 0, x], [0, h / SIDE, y]], np.float32)
    cut = cv2.warpAffine(cv2.blur(image, (max(1, int(w / SIDE)), max(1, int(h / SIDE)))), warp, (SIDE, SIDE),
                         flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP).astype(np.float32)  # fmt: skip
    cut -= cut.mean(axis=(0, 1))
    return (cut / np.maximum(np.linalg.norm(cut, axis=(0, 1)), 1e-6)).ravel()


def jitter(rng: np.random.Generator, box: FaceBox, amount: float) -> FaceBox:
    """Return the box moved and scaled a little."""
    s = float(np.exp(rng.normal(0, amount)))
    dx, dy = rng.normal(0, amount, 2)
    return FaceBox(box.x + box.w * (dx + (1 - s) / 2), box.y + box.h * (dy + (1 - s) / 2), box.w * s, box.h * s)


def discriminant(faces: Array, others: Array) -> Array:
    """Return the linear discriminant of two sets of patches, of unit norm per channel, (20, 20, 3)."""
    spread = np.cov(others.T) + 0.5 * np.cov(faces.T)
    spread += np.eye(len(spread)) * np.trace(spread) / len(spread) * 0.6
    pattern = np.linalg.solve(spread, faces.mean(0) - others.mean(0)).reshape(SIDE, SIDE, 3)
    pattern -= pattern.mean(axis=(0, 1))
    return (pattern / np.linalg.norm(pattern, axis=(0, 1))).astype(np.float32)


def kinds(faces: Array, rng: np.random.Generator, count: int) -> NDArray[np.intp]:
    """Return each patch's kind: k-means over normalised patches (skin, hair and beard decide)."""
    centres = faces[rng.choice(len(faces), count, replace=False)]
    for _ in range(20):
        kind = np.argmax(faces @ centres.T - 0.5 * (centres**2).sum(1), axis=1)
        centres = np.array([faces[kind == k].mean(0) for k in range(count)])
    return kind


def train(seeds: range, rng: np.random.Generator, count: int = KINDS) -> Array:
    """Return the filters (k, 20, 20, 3) after two rounds; the second learns from the first one's false alarms."""
    faces, others = [], []
    for seed in seeds:
        image, boxes = plate(seed)
        for box in boxes:
            faces += [patch(image, jitter(rng, box, 0.03)) for _ in range(2)]
            others += [patch(image, jitter(rng, box, 0.5)) for _ in range(4)]
    faces = np.array(faces)
    kind = kinds(faces, rng, count)
    filters = np.array([discriminant(faces[kind == k], np.array(others)) for k in range(count)])
    for seed in seeds:
        image, boxes = plate(seed)
        wrong = [f for _, f in scan(image, filters, 0.2) if all(overlap(f.box, box) < 0.35 for box in boxes)]
        others += [patch(image, one.box) for one in sorted(wrong, key=lambda f: -f.score)[:6]]
    return np.array([discriminant(faces[kind == k], np.array(others)) for k in range(count)])


def pick_thresholds(filters: Array, seeds: range) -> Array:
    """Return for each filter the response that one wrong place in fifty plates reaches."""
    wrong = np.zeros((len(seeds), len(filters)))
    for row, seed in enumerate(seeds):
        image, boxes = plate(seed)
        for k, face in scan(image, filters, 0.1):
            if all(overlap(face.box, box) < 0.3 for box in boxes):
                wrong[row, k] = max(wrong[row, k], face.score)
    return np.percentile(wrong, 98, axis=0).astype(np.float32)


def measure(seeds: range) -> None:
    """Print how many faces of never seen plates are found, and how many finds are no face."""
    detector, found_right, missed, false, shares = DrawnFaceDetector(), 0, 0, 0, []
    for seed in seeds:
        image, boxes = plate(seed)
        found = detector.detect(image)
        best = [max((overlap(one.box, box) for one in found), default=0.0) for box in boxes]
        found_right += sum(share > 0.4 for share in best)
        missed += sum(share <= 0.4 for share in best)
        shares += [share for share in best if share > 0.4]
        false += sum(max(overlap(one.box, box) for box in boxes) <= 0.4 for one in found)
    print(f"drawn faces on {len(seeds)} unseen plates: {found_right} found, {missed} missed, {false} false,"
          f" mean overlap {np.mean(shares):.2f}")  # fmt: skip


if __name__ == "__main__":
    if "--measure" not in sys.argv:
        rng = np.random.default_rng(0)
        filters = train(range(360), rng)
        save_file({"filters": filters, "thresholds": pick_thresholds(filters, range(360, 480))}, OUT)
    measure(range(10_000, 10_100))
