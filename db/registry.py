"""Writing down what is planned: episodes, shots, segments, weights. All of it may be said twice."""

from collections.abc import Sequence
from dataclasses import asdict

from sqlalchemy import update
from sqlalchemy.orm import Session

from db import audit
from db.records import EpisodeEntry, SegmentEntry, ShotEntry, WeightsEntry
from db.rows import insert_new
from db.tables import EpisodeRow, SegmentRow, ShotRow, WeightsRow, WorkRow


def register_episode(session: Session, episode: EpisodeEntry, actor: str, now: float) -> bool:
    """Write the episode as the one of its name that was asked for last; False when its key was known.

    One key may come with another name or another split into segments, which the key does not hold: the newest counts.
    """
    fields = {**asdict(episode), "submitted_at": now}
    known = update(EpisodeRow).where(EpisodeRow.key == episode.key).values(fields).returning(EpisodeRow.key)
    if session.execute(known).first():
        return False
    insert_new(session, EpisodeRow, [{**fields, "created_at": now}])
    audit.append(session, now, actor, "planned", f"episode {episode.key}", {"name": episode.name, "show": episode.show})
    return True


def register_shots(session: Session, episode_key: str, shots: Sequence[ShotEntry]) -> None:
    """Write an episode's shots; what is made of them names itself when it is claimed."""
    rows = []
    for shot in shots:
        fields = asdict(shot)
        rows.append({"episode_key": episode_key, "position": fields.pop("index"), **fields})
    insert_new(session, ShotRow, rows)


def register_segments(session: Session, shot_key: str, segments: Sequence[SegmentEntry]) -> None:
    """Write a shot's segments as work that is pending."""
    rows = []
    for segment in segments:
        fields = asdict(segment)
        rows.append({"shot_key": shot_key, "position": fields.pop("index"), **fields})
    insert_new(session, SegmentRow, rows)
    insert_new(session, WorkRow, [{"kind": "segment", "key": key} for key in sorted({s.key for s in segments})])


def register_weights(session: Session, weights: WeightsEntry) -> None:
    """Write a weights file down."""
    insert_new(session, WeightsRow, [asdict(weights)])
