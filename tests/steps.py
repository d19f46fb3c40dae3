"""Every call that changes a folder, counted, and the power cut at any of them."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pytest

STEPS = ("replace", "rename", "unlink", "fsync", "symlink", "rmdir", "mkdir")


class PowerCut(BaseException):
    """The machine stops: nothing after this instant happens."""


class Steps:
    """Counts the calls that change the folder, and stops before or after the k-th."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.taken: list[str] = []
        self.at: int | None = None
        self.error: BaseException = PowerCut()
        self.after = self.on = False
        for name in STEPS:
            monkeypatch.setattr(os, name, self._wrapped(name, getattr(os, name)))

    def _wrapped(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def step(*words: Any, **more: Any) -> Any:  # noqa: ANN401
            if not self.on:
                return real(*words, **more)
            self.taken.append(name)
            hit = len(self.taken) == self.at
            if hit and not self.after:
                raise self.error
            try:
                return real(*words, **more)
            finally:
                if hit:
                    raise self.error

        return step

    @contextlib.contextmanager
    def cut(
        self, at: int | None, *, after: bool = False, error: BaseException | None = None
    ) -> Iterator[None]:
        self.taken, self.at, self.after, self.on = [], at, after, True
        self.error = error or PowerCut()
        try:
            yield
        finally:
            self.on = False
