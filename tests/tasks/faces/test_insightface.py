"""The insightface adapter against made models: a detector that sees one place, an embedder that averages colours."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tasks.errors import ConfigError
from tasks.faces.detectors import InsightFaceDetector, open_detector
from tasks.faces.signature import likeness
from tasks.faces.types import overlap
from tasks.plan.types import FaceBox

SIDE, CELL = 640, 5


def save(path, graph):
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def detector_model(path):
    """A detector whose outputs do not depend on the picture: one face of 128 pixels around (160, 160) of 640."""
    nodes, outputs = [], []
    for name, width in (("score", 1), ("box", 4), ("points", 10)):
        for stride in (8, 16, 32):
            cells = SIDE // stride
            values = np.zeros((cells * cells * 2, width), np.float32)
            if stride == 32:
                eyes_and_mouth = [-0.7, -0.7, 0.7, -0.7, 0, 0, -0.6, 0.7, 0.6, 0.7]
                values[(CELL * cells + CELL) * 2] = {1: [0.9], 4: [2.0] * 4, 10: eyes_and_mouth}[width]
            out = f"{name}{stride}"
            nodes.append(helper.make_node("Constant", [], [out], value=numpy_helper.from_array(values)))
            outputs.append(helper.make_tensor_value_info(out, TensorProto.FLOAT, list(values.shape)))
    picture = helper.make_tensor_value_info("picture", TensorProto.FLOAT, [1, 3, SIDE, SIDE])
    save(path, helper.make_graph(nodes, "detector", [picture], outputs))


def embedder_model(path):
    """An embedder whose vector is the mean colour of the aligned face."""
    face = helper.make_tensor_value_info("face", TensorProto.FLOAT, [1, 3, 112, 112])
    vector = helper.make_tensor_value_info("vector", TensorProto.FLOAT, [1, 3])
    node = helper.make_node("ReduceMean", ["face"], ["vector"], axes=[2, 3], keepdims=0)
    save(path, helper.make_graph([node], "embedder", [face], [vector]))


def painted(*colour):
    return np.full((SIDE, SIDE, 3), colour, np.uint8)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_local_models_give_boxes_and_identity_vectors(tmp_path):
    detector_model(tmp_path / "detector.onnx")
    embedder_model(tmp_path / "embedder.onnx")
    detector = open_detector(tmp_path)
    assert detector.name == "insightface" and "non-commercial" in detector.licence
    red, orange, blue = painted(250, 30, 20), painted(250, 60, 20), painted(20, 40, 250)
    found = [(image, detector.detect(image)[0]) for image in (red, orange, blue)]
    assert overlap(found[0][1].box, FaceBox(0.15, 0.15, 0.2, 0.2)) > 0.95
    assert likeness(found[0], found[1]) > 0.9 > likeness(found[0], found[2])


def test_files_that_are_no_models_are_refused(tmp_path):
    (tmp_path / "detector.onnx").write_bytes(b"no network")
    with pytest.raises(ConfigError, match="insightface finds no detection model in it"):
        InsightFaceDetector(tmp_path)
