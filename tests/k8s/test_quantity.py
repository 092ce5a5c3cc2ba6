"""Quantities are exact, and what the API server refuses is refused here."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.cluster.quantity import format_gibibytes, parse_quantity, times


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("500m", Fraction(1, 2)),
        ("2", 2),
        (3, 3),
        ("64Gi", 64 * 2**30),
        ("1.5G", 1_500_000_000),
        ("12e3", 12000),
        ("1Ki", 1024),
    ],
)
def test_a_quantity_has_its_value(text, value):
    assert parse_quantity(text) == value


@pytest.mark.parametrize("text", ["12GB", "8 Gi", "", "Gi", "1gi", "0x10", "1Mib", "1.2.3", "12K", "--1"])
def test_what_the_server_refuses_is_refused(text):
    with pytest.raises(ValueError, match="is not one Kubernetes knows"):
        parse_quantity(text)


@given(st.integers(0, 10**6), st.sampled_from(["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"]))
def test_each_binary_suffix_is_1024_of_the_one_before(count, suffix):
    suffixes = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"]
    smaller = suffixes[suffixes.index(suffix) - 1]
    assert parse_quantity(f"{count}{suffix}") == 1024 * parse_quantity(f"{count}{smaller}")


def test_bytes_are_shown_in_gibibytes():
    assert format_gibibytes(parse_quantity("1536Mi")) == "1.5 GiB"


@pytest.mark.parametrize(
    ("text", "factor", "product"), [("16Gi", 8, "128Gi"), ("500m", 3, "1500m"), ("8", 2, "16"), ("1.5Gi", 3, "4.5Gi")]
)
def test_a_quantity_several_times_keeps_its_unit(text, factor, product):
    assert times(text, factor) == product
    assert parse_quantity(product) == factor * parse_quantity(text)
