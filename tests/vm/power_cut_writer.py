#!/usr/bin/python3 -I
"""Runs as the only process of a guest whose power is cut: writes records, and says which ones are safe.

Two words on the kernel's command line tell what to do: coursebox.known=N, the number of records that were reported
before, and coursebox.act=write|check. Each record is a file whose bytes follow from its number. "synced N" is printed
after fsync of the file and of its folder has returned, so record N must outlive everything that comes later.
"""

import hashlib
import os
import re
import subprocess
import threading

RECORDS, JUNK = "/var/lib/coursebox-power-cut/records", "/var/lib/coursebox-power-cut/junk"


def content(number: int) -> bytes:
    """Between 1 byte and about 200 kB that nobody finds by chance."""
    block = hashlib.sha256(b"%d" % number).digest()
    return (block * (1 + (number * 7919) % 6000))[: 1 + (number * 104729) % 200_000]


def verify(known: int) -> None:
    """Say "lost N" for every reported record that is not there as it was written, then how many were looked at."""
    for number in range(1, known + 1):
        try:
            with open(f"{RECORDS}/{number}", "rb") as file:
                whole = file.read() == content(number)
        except OSError:
            whole = False
        if not whole:
            print(f"lost {number}", flush=True)
    print(f"verified {known}", flush=True)


def write(first: int) -> None:
    """Write records for ever."""
    folder = os.open(RECORDS, os.O_DIRECTORY)
    number = first
    while True:
        beside = f"{RECORDS}/{number}.new"
        file = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        data = content(number)
        while data:
            data = data[os.write(file, data) :]
        os.fsync(file)
        os.close(file)
        os.rename(beside, f"{RECORDS}/{number}")
        os.fsync(folder)
        print(f"synced {number}", flush=True)
        number += 1


def litter() -> None:
    """Keep the disk busy with files that nobody has synced when the power goes."""
    turn = 0
    while True:
        turn += 1
        path = f"{JUNK}/{turn % 50}"
        with open(path, "wb") as file:
            file.write(os.urandom(20_000 + turn * 37 % 60_000))
        if turn % 3 == 0:
            os.unlink(path)


def main() -> None:
    subprocess.run(["/usr/bin/mount", "-n", "-t", "proc", "proc", "/proc"])
    with open("/proc/cmdline") as file:
        words = dict(re.findall(r"coursebox\.(\w+)=(\S+)", file.read()))
    known = int(words["known"])
    os.makedirs(RECORDS, exist_ok=True)
    os.makedirs(JUNK, exist_ok=True)
    verify(known)
    if words["act"] == "write":
        threading.Thread(target=litter, daemon=True).start()
        write(known + 1)
    # Written back, and nobody writes any more: what lies on the disk now is all there is.
    subprocess.run(["/usr/bin/mount", "-n", "-o", "remount,ro", "/"], check=True)
    with open("/proc/sysrq-trigger", "w") as file:
        file.write("o")  # power off
    threading.Event().wait()  # the first process must not end


main()
