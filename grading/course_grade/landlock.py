"""Landlock: a process gives up its own access to files and to TCP, for itself and all its children, for good.

It needs no privileges. The system calls are documented in landlock(7) and in the kernel's userspace API; Python has no
module for them.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable
from pathlib import Path

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same numbers on every architecture
_VERSION = 1
_PATH_BENEATH = 1
_NO_NEW_PRIVS = 38

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1, 2, 4, 8
_READ = _EXECUTE | _READ_FILE | _READ_DIR
_ALL_ON_FILES = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 5: (1 << 16) - 1}  # by version of the interface
_OF_A_FILE = _EXECUTE | _WRITE_FILE | _READ_FILE | (1 << 14) | (1 << 15)  # truncate, ioctl
_ALL_ON_TCP = 3  # bind and connect, from version 4
_SIGNALS_AND_ABSTRACT_SOCKETS = 3  # to processes outside, from version 6

_libc = ctypes.CDLL(None, use_errno=True)


class _Ruleset(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("network", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = (("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32))


def version() -> int:
    """The version of the kernel's interface; 0 where there is none."""
    return max(0, int(_libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _VERSION)))


def _of_version(table: dict[int, int], number: int) -> int:
    return table[max(key for key in table if key <= number)]


def restrict(readable: Iterable[Path], writable: Iterable[Path]) -> None:
    """Allow reading below `readable`, everything below `writable`, no other file, no TCP. Raises OSError."""
    number = version()
    if number == 0:
        raise OSError("this kernel has no Landlock")
    files = _of_version(_ALL_ON_FILES, number)
    rules = _Ruleset(files, _ALL_ON_TCP if number >= 4 else 0, _SIGNALS_AND_ABSTRACT_SOCKETS if number >= 6 else 0)
    size = ctypes.sizeof(rules) if number >= 6 else 16 if number >= 4 else 8
    ruleset = _checked(_libc.syscall(_CREATE_RULESET, ctypes.byref(rules), ctypes.c_size_t(size), 0))
    try:
        for allowed, paths in ((_READ, readable), (files, writable)):
            for path in paths:
                _allow(ruleset, path, allowed & files)
        _checked(_libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0))
        _checked(_libc.syscall(_RESTRICT_SELF, ruleset, 0))
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: Path, allowed: int) -> None:
    try:
        parent = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        rights = allowed if path.is_dir() else allowed & _OF_A_FILE
        rule = _Beneath(rights, parent)
        _checked(_libc.syscall(_ADD_RULE, ruleset, _PATH_BENEATH, ctypes.byref(rule), 0))
    finally:
        os.close(parent)


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
