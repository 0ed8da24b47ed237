"""What only the course machine has: services, users with passwords, kernel, boot menu, console, firewall."""

from __future__ import annotations

import tarfile
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from testinfra.host import Host

pytestmark = pytest.mark.parametrize("place", ["vm"], indirect=True)


@pytest.mark.parametrize(
    "unit",
    ["jupyterlab.service", "ssh.service", "nftables.service", "systemd-networkd.service", "systemd-resolved.service",
     "systemd-timesyncd.service", "coursebox-keymap.service", "coursebox-keyboard.service", "coursebox-bye.path",
     "coursebox-work.timer", "sshd-keygen.service", "fstrim.timer"],
)  # fmt: skip
def test_unit_starts_with_the_machine(host: Host, unit: str):
    assert host.run("systemctl is-enabled %s", unit).stdout.strip() == "enabled"


@pytest.mark.parametrize("unit", ["apt-daily.timer", "apt-daily-upgrade.timer", "systemd-networkd-wait-online.service"])
def test_unit_that_delays_the_start_is_off(host: Host, unit: str):
    assert host.run("systemctl is-enabled %s", unit).stdout.strip() == "masked"


def test_units_are_well_formed(host: Host):
    own = host.check_output("find /etc/systemd/system -maxdepth 1 -type f").split()
    assert len(own) >= 7
    done = host.run(f"systemd-analyze verify --man=no --recursive-errors=no {' '.join(own)}")
    assert done.rc == 0 and done.stderr == "", done.stderr


def test_user(host: Host, place):
    user = host.user(place.course.user.name)
    assert (user.uid, user.home, user.shell) == (1000, f"/home/{user.name}", "/bin/bash")


@pytest.mark.parametrize("name", ["root", "user"])
def test_password_is_the_courses(host: Host, place, name: str):
    account = place.course.user.name if name == "user" else name
    stored = host.user(account).password
    assert stored.startswith("$y$")
    command = "printf %%s %s | perl -e 'print crypt(<STDIN>, $ARGV[0])' %s"
    made = host.run(command, place.course.user.password, stored)
    assert made.stdout.strip() == stored


def test_host_name(place, members: dict[str, tarfile.TarInfo]):
    with tarfile.open(place.result("course-vm", "tree.tar"), "r:") as tar:
        file = tar.extractfile("etc/hostname")
        assert file is not None and file.read().decode().strip() == place.course.name
    assert members["etc/resolv.conf"].linkname == "../run/systemd/resolve/stub-resolv.conf"


def test_kernel_and_initial_ram_disk(host: Host, members: dict[str, tarfile.TarInfo]):
    for link in ("vmlinuz", "initrd.img"):
        assert members[link].issym() and members[members[link].linkname].size > 4_000_000
    listed = host.check_output("lsinitramfs /initrd.img")
    for driver in ("ahci", "ata_piix", "ext4", "sd_mod", "virtio_blk", "virtio_scsi", "mptspi", "nvme"):
        assert f"/{driver}.ko" in listed, f"{driver} is not in the initial RAM disk"
    assert members[members["initrd.img"].linkname].size < 25_000_000


@pytest.mark.parametrize("module", ["vboxguest", "vboxsf", "e1000", "virtio_net", "vmxnet3", "nf_tables"])
def test_driver_is_there(members: dict[str, tarfile.TarInfo], module: str):
    assert any(name.endswith(f"/{module}.ko.xz") for name in members)


def test_boot_menu(host: Host):
    menu = host.file("/boot/grub/grub.cfg").content_string
    assert menu.count("menuentry ") == 3
    entries = menu.split("menuentry ")[1:]
    assert ["forcekbd" in entry for entry in entries] == [False, True, False]
    assert host.check_output("sed -n 's/^UUID=\\([^ ]*\\) .*/\\1/p' /etc/fstab") in menu


def test_keyboards_of_the_menu_exist(host: Host):
    layouts = [line.split(" ", 1)[0] for line in host.file("/usr/lib/coursebox/keyboards").content_string.splitlines()]
    assert len(layouts) == len(set(layouts)) > 30
    for layout in layouts:
        done = host.run("loadkeys --mktable %s > /dev/null", layout)
        assert done.rc == 0, f"{layout}: {done.stderr}"


def test_console_page(host: Host, place):
    course = place.course
    page = host.file("/etc/issue").content_string
    assert f"http://localhost:{course.ports.jupyter}" in page
    assert f"ssh -p {course.ports.ssh} {course.user.name}@localhost" in page
    assert f"User: {course.user.name}   Password: {course.user.password}" in page
    assert "bye" in page


def test_ssh_settings(host: Host):
    assert host.run("mkdir -p /run/sshd && ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/ssh_host_ed25519_key").rc == 0
    settings = host.check_output("sshd -T -h /etc/ssh/ssh_host_ed25519_key").splitlines()
    host.run("rm /etc/ssh/ssh_host_ed25519_key /etc/ssh/ssh_host_ed25519_key.pub")
    assert "passwordauthentication yes" in settings
    assert "permitrootlogin no" in settings


def test_firewall_lets_only_the_forward_reach_jupyterlab(host: Host):
    rules = host.file("/etc/nftables.conf").content_string
    accepted = [line.strip() for line in rules.splitlines() if "8888" in line]
    assert accepted == [
        "ip saddr 10.0.2.2 ether saddr & ff:fe:00:00:00:00 == 52:54:00:00:00:00 tcp dport 8888 accept",
        "tcp dport 8888 reject with tcp reset",
    ]
    assert "policy drop" in rules
