"""The scoreboard of a chaos run, as Markdown, and what it proves."""

import os
from collections.abc import Mapping

from tasks.chaos.menu import Menu, Tally
from tasks.chaos.score import Score
from tasks.chaos.servers import HANG_SECONDS, TIMEOUT_SECONDS, Faults
from tasks.store.faults import Fault

ABOUT = """Store protocol, claims, admission, exchange, checkpoints, clearing up, PostgreSQL and S3 over HTTP are real.
In the first course workers forked from a warm process go through episodes whose network is a formula, so every
segment's bytes are known beforehand; a reconciler makes its rounds among them. In the second a Prefect server on the
same PostgreSQL hands out real episodes of the small network to process workers; what must come out was rendered before
by one process that nobody disturbed. Two winners are counted from diaries: every worker of the first course writes
down at once which pointers it was told are its own; of the second course the audit trail alone speaks. `farm chaos
--board` writes this page. It fails unless all of the menu was served and every figure in bold holds."""


def scoreboard(menu: Menu, tally: Tally, faults: Faults, score: Score, seconds: float, command: str) -> str:
    """Return the board."""
    rows = [*zero_rows(score, tally), *cost_rows(score, tally), *first_rows(tally), *second_rows(menu, tally)]
    rows += [
        ("seconds", f"{seconds:.0f}"),
        ("load of the machine at the end", f"{os.getloadavg()[1]:.1f} on {os.cpu_count()} cores"),
    ]
    table = "\n".join(f"| {name} | {value} |" for name, value in rows)
    notes = "\n".join(f"* {finding.rule}: {finding.subject}: {finding.message}" for finding in score.findings[:20])
    return (
        f"# Chaos\n\n`{command}`: {verdict(menu, tally, score)}.\n\n{ABOUT}\n\n| | |\n|---|---|\n{table}\n\n"
        f"{fault_table(menu, faults)}\n" + (f"\n{notes}\n" if notes else "")
    )


def holds(menu: Menu, tally: Tally, score: Score) -> bool:
    """Say whether the run is a proof: everything was served, every zero is one, and no more was wasted than struck."""
    ended_well = not tally.other_ends and not tally.given_up
    return score.clean and ended_well and tally.meets(menu) and score.wasted_attempts <= tally.blows


def verdict(menu: Menu, tally: Tally, score: Score) -> str:
    """Return what the run has shown, in a few words."""
    said = ["nothing lost, nothing doubled" if score.clean else "NOT CLEAN"]
    if score.wasted_attempts > tally.blows:
        said.append("MORE WASTED THAN KILLED")
    if tally.other_ends:
        said.append("WORKERS ENDED OTHERWISE")
    if tally.given_up:
        said.append(f"GIVEN UP after {menu.peace_seconds / 60:g} minutes without a film")
    if not tally.meets(menu):
        said.append(
            f"NOT ALL OF THE MENU: the time limit ended it after {tally.kills} of {menu.kills} kills "
            f"and {tally.server_kills} of {menu.server_kills} server kills"
        )
    return "; ".join(said)


def zero_rows(score: Score, tally: Tally) -> list[tuple[str, object]]:
    """Return what must be 0."""
    return [
        ("segments / films finished", f"{score.segments} / {score.films}"),
        ("**lost segments**", score.lost),
        ("**segments with wrong bytes**", score.wrong),
        ("**films lost or with a wrong part**", score.wrong_films),
        ("**two winners**: items that more workers believe to have won than there were wins", score.two_winners),
        ("**duplicate lineage**", score.duplicate_lineage),
        ("**messages and steps left of finished pictures**", score.leftovers),
        ("**errors that nobody expected**, in workers and reconcilers", counts(score.unexpected) or 0),
        ("**other ends of workers and reconcilers**", counts(tally.other_ends) or 0),
        ("**courses given up** because no film came", tally.given_up),
        ("**findings of fsck**", len(score.findings)),
    ]


def cost_rows(score: Score, tally: Tally) -> list[tuple[str, object]]:
    """Return what the blows have cost."""
    return [
        ("attempts", score.attempts),
        (
            f"**of them wasted** ({counts(score.wasted_by_reason)}), of blows that may waste one (SIGKILLs "
            f"{tally.sigkills}, stopped past the lease {tally.stops_past_lease}, evicted for a full disk "
            f"{tally.evictions}, records deleted {tally.records_deleted})",
            f"{score.wasted_attempts} of {tally.blows}",
        ),
        (
            "wasted, against SIGKILLs of workers, runs and servers alone",
            f"{score.wasted_attempts} of {tally.sigkills}",
        ),
        ("winners written down only by the last reconciling", score.adopted_late),
    ]


def first_rows(tally: Tally) -> list[tuple[str, object]]:
    """Return the first course."""
    return [
        ("workers and reconcilers started", tally.starts),
        ("SIGKILL at random", tally.random_kills),
        (f"SIGKILL at a named point ({counts(tally.point_kills)})", sum(tally.point_kills.values())),
        (f"database restarts ({counts(tally.database_restarts)})", sum(tally.database_restarts.values())),
        ("workers stopped past their lease, while they held a claim, and woken", tally.stops_past_lease),
        ("workers evicted for a full disk", tally.evictions),
        ("records of finished pictures and films deleted", tally.records_deleted),
        (
            f"workers with a wrong clock that published ({counts(tally.wrong_workers)})",
            sum(tally.wrong_workers.values()),
        ),
        (
            f"reconcilers with a wrong clock that made their rounds ({counts(tally.wrong_reconcilers)})",
            sum(tally.wrong_reconcilers.values()),
        ),
        ("times a person had to type `farm retry`: a limit or a breaker had stopped an episode", tally.persons_first),
    ]


def second_rows(menu: Menu, tally: Tally) -> list[tuple[str, object]]:
    """Return the second course, if there was one."""
    if not menu.server_kills:
        return [("SIGKILL of Prefect's server", "not part of this run")]
    return [
        ("SIGKILL of Prefect's server", tally.server_kills),
        ("SIGKILL of a run's process under it", tally.run_kills),
        ("database restarts under it, without an orderly end", tally.late_restarts),
        ("processes that ended by themselves and were started again", counts(tally.ends_under_prefect) or "none"),
        ("times a person had to type `farm retry`", tally.persons),
    ]


def fault_table(menu: Menu, faults: Faults) -> str:
    """Return what happened to calls of the store: each verb's kinds in turn."""
    kinds = list(Fault)
    lines = [
        f"S3 faults, {100 * menu.s3_fault_share:g} % of every verb. Timeout: no answer for {HANG_SECONDS:g} s; a "
        f"worker of the first course waits for {TIMEOUT_SECONDS:g} s. An answer without a body cannot be truncated: "
        "it is lost instead.\n",
        f"| | requests | {' | '.join(kinds)} |",
        f"|---|---|{'---|' * len(kinds)}",
    ]
    for verb, count in sorted(faults.requests.items()):
        lines.append(f"| {verb} | {count} | {' | '.join(str(faults.broken[verb, kind]) for kind in kinds)} |")
    return "\n".join(lines)


def counts(found: Mapping[str, int]) -> str:
    """Return counted things in a row."""
    return ", ".join(f"{name} {count}" for name, count in sorted(found.items()))
