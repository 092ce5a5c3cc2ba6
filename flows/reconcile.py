"""Every few minutes: what a crash or a lost event left behind is put right from the store and the ledger."""

from prefect import flow


@flow(name="reconcile", retries=0)
def reconcile(store: str = "", database: str = "") -> list[str]:
    """Adopt winners, end silent claims, start again what crashed; return what was done."""
    from tasks.steps_rerun import reconcile_ledger, reconcile_states  # torch is in there; deploying needs none of it

    return [*reconcile_ledger(store, database), *reconcile_states()]
