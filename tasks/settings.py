"""Where the farm runs, from the environment (`FARM_*`); the only module that reads it."""

import os
from functools import lru_cache
from pathlib import Path

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from tasks.errors import ConfigError


class Settings(BaseSettings):
    """Every setting has a default that works on one laptop, and a line in the README."""

    model_config = SettingsConfigDict(env_prefix="FARM_", frozen=True, extra="ignore")

    home: Path = Field(Path(".farm"), description="Folder for everything that the defaults below put somewhere.")
    store: str = Field("", description="Object store: file:///folder or s3://bucket/prefix. Default: HOME/store.")
    database: str = Field("", description="Lineage database: SQLAlchemy URL. Default: SQLite in HOME/farm.db.")
    s3_endpoint: str = Field("", description="Address of an S3-compatible server; empty means AWS.")
    device: str = Field("auto", description="cpu, cuda, cuda:1, or auto: the first GPU if there is one.")
    gpus: int = Field(0, ge=0, description="GPUs that share one segment through torchrun; 0 or 1: one process.")
    threads: int = Field(0, ge=0, description="CPU threads of the network; 0 means every core.")
    weights: Path | None = Field(None, description="Folder with the released checkpoint (avatar profile).")
    whisper: Path | None = Field(None, description="whisper-tiny checkpoint file (avatar profile).")
    llava: Path | None = Field(None, description="Folder with LLaVA-Llama-3-8B (avatar profile).")
    clip: Path | None = Field(None, description="Folder with the CLIP-L text encoder (avatar profile).")
    territory: str = Field("", description="Country this runs in (two letters): some weights exclude some countries.")
    face_models: Path | None = Field(None, description="Folder with insightface models, or a YuNet .onnx file.")
    lease_seconds: float = Field(120.0, gt=0, description="How long a silent worker keeps its claim on a segment.")
    wait_seconds: float = Field(600.0, gt=0, description="How long a segment waits for a neighbour before it yields.")
    grace_seconds: float = Field(60.0, gt=0, description="An episode gives up so long after its last run has moved.")
    stop_seconds: float = Field(
        24.0, gt=0, le=28, description="How long a step may go on after SIGTERM; Prefect kills the process after 30 s."
    )
    budget_gpu_hours: float = Field(0.0, ge=0, description="GPU-hours an episode may cost; 0 means no limit.")
    usd_per_gpu_hour: float = Field(3.5, ge=0, description="What a GPU-hour costs, for the figures of farm status.")
    worker: str = Field("", description="This worker's name in the ledger. Default: host name and process id.")

    @property
    def store_url(self) -> str:
        return self.store or (self.home.resolve() / "store").as_uri()

    @property
    def database_url(self) -> str:
        return self.database or f"sqlite:///{self.home.resolve() / 'farm.db'}"


@lru_cache(maxsize=1)
def settings() -> Settings:
    """Return this process's settings, read once.

    Raises: ConfigError naming every environment value that is not of its type.
    """
    try:
        return Settings()
    except ValidationError as exc:
        faults = [f"FARM_{str(one['loc'][0]).upper()}={one['input']}: {one['msg']}" for one in exc.errors()]
        raise ConfigError("; ".join(faults)) from exc


def environment_with(database: str) -> dict[str, str]:
    """Return the environment of a process of this farm's that works on that database."""
    return {**os.environ, "FARM_DATABASE": database}
