"""Every series, declared once (`series`), its figures (`samples`), and how they are exposed."""

from __future__ import annotations

from eiderd.metrics.exposition import NAMES, exposition, table, unknown_names

__all__ = ["NAMES", "exposition", "table", "unknown_names"]
