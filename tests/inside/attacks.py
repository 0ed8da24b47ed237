"""Attacks on the grader, on the one who grades and on the other submissions; all are versions of lab 02.

Each is a few lines of Python that stand in front of a right solution, or in its first part.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from textwrap import indent

from bad_submissions import ALL, FIRST, LESS_FIRST, RULES, Bad, at_import, instead_of
from course_grade.sandbox import Protection


@dataclass(frozen=True)
class Targets:
    """What the attacks aim at, all outside of a sandbox.

    canary: a file. server: a Unix socket, abstract: one without a file. port: a TCP port. seed: the seed of the
    grading. neighbour: another submission. check: the checks of the lab.
    """

    canary: Path
    server: Path
    abstract: str
    port: int
    seed: Path
    neighbour: Path
    check: Path


_HEAD = """
import ctypes, os, signal, socket, sys
_libc = ctypes.CDLL(None, use_errno=True)
def _call(*arguments):
    if _libc.syscall(*arguments) < 0:
        raise OSError(ctypes.get_errno(), "refused")
def _changed(worked):
    if not worked:
        raise OSError("it has no effect")
libc, call, changed, parent = _libc, _call, _changed, os.getppid()
_successful = []
"""
_ONE = """
try:
{lines}
except (OSError, ValueError):
    pass
else:
    _successful.append({name!r})
"""
_TAIL = """
if _successful:
    raise SystemExit(f"successful: {_successful}")
