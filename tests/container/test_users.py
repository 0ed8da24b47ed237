"""Who runs: the image's user, any --user, root turned into anyone; and what a read-only container needs."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from containers import Container, Done, docker, run_once, wait_for

# Name, ids, home, and whether Python, bash and the C library agree about them.
WHO = (
    "import getpass, grp, os, pwd; me = pwd.getpwuid(os.getuid());"
    "open(os.path.expanduser('~/written'), 'w').close();"
    "print(getpass.getuser(), me.pw_name, os.getuid(), os.getgid(), grp.getgrgid(os.getgid()).gr_name,"
    " os.environ['HOME'], me.pw_dir, os.getcwd(), os.path.isfile(os.path.expanduser('~/labs/welcome.md')), sep='|')"
)


def who(image: str, *options: str) -> tuple[list[str], Done]:
    done = run_once(image, "python", "-c", WHO, options=options)
    assert done.status == 0, done.err
    return done.out.strip().split("|"), done


def expected(name: str, uid: int, gid: int, group: str, home: str = "/home/student") -> list[str]:
    return [name, name, str(uid), str(gid), group, home, home, home, "True"]


def test_the_images_user(image: str) -> None:
    found, done = who(image)
    assert found == expected("student", 1000, 100, "users") and done.err == ""
    assert run_once(image, "sh", "-c", "echo $LD_PRELOAD; sudo -n true", options=[]).out == "\n"


@pytest.mark.parametrize(
    ("options", "uid", "gid", "group"),
    [
        (["--user", "12345"], 12345, 0, "root"),
        (["--user", "12345:0"], 12345, 0, "root"),
        (["--user", "12345:100"], 12345, 100, "users"),
        (["--user", "12345", "--group-add", "users"], 12345, 0, "root"),
        (["--user", "2000000000:2000000001"], 2000000000, 2000000001, "student"),
        (["--user", "1000:7777"], 1000, 7777, "student"),
        (["--user", "33:33"], 33, 33, "www-data"),
    ],
)
def test_any_user(image: str, options: list[str], uid: int, gid: int, group: str) -> None:
    """No entry in /etc/passwd: a name, a home to write in, the labs, and not a word about it."""
    found, done = who(image, *options)
    name = "www-data" if uid == 33 else "student"
    assert found == expected(name, uid, gid, group) and done.err == ""


def test_any_user_in_a_read_only_container_without_network(start, volume: str) -> None:
    """As strict as it gets: a stranger, nothing writable but home and /tmp, no network, no capabilities."""
    container: Container = start(
        options=["--volume", f"{volume}:/home/student", "--user", "12345:54321", "--read-only", "--tmpfs", "/tmp",
                 "--network", "none", "--cap-drop", "ALL",
                 "--security-opt", "no-new-privileges"]
    )  # fmt: skip
    container.wait_for_server()
    container.execute("healthcheck", user="12345:54321")
    assert container.stop() < 3


def test_read_only_without_tmp_says_what_is_missing(image: str, volume: str) -> None:
    options = ["--read-only", "--volume", f"{volume}:/home/student"]
    done = run_once(image, "python", "-c", "import tempfile; print(tempfile.gettempdir())", options=options)
    assert done.out.startswith("/dev/shm/coursebox-")
    assert done.err.splitlines() == [
        "warning: /tmp cannot be written, so temporary files go to /dev/shm, which is small: "
        "add --tmpfs /tmp to docker run"
    ]


READ_ONLY = ["--read-only", "--tmpfs", "/tmp"]
COMPILE = """
import os, pathlib, matplotlib
matplotlib.use("agg")
import matplotlib.pyplot
assert os.access(matplotlib.get_cachedir(), os.W_OK)
import torch
print(torch.compile(lambda x: torch.sin(x) + 1)(torch.zeros(4)).sum().item())
"""


def test_read_only_without_a_home_says_what_does_not_work(image: str, volume: str) -> None:
    """Two lines, and both remedies in one option: a volume as the home, where programs may run, too."""
    done = run_once(image, "sh", "-c", "touch ~/x ~/.cache; ls ~/labs", options=READ_ONLY)
    home, programs = done.alarms
    assert done.status == 0 and "welcome.md" in done.out
    assert home.startswith(
        "warning: /home/student is mounted read-only: the container runs with --read-only, so add"
        " -v course:/home/student. Until then your home is /tmp/coursebox-1000-"
    )
    assert "neither /tmp nor your home lets programs run (noexec)" in programs and "-v course:/home/student" in programs
    mount = ["--volume", f"{volume}:/home/student"]
    assert run_once(image, "true", options=[*READ_ONLY, *mount]).err == ""


def test_read_only_with_a_home_everything_works(image: str, volume: str) -> None:
    """torch.compile loads what it has compiled, which /tmp does not allow; packages and caches go to the home."""
    options = [*READ_ONLY, "--volume", f"{volume}:/home/student", "--shm-size", "1g"]
    done = run_once(image, "python", "-c", COMPILE, options=options)
    assert (done.out, done.alarms) == ("4.0\n", [])


def test_apptainer(image: str, tmp_path: Path) -> None:
    """Imitated: read-only, alice in /etc/passwd, her home elsewhere, and packages of another Python in it."""
    home = tmp_path / "alice"
    packages = home / ".local" / "lib" / "python3.13" / "site-packages"
    packages.mkdir(parents=True)
    (packages / "numpy.py").write_text("raise SystemExit('the package of the computer')\n")
    passwd = run_once(image, "cat", "/etc/passwd").out + "alice:x:5001:5001:Alice:/cluster/alice:/bin/bash\n"
    (tmp_path / "passwd").write_text(passwd)
    os.chown(home, 5001, 5001)
    (home / ".local").chmod(0o777)
    options = [*READ_ONLY, "--user", "5001:5001", "--volume", f"{home}:/cluster/alice", "--env", "HOME=/cluster/alice",
               "--volume", f"{tmp_path / 'passwd'}:/etc/passwd:ro", "--env", "APPTAINER_CONTAINER=/x.sif",
               "--workdir", "/cluster/alice"]  # fmt: skip
    script = (
        "import getpass, os, numpy, site; print(getpass.getuser(), os.getcwd(), site.getuserbase(), numpy.__name__)"
    )
    done = run_once(image, "python", "-c", script, options=options)
    assert done.out == "alice /cluster/alice /cluster/alice/.local/share/coursebox/python numpy\n", done.err
    assert done.err == "" and (home / "labs" / "welcome.md").exists()


@pytest.mark.parametrize(
    ("user", "name", "group"), [("4242:4343", "uid-4242", "gid-4343"), ("1000", "student", "users")]
)
def test_exec_under_any_uid_has_a_name_and_a_home(start, user: str, name: str, group: str) -> None:
    container: Container = start("sleep", "60")
    wait_for(lambda: any("sleep 60" in line for line in container.processes()), "the command runs")
    script = (
        "import getpass, grp, os, pwd; me = pwd.getpwuid(os.getuid()); print(getpass.getuser(), me.pw_name, me.pw_dir,"
        " os.path.expanduser('~'), grp.getgrgid(os.getgid()).gr_name, pwd.getpwnam(me.pw_name).pw_uid == os.getuid())"
    )
    found = container.execute("python", "-c", script, user=user)
    assert found == f"{name} {name} /home/student /home/student {group} True"
    assert container.execute("bash", "-ic", "echo ~ $USER", user=user).endswith("/home/student")


def test_root_by_exec_runs_nothing_that_the_student_wrote(start) -> None:
    """HOME is the student's for root, too: ~/.bashrc, ~/.profile and ~/.local are not read."""
    container: Container = start("sleep", "60")
    wait_for(lambda: any("sleep 60" in line for line in container.processes()), "the command runs")
    plant = """
        cd; packages=.local/lib/python3.13/site-packages; mkdir -p $packages
        echo 'import os; open("/tmp/pth-%d" % os.getuid(), "w")' >$packages/evil.pth
        echo 'touch /tmp/rc-$(id -u)' >.bashrc; echo 'touch /tmp/profile-$(id -u)' >.profile; cp .profile .bash_profile
    """
    container.execute("sh", "-c", plant)
    for user in ("1000", "0"):
        container.execute("bash", "-ic", "true", user=user)
        container.execute("bash", "-lc", "true", user=user)
        container.execute("python", "-c", "pass", user=user)
    assert sorted(container.execute("sh", "-c", "cd /tmp; ls -d pth* rc* profile*").split()) == [
        "profile-1000", "pth-1000", "rc-1000",
    ]  # fmt: skip


