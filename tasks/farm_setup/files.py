"""The files that `farm setup` applies: prefect.yaml's deployments and the automations beside this module."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tasks.errors import ConfigError

ROOT = Path(__file__).resolve().parent.parent.parent
AUTOMATIONS = Path(__file__).with_name("automations.yaml")


@dataclass(frozen=True)
class Deployment:
    """One deployment as prefect.yaml describes it."""

    name: str
    entrypoint: str
    pool: str
    description: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    schedules: tuple[dict[str, Any], ...] = ()
    concurrency: dict[str, Any] | None = None


def read_deployments(path: Path = ROOT / "prefect.yaml") -> tuple[list[Deployment], list[dict[str, Any]]]:
    """Return the deployments and the steps that every run begins with. Raises: ConfigError when the file is not one."""
    try:
        content = yaml.safe_load(path.read_text())
        found = [
            Deployment(
                name=one["name"],
                entrypoint=one["entrypoint"],
                pool=one["work_pool"]["name"],
                description=one.get("description", ""),
                parameters=one.get("parameters", {}),
                tags=tuple(one.get("tags", ())),
                schedules=tuple(one.get("schedules", ())),
                concurrency=one.get("concurrency_limit"),
            )
            for one in content["deployments"]
        ]
    except (OSError, KeyError, TypeError, yaml.YAMLError) as exc:
        raise ConfigError(
            f"{path}: not a prefect.yaml with deployments ({exc!r}); restore it from the repository"
        ) from exc
    return found, list(content.get("pull") or [])


def read_automations(path: Path = AUTOMATIONS) -> list[dict[str, Any]]:
    """Return the automations as the file describes them."""
    found: list[dict[str, Any]] = yaml.safe_load(path.read_text())
    return found
