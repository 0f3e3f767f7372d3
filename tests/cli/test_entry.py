"""A Ctrl-C in the first moment of a command."""

from __future__ import annotations

import subprocess
import sys

# as if Ctrl-C came while click is imported: nothing of ours is there yet that could catch it
SCRIPT = """
import builtins, os, signal, sys
from ecsconsul.cli.entry import main
find = builtins.__import__
def interrupted(name, *more):
    if name == "click":
        os.kill(os.getpid(), signal.SIGINT)
    return find(name, *more)
builtins.__import__ = interrupted
sys.argv = ["ecsconsul", "--version"]
main()
"""


def ended(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)


def test_a_ctrl_c_while_it_is_imported_ends_it_without_a_traceback() -> None:
    done = ended(SCRIPT)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_one_that_its_caller_ignores_stays_ignored() -> None:
    done = ended(SCRIPT.replace("find =", "signal.signal(signal.SIGINT, signal.SIG_IGN)\nfind ="))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("ecsconsul")
