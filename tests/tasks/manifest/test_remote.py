"""Media on S3 are fetched from a real server over HTTP, probed like files, and fetched again only when they change."""

from datetime import date
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from real_servers import s3_client
from studio_media import draw_plate, tone

from tasks.errors import ManifestError
from tasks.manifest.paths import BadMedia, check_s3
from tasks.manifest.read import read_manifest
from tasks.manifest.remote import store_fetch

MANIFEST = """
version: 1
episode: {{id: far, title: Far, size: {{width: 192, height: 128}}}}
cast: {{ana: {{name: Ana, portrait: {url}/plate.png, consent: {{kind: synthetic}}}}}}
audio: {{stems: {{ana: {url}/ana.wav}}}}
shots: [{{id: all, plate: {url}/plate.png, characters: [{{character: ana}}]}}]
"""


def put(place, name: str, path: Path) -> None:
    parts = urlsplit(place.url)
    s3_client().put_object(Bucket=parts.netloc, Key=f"{parts.path.strip('/')}/{name}", Body=path.read_bytes())


@pytest.fixture
def manifest(tmp_path, s3_place) -> Path:
    import soundfile

    draw_plate(192, 128).save(tmp_path / "plate.png")
    soundfile.write(tmp_path / "ana.wav", tone(1.0, 99), 16_000)
    for name in ("plate.png", "ana.wav"):
        put(s3_place, name, tmp_path / name)
    (tmp_path / "episode.yaml").write_text(MANIFEST.format(url=s3_place.url))
    return tmp_path / "episode.yaml"


def test_objects_are_probed_like_files(manifest, s3_place, tmp_path):
    fetch = store_fetch(tmp_path / "copies", s3_place.endpoint)
    loaded = read_manifest(manifest, fetch=fetch, today=date(2026, 11, 20))
    assert loaded.media[f"{s3_place.url}/ana.wav"].num_samples == 16_000
    assert loaded.files[f"{s3_place.url}/plate.png"].read_bytes() == (tmp_path / "plate.png").read_bytes()
    copies = {path: path.stat().st_mtime_ns for path in (tmp_path / "copies").iterdir()}
    assert len(copies) == 2
    read_manifest(manifest, fetch=fetch)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "copies").iterdir()} == copies, "fetched twice"


def test_a_changed_object_is_fetched_again(manifest, s3_place, tmp_path):
    fetch = store_fetch(tmp_path / "copies", s3_place.endpoint)
    read_manifest(manifest, fetch=fetch)
    draw_plate(384, 256).save(tmp_path / "plate.png")
    put(s3_place, "plate.png", tmp_path / "plate.png")
    assert read_manifest(manifest, fetch=fetch).media[f"{s3_place.url}/plate.png"].width == 384


def test_a_missing_object_is_a_fault_with_its_line(manifest, s3_place, tmp_path):
    manifest.write_text(manifest.read_text().replace("ana.wav", "anna.wav"))
    with pytest.raises(
        ManifestError, match=r"episode\.yaml:5: audio\.stems\.ana: .*cannot be fetched.*\[media-missing\]"
    ):
        read_manifest(manifest, fetch=store_fetch(tmp_path / "copies", s3_place.endpoint))


@pytest.mark.parametrize("key", ["", "b", "bucket/", "Bucket/x", "bucket/../x", "bucket//x", "bucket/a?b"])
def test_what_is_no_address_is_refused(key):
    with pytest.raises(BadMedia) as problem:
        check_s3(f"s3://{key}")
    assert problem.value.rule == "path-s3"


def test_an_address_is_accepted():
    check_s3("s3://studio-assets/show/pilot_1/plate=2.png")
