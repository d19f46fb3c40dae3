"""What a unit gives its process beyond its user is handed to no child."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

from tests.helpers import is_root

_SCRIPT = textwrap.dedent("""
    import subprocess, threading
    from eiderd.outside import capabilities

    def ambient():
        ran = subprocess.run(["cat", "/proc/self/status"], capture_output=True, text=True)
        return int(ran.stdout.partition("CapAmb:")[2].split()[0], 16)

    print(ambient())
    capabilities.keep_from_children()
    print(ambient())
    later = threading.Thread(target=lambda: print(ambient()))
    later.start()
    later.join()
""")


@pytest.mark.skipif(not is_root(), reason="only root has capabilities to give")
def test_children_get_none_from_then_on_in_no_thread() -> None:
    ran = subprocess.run(
        ["setpriv", "--inh-caps=+chown", "--ambient-caps=+chown", sys.executable, "-c", _SCRIPT],
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert ran.stdout.split() == ["1", "0", "0"]


def test_a_process_without_any_is_left_as_it_is() -> None:
    script = "from eiderd.outside import capabilities; capabilities.keep_from_children()"
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
