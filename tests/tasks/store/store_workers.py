"""What other processes do in the tests of the store."""

from tasks.store import open_store


def create_key(url: str, endpoint: str, key: str, number: int, started, answers) -> None:
    """Try to create the key at the same moment as others."""
    store = open_store(url, endpoint=endpoint)
    started.wait()
    answers.put((number, store.put_once(key, f"claimed by {number}".encode())))
