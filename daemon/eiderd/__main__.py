"""`python -m eiderd` is `eider`."""

from eiderd.cli import run

run()