"""
TOGETHER = 15  # attacks that stand in front of one solution


def refused(attacks: Mapping[str, str]) -> Bad:
    """A right solution with attacks in front that must raise OSError; where one does not, it cannot be loaded."""
    lines = "".join(_ONE.format(name=name, lines=indent(attack, "    ")) for name, attack in attacks.items())
    return Bad(at_import(_HEAD + lines + _TAIL), ALL)


def steps(targets: Targets) -> dict[str, str]:
    """Name → an attack that raises OSError where it is refused or has no effect."""
    t = targets
    canary, folder = repr(str(t.canary)), repr(str(t.canary.parent))
    neighbour = repr(str(t.neighbour))
    dial = "s = socket.socket({}, {})\ns.settimeout(1)\ns.connect({})\ns.sendall(b'attacked')"
    found = {
        # ways out
        "socket_of_a_server": dial.format("socket.AF_UNIX", "socket.SOCK_STREAM", repr(str(t.server))),
        "datagram_to_a_server": dial.format("socket.AF_UNIX", "socket.SOCK_DGRAM", repr(str(t.server) + ".d")),
        "abstract_socket": dial.format("socket.AF_UNIX", "socket.SOCK_STREAM", repr(t.abstract)),
        "tcp": dial.format("socket.AF_INET", "socket.SOCK_STREAM", ("127.0.0.1", t.port)),
        "udp": dial.format("socket.AF_INET", "socket.SOCK_DGRAM", ("127.0.0.1", t.port)),
        "listens": "s = socket.socket()\ns.bind(('127.0.0.1', 0))\ns.listen()",
        "netlink": "socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)",
        "vsock": "socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)",
        "crypto_socket": "socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET)",
        "ring": "call(425, 8, (ctypes.c_char * 256)())",
        # files
        "mode": f"os.chmod({canary}, 0o777)\nchanged(os.stat({canary}).st_mode & 0o777 == 0o777)",
        "mode_of_the_folder": f"os.chmod({folder}, 0)\nchanged(os.stat({folder}).st_mode & 0o777 == 0)",
        "mode_by_number": f"libc.chmod({canary}.encode(), 0)\nchanged(os.stat({canary}).st_mode & 0o777 == 0)",
        "mode_of_the_class": f"os.chmod({neighbour}, 0)\nchanged(os.stat({neighbour}).st_mode & 1 == 0)",
        "times": f"os.utime({canary}, (1, 1))\nchanged(os.stat({canary}).st_mtime == 1)",
        "owner": f"os.chown({canary}, 65534, 65534)",
        "same_owner": f"s = os.stat({canary})\nos.chown({canary}, s.st_uid, s.st_gid)",
        "attribute": f"os.setxattr({canary}, 'user.x', b'x')",
        "truncate": f"os.truncate({canary}, 0)",
        "write": f"open({canary}, 'w')",
        "append": f"open({canary}, 'a')",
        "remove": f"os.unlink({canary})",
        "rename": f"os.rename({canary}, {canary} + '.old')",
        "move_in": f"os.rename({canary}, 'mine')",
        "hard_link": f"os.link({canary}, 'mine')",
        "new_file_outside": f"open({folder} + '/new', 'x')",
        "new_folder_outside": f"os.mkdir({folder} + '/new')",
        "reads_a_file": f"open({canary}).read()",
        "reads_by_a_link": f"os.symlink({canary}, 'link')\nopen('link').read()",
        "reads_the_seed": f"open({str(t.seed)!r}).read()",
        "reads_a_neighbour": f"open({str(t.neighbour / 'exercise.py')!r}).read()",
        "lists_the_class": f"os.listdir({str(t.neighbour.parent)!r})",
        "reads_a_check": f"open({str(t.check)!r}).read()",
        "reads_the_trusted_memory": "open(f'/proc/{parent}/mem', 'rb').read(1)",
        "reads_the_environment": "open(f'/proc/{parent}/environ', 'rb').read()",
        "lists_open_files": "os.listdir(f'/proc/{parent}/fd')",
        "file_handle": f"call(303, -100, {canary}.encode(), (ctypes.c_uint * 64)(128), (ctypes.c_int * 1)(), 0)",
        # other processes
        "limits_of_the_parent": "import resource\nresource.prlimit(parent, resource.RLIMIT_CPU, (1, 1))",
        "limits_of_all": "import resource\nworked = False\nfor pid in range(1, 2000):\n    try:\n"
        "        if pid != os.getpid():\n            resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, 0))\n"
        "            worked = True\n    except OSError:\n        pass\nchanged(worked)",
        "traces_the_parent": "call(101, 16, parent, 0, 0)",
        "reads_the_parents_memory": "call(310, parent, 0, 0, 0, 0, 0)",
        "handle_of_the_parent": "os.pidfd_open(parent)",
        "queued_signal": "call(129, parent, 0, (ctypes.c_char * 128)())\nchanged(parent != 1)",
        "processor_of_the_parent": "one = {min(os.sched_getaffinity(0))}\nos.sched_setaffinity(parent, one)\n"
        "changed(len(os.sched_getaffinity(0)) == 1 and os.cpu_count() > 1)",
        "priority_of_all": "os.setpriority(os.PRIO_USER, os.getuid(), 19)\nchanged(os.nice(0) == 19)",
        # the kernel
        "memory_file": "os.memfd_create('x')",
        "shared_segment": "call(29, 0, 1 << 20, 0o1600)",
        "message_queue": "call(68, 0, 0o1600)",
        "shared_memory_file": "open('/dev/shm/attack', 'xb')",
        "page_faults": "call(323, 1)",
        "kernel_program": "call(321, 0, 0, 0)",
        "counters": "call(298, 0, 0, -1, -1, 0)",
        "keys": "call(248, b'user', b'x', b'y', 1, -3)",
        "key_ring": "call(250, 0, -3, 1)",
        "user_namespace": "call(272, 0x10000000)",
        "clone_with_namespace": "changed(libc.syscall(56, 0x10000000 | 17, 0, 0, 0, 0) >= 0)",
        "enters_namespace": "call(308, 0, 0)",
        "mounts": "call(165, b'x', b'.', b'tmpfs', 0, 0)",
        "new_root": "os.chroot('.')",
        "persona": "call(135, 0x0040000)",
        # the terminal
        "reads_the_input": "changed(os.read(0, 1) != b'')",
        "opens_the_terminal": "os.open('/dev/tty', os.O_RDWR)",
        "types_a_command": "import fcntl\nfor fd in range(3):\n    fcntl.ioctl(fd, 0x5412, b'x')",
        "foreign_open_files": "n = 0\nfor fd in range(3, 64):\n    try:\n        os.fstat(fd)\n        n += 1\n"
        "    except OSError:\n        pass\nchanged(n > 2)",
    }  # fmt: skip
    known = os.uname().machine == "x86_64"  # the numbers of the calls
    return {name: lines for name, lines in found.items() if known or "call(" not in lines}


# The socket to the grader, as a submission can find it.
_CONNECTION = """
import os, socket, stat, struct, json, time
def wire():
    for fd in range(3, 64):
        try:
            if stat.S_ISSOCK(os.fstat(fd).st_mode):
                return socket.socket(fileno=os.dup(fd))
        except OSError:
            pass
