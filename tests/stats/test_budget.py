"""The shares of the error budget."""

from tests.stats.budget import SHARES, TOTAL, critical_z


def test_shares_fit_into_the_budget() -> None:
    assert 0 < sum(SHARES.values()) <= TOTAL


def test_critical_values_are_two_sided() -> None:
    assert abs(critical_z(0.05) - 1.959964) < 1e-5
