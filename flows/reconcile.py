"""Every few minutes: what a crash or a lost event left behind is put right from the store and the ledger."""

from prefect import flow

from tasks.steps_rerun import reconcile_ledger, reconcile_states


@flow(name="reconcile", retries=0)
def reconcile(store: str = "", database: str = "") -> list[str]:
    """Adopt winners, end silent claims, start again what crashed; return what was done."""
    return [*reconcile_ledger(store, database), *reconcile_states()]