def test_names_of_those_without_one_are_for_themselves_alone(start) -> None:
    """Root and others see nothing new: useradd takes the numbers, su knows no such user."""
    container: Container = start("sleep", "60")
    wait_for(lambda: any("sleep 60" in line for line in container.processes()), "the command runs")
    container.execute("getent", "passwd", "4242", "uid-4242", user="0", status=2)
    container.execute("getent", "passwd", "4243", "uid-4243", "uid-0", user="4242", status=2)
    container.execute("getent", "group", "4344", "gid-4344", "gid-0", user="4242:4343", status=2)
    assert "does not exist" in container.execute("su", "uid-4242", "-c", "id", user="0", status=1)
    container.execute("groupadd", "--gid", "4343", "group", user="0")
    container.execute("useradd", "--uid", "4242", "--gid", "4343", "user", user="0")
    assert container.execute("id", "-un", user="4242") == "user"


def test_git_works_in_a_folder_of_another_owner(image: str, tmp_path: Path) -> None:
    folder = tmp_path / "work"
    subprocess.run(["git", "init", "--quiet", folder], check=True)
    done = run_once(
        image, "git", "-C", "work", "status", "--short", options=["--volume", f"{folder}:/home/student/work:ro"]
    )
    assert (done.status, done.err) == (0, "")


