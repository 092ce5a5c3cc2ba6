"""The audit trail: only added to, and every change shows."""

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from trail import add_row

from db.audit import GENESIS
from db.ledger import Ledger

UNDO = {
    "sqlite": "DROP TRIGGER audit_refuses_{}",
    "postgresql": "ALTER TABLE audit DISABLE TRIGGER audit_is_append_only",
}


@pytest.fixture
def trail(ledger: Ledger) -> Ledger:
    for number in range(5):
        add_row(ledger, "waived", f"segment {number}", {"why": f"reason {number}", "ü": 0.1})
    return ledger


def tamper(ledger: Ledger, statement: str) -> None:
    """Change the trail as somebody would who owns the database."""
    engine = ledger.transactions.engine
    with engine.begin() as connection:
        connection.execute(text(UNDO[engine.dialect.name].format(statement.split()[0].lower())))
        connection.execute(text(statement))


def test_an_untouched_trail_is_intact_and_in_order(trail: Ledger) -> None:
    assert trail.verify_audit() == []
    entries = trail.audit_trail()
    assert [entry.position for entry in entries] == [1, 2, 3, 4, 5]
    assert entries[0].previous == GENESIS and entries[3].previous == entries[2].digest
    assert [entry.subject for entry in trail.audit_trail("segment 3")] == ["segment 3"]
    assert trail.verify_audit((5, entries[4].digest)) == []


@pytest.mark.parametrize("statement", ["UPDATE audit SET actor = 'eve'", "DELETE FROM audit WHERE position = 3"])
def test_the_database_refuses_to_change_or_remove_rows(trail: Ledger, statement: str) -> None:
    with pytest.raises(DBAPIError, match="only added to"), trail.transactions.engine.begin() as connection:
        connection.execute(text(statement))
    assert trail.verify_audit() == []


@pytest.mark.parametrize("column", ["actor = 'eve'", "at = at + 1", "detail = '{}'", "subject = 'x'", "action = 'y'"])
def test_a_changed_row_shows(trail: Ledger, column: str) -> None:
    tamper(trail, f"UPDATE audit SET {column} WHERE position = 3")
    assert trail.verify_audit() == ["audit row 3 was changed: its digest does not fit its fields"]


def test_a_row_changed_together_with_its_digest_shows_in_the_next(trail: Ledger) -> None:
    tamper(trail, f"UPDATE audit SET digest = '{'0' * 64}' WHERE position = 3")
    assert len(trail.verify_audit()) == 2


def test_a_removed_row_shows(trail: Ledger) -> None:
    tamper(trail, "DELETE FROM audit WHERE position = 3")
    assert trail.verify_audit() == ["audit row 3 is missing: the row before 4 was removed"]


def test_a_trail_that_was_cut_off_or_rewritten_shows_against_its_anchor(trail: Ledger) -> None:
    last = trail.audit_trail()[-1]
    assert trail.verify_audit((5, "1" * 64)) == [
        "audit row 5 is not the one that was anchored: the trail was written anew"
    ]
    tamper(trail, "DELETE FROM audit WHERE position > 3")
    assert trail.verify_audit() == []
    assert trail.verify_audit((5, last.digest)) == [
        "audit rows up to 5 once existed, the trail ends at 3: its end was cut off"
    ]
