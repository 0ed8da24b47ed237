"""Compile Python code to .pyc files that are the same on every machine and never checked against their source.

    compile.py FOLDER …

The bytes of a .pyc depend on which strings the compiling process has seen before (reference counts decide how marshal
writes them, https://bugs.python.org/issue34093). So the files are dealt out to a fixed number of fresh processes, in a
fixed order, however many cores there are. To be dropped when Python itself writes .pyc files independent of history.
"""

import multiprocessing
import os
import py_compile
import sys

SHARES = 8
MODE = py_compile.PycInvalidationMode.UNCHECKED_HASH
LEFT_OUT = {"tests", "test", "lib2to3", "idlelib", "__pycache__", "node_modules"}


def sources(folder: str) -> list[str]:
    """The .py files below `folder`, sorted, without test suites."""
    found = []
    for top, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in LEFT_OUT)
        found += [os.path.join(top, name) for name in sorted(files) if name.endswith(".py")]
    return found


def compile_share(paths: list[str]) -> int:
    """Compile files one after the other; those that are no valid Python (templates, old syntax) stay as they are."""
    done = 0
    for path in paths:
        try:
            py_compile.compile(path, doraise=True, invalidation_mode=MODE, quiet=2)
            done += 1
        except (py_compile.PyCompileError, ValueError):
            continue
    return done


def main() -> None:
    if os.environ.get("PYTHONHASHSEED") != "0":  # the order of sets in constants depends on it
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, "PYTHONHASHSEED": "0"})
    os.umask(0o022)
    files = [path for folder in sys.argv[1:] for path in sources(folder)]
    shares = [files[start::SHARES] for start in range(SHARES)]
    with multiprocessing.get_context("spawn").Pool(len(os.sched_getaffinity(0)), maxtasksperchild=1) as pool:
        done = sum(pool.imap_unordered(compile_share, shares, chunksize=1))
    print(f"{done} of {len(files)} files compiled")


if __name__ == "__main__":
    main()
