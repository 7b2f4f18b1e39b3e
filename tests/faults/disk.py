"""What is made to happen to a process's changes of the disk: counted, killed at one of them, or failing from one on.

The honest way is the library `shim.c`, compiled when the harness starts and preloaded, which sees the writes of every
library and of every program that a process starts. Where there is no C compiler, Python's own functions are wrapped in
the process alone (`patched.py`), and the harness says so.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import shutil
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

SHIM = Path(__file__).with_name("shim.c")
PRELOAD, CONTROL, READY = "LD_PRELOAD", "FAULTS_CONTROL", "FAULTS_READY"
COUNT, KILL, FAIL = 0, 1, 2
NUMBERS = struct.Struct("7q")
TEXT = 1024
SIZE = NUMBERS.size + 2 * TEXT


class Control:
    """The block that all processes of a case share: `struct control` of `shim.c`, in a file."""

    def __init__(self, path: Path, root: Path) -> None:
        self.path = path
        path.write_bytes(bytes(NUMBERS.size) + os.fsencode(root.resolve()).ljust(TEXT, b"\0") + bytes(TEXT))
        with path.open("r+b") as file:
            self._block = mmap.mmap(file.fileno(), SIZE)

    def at(self, number: int, action: int = KILL, error: int = 0, clock: int = 0) -> None:
        """What happens at which operation; number 0 only counts."""
        NUMBERS.pack_into(self._block, 0, 0, number, action if number else COUNT, error, os.getpgrp(), clock, 0)
        self._block[NUMBERS.size + TEXT:] = bytes(TEXT)

    def adopt(self, group: int) -> None:
        """The process group that a kill ends."""
        struct.pack_into("q", self._block, 4 * 8, group)

    @property
    def count(self) -> int:
        """Operations so far."""
        return int(struct.unpack_from("q", self._block, 0)[0])

    @count.setter
    def count(self, number: int) -> None:
        struct.pack_into("q", self._block, 0, number)

    @property
    def number(self) -> int:
        """Where it happens."""
        return int(struct.unpack_from("q", self._block, 8)[0])

    @property
    def action(self) -> int:
        """What happens there."""
        return int(struct.unpack_from("q", self._block, 2 * 8)[0])

    @property
    def error(self) -> int:
        """The number of the error with which operations fail."""
        return int(struct.unpack_from("q", self._block, 3 * 8)[0])

    def say(self, what: str) -> None:
        """Note that it happened, and at what."""
        struct.pack_into("q", self._block, 6 * 8, 1)
        self._block[NUMBERS.size + TEXT:] = what.encode()[:TEXT - 1].ljust(TEXT, b"\0")

    @property
    def happened(self) -> bool:
        """Whether the operation was reached."""
        return bool(struct.unpack_from("q", self._block, 6 * 8)[0])

    @property
    def what(self) -> str:
        """Which operation it was, and on what."""
        return os.fsdecode(bytes(self._block[NUMBERS.size + TEXT:]).split(b"\0")[0])


def preloaded() -> bool:
    """Whether this process runs with the shim."""
    return os.environ.get(READY) == "1"


def start_again_with_the_shim(module: str, arguments: list[str]) -> None:
    """Replace this process by one with the shim in it. Returns where that cannot be, having said why."""
    if os.environ.get(READY):
        return
    os.environ[READY] = "0"
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if not sys.platform.startswith("linux") or compiler is None:
        print("faults: there is no C compiler here, so only Python's own changes of the disk are seen", file=sys.stderr)
        return
    library = Path(tempfile.mkdtemp(prefix="faults-shim-")) / "shim.so"
    done = subprocess.run([compiler, "-std=gnu11", "-O1", "-shared", "-fPIC", "-w", "-o", str(library), str(SHIM),
                           "-ldl"], capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"faults: shim.c does not compile here, so only Python's own changes of the disk are seen: "
              f"{done.stderr.splitlines()[:1]}", file=sys.stderr)
        return
    os.environ.update({READY: "1", PRELOAD: str(library)})
    os.execv(sys.executable, [sys.executable, "-m", module, *arguments])


def attach(control: Control) -> None:
    """Have this process, and all that it starts, obey a block."""
    control.adopt(os.getpgrp())
    if preloaded():
        os.environ[CONTROL] = str(control.path)
        ctypes.CDLL(None).faults_attach(os.fsencode(control.path))
    else:
        from tests.faults import patched

        patched.attach(control)


def roomy() -> str | None:
    """A folder in memory, where flushing to the disk costs nothing, if it has a gigabyte; None for the usual one."""
    try:
        return "/dev/shm" if shutil.disk_usage("/dev/shm").free > 1 << 30 else None
    except OSError:
        return None
