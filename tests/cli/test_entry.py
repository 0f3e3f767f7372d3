"""Ctrl-C right after a command starts."""

from __future__ import annotations

import subprocess
import sys

# sends Ctrl-C while click is being imported
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


def test_ctrl_c_during_imports_exits_without_a_traceback() -> None:
    done = ended(SCRIPT)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_ignored_sigint_stays_ignored() -> None:
    done = ended(SCRIPT.replace("find =", "signal.signal(signal.SIGINT, signal.SIG_IGN)\nfind ="))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("ecsconsul")
