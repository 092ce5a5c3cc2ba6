"""What a weights file may be used for: a card beside each file, read before anything is rendered with it."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

EUROPEAN_UNION = frozenset(
    {
        "AT", "BE", "BG", "HR", "CY", "CZ", "DK", "EE", "FI", "FR", "DE", "GR", "HU", "IE", "IT", "LV", "LT", "LU",
        "MT", "NL", "PL", "PT", "RO", "SK", "SI", "ES", "SE",
    }
)  # fmt: skip
REGIONS = {"EU": EUROPEAN_UNION, "UK": frozenset({"GB"})}  # how licences name them


class LicenceRefused(ValueError):
    """The licence of a weights file does not cover this use in this territory."""


@dataclass(frozen=True)
class WeightsCard:
    """A weights file's licence on record.

    `territory_excluded`: two-letter country codes, EU, UK. `uses`: what it may be used for. `terms`: where the text is.
    """

    name: str
    sha256: str
    licence: str
    territory_excluded: tuple[str, ...] = ()
    uses: tuple[str, ...] = ("render", "research", "training")
    terms: str = ""


# The licences that the farm knows. Whoever uses a file reads its own text: these are what is checked, not advice.
LICENCES = {
    "tencent-hunyuan-community": WeightsCard(
        "", "", "tencent-hunyuan-community", ("EU", "UK", "KR"), ("render", "research"),
        "outputs may not train other models; more than 100 million monthly users need Tencent's own permission",
    ),
    "apache-2.0": WeightsCard("", "", "apache-2.0"),
    "mit": WeightsCard("", "", "mit"),
    "llama-3-community": WeightsCard(
        "", "", "llama-3-community", (), ("render", "research"),
        "outputs may not train other models; more than 700 million monthly users need Meta's own permission",
    ),
}  # fmt: skip


def card_path(weights: Path) -> Path:
    """Return where a weights file's card lies."""
    return weights.with_suffix(".json")


def file_sha256(path: Path) -> str:
    """Return a file's digest."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_card(weights: Path, licence: str) -> WeightsCard:
    """Write the card of a weights file under a known licence, with the file's digest.

    Raises: ValueError for a licence that is not known.
    """
    if licence not in LICENCES:
        raise ValueError(f"licence {licence!r} is not known; known are {', '.join(sorted(LICENCES))}")
    known = LICENCES[licence]
    card = WeightsCard(**{**asdict(known), "name": weights.name, "sha256": file_sha256(weights)})
    card_path(weights).write_text(json.dumps(asdict(card), indent=2) + "\n")
    return card


def read_card(weights: Path) -> WeightsCard:
    """Return the card beside a weights file; fields that are not the licence's are left alone.

    Raises: LicenceRefused when there is none or it lacks a field: weights without a record are not used.
    """
    path = card_path(weights)
    try:
        content = json.loads(path.read_text())
        return WeightsCard(
            name=content["name"],
            sha256=content["sha256"],
            licence=content["licence"],
            territory_excluded=tuple(content.get("territory_excluded", ())),
            uses=tuple(content.get("uses", ())),
            terms=content.get("terms", ""),
        )
    except FileNotFoundError as exc:
        raise LicenceRefused(f"{weights}: no licence on record; write it with `farm weights card {weights}`") from exc
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as exc:
        raise LicenceRefused(f"{path}: not a licence card ({exc!r}); write it again with `farm weights card`") from exc


def check_licence(card: WeightsCard, territory: str, use: str) -> None:
    """Refuse a use that the card does not list, or a territory that it excludes.

    `territory` is where the weights run, a two-letter country code (ISO 3166). Nothing excluded: any code will do, and
    so will none.
    Raises: LicenceRefused.
    """
    if use not in card.uses:
        raise LicenceRefused(f"{card.name}: licence {card.licence} covers {', '.join(card.uses)}, not {use}")
    country = territory.strip().upper()
    country = "GB" if country == "UK" else country
    if card.territory_excluded and not country:
        excluded = ", ".join(card.territory_excluded)
        raise LicenceRefused(
            f"{card.name}: licence {card.licence} excludes {excluded}; say in which country this runs (FARM_TERRITORY)"
        )
    for excluded in card.territory_excluded:
        if country == excluded or country in REGIONS.get(excluded, ()):
            raise LicenceRefused(
                f"{card.name}: licence {card.licence} excludes {excluded}; this runs in {country}: use other weights"
            )


def check_digest(weights: Path, card: WeightsCard, digest_of: Callable[[Path], str] = file_sha256) -> None:
    """Refuse a file that is not the one on the card.

    Raises: LicenceRefused.
    """
    found = digest_of(weights)
    if found != card.sha256:
        raise LicenceRefused(
            f"{weights}: sha256 {found} is not the card's {card.sha256}; the record is of another file: put that one "
            "back, or this one's licence on record with `farm weights card`"
        )