def test_a_stranger_cannot_become_root(image: str) -> None:
    """The names come from files of the stranger's own: su and sudo must not believe them."""
    attack = 'sed -i "s/^student:.*/student::0:0::\\/:\\/bin\\/sh/" $NSS_WRAPPER_PASSWD; su student -c id || sudo -n id'
    done = run_once(image, "sh", "-c", f"{attack}; true", options=["--user", "12345:0"])
    assert "uid=0" not in done.out


@pytest.mark.parametrize("names", [[], ["--read-only", "--tmpfs", "/tmp"]], ids=["writable", "read-only"])
def test_root_becomes_the_images_user(image: str, volume: str, names: list[str]) -> None:
    found, done = who(image, "--user", "root", "--volume", f"{volume}:/home/student", *names)
    assert found == expected("student", 1000, 100, "users") and done.err == ""


@pytest.mark.parametrize("more", [[], ["--read-only", "--tmpfs", "/tmp"]], ids=["writable", "read-only"])
def test_root_becomes_the_user_that_variables_name(image: str, volume: str, more: list[str]) -> None:
    variables = [
        "--volume",
        f"{volume}:/home/student",
        "--env",
        "NB_UID=5000",
        "--env",
        "NB_GID=5001",
        "--env",
        "NB_GROUP=class",
    ]
    found, done = who(image, "--user", "root", *variables, *more)
    assert found == expected("student", 5000, 5001, "class") and done.err == ""


def test_root_becomes_a_user_of_another_name(image: str) -> None:
    found, done = who(image, "--user", "root", "--env", "NB_USER=alice", "--env", "NB_UID=5000", "--group-add", "44")
    assert found[:7] == expected("alice", 5000, 100, "users", "/home/alice")[:7]
    assert found[7:] == ["/home/student", "True"]  # the home is a link to the image's, where a volume may be mounted
    assert done.err == ""
    groups = run_once(image, "id", "-G", options=["--user", "root", "--group-add", "44"]).out.split()
    assert groups == ["100", "44"]


