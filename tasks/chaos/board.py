"""The scoreboard of a chaos run, as Markdown."""

import os
from collections.abc import Mapping

from tasks.chaos.monkey import Menu, Tally
from tasks.chaos.score import Score
from tasks.chaos.servers import Faults

ABOUT = """Store protocol, claims, exchange, checkpoints, PostgreSQL and S3 over HTTP are real. In the first course
workers forked from a warm process go through episodes whose network is a formula, so every segment's bytes are known
beforehand. In the second a Prefect server on the same PostgreSQL hands out real episodes of the small network to
process workers; what must come out was rendered before by one process that nobody disturbed. `farm chaos --board`
writes this page."""


def scoreboard(menu: Menu, tally: Tally, faults: Faults, score: Score, seconds: float, command: str) -> str:
    """Return the board."""
    rows = [*result_rows(score, tally), *first_rows(tally), *second_rows(menu, tally), *fault_rows(menu, faults)]
    rows += [
        ("seconds", f"{seconds:.0f}"),
        ("load of the machine at the end", f"{os.getloadavg()[1]:.1f} on {os.cpu_count()} cores"),
    ]
    table = "\n".join(f"| {name} | {value} |" for name, value in rows)
    notes = "\n".join(f"* {finding.rule}: {finding.subject}: {finding.message}" for finding in score.findings[:20])
    return f"# Chaos\n\n`{command}`: {verdict(menu, tally, score)}.\n\n{ABOUT}\n\n| | |\n|---|---|\n{table}\n" + (
        f"\n{notes}\n" if notes else ""
    )


def verdict(menu: Menu, tally: Tally, score: Score) -> str:
    """Return what the run has shown, in a few words."""
    said = "nothing lost, nothing doubled" if score.clean else "NOT CLEAN"
    if score.wasted_attempts > tally.blows:
        said += "; MORE WASTED THAN KILLED"
    if not tally.meets(menu):
        said += f"; the time limit ended it after {tally.kills} of {menu.kills} kills"
        said += f" and {tally.server_kills} of {menu.server_kills} server kills"
    return said


def result_rows(score: Score, tally: Tally) -> list[tuple[str, object]]:
    """Return what must be 0, and what the blows have cost."""
    return [
        ("segments / films finished", f"{score.segments} / {score.films}"),
        ("**lost segments**", score.lost),
        ("**segments with wrong bytes**", score.wrong),
        ("**films with a wrong part**", score.wrong_films),
        ("**two winners**", score.two_winners),
        ("**duplicate lineage**", score.duplicate_lineage),
        ("**findings of fsck**", len(score.findings)),
        ("attempts", score.attempts),
        (f"**of them wasted** ({counts(score.wasted_by_reason)})", score.wasted_attempts),
        (
            f"blows that may waste one: SIGKILLs of workers and runs {tally.kills}, stopped past the lease "
            f"{tally.stops_past_lease}, evicted for a full disk {tally.evictions}, servers killed {tally.server_kills}",
            tally.blows,
        ),
        ("winners written down only by the last reconciling", score.adopted_late),
    ]


def first_rows(tally: Tally) -> list[tuple[str, object]]:
    """Return the first course."""
    return [
        ("workers started", tally.starts),
        ("SIGKILL at random", tally.random_kills),
        (f"SIGKILL at a named point ({counts(tally.point_kills)})", sum(tally.point_kills.values())),
        ("database restarts, every second one without an orderly end", tally.database_restarts),
        ("workers stopped past their lease and woken", tally.stops_past_lease),
        ("workers without disk", tally.full_disks),
        ("workers with a clock 10 minutes off", tally.wrong_clocks),
        ("other ends of workers", counts(tally.other_ends) or "none"),
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


def fault_rows(menu: Menu, faults: Faults) -> list[tuple[str, object]]:
    """Return what happened to calls of the store."""
    verbs = ", ".join(f"{verb} {faults.broken[verb]}/{count}" for verb, count in sorted(faults.requests.items()))
    return [
        (f"S3 faults, {100 * menu.s3_fault_share:g} % of every verb ({verbs})", sum(faults.broken.values())),
        ("S3 faults by kind", counts(faults.by_kind)),
    ]


def counts(found: Mapping[str, int]) -> str:
    """Return counted things in a row."""
    return ", ".join(f"{name} {count}" for name, count in sorted(found.items()))
