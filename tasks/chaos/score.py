"""What the chaos has cost: counted from store and ledger, compared with what had to come out."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from db.ledger import Ledger
from tasks.chaos.monkey import Menu, Tally
from tasks.chaos.servers import Faults
from tasks.chaos.toy import expected_film, expected_segments
from tasks.fsck import Finding, audit
from tasks.ingest import load_plan
from tasks.pointer import find_done
from tasks.reconcile import reconcile
from tasks.store import Store
from tasks.work import film_item, segment_item


@dataclass(frozen=True)
class Score:
    """The figures that must be 0, and those that tell how hard it was."""

    segments: int
    films: int
    lost: int
    wrong: int
    wrong_films: int
    two_winners: int
    duplicate_lineage: int
    findings: tuple[Finding, ...]
    adopted_late: int
    attempts: int
    wasted_by_class: dict[str, int]

    @property
    def clean(self) -> bool:
        """Say whether nothing was lost and nothing doubled."""
        return not (
            self.lost or self.wrong or self.wrong_films or self.two_winners or self.duplicate_lineage or self.findings
        )

    @property
    def wasted_attempts(self) -> int:
        return sum(self.wasted_by_class.values())


def keep_score(store: Store, ledger: Ledger, orders: Sequence[str]) -> Score:
    """Reconcile, audit and count. Raises: StoreError, LedgerAway."""
    late = reconcile(store, ledger)
    lost = wrong = films = wrong_films = segments = 0
    for order in orders:
        plan = load_plan(store, order)
        for shot in plan.shots:
            for segment, expected in zip(shot.segments, expected_segments(plan, shot), strict=True):
                found = find_done(store, segment_item(segment), verify=True)
                segments += 1
                lost += found is None
                wrong += found is not None and found.object.sha256 != expected
        film = find_done(store, film_item(plan), verify=True)
        films += 1
        wrong_films += film is None or film.object.sha256 != expected_film(plan)
    attempts = [attempt for status in ledger.items() for attempt in ledger.attempts(status.item)]
    winners = Counter(attempt.item for attempt in attempts if attempt.state == "done")
    wasted = Counter(attempt.failure_class or "running" for attempt in attempts if attempt.state != "done")
    published = Counter(entry.subject for entry in ledger.audit_trail() if entry.action == "published")
    return Score(
        segments, films, lost, wrong, wrong_films,
        two_winners=sum(count > 1 for count in winners.values()),
        duplicate_lineage=sum(count > 1 for count in published.values()),
        findings=tuple(audit(store, ledger, repair=False)),
        adopted_late=len(late.adopted), attempts=len(attempts), wasted_by_class=dict(wasted),
    )  # fmt: skip


def scoreboard(menu: Menu, tally: Tally, faults: Faults, score: Score, seconds: float, command: str) -> str:
    """Return the board as Markdown."""
    points = ", ".join(f"{point} {count}" for point, count in sorted(tally.point_kills.items()))
    verbs = ", ".join(f"{verb} {faults.broken[verb]}/{count}" for verb, count in sorted(faults.requests.items()))
    kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(faults.by_kind.items()))
    wasted = ", ".join(f"{name} {count}" for name, count in sorted(score.wasted_by_class.items()))
    rows = [
        ("segments / films finished", f"{score.segments} / {score.films}"),
        ("**lost segments**", score.lost),
        ("**segments with wrong bytes**", score.wrong),
        ("**films with a wrong part**", score.wrong_films),
        ("**two winners**", score.two_winners),
        ("**duplicate lineage**", score.duplicate_lineage),
        ("**findings of fsck**", len(score.findings)),
        ("workers started", tally.starts),
        ("SIGKILL at random", tally.random_kills),
        (f"SIGKILL at a named point ({points})", sum(tally.point_kills.values())),
        ("database restarts", tally.database_restarts),
        (f"S3 faults, {100 * menu.s3_fault_share:g} % of every verb ({verbs})", sum(faults.broken.values())),
        ("S3 faults by kind", kinds),
        ("workers stopped past their lease and woken", tally.stops_past_lease),
        ("workers without disk", tally.full_disks),
        ("workers with a clock 10 minutes off", tally.wrong_clocks),
        (f"attempts / wasted ({wasted})", f"{score.attempts} / {score.wasted_attempts}"),
        ("winners written down only by the reconciler", score.adopted_late),
        ("other ends of workers", ", ".join(f"{k}: {v}" for k, v in tally.other_ends.items()) or "none"),
        ("seconds", f"{seconds:.0f}"),
    ]
    table = "\n".join(f"| {name} | {value} |" for name, value in rows)
    verdict = "nothing lost, nothing doubled" if score.clean else "NOT CLEAN"
    if not tally.meets(menu):
        verdict += f"; the time limit ended it after {tally.kills} of {menu.random_kills + menu.point_kills} kills"
    notes = "\n".join(f"* {finding.rule}: {finding.subject}: {finding.message}" for finding in score.findings[:20])
    return (
        f"# Chaos\n\n`{command}`: {verdict}.\n\nReal store protocol, claims, exchange, checkpoints, PostgreSQL "
        "and S3 over HTTP; the network is a formula, so every segment's bytes are known beforehand.\n\n"
        f"| | |\n|---|---|\n{table}\n\n{notes}\n"
    )