def test_a_home_mounted_under_the_other_name_is_used(image: str, tmp_path: Path) -> None:
    """As JupyterHub's SystemUserSpawner does it."""
    options = [
        "--user",
        "root",
        "--env",
        "NB_USER=alice",
        "--env",
        "NB_UID=5000",
        "--volume",
        f"{tmp_path}:/home/alice",
    ]
    found, _ = who(image, *options)
    assert found[:6] == ["alice", "alice", "5000", "100", "users", "/home/alice"]
    assert (tmp_path / "written").stat().st_uid == 5000
    assert (tmp_path / "labs" / "welcome.md").stat().st_uid == 5000


def test_no_root_process_stays(start) -> None:
    """Process 1 is root's, for it was started so; what it runs is the user's, without a way back."""
    container: Container = start(options=["--user", "root", "--env", "NB_UID=5000", "--env", "SSH=0"])
    container.wait_for_server()
    owners = container.execute("ps", "-e", "-o", "uid=,comm=").splitlines()
    assert [line.split()[1] for line in owners if line.split()[0] == "0" and "ps" not in line] == ["tini"]
    status = container.execute("cat", f"/proc/{container.server_process}/status")
    assert "Uid:\t5000\t5000\t5000\t5000" in status and "CapEff:\t0000000000000000" in status
    container.execute("healthcheck")
    assert container.stop() < 3


def test_the_same_container_starts_twice(start) -> None:
    """docker restart: the renamed user is found again."""
    container: Container = start("sh", "-c", "id -un; sleep 60", options=["--user", "root", "--env", "NB_USER=alice"])
    container.wait_for_line("^alice$")
    container.stop("KILL")
    docker("start", container.name)
    wait_for(lambda: container.log.count("alice") == 2, "the second start")


def test_root_stays_root_only_when_asked(image: str) -> None:
    done = run_once(image, "id", "-u", options=["--user", "root", "--env", "NB_UID=0", "--env", "NB_GID=0"])
    assert (done.out, done.err) == ("0\n", "")


def test_grant_sudo(image: str) -> None:
    show = "sudo -n id -u; sudo -n which python; cat /etc/sudoers.d/coursebox 2>&1"
    done = run_once(
        image, "sh", "-c", show, options=["--user", "root", "--env", "GRANT_SUDO=yes", "--env", "NB_UID=5000"]
    )
    assert done.out.splitlines()[:2] == ["0", "/opt/jupyter/bin/python"]
    assert "Permission denied" in done.out  # the rules are root's


def test_grant_sudo_in_a_read_only_container_is_refused(image: str) -> None:
    options = ["--user", "root", "--env", "GRANT_SUDO=yes", "--read-only", "--tmpfs", "/tmp"]
    done = run_once(image, "true", options=options)
    assert done.status == 1 and "error: GRANT_SUDO needs to write /etc/sudoers.d/coursebox" in done.err


def test_chown_home_and_extra(image: str, tmp_path: Path) -> None:
    home, extra = tmp_path / "home", tmp_path / "extra"
    for folder in (home, extra):
        (folder / "deep").mkdir(parents=True)
        (folder / "deep" / "file").touch()
    options = ["--user", "root", "--env", "NB_UID=5000", "--env", "CHOWN_HOME=yes", "--env", "CHOWN_HOME_OPTS=-R",
               "--env", "CHOWN_EXTRA=/extra", "--volume", f"{home}:/home/student",
               "--volume", f"{extra}:/extra"]  # fmt: skip
    assert run_once(image, "true", options=options).status == 0
    assert (home / "deep" / "file").stat().st_uid == 5000 == extra.stat().st_uid
    assert (extra / "deep").stat().st_uid == 0  # no CHOWN_EXTRA_OPTS=-R


