"""The pointer: the small object that says which output of a work item won. It is put once, and it is the truth."""

import hashlib
import json
import logging
from dataclasses import asdict, dataclass

from db.errors import AlreadyDone, Disagreement, Held, LeaseLost, LedgerAway, LedgerError
from db.ledger import Ledger
from db.records import Behalf, Claim, Record, WorkItem
from tasks import errors
from tasks.errors import FarmError, ObjectMissing, PermanentError
from tasks.store import ObjectRef, Store
from tasks.store.types import check_key

log = logging.getLogger(__name__)
FOLDER = "done/"
CHUNK_BYTES = 4 << 20


@dataclass(frozen=True)
class Pointer:
    """The winner of a work item: its output, the record of how it was made, and the attempt that put the pointer."""

    item: WorkItem
    object: ObjectRef
    record: ObjectRef
    attempt: int
    token: str
    worker: str
    behalf: Behalf

    @property
    def claim(self) -> Claim:
        """Return the claim that the winner held."""
        return Claim(self.item, self.attempt, self.token, self.worker, 0.0, 0.0)

    def to_json(self) -> bytes:
        """Return the pointer's bytes."""
        return json.dumps({"version": 1, **asdict(self)}, sort_keys=True).encode()

    @classmethod
    def from_json(cls, data: bytes) -> "Pointer":
        """Return the pointer. Raises: ValueError when the bytes are not one."""
        try:
            fields = json.loads(data)
            if fields.pop("version") != 1:
                raise ValueError("pointer of another version")
            item, behalf = WorkItem(**fields.pop("item")), Behalf(**fields.pop("behalf"))
            output, record = ObjectRef(**fields.pop("object")), ObjectRef(**fields.pop("record"))
            return cls(item, output, record, behalf=behalf, **fields)
        except (KeyError, TypeError, AttributeError) as exc:
            raise ValueError(f"not a pointer: {exc}") from exc


def pointer_key(item: WorkItem) -> str:
    """Return where the item's pointer lies in the store."""
    return f"{FOLDER}{item.kind}/{item.key}"


def item_of(key: str) -> WorkItem:
    """Return the item whose pointer lies at `key`. Raises: ValueError when it is not a pointer's key."""
    folder, _, name = key.removeprefix(FOLDER).partition("/")
    return WorkItem(folder, check_key(name))


def find_done(store: Store, item: WorkItem, *, verify: bool = False) -> Pointer | None:
    """Return the item's winner if it is done: the pointer exists, and so does what it names, in full size.

    `verify` reads the output and compares its digest; without it the digest is trusted, as fetch and get check it
    anyway. Raises: StoreError.
    """
    try:
        pointer = Pointer.from_json(store.get(pointer_key(item)))
    except ObjectMissing:
        return None
    except ValueError:
        log.warning("pointer cannot be read; the item counts as not done", extra={"item": str(item)})
        return None
    sound = pointer.item == item and all(
        is_sound(store, ref, verify=verify) for ref in (pointer.object, pointer.record)
    )
    return pointer if sound else None


def is_sound(store: Store, ref: ObjectRef, *, verify: bool) -> bool:
    """Say whether the object exists in full size and, if `verify`, with its digest. Raises: StoreError."""
    try:
        if store.stat(ref.key).size != ref.size:
            return False
        return not verify or stored_digest(store, ref.key) == ref.sha256
    except ObjectMissing:
        return False


def stored_digest(store: Store, key: str) -> str:
    """Return the SHA-256 of what the store really holds, read in blocks. Raises: ObjectMissing, StoreError."""
    running = hashlib.sha256()
    with store.open_range(key) as file:
        while chunk := file.read(CHUNK_BYTES):
            running.update(chunk)
    return running.hexdigest()


def adopt(store: Store, ledger: Ledger, pointer: Pointer) -> bool:
    """Write the store's winner into the ledger with all its lineage; False when the ledger knew it.

    Raises: Disagreement when the ledger has another winner; LedgerAway, StoreError.
    """
    status = ledger.status(pointer.item)
    if status and status.state == "done" and status.sha256 == pointer.object.sha256:
        return False
    record = Record.from_json(store.get(pointer.record.key))
    return ledger.adopt(pointer.claim, record, pointer.behalf)


def as_farm_error(exc: LedgerError) -> FarmError:
    """Return what a flow should see instead of the ledger's own refusal."""
    match exc:
        case Held():
            return errors.Busy(str(exc))
        case LeaseLost():
            return errors.LeaseLost(str(exc))
        case LedgerAway():
            return errors.DatabaseAway(str(exc))
        case AlreadyDone(waived=str(how)) if how:
            return errors.Waived(str(exc))
        case Disagreement():
            return PermanentError(f"{exc}; run farm fsck --repair")
        case _:
            return PermanentError(str(exc))
