"""Kubernetes quantities (`500m`, `64Gi`) as exact numbers."""

import re
from fractions import Fraction

_QUANTITY = re.compile(r"^([+-]?(?:\d+\.?\d*|\.\d+))(?:([numkMGTPE]|[KMGTPE]i)|[eE]([+-]?\d+))?$")
_POWERS = {"n": -3, "u": -2, "m": -1, "k": 1, "M": 2, "G": 3, "T": 4, "P": 5, "E": 6}
_MULTIPLES: dict[str, Fraction] = {suffix: Fraction(1000) ** power for suffix, power in _POWERS.items()} | {
    f"{prefix}i": Fraction(1024) ** (power + 1) for power, prefix in enumerate("KMGTPE")
}


def parse_quantity(text: str | int | float) -> Fraction:
    """Return a quantity in its base unit: bytes, cores, devices.

    Raises: ValueError for anything the API server refuses, such as `12GB` or `8 Gi`.
    """
    match = _QUANTITY.match(str(text))
    if match is None:
        raise ValueError(f"quantity {text!r} is not one Kubernetes knows; write it like 12Gi, 500m or 2")
    number, suffix, exponent = match.groups()
    if exponent is not None:
        return Fraction(number) * Fraction(10) ** int(exponent)
    return Fraction(number) * (_MULTIPLES[suffix] if suffix else 1)


def times(text: str, factor: int) -> str:
    """Return a quantity several times, in the unit it was written in: `16Gi`, 8 -> `128Gi`.

    Raises: ValueError for anything the API server refuses.
    """
    parse_quantity(text)
    number = re.match(r"[+-]?[\d.]+", text)
    assert number is not None  # it has just been parsed
    product = Fraction(number.group()) * factor
    whole = str(product) if product.denominator == 1 else str(float(product))
    return whole + text[number.end() :]


def format_gibibytes(quantity: Fraction) -> str:
    """Return bytes as gibibytes for a person to read."""
    return f"{float(quantity / 2**30):.1f} GiB"