def say(text, *blobs):
    sizes = struct.pack(f"<{len(blobs) + 1}Q", len(blobs), *map(len, blobs))
    rest = sizes + b"".join(blobs)
    wire().sendall(struct.pack("<4sQQ", b"lab1", len(text), len(rest)) + text + rest)
def reply(value, *blobs):
    if not isinstance(value, bytes):
        value = json.dumps(value).encode()
    say(b'{"changed": {"": "list", "v": []}, "value": ' + value + b'}', *blobs)
"""
_NAP = "\nimport time\ntime.sleep(0.3)\nos._exit(0)"

_REPLIES: Mapping[str, tuple[str, str]] = {
    "surrogate_in_a_reply": ("return chr(0xd800) + chr(0xdfff)", "expected"),
    "surrogate_in_a_message": ("raise ValueError(chr(0xd800) * 10)", "ValueError"),
    "surrogate_in_the_kind": ("return type(chr(0x4e00) + 'x' * 5000, (), {})()", "expected"),
    "control_characters_in_a_message": ("raise ValueError('\\x1b[2J\\x1b]0;x\\x07\\r17 of 17 graded')", "ValueError"),
    "surrogate_on_the_wire": ("reply(b'\"\\\\ud800\"')" + _NAP, ""),
    "not_a_message": ("wire().sendall(b'x' * 100_000)" + _NAP, "no message"),
    "claims_900_megabytes": (
        "wire().sendall(struct.pack('<4sQQ', b'lab1', 100, 900 << 20))" + _NAP, "larger than"
    ),
    "claims_exabytes": ("wire().sendall(struct.pack('<4sQQ', b'lab1', 1 << 60, 1 << 60))" + _NAP, "larger than"),
    "drips": (
        "w = wire()\nw.sendall(struct.pack('<4sQQ', b'lab1', 100, 100))\n"
        "while True:\n    w.send(b' ')\n    time.sleep(0.2)", "not done after",
    ),
    "sparse_of_a_terabyte": (
        "t = {'': 'tensor', 'd': 'int64', 'n': [1, 1], 'b': 0, 'id': 1}\n"
        "v = {'': 'tensor', 'd': 'int64', 'n': [1], 'b': 0, 'id': 2}\n"
        "reply({'': 'sparse', 'i': t, 'v': v, 'n': [1 << 40]}, bytes(8))" + _NAP, "too large",
    ),
    "sparse_by_its_own_means": (
        "return torch.sparse_coo_tensor(torch.zeros(1, 1, dtype=torch.int64), torch.ones(1), (1 << 36,))", "too large",
    ),
    "one_block_a_thousand_times": (
        "one = [{'': 'tensor', 'd': 'uint8', 'n': [1 << 20], 'b': 0, 'id': n} for n in range(1000)]\n"
        "reply({'': 'list', 'v': one}, bytes(1 << 20))" + _NAP, "too large",
    ),
    "strides_of_zero": (
        "reply({'': 'tensor', 'd': 'float64', 'n': [1 << 35], 's': [0], 'b': 0, 'id': 1}, bytes(8))" + _NAP,
        "too large",
    ),
    "keys_that_collide": (
        "reply({'': 'set', 'v': [{'': 'int', 'v': str(n * ((1 << 61) - 1))} for n in range(60_000)]})" + _NAP,
        "same hash",
    ),
    "array_of_objects": ("reply({'': 'array', 'd': 'O', 'n': [1], 'b': 0}, bytes(8))" + _NAP, "no numbers"),
    "nested_a_thousand_times": (
        "reply(b'{\"\": \"list\", \"v\": [' * 5000 + b']}' * 5000)" + _NAP, "no message"
    ),
    "two_million_values": ("reply(b'{\"\": \"list\", \"v\": [' + b'1,' * 2_000_000 + b'1]}')" + _NAP, "too many"),
    "progress_without_end": ("say(b'{\"progress\": {\"\": \"float\", \"v\": \"inf\"}}')" + _NAP, "no answer to"),
    "raised_nonsense": ("say(b'{\"raised\": 7}')" + _NAP, ""),
    "raised_infinity": ("say(b'{\"raised\": {\"\": \"dict\", \"v\": [[\"line\", 1e999]]}}')" + _NAP, ""),
    "not_yet_with_control_characters": ("say(b'{\"not_yet\": \"\\\\u001b[2J\"}')" + _NAP, ""),
    "hangs_up": ("os.closerange(3, 64)\nwhile True:\n    pass", ""),
}  # fmt: skip

_OTHERS: Mapping[str, tuple[str, str]] = {
    "fakes_the_last_line": (
        "for fd in range(3):\n    try:\n        os.write(fd, b'\\r99 submissions graded\\x1b[2J\\n')\n"
        "    except OSError:\n        pass\nraise ValueError", "ValueError",
    ),
    "fills_the_disk": (
        "for n in range(200):\n    open(f'f{n}', 'wb').write(bytes(8 << 20))\nimport time\ntime.sleep(3)", "",
    ),
    "many_files": ("for n in range(50_000):\n    open(f'f{n}', 'x')\nimport time\ntime.sleep(3)", ""),
    "deep_folders": (
        "for n in range(1500):\n    os.mkdir('d')\n    os.chdir('d')\nraise ValueError", "ValueError"
    ),
    "locked_folders": (
        "os.makedirs('a/b')\nopen('a/b/c', 'w')\nos.mkdir('a/d', 0)\nos.symlink('/', 'a/e')\nraise ValueError",
        "ValueError",
    ),
    "threads": (
        "import threading\nfor n in range(500):\n"
        "    threading.Thread(target=lambda: [None for _ in iter(int, 1)], daemon=True).start()\n"
        "while True:\n    pass", "",
    ),
    "ignores_its_limit": ("import signal\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True:\n    pass", ""),
    "raises_its_limits": (
        "import resource\nfor n in range(16):\n    try:\n        resource.setrlimit(n, (-1, -1))\n"
        "    except (OSError, ValueError):\n        pass\nreturn torch.ones(10, 1 << 28)[0]", "memory",
    ),
    "shares_memory": (
        "import mmap\na = []\nfor n in range(64):\n    a.append(mmap.mmap(-1, 64 << 20))\n"
        "    a[-1].write(bytes(64 << 20))",
        "",
    ),
    "sleeps": ("import time\ntime.sleep(600)", "nothing has happened"),
    "stops_itself": ("import signal\nos.kill(os.getpid(), signal.SIGSTOP)", "nothing has happened"),
    "waits_for_input": ("return input()", "EOFError"),
    "kills_itself": ("import signal\nos.kill(os.getpid(), signal.SIGKILL)", "killed"),
    "aborts": ("os.abort()", "SIG"),
    "new_program": ("os.execv('/bin/sleep', ['sleep', '0'])", ""),
}  # fmt: skip

# Where the kernel counts processes; elsewhere none can be made, and each of these is a PermissionError.
_WITH_PROCESSES: Mapping[str, str] = {
    "processes_that_compute": "for n in range(40):\n    if os.fork() == 0:\n        os.setsid()\n        while True:\n"
    "            pass\nimport time\ntime.sleep(60)",
    "fork_bomb": "while True:\n    try:\n        os.fork()\n    except OSError:\n        pass",
    "memory_of_many": "for n in range(8):\n    if os.fork() == 0:\n        a = torch.ones(300 << 18)\n"
    "        import time\n        time.sleep(60)\nimport time\ntime.sleep(60)",
    "chain_of_processes": "while True:\n    if os.fork():\n        os._exit(0)\n    os.setsid()",
}  # fmt: skip


def attacks(targets: Targets, protection: Protection) -> dict[str, Bad]:
    """Name → submission. Where nothing would hold an attack back, it is left out: it must not harm this machine."""
    found: dict[str, Bad] = {}
    chosen = list(steps(targets).items()) if protection.calls and protection.files else []
    for number in range(0, len(chosen), TOGETHER):
        found[f"steps_{number // TOGETHER}"] = refused(dict(chosen[number : number + TOGETHER]))
    for name, (body, says) in _REPLIES.items():
        found[name] = Bad(_CONNECTION + instead_of(FIRST, body), LESS_FIRST, says)
    for name, (body, says) in _OTHERS.items():
        found[name] = Bad("import os\n" + instead_of(FIRST, body), LESS_FIRST, says)
    if protection.calls or protection.limits_processes:
        for name, body in _WITH_PROCESSES.items():
            found[name] = Bad("import os\n" + instead_of(FIRST, body), LESS_FIRST)
    filling = "import time\nfor n in range(200):\n    open(f'f{n}', 'wb').write(bytes(8 << 20))\ntime.sleep(3)"
    found["at_import_it_fills_the_disk"] = Bad(at_import(filling), RULES)
    return found