def test_planted_links_are_not_followed(image: str, volume: str) -> None:
    """The student plants them in a first container; root meets them in the second, also in the middle of a path."""
    mount = ["--volume", f"{volume}:/data"]
    plant = "chown 1000:100 /data; cd /data; ln -s /etc x; mkdir in; ln -s /etc/shadow in/s; chown -hR 1000:100 /data"
    run_once(image, "-c", plant, options=[*mount, "--user", "root", "--entrypoint", "/bin/sh"])
    show = "stat --format=%u /etc /etc/shadow /etc/ssl /data/in | tr '\\n' ' '"
    for more in (
        ["HOME=/data/x"],
        ["HOME=/data/x/new"],
        ["HOME=/data/x", "CHOWN_HOME=yes", "CHOWN_HOME_OPTS=-RL"],
        ["CHOWN_EXTRA=/data/x,/data/x/ssl,/data/in", "CHOWN_EXTRA_OPTS=-R -L"],
    ):
        variables = [word for one in more for word in ("--env", one)]
        done = run_once(image, "sh", "-c", show, options=[*mount, "--user", "root", *variables])
        assert done.out == "0 0 0 1000 ", (more, done.out, done.err)
        assert "is a link that others than root can change" in done.err


def test_files_of_others_are_not_given_away_unasked(image: str, tmp_path: Path) -> None:
    """A folder with files in it stays its owner's, unless CHOWN_HOME says otherwise."""
    (tmp_path / "theirs").touch()
    tmp_path.chmod(0o777)
    run_once(image, "true", options=["--user", "root", "--env", "NB_UID=5000", "--volume", f"{tmp_path}:/home/student"])
    assert tmp_path.stat().st_uid == 0 == (tmp_path / "theirs").stat().st_uid


def test_variables_without_effect_are_named(image: str) -> None:
    options = ["--env", "NB_UID=5000", "--env", "GRANT_SUDO=yes", "--env", "CHOWN_HOME=no"]
    done = run_once(image, "id", "-u", options=options)
    assert done.out == "1000\n"
    assert done.err == "warning: GRANT_SUDO, NB_UID: without effect for user 1000; add --user root to docker run\n"


@pytest.mark.parametrize(
    ("variable", "sentence"),
    [
        ("NB_UID=me", "error: NB_UID=me is not possible\n  hint: give a whole number from 0 to 4294967294\n"),
        ("NB_GID=-5", "error: NB_GID=-5 is not possible\n"),
        ("NB_USER=a:b", "error: NB_USER=a:b is no user name\n"),
        ("NB_USER=../etc", "error: NB_USER=../etc is no user name\n"),
        ("NB_USER=root", "error: NB_USER=root is an account of the system, with uid 0\n"),
        ("NB_USER=daemon", "error: NB_USER=daemon is an account of the system, with uid 1\n"),
        ("NB_GROUP=a:b", "error: NB_GROUP=a:b is no group name\n"),
        ("NB_GROUP=a\nroot:x:0:student", "error: NB_GROUP=a\\nroot:x:0:student is no group name\n"),
    ],
)
def test_wrong_ids_and_names_get_a_sentence(image: str, variable: str, sentence: str) -> None:
    done = run_once(image, "true", options=["--user", "root", "--env", variable])
    assert done.status == 1 and sentence in done.err


def test_root_without_capabilities_gets_a_sentence(image: str) -> None:
    done = run_once(image, "true", options=["--user", "root", "--cap-drop", "ALL"])
    assert done.status == 1
    assert (
        "error: this container runs as root and may not become another user\n  hint: leave out --user root" in done.err
    )


def test_home_by_variable(image: str, volume: str) -> None:
    found, _ = who(image, "--env", "HOME=/course", "--volume", f"{volume}:/course", "--user", "root")
    assert found[5:7] == ["/course", "/course"] and found[-1] == "True"
