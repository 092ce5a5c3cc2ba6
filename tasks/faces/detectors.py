"""Face detectors: insightface from a local folder, OpenCV's YuNet, a cascade that ships, and all of them by setting."""

import warnings
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from tasks.errors import ConfigError
from tasks.faces.drawn import DrawnFaceDetector
from tasks.faces.types import DetectedFace, Detector, Image, clip_box, overlap, without_doubles


class YuNetDetector:
    """OpenCV's FaceDetectorYN with a YuNet .onnx file."""

    name = "yunet"
    licence = "YuNet model file: MIT (OpenCV Zoo)"

    def __init__(self, model: Path, least_score: float = 0.6) -> None:
        """Raises: ConfigError when the file is no detector that OpenCV can load."""
        self.model, self.least_score = model, least_score
        try:
            self._network = cv2.FaceDetectorYN.create(str(model), "", (320, 320), least_score)
        except cv2.error as exc:
            raise ConfigError(f"{model}: OpenCV cannot load it as a YuNet face detector ({exc.err})") from exc

    def detect(self, image: Image) -> list[DetectedFace]:
        """Return the faces in a picture, from left to right."""
        height, width = image.shape[:2]
        self._network.setInputSize((width, height))
        _, rows = self._network.detect(np.ascontiguousarray(image[..., ::-1]))
        faces = [] if rows is None else [_from_pixels(row[:4], float(row[14]), width, height) for row in rows]
        return without_doubles(faces)


class InsightFaceDetector:
    """insightface with models from a local folder: detection, and identity vectors where the folder has them."""

    name = "insightface"
    licence = "insightface model packs: non-commercial research only, unless yours says otherwise"

    def __init__(self, folder: Path, least_score: float = 0.4) -> None:
        """Raises: ConfigError when insightface or a detection model is missing."""
        try:
            from insightface.app import FaceAnalysis
            from onnxruntime.capi import onnxruntime_pybind11_state as onnx_errors
        except ImportError as exc:
            raise ConfigError("insightface is not installed; pip install 'avatar-farm[studio]'") from exc
        if not any(folder.glob("*.onnx")):
            raise ConfigError(f"{folder}: no .onnx file in it; put a detection and a recognition model there")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self._app = FaceAnalysis(name=str(folder), providers=["CPUExecutionProvider"])
                self._app.prepare(ctx_id=-1, det_thresh=least_score)
        except (
            AssertionError,
            RuntimeError,
            ValueError,
            OSError,
            onnx_errors.InvalidProtobuf,
            onnx_errors.Fail,
        ) as exc:
            raise ConfigError(f"{folder}: insightface finds no detection model in it ({exc})") from exc

    def detect(self, image: Image) -> list[DetectedFace]:
        """Return the faces in a picture, from left to right, with identity vectors if the folder has a model."""
        height, width = image.shape[:2]
        faces = []
        for one in self._app.get(np.ascontiguousarray(image[..., ::-1])):
            left, top, right, bottom = one.bbox
            found = _from_pixels((left, top, right - left, bottom - top), float(one.det_score), width, height)
            vector = getattr(one, "normed_embedding", None)
            faces.append(DetectedFace(found.box, found.score, vector))
        return without_doubles(faces)


class CascadeDetector:
    """scikit-image's local-binary-pattern cascade for frontal faces in photographs; its file is in the wheel.

    What is seen in the picture but not in its mirror image is no face.
    """

    name = "cascade"
    licence = "scikit-image data: BSD-3-Clause (cascade from OpenCV)"

    def detect(self, image: Image) -> list[DetectedFace]:
        """Return the faces in a picture, from left to right."""
        shrink = min(1.0, 512 / max(image.shape[:2]))
        small = cv2.resize(image, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
        if min(small.shape[:2]) < 48:
            return []
        mirrored = [
            replace(one.box, x=1 - one.box.x - one.box.w) for one in self._scan(np.ascontiguousarray(small[:, ::-1]))
        ]
        return [one for one in self._scan(small) if any(overlap(one.box, other) > 0.4 for other in mirrored)]

    def _scan(self, image: Image) -> list[DetectedFace]:
        from skimage.feature import Cascade

        shortest = min(image.shape[:2])
        cascade = resources.files("skimage.data").joinpath("lbpcascade_frontalface_opencv.xml")
        found = Cascade(str(cascade)).detect_multi_scale(
            img=image,
            scale_factor=1.15,
            step_ratio=1,
            min_size=(max(24, shortest // 12), max(24, shortest // 12)),
            max_size=(shortest, shortest),
            min_neighbor_number=4,
        )
        height, width = image.shape[:2]
        boxes = [(one["c"], one["r"], one["width"], one["height"]) for one in found]
        return without_doubles([_from_pixels(box, 0.7, width, height) for box in boxes])


class OfflineDetector:
    """What works without any model file: the drawn world's filter first, the cascade where that sees nothing."""

    name = "offline"
    licence = f"{DrawnFaceDetector.licence}; {CascadeDetector.licence}"

    def detect(self, image: Image) -> list[DetectedFace]:
        """Return the drawn faces in a picture, or else the photographed ones, from left to right."""
        return DrawnFaceDetector().detect(image) or CascadeDetector().detect(image)


def _from_pixels(box: Any, score: float, width: int, height: int) -> DetectedFace:
    x, y, w, h = (float(value) for value in box)
    return DetectedFace(clip_box(x / width, y / height, w / width, h / height), min(max(score, 0.0), 1.0))


def open_detector(models: Path | None) -> Detector:
    """Return the detector that FARM_FACE_MODELS names: a folder of insightface models, a YuNet file, or neither.

    Raises: ConfigError when what it names is not there or cannot be used.
    """
    if models is None:
        return OfflineDetector()
    if models.is_dir():
        return InsightFaceDetector(models)
    if models.is_file():
        return YuNetDetector(models)
    raise ConfigError(f"{models}: FARM_FACE_MODELS is neither a folder of insightface models nor a YuNet .onnx file")
