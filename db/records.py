"""What goes into and comes out of the ledger: small frozen values without a database behind them.

Times are seconds since 1970 by the database's clock; spans are seconds from the start of the object they belong to.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

Kind = Literal["segment", "shot", "film", "condition"]
KINDS: tuple[str, ...] = get_args(Kind)
State = Literal["pending", "running", "done", "failed", "waived"]
AttemptState = Literal["running", "done", "failed", "lost"]
Waiver = Literal["hold-last", "slate"]
WAIVERS: tuple[str, ...] = get_args(Waiver)
Facts = Mapping[str, str | int | float | bool | None]


@dataclass(frozen=True, order=True)
class WorkItem:
    """Something that is made once and published: its kind, and the key that hashes all its inputs."""

    kind: str
    key: str

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"work item kind {self.kind!r}: not one of {', '.join(KINDS)}")

    def __str__(self) -> str:
        return f"{self.kind} {self.key}"


@dataclass(frozen=True)
class Behalf:
    """For which episode and shot an attempt works; what it costs is counted there."""

    episode: str = ""
    shot: str = ""


@dataclass(frozen=True)
class Claim:
    """The right to publish a work item. `attempt` is the fencing token.

    `token` tells it from the attempt that had the same number before the database was restored from a backup.
    """

    item: WorkItem
    attempt: int
    token: str
    worker: str
    started_at: float
    lease_until: float


@dataclass(frozen=True)
class Artifact:
    """Bytes that exist: `kind` says what they are (segment_latents, film, stem, plate, ...), `name` what people say.

    `object_key` is where they lie in the store; empty for what is kept elsewhere (weights, the studio's own files).
    """

    sha256: str
    size: int
    kind: str
    object_key: str = ""
    name: str = ""


@dataclass(frozen=True)
class Derivation:
    """`child` was made from `parent`, which served as `role`; `source` is the work item that made the parent, if any.

    The span says which seconds of the child come from the parent: None for all of them.
    """

    child: str
    parent: str
    role: str
    source: WorkItem | None = None
    start_seconds: float | None = None
    end_seconds: float | None = None


@dataclass(frozen=True)
class Record:
    """All that is known about one published output; goes into the store and, from there, into the ledger."""

    sha256: str
    artifacts: tuple[Artifact, ...]
    derivations: tuple[Derivation, ...] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)
    facts: Facts = field(default_factory=dict)  # seed, code version, profile, pod, host: what made it, beyond objects
    seconds: float = 0.0

    def __post_init__(self) -> None:
        if self.sha256 not in {artifact.sha256 for artifact in self.artifacts}:
            raise ValueError(f"record of {self.sha256}: its output is not among its {len(self.artifacts)} artifacts")

    def to_json(self) -> bytes:
        """Return the same bytes for the same record, in every process."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":")).encode()

    @classmethod
    def from_json(cls, data: bytes) -> "Record":
        """Return the record. Raises: ValueError when the bytes are not one."""
        try:
            fields: dict[str, Any] = json.loads(data)
            fields["artifacts"] = tuple(Artifact(**artifact) for artifact in fields["artifacts"])
            fields["derivations"] = tuple(_derivation(derivation) for derivation in fields["derivations"])
            return cls(**fields)
        except (KeyError, TypeError) as exc:
            raise ValueError(f"not a record of a published output: {exc}") from exc


def _derivation(fields: dict[str, Any]) -> Derivation:
    source = fields.pop("source")
    return Derivation(**fields, source=WorkItem(**source) if source else None)


@dataclass(frozen=True)
class EpisodeEntry:
    """One planned episode; `key` is the plan's."""

    key: str
    name: str
    title: str
    show: str = ""
    profile: str = ""
    fps: float = 25.0
    num_frames: int = 0
    plan_sha256: str = ""  # object with the plan
    manifest_sha256: str = ""  # object with the manifest


@dataclass(frozen=True)
class ShotEntry:
    """One shot of an episode, in film order; two episodes, or two versions of one, may share a key."""

    index: int
    id: str
    key: str
    start_frame: int
    num_frames: int


@dataclass(frozen=True)
class SegmentEntry:
    """One segment of a shot."""

    key: str
    index: int
    first_window: int
    num_windows: int


@dataclass(frozen=True)
class WeightsEntry:
    """A weights file that outputs may derive from."""

    sha256: str
    name: str
    profile: str
    size: int
    licence: str = ""


@dataclass(frozen=True)
class Attempt:
    """One try at a work item by one worker."""

    item: WorkItem
    number: int
    worker: str
    state: AttemptState
    failure_class: str
    message: str
    started_at: float
    ended_at: float | None
    useful_seconds: float
    wasted_seconds: float
    num_gpus: int
    behalf: Behalf
    facts: Facts


@dataclass(frozen=True)
class ItemStatus:
    """Where a work item stands; `sha256` and `winner` (an attempt number) are set once it is done."""

    item: WorkItem
    state: State
    attempt: int
    worker: str
    lease_until: float
    sha256: str
    object_key: str
    winner: int
    waived_with: str
    forgiven: int  # attempts up to this number no longer count against the limits


@dataclass(frozen=True)
class AuditEntry:
    """One row of the audit trail; `digest` covers the row and the digest before it."""

    position: int
    at: float
    actor: str
    action: str
    subject: str
    detail: str
    previous: str
    digest: str
