"""The preview page of the shipped example, and everything it warns about."""

import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tasks.faces.detectors import OfflineDetector
from tasks.manifest.read import read_manifest
from tasks.plan.types import FaceBox, MediaFact, Turn
from tasks.preview.draw import plate_picture
from tasks.preview.gather import gather_preview, write_preview
from tasks.preview.notices import notices_of
from tasks.preview.page import preview_html
from tasks.preview.types import VoiceTrack

PILOT = Path(__file__).parents[3] / "examples" / "pilot" / "episode.yaml"


@pytest.fixture(scope="module")
def pilot():
    return gather_preview(read_manifest(PILOT), OfflineDetector())


def changed(preview, index, **what):
    """Return the preview with one shot changed."""
    shots = list(preview.plan.shots)
    shots[index] = replace(shots[index], **what)
    return replace(preview, plan=replace(preview.plan, shots=tuple(shots)))


def rules(preview):
    return {(one.rule, one.shot, one.character) for one in notices_of(preview)}


class Outside(HTMLParser):
    """Collects every address that a page would load, and the tags left open."""

    def __init__(self):
        super().__init__()
        self.addresses, self.open = [], []

    def handle_starttag(self, tag, attrs):
        self.addresses += [value for name, value in attrs if name in ("src", "href") and value]
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_one_file_that_loads_nothing(pilot, tmp_path):
    page, *plates = write_preview(pilot, tmp_path / "preview")
    text = page.read_text(encoding="utf-8")
    reader = Outside()
    reader.feed(text)
    assert reader.open == []
    assert reader.addresses and all(address.startswith("data:image/png;base64,") for address in reader.addresses)
    assert "url(" not in text and "@import" not in text
    assert [plate.name for plate in plates] == [f"plate-{shot.id}.png" for shot in pilot.plan.shots]
    with Image.open(plates[0]) as plate:
        assert plate.width >= 640


def test_the_page_shows_shots_turns_cuts_segments_and_cost(pilot):
    text = preview_html(pilot)
    for shot in pilot.plan.shots:
        assert f'id="shot-{shot.id}"' in text
    assert "Ben speaks" in text and "Ana speaks" in text
    assert "declared" in text and "segment 0" in text and "h200" in text and "0:16.00" in text
    assert len(re.findall(r"<polygon", text)) >= 4


def test_what_people_write_cannot_become_markup(pilot):
    text = preview_html(changed(pilot, 0, prompt="<script>alert(1)</script>"))
    assert "<script" not in text and "&lt;script&gt;" in text


def test_the_shipped_example_has_nothing_to_look_at(pilot):
    assert [one for one in pilot.notices if one.rule != "speech-outside-shot"] == []


def test_small_faces_and_faces_on_each_other_are_named(pilot):
    shot = pilot.plan.shots[0]
    ana, ben = shot.characters
    tiny = replace(ana, face=FaceBox(0.1, 0.1, 0.1, 0.15), face_keys=())
    assert ("face-too-small", shot.id, "ana") in rules(changed(pilot, 0, characters=(tiny, ben)))
    moved = replace(ana, face=replace(ben.face, x=ben.face.x - 0.05), face_keys=())
    assert ("masks-overlap", shot.id, "ana") in rules(changed(pilot, 0, characters=(moved, ben)))


def test_silent_clipped_and_resampled_stems_are_named(pilot):
    peaks = np.full(300, 0.2, np.float32)
    loud = peaks.copy()
    loud[100:110] = 1.0
    tracks = (
        VoiceTrack("ana", "a.wav", 0.0, np.zeros(300, np.float32)),
        VoiceTrack("ben", "b.wav", 0.0, loud),
        VoiceTrack("ben", "c.wav", 0.0, peaks),
    )
    media = {
        name: MediaFact(name, "", 0, sample_rate=rate)
        for name, rate in (("a.wav", 48_000), ("b.wav", 48_000), ("c.wav", 44_100))
    }
    found = {
        (one.rule, one.character, one.text.split()[0]) for one in notices_of(replace(pilot, tracks=tracks, media=media))
    }
    assert {("stem-silent", "ana", "a.wav"), ("clipping", "ben", "b.wav"), ("sample-rate", "ben", "c.wav")} <= found
    (clipped,) = [one for one in notices_of(replace(pilot, tracks=tracks, media=media)) if one.rule == "clipping"]
    assert clipped.start_seconds == pytest.approx(100 / 31.25)


def test_a_voice_without_a_face_and_a_word_across_a_cut_are_named(pilot):
    shot = pilot.plan.shots[1]
    end = (shot.start_frame + shot.num_frames) / pilot.plan.fps
    found = rules(changed(pilot, 1, turns=(Turn(end - 2, end - 1, "ana"), Turn(end - 0.5, end + 0.5, "ben"))))
    assert ("name-without-face", shot.id, "ana") in found
    assert ("speech-outside-shot", shot.id, "ben") in found


def test_the_plate_shows_boxes_in_each_characters_colour(pilot):
    shot = pilot.plan.shots[0]
    picture = np.asarray(plate_picture(pilot, shot))
    face = shot.characters[1].face
    x, y = round((face.x + face.w / 2) * picture.shape[1]), round((face.y + face.h) * picture.shape[0])
    near = picture[y - 3 : y + 3, x].astype(int)
    assert np.abs(near - np.array([0x19, 0x71, 0xC2])).sum(axis=1).min() < 12


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium on this machine to look at the page with")
def test_the_page_fits_a_phone_and_a_desk(pilot, tmp_path):
    from playwright.sync_api import sync_playwright

    page = write_preview(pilot, tmp_path)[0]
    with sync_playwright() as play:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=arguments, timeout=240_000)
        view = browser.new_page()
        view.set_default_timeout(240_000)  # a browser's first start on a busy machine takes long
        view.goto(page.as_uri())
        for width in (390, 1280):
            view.set_viewport_size({"width": width, "height": 844})
            assert view.evaluate("document.documentElement.scrollWidth") == width
            assert view.evaluate("[...document.images].every(image => image.naturalWidth >= 640)")
        browser.close()
