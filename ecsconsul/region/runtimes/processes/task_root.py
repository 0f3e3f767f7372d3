"""Runs a program with an image's files at their own paths, over this machine's: task_root.py ... run TREE ROOT ...

A mount namespace of its own gets a root folder that consists of this machine's folders and of those of the image; where
both have a folder, it holds the files of both, and the image's file wins. Nothing is isolated by it: the program sees
what its user sees. A user namespace makes it possible without root, where the kernel permits that.

A program of its own, on Python's library alone: a process must have a single thread to enter a user namespace.
"""

from __future__ import annotations

import ctypes
import os
import resource
import sys

# https://man7.org/linux/man-pages/man2/unshare.2.html and mount.2.html
CLONE_NEWNS, CLONE_NEWUSER = 0x00020000, 0x10000000
MS_BIND, MS_REC, MS_SLAVE = 0x1000, 0x4000, 0x80000
MS_RDONLY, MS_REMOUNT = 0x1, 0x20
# nosuid, nodev, noexec, noatime, nodiratime: what a mount has of these must stay in a user namespace
MS_LOCKED = 0x2 | 0x4 | 0x8 | 0x400 | 0x800
# where this machine's own root is, for what is linked from merged folders
MACHINE = ".machine"
# Docker's exit codes: no container, a program that can't be executed, and one that doesn't exist
FAILED, NOT_EXECUTABLE, NOT_FOUND = 125, 126, 127


def enter_namespaces() -> None:
    """Give this process mounts of its own. Raises OSError where the kernel refuses."""
    user, group = os.getuid(), os.getgid()
    _call("unshare", CLONE_NEWNS if user == 0 else CLONE_NEWNS | CLONE_NEWUSER)
    if user != 0:
        # https://man7.org/linux/man-pages/man7/user_namespaces.7.html: without privileges, groups must stay as they are
        for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)
    _mount("none", "/", "", MS_REC | MS_SLAVE)


def make_root(tree: str, root: str) -> None:
    """Put together at `root` what this machine and the tree of an image have. Raises OSError."""
    os.makedirs(root, exist_ok=True)
    _mount("tmpfs", root, "tmpfs", 0, "mode=755,size=4m")
    os.mkdir(f"{root}/{MACHINE}")
    _mount("/", f"{root}/{MACHINE}", "", MS_BIND | MS_REC)
    own = os.listdir(tree)
    for name in set(os.listdir("/")).difference(own):
        _place(f"/{name}", f"{root}/{name}")
    for name in own:
        _combine(f"/{name}", f"{tree}/{name}", f"{root}/{name}")


def add_volume(source: str, target: str, mode: str) -> None:
    """Show a folder at another place; "ro" lets nobody write to it there. Raises OSError."""
    os.makedirs(target, exist_ok=True)
    _mount(source, target, "", MS_BIND | MS_REC)
    if mode == "ro":
        # statvfs has the values of mount for these
        kept = os.statvfs(target).f_flag & MS_LOCKED
        _mount("none", target, "", MS_BIND | MS_REMOUNT | MS_RDONLY | kept)


def set_limit(name: str, soft: int, hard: int) -> None:
    """Set a resource limit, as far as this user may raise it; what isn't possible is said on stderr."""
    number = getattr(resource, f"RLIMIT_{name.upper()}", None)
    if number is None:
        sys.stderr.write(f"[ecsconsul] this system has no limit {name}\n")
        return
    try:
        resource.setrlimit(number, (soft, hard))
    except (ValueError, OSError) as error:
        present = resource.getrlimit(number)
        sys.stderr.write(f"[ecsconsul] ulimit {name} stays {present[0]}:{present[1]}: {error}\n")


def _combine(machine: str, image: str, target: str) -> None:
    if not (_is_folder(image) and _is_folder(machine)):
        _place(image, target)
        return
    os.mkdir(target)
    own = os.listdir(image)
    for name in set(os.listdir(machine)).difference(own):
        os.symlink(f"/{MACHINE}{machine}/{name}", f"{target}/{name}")
    for name in own:
        _combine(f"{machine}/{name}", f"{image}/{name}", f"{target}/{name}")


def _is_folder(path: str) -> bool:
    return os.path.isdir(path) and not os.path.islink(path)


def _place(source: str, target: str) -> None:
    """Show a file or folder at another place."""
    if os.path.islink(source):
        os.symlink(os.readlink(source), target)
        return
    if os.path.isdir(source):
        os.mkdir(target)
    else:
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY, 0o600))
    _mount(source, target, "", MS_BIND | MS_REC)


def _mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    _call("mount", os.fsencode(source), os.fsencode(target), kind.encode(), flags, options.encode())


def _call(function: str, *arguments: object) -> None:
    if getattr(_libc, function)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{function}: {os.strerror(number)}", str(arguments[1:2]))


def _enter(pid: str) -> None:
    """Go where the process `pid` is."""
    # opened while they can be reached by these paths
    root, workdir = (os.open(f"/proc/{pid}/{name}", os.O_PATH | os.O_CLOEXEC) for name in ("root", "cwd"))
    for kind in ("user", "mnt"):
        path = f"/proc/{pid}/ns/{kind}"
        if os.readlink(path) != os.readlink(f"/proc/self/ns/{kind}"):
            namespace = os.open(path, os.O_RDONLY)
            _call("setns", namespace, 0)
            os.close(namespace)
    os.fchdir(root)
    os.chroot(".")
    os.fchdir(workdir)


def _prepare(words: list[str]) -> list[str]:
    """Do what the first words say; returns the program and its arguments."""
    volumes = []
    while words[0] in ("limit", "volume"):
        if words[0] == "limit":
            set_limit(words[1], int(words[2]), int(words[3]))
        else:
            volumes.append(words[1:4])
        words = words[4:]
    if words[0] == "plain":
        return words[1:]
    if words[0] == "enter":
        _enter(words[1])
        return words[2:]
    enter_namespaces()
    make_root(words[1], words[2])
    for source, path, mode in volumes:
        add_volume(source, words[2] + path, mode)
    os.chroot(words[2])
    os.chdir(words[3])
    return words[4:]


def main(words: list[str]) -> int:
    """`run TREE ROOT WORKDIR PROGRAM ...`, `enter PID PROGRAM ...` or `plain PROGRAM ...`.

    Before it may come `limit NAME SOFT HARD` and, for `run`, `volume FOLDER PATH rw|ro`, any number of times. Returns
    only if there is no such program.
    """
    try:
        program = _prepare(words)
    except OSError as error:
        sys.stderr.write(f"{error.strerror}: {error.filename}\n")
        return FAILED
    try:
        os.execvpe(program[0], program, os.environ)
    except OSError as error:
        sys.stderr.write(f"{program[0]}: {error.strerror}\n")
        return NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE


_libc = ctypes.CDLL(None, use_errno=True)

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
