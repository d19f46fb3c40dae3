"""The verb that shows what eiderd does."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from eiderd import resources
from eiderd.cli.root import Json


def demo(
    seconds: Annotated[float, typer.Option(help="How long the application writes first.")] = 3,
    service_seconds: Annotated[
        float, typer.Option(help="How long the service looks after it then; 0: not at all.")
    ] = 60,
    json_: Json = False,
) -> None:
    """Back up a live imitation of Cartographus, restore it by hand, then let the service do it."""
    words = [sys.executable, str(resources.demo()), "--seconds", str(seconds)]
    words += ["--service-seconds", str(service_seconds)]
    os.execv(sys.executable, [*words, *(["--json"] if json_ else [])])
