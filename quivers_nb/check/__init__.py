"""From a syntax tree to typed terms: names, types, shapes, and every independent error at once."""

from quivers_nb.check.module import check_module, check_source

__all__ = ["check_module", "check_source"]
