"""Rows of the audit trail, written as the ledger's own deeds write theirs."""

from db import audit
from db.ledger import Ledger


def add_row(ledger: Ledger, action: str, subject: str, detail: dict[str, object]) -> None:
    """Add a row of ada's to the trail."""
    transactions = ledger.transactions
    transactions.write(lambda s: audit.append(s, transactions.now(s), "ada", action, subject, detail))
