"""The main job from outside: a film comes out, survives kills, and only what changed is rendered again."""

import json
import re
import time

import av
import pytest
import soundfile
from tiny import SECONDS, farm, farm_up, forked_seconds, render, start_and_kill, write_episode


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """A farm with one finished render; what the tests below do to it only adds."""
    base = tmp_path_factory.mktemp("render")
    manifest = write_episode(base / "episode")
    result = render(base / "home", manifest, base / "out")
    return base, manifest, result


def film_bytes(folder):
    return (folder / "tiny.mp4").read_bytes()


def test_the_film_has_every_frame_and_the_whole_sound(first):
    base, _, result = first
    assert result["rendered_segments"] == 3
    with av.open(str(base / "out" / "tiny.mp4")) as film:
        pictures = sum(1 for _ in film.decode(video=0))
        assert (film.streams.video[0].width, film.streams.video[0].height) == (96, 64)
    assert pictures == round(SECONDS * 25)
    assert soundfile.info(str(base / "episode" / "mix.wav")).duration == pytest.approx(SECONDS, abs=0.01)
    assert (base / "out" / "contact-sheet.jpg").exists()


def test_a_second_render_renders_nothing_and_gives_the_same_bytes(first):
    base, manifest, _ = first
    again = render(base / "home", manifest, base / "again")
    assert again["rendered_segments"] == 0
    assert film_bytes(base / "again") == film_bytes(base / "out")


def test_one_changed_emotion_renders_exactly_that_shot(first):
    base, _, _ = first
    changed = write_episode(base / "changed", emotion="sad")
    diff = farm(base / "home", "plan", str(changed), "--json", "--diff", str(base / "out" / "plan.json"))
    changes = {line["shot"]: line["change"] for line in json.loads(diff.stdout)["changes"]}
    assert changes == {"take": "same", "close": "render"}
    assert render(base / "home", changed, base / "changed-out")["rendered_segments"] == 1


def test_a_render_killed_at_any_moment_goes_on_and_gives_the_same_film(first, tmp_path):
    base, manifest, _ = first
    start_and_kill(tmp_path / "home", manifest, tmp_path / "out", "segment take")
    start_and_kill(tmp_path / "home", manifest, tmp_path / "out", "shot take")
    result = render(tmp_path / "home", manifest, tmp_path / "out")
    assert result["rendered_segments"] < 3
    assert film_bytes(tmp_path / "out") == film_bytes(base / "out")


def test_processes_that_share_a_take_give_the_same_film(first, tmp_path):
    base, manifest, _ = first
    run = farm(tmp_path / "home", "render", str(manifest), "--out", str(tmp_path / "out"), "--pods", "2")
    assert run.returncode == 0, run.stderr
    assert film_bytes(tmp_path / "out") == film_bytes(base / "out")


def test_workers_of_a_farm_that_is_up_give_the_same_film(first, tmp_path):
    base, manifest, _ = first
    home, out = tmp_path / "home", tmp_path / "out"
    with farm_up(home, 2) as (server, pid):
        run = farm(home, "submit", str(manifest), "--server", server, "--out", str(out))
        assert run.returncode == 0, run.stderr
        deadline = time.monotonic() + 400
        while not (out / "tiny.mp4").exists():
            assert time.monotonic() < deadline, (home / "logs" / "farm-cpu.log").read_text()[-4000:]
            time.sleep(1)
        seconds, log = forked_seconds(pid), (home / "logs" / "farm-gpu.log").read_text()
    assert film_bytes(out) == film_bytes(base / "out")
    assert seconds > 0.5, "no run was forked from the warm process"
    assert "Crashed" not in log
    assert len(re.findall(r"Flow run 'tiny .*Finished in state Completed", log)) == 5  # 3 segments, 2 shots


def test_lineage_walks_from_a_second_of_the_film_to_its_stem(first):
    base, _, _ = first
    run = farm(base / "home", "lineage", str(base / "out" / "tiny.mp4"), "--at", "3", "--json")
    text = json.dumps(json.loads(run.stdout))
    assert "stem of ana" in text and "weights" in text
    assert '"tiny close' in text and '"tiny take' not in text


def test_plan_is_the_same_bytes_in_every_process(first):
    base, manifest, _ = first
    plans = {farm(base / "home", "plan", str(manifest), "--json").stdout for _ in range(2)}
    assert plans == {(base / "out" / "plan.json").read_text()}


def test_faults_are_named_at_once_and_nothing_is_written(tmp_path):
    manifest = write_episode(tmp_path / "episode")
    broken = json.loads(manifest.read_text())
    broken["episode"]["fps"], broken["shots"][0]["plate"] = 26, "../elsewhere.png"
    manifest.write_text(json.dumps(broken))
    run = farm(tmp_path / "home", "render", str(manifest), "--out", str(tmp_path / "out"))
    assert run.returncode == 2
    assert "episode.fps" in run.stderr and "elsewhere" in run.stderr
    assert not (tmp_path / "home").exists() and not (tmp_path / "out").exists()
