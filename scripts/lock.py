"""Write requirements/*.lock from the packages installed in this environment.

core.lock is the exact closure of what `make demo` needs, dev.lock what the tests need on top. Both are installed
with `pip install --no-deps`, because one requirement is refused on purpose: openai-whisper asks for triton (690 MB),
which only its CUDA word-timing kernel uses. The GPU image installs triton with torch anyway.
"""

import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REFUSED = {"triton"}
ROOT = Path(__file__).resolve().parent.parent


def closure(requirements: list[str]) -> dict[str, str]:
    """Return name -> version of everything that the requirements pull in, as installed here."""
    found: dict[str, str] = {}
    todo = [(Requirement(text), frozenset[str]()) for text in requirements]
    seen: set[tuple[str, frozenset[str]]] = set()
    while todo:
        requirement, parent_extras = todo.pop()
        markers = [{"extra": extra} for extra in parent_extras] or [{"extra": ""}]
        if requirement.marker and not any(requirement.marker.evaluate(env) for env in markers):
            continue
        name, extras = canonicalize_name(requirement.name), frozenset(requirement.extras)
        if name in REFUSED or (name, extras) in seen:
            continue
        seen.add((name, extras))
        try:
            package = distribution(name)
        except PackageNotFoundError as exc:
            raise SystemExit(f"{name} is required but not installed; install it, then lock again") from exc
        found[name] = package.version.partition("+")[0]  # torch: the same pin takes the CPU build or the CUDA build
        todo += [(Requirement(text), extras) for text in package.requires or ()]
    return found


def main() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    core = closure(project["dependencies"])
    everything = project["dependencies"] + [
        text for group in project["optional-dependencies"].values() for text in group
    ]
    dev = {name: version for name, version in closure(everything).items() if name not in core}
    for file, pins in {"core.lock": core, "dev.lock": dev}.items():
        text = "".join(f"{name}=={version}\n" for name, version in sorted(pins.items()))
        (ROOT / "requirements" / file).write_text(text)
        print(f"{file}: {len(pins)} packages")


if __name__ == "__main__":
    main()
