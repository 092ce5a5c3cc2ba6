"""What ordinary trouble ends a command with: one sentence and a documented exit code, never a traceback."""

import json
import re
from pathlib import Path

import pytest

from db.records import WorkItem
from farm.main import explain, main
from farm.output import Exit
from tasks.admission import Refused
from tasks.pod import open_pod
from tasks.rehearsal import Rehearsal, ingest_rehearsal
from tasks.settings import settings
from tasks.work import segment_item

pytestmark = pytest.mark.filterwarnings("ignore")  # Prefect's own
ROOT = Path(__file__).resolve().parents[2]
PILOT = str(ROOT / "examples" / "pilot" / "episode.yaml")
NOBODY = "http://127.0.0.1:9/api"  # nothing listens on the discard port
AWAY = {"FARM_DATABASE": "postgresql://sam:secret@127.0.0.1:9/farm"}


@pytest.fixture
def farm(tmp_path, monkeypatch, capsys):
    """Runs a command in this process, in an empty farm of its own; returns exit code, output, and what was said."""
    for name in ("PREFECT_API_URL", "FARM_STORE", "FARM_DATABASE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("FARM_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr("farm.server.SERVER", NOBODY)
    monkeypatch.setattr("farm.commands.operations.SERVER", NOBODY)
    monkeypatch.chdir(tmp_path)

    def run(*words, **env):
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        settings.cache_clear()
        code = 0
        try:
            main(list(words))
        except SystemExit as ended:
            code = int(ended.code or 0)
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    yield run
    monkeypatch.undo()
    settings.cache_clear()


@pytest.fixture
def planned(farm, tmp_path):
    """A planned episode of one take of two segments in that farm."""
    settings.cache_clear()
    with open_pod() as pod:
        plan, _ = ingest_rehearsal(tmp_path / "manifest", Rehearsal((2,), steps=2), pod)
        yield pod, plan


BAD = [
    (["status"], AWAY, Exit.TRY_AGAIN, "connection failed"),
    (["status"], {"FARM_DATABASE": "mysql://sam:secret@host/farm"}, Exit.NOT_SET_UP, "use sqlite:"),
    (["status"], {"FARM_DATABASE": "secret"}, Exit.NOT_SET_UP, "cannot be read; use sqlite:"),
    (["status"], {"FARM_GPUS": "abc", "FARM_THREADS": "-1"}, Exit.NOT_SET_UP, "FARM_GPUS=abc: .*; FARM_THREADS=-1: "),
    (["status"], {"FARM_STORE": "ftp://host"}, Exit.NOT_SET_UP, "not an address of a store"),
    (["status", "nosuch"], {}, Exit.BAD_INPUT, "never rendered here; known: none"),
    (["setup", "--server", NOBODY], {}, Exit.TRY_AGAIN, "Prefect at http://127.0.0.1:9 does not answer .* farm up"),
    (["setup", "--server", "nowhere"], {}, Exit.BAD_INPUT, "Write it as http://127.0.0.1:4200/api"),
    (["reconcile", "--server", NOBODY], {}, Exit.TRY_AGAIN, "the runs: not looked after"),
    (["reconcile"], {"FARM_DATABASE": "mysql://host/farm"}, Exit.NOT_SET_UP, "use sqlite:"),
    (["reconcile"], AWAY, Exit.TRY_AGAIN, "the ledger: not looked after"),
    (["plan", PILOT, "--diff", "FOLDER"], {}, Exit.BAD_INPUT, "is a directory"),
    (["plan", PILOT, "--diff", "TEXT"], {}, Exit.BAD_INPUT, "is no plan"),
    (["plan", "nosuch.yaml"], {}, Exit.BAD_INPUT, "nosuch.yaml"),
    (["lineage", "FOLDER"], {}, Exit.BAD_INPUT, "is a directory"),
    (["lineage", "TEXT"], {}, Exit.BAD_INPUT, "no object"),
    (["export", PILOT, "x.foo"], {}, Exit.BAD_INPUT, "x.foo: cannot write '.foo'; write .otio"),
    (["turns"], {}, Exit.BAD_INPUT, "give --stems NAME=FILE"),
    (["turns", "--mix", PILOT, "--diarizer", "guess"], {}, Exit.BAD_INPUT, "write rttm:FILE"),
    (["import-script", "TEXT", "x.yaml", "--bounds", "two"], {}, Exit.BAD_INPUT, "write two numbers"),
    (["puppet", "portrait", "--seed", "1", "--emotion", "foo"], {}, Exit.BAD_INPUT, "is not one of"),
    (["puppet", "portrait", "--seed", "1", "--out", "TEXT/x.png"], {}, Exit.BAD_INPUT, "TEXT"),
]


@pytest.mark.parametrize(("words", "env", "code", "said"), BAD)
def test_trouble_is_one_sentence_and_a_code(farm, tmp_path, monkeypatch, words, env, code, said):
    monkeypatch.setattr("tasks.pod.PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr("tasks.rounds.PATIENCE_SECONDS", 0.0)
    (tmp_path / "FOLDER").mkdir()
    (tmp_path / "TEXT").write_text("notes")
    ended, out, told = farm(*words, **env)
    everything = " ".join(re.sub(r"[│╭╮╰╯─]", " ", out + told).split())
    assert (ended, bool(re.search(said, everything))) == (code, True), everything
    assert "Traceback" not in everything and "secret" not in everything.replace('"secret"', "")


def test_a_command_in_a_farm_that_was_never_used_leaves_nothing(farm, tmp_path):
    code, out, _ = farm("plan", PILOT)
    assert code == 0 and "what is rendered" not in out and "0/" in out
    assert not (tmp_path / "home").exists()
    code, out, _ = farm("status")
    assert (code, out.strip()) == (0, "no episode yet; farm submit or farm render begins one")
    assert not (tmp_path / "home" / "store").exists()


def test_status_tells_one_episode_in_full_and_all_of_them_in_a_line(farm, planned):
    pod, plan = planned
    _, out, _ = farm("status")
    assert out.strip() == "rehearsal: 2 waiting of 2 segments, film not finished"
    item = segment_item(plan.shots[0].segments[0])
    claim = pod.ledger.claim(item, "w", 60.0, behalf=_behalf(plan), num_gpus=1)
    pod.ledger.fail(claim, "infrastructure", "gone", 2 * 3600.0)
    _, out, _ = farm("status", "rehearsal", FARM_BUDGET_GPU_HOURS="2")
    assert "2.00 of 2 GPU-hours spent; STOPPED: 2.00 GPU-hours are spent, the budget is 2; raise FARM" in out
    _, out, _ = farm("status")
    assert out.strip() == ("rehearsal: 1 failed, 1 waiting of 2 segments, film not finished; 2.00 of 2 GPU-hours spent")
    code, out, _ = farm("retry", "rehearsal")
    assert code == Exit.STOPPED and "forgiven: s1/0" in out and "nothing of it will start: 2.00 GPU-hours" in out


def _behalf(plan):
    from db.records import Behalf

    return Behalf(plan.key, plan.shots[0].key)


def test_retry_forgives_nothing_when_the_server_that_was_named_is_down(farm, planned):
    pod, plan = planned
    item = segment_item(plan.shots[0].segments[1])
    pod.ledger.fail(pod.ledger.claim(item, "w", 60.0), "bug", "boom", 1.0)
    code, _, said = farm("retry", "rehearsal", "--server", NOBODY)
    assert code == Exit.TRY_AGAIN and "does not answer" in said
    assert not pod.ledger.may_retry(item).allowed
    code, out, _ = farm("retry", "rehearsal")
    assert code == 0 and "forgiven: s1/1" in out and f"no Prefect server answers at {NOBODY}; start the episode" in out
    assert pod.ledger.may_retry(item).allowed


@pytest.mark.parametrize("words", [["--shot", "nosuch"], ["--shot", "s1", "--segment", "99"], ["--segment", "0"]])
def test_retry_refuses_names_that_do_not_exist(farm, planned, words):
    code, out, said = farm("retry", "rehearsal", *words)
    assert code == Exit.BAD_INPUT and not out
    assert re.search(r"it has s1|it has 0 to 1|--segment needs --shot", said)


def test_reconcile_without_a_server_says_what_it_leaves_out(farm, planned):
    code, _, said = farm("reconcile")
    assert code == 0 and f"no Prefect server answers at {NOBODY}" in said


def test_what_is_rendered_cannot_be_waived_and_logs_need_a_server(farm, planned):
    pod, plan = planned
    code, out, _ = farm("waive", "rehearsal/s1/1", "--with", "slate", "--json")
    assert code == 0 and json.loads(out)["changed"] is True
    assert [entry.name for entry in pod.ledger.episodes()] == ["rehearsal", "rehearsal"]  # as planned, and waived
    finish(pod, segment_item(plan.shots[0].segments[0]))
    code, _, said = farm("waive", "rehearsal/s1/0", "--with", "slate")
    assert code == Exit.BAD_INPUT and "segment rehearsal/s1/0 is rendered" in said
    code, _, said = farm("logs", "rehearsal/s1/0", "--server", NOBODY)
    assert code == Exit.TRY_AGAIN and "does not answer" in said


def finish(pod, item: WorkItem) -> None:
    from db.records import Artifact, Record

    record = Record("1" * 64, (Artifact("1" * 64, 1, "segment_latents", f"objects/11/{'1' * 64}"),))
    pod.ledger.finish(pod.ledger.claim(item, "w", 60.0), record)


def test_fsck_repairs_nothing_from_a_store_that_has_none_of_it(farm, planned, tmp_path):
    pod, plan = planned
    item = segment_item(plan.shots[0].segments[0])
    finish(pod, item)
    typo = (tmp_path / "typo").as_uri()
    code, _, said = farm("fsck", "--repair", "--store", typo)
    assert code == Exit.NOT_SET_UP and "has none of the 1 results" in said
    assert pod.ledger.status(item).state == "done" and not (tmp_path / "typo").exists()
    code, out, _ = farm("fsck", "--repair", "--store", typo, "--store-lost")
    assert pod.ledger.status(item).state == "pending" and "(repaired)" in out


def test_the_farm_s_own_refusal_has_a_code_of_its_own_and_a_bug_has_none():
    assert explain(Refused("segment k: the budget is 1")) == (Exit.STOPPED, "segment k: the budget is 1")
    assert explain(PermissionError(13, "Permission denied", "/films/x")) == (
        Exit.NOT_SET_UP,
        "/films/x: Permission denied",
    )
    assert explain(KeyError("oops")) is None


def test_the_readme_knows_every_exit_code():
    said = (ROOT / "README.md").read_text().partition("Exit codes:")[2].partition("\n\n")[0]
    assert {int(code) for code in re.findall(r"(?:^|, |\n)\s*(\d+) ", said)} == {int(code) for code in Exit}
