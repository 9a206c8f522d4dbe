"""Programs at one point each, with the density that their text means, written out by hand."""

from tests.oracles import lets, marginals, with_rows, without_rows

CASES = [*without_rows.CASES, *lets.CASES, *with_rows.CASES, *marginals.CASES]
