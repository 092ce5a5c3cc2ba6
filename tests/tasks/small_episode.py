"""A small finished episode: two segments make a shot's picture, that and another shot's make the film."""

from db.records import Artifact, Behalf, WeightsEntry, WorkItem
from tasks.attempt import Work
from tasks.pointer import find_done
from tasks.publish import Input, Output, Publisher, Rendered

FILM = WorkItem("film", "pilot")
SHOTS = (WorkItem("shot", "s1"), WorkItem("shot", "s2"))
SEGMENTS = (WorkItem("segment", "s1-0"), WorkItem("segment", "s1-1"), WorkItem("segment", "s2-0"))
PARTS = {SHOTS[0]: SEGMENTS[:2], SHOTS[1]: SEGMENTS[2:], FILM: SHOTS}
SPANS = {SHOTS[0]: (0.0, 6.0), SHOTS[1]: (6.0, 10.0), SEGMENTS[0]: (0.0, 3.0), SEGMENTS[1]: (3.0, 6.0)}
WEIGHTS = WeightsEntry("9" * 64, "puppet.safetensors", "puppet", 1234, "Apache-2.0")
BEHALF = Behalf("episode", "shot")


def publish_episode(publisher: Publisher, voice: str = "") -> None:
    """Publish everything that is missing, each output made of its parts' bytes."""
    publisher.ledger.register_weights(WEIGHTS)
    stem = publisher.store.put_content(b"the voice of ada" + voice.encode(), ".wav")
    for segment in SEGMENTS:
        inputs = (
            Input(Artifact(stem.sha256, stem.size, "stem", stem.key, "stems/ada.wav"), "stem of ada"),
            Input(Artifact(WEIGHTS.sha256, WEIGHTS.size, "weights"), "weights"),
        )
        data = f"{segment.key} {voice}".encode()
        publisher.publish(segment, _renderer(data, "segment_latents", inputs), behalf=BEHALF)
    for whole in (*SHOTS, FILM):
        publisher.publish(whole, _joiner(publisher, whole), behalf=BEHALF)


def _joiner(publisher: Publisher, whole: WorkItem):
    def render(work: Work) -> Rendered:
        data, inputs = str(whole).encode(), []
        for part in PARTS[whole]:
            pointer = find_done(publisher.store, part)
            artifact = Artifact(pointer.object.sha256, pointer.object.size, part.kind, pointer.object.key)
            inputs.append(Input(artifact, "picture" if whole == FILM else "latents", part, *SPANS.get(part, ())))
            data += publisher.store.get(pointer.object.key)
        return _renderer(data, "film" if whole == FILM else "shot_picture", tuple(inputs))(work)

    return render


def _renderer(data: bytes, kind: str, inputs: tuple[Input, ...]):
    def render(work: Work) -> Rendered:
        path = work.scratch / "output"
        path.write_bytes(data)
        (work.scratch / "sheet").write_bytes(b"sheet of " + data)
        sheet = Output(work.scratch / "sheet", "contact_sheet", ".jpg")
        return Rendered(Output(path, kind, ".bin"), (sheet,), inputs, facts={"seed": 7, "code": "v1"})

    return render
