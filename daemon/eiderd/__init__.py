"""eiderd: keeps an application built on a DuckDB file recoverable."""

__version__ = "0.1.0"
