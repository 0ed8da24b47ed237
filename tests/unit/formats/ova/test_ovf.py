"""The OVF descriptor: what VirtualBox and VMware read out of it, rule by rule."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest
from lxml import etree

from coursebox.course import Course, load_course
from coursebox.formats.ova.ovf import description, machine_name, make_ovf
from coursebox.formats.ova.vmdk import VmdkInfo

NS = {
    "ovf": "http://schemas.dmtf.org/ovf/envelope/1",
    "rasd": "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData",
    "vssd": "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_VirtualSystemSettingData",
    "vbox": "http://www.virtualbox.org/ovf/machine",
    "vmw": "http://www.vmware.com/schema/ovf",
}
DISK = VmdkInfo(capacity=20 << 30, size=123456789, sha256="ab" * 32, populated=987 << 16, grains=987, cid="01234567")


def make_course(folder: Path, title: str = "Deep Learning", password: str = "dummy", more: str = "") -> Course:
    """A course with ports, memory and processors that are not the defaults."""
    (folder / "labs").mkdir(exist_ok=True)
    (folder / "locks").mkdir(exist_ok=True)
    file = folder / "course.toml"
    file.write_text(
        f"""
        [course]
        name = "deep-learning"
        version = "2026.11"
        title = '{title}'
        [user]
        name = "dave"
        password = '{password}'
        [ports]
        jupyter = 18888
        ssh = 12022
        [machine]
        memory = 3072
        processors = 3
        {more}
        """,
        encoding="utf-8",
    )
    return load_course(file)


@pytest.fixture
def course(tmp_path: Path) -> Course:
    return make_course(tmp_path)


@pytest.fixture
def root(course: Course) -> etree._Element:
    return etree.fromstring(make_ovf(course, DISK, "x-disk1.vmdk"))


def attribute(root: etree._Element, path: str, name: str) -> str:
    """The attribute of the only element at `path`."""
    (element,) = root.iterfind(path, NS)
    prefix, colon, local = name.partition(":")
    return str(element.attrib[f"{{{NS[prefix]}}}{local}" if colon else name])


def text(root: etree._Element, path: str) -> str | None:
    (element,) = root.iterfind(path, NS)
    return element.text


def test_the_envelope(root: etree._Element) -> None:
    assert root.tag == f"{{{NS['ovf']}}}Envelope"
    assert root.attrib[f"{{{NS['ovf']}}}version"] == "1.0"
    # VirtualBox compares prefixes, so they are a part of the format.
    assert root.nsmap == NS
    assert [etree.QName(child).localname for child in root] == [
        "References", "DiskSection", "NetworkSection", "VirtualSystem",
    ]  # fmt: skip


def test_the_disk(root: etree._Element) -> None:
    assert attribute(root, "ovf:References/ovf:File", "ovf:href") == "x-disk1.vmdk"
    assert attribute(root, "ovf:References/ovf:File", "ovf:size") == "123456789"
    disk = "ovf:DiskSection/ovf:Disk"
    assert attribute(root, disk, "ovf:fileRef") == attribute(root, "ovf:References/ovf:File", "ovf:id")
    assert attribute(root, disk, "ovf:capacity") == "21474836480"
    assert attribute(root, disk, "ovf:populatedSize") == "64684032"
    assert attribute(root, disk, "ovf:format").endswith("vmdk.html#streamOptimized")


def test_the_disk_is_attached_by_its_uuid(root: etree._Element) -> None:
    """vbox:uuid is compared as text: lower case, no braces; the image has the same one with braces."""
    disk = attribute(root, "ovf:DiskSection/ovf:Disk", "vbox:uuid")
    assert disk == str(uuid.UUID(disk))
    assert attribute(root, ".//vbox:AttachedDevice/vbox:Image", "uuid") == f"{{{disk}}}"
    assert attribute(root, ".//vbox:Machine", "uuid") != f"{{{disk}}}"


def test_both_forwards(root: etree._Element) -> None:
    rules = [dict(rule.attrib) for rule in root.iterfind(".//vbox:NAT/vbox:Forwarding", NS)]
    assert rules == [
        {"name": "jupyter", "proto": "1", "hostip": "127.0.0.1", "hostport": "18888", "guestport": "8888"},
        {"name": "ssh", "proto": "1", "hostip": "127.0.0.1", "hostport": "12022", "guestport": "22"},
    ]


def test_names_are_asked_of_the_host(root: etree._Element) -> None:
    nat = root.find(".//vbox:NAT", NS)
    assert nat is not None
    # In the order of VirtualBox-settings.xsd: the resolver comes before the forwards.
    assert nat[0].tag == f"{{{NS['vbox']}}}DNS"
    assert nat[0].attrib["use-host-resolver"] == "true"


def test_the_machine(root: etree._Element) -> None:
    machine = root.find(".//vbox:Machine", NS)
    assert machine is not None
    assert machine.attrib["version"] == "1.16-linux"
    assert machine.attrib["name"] == "deep-learning-2026.11"
    assert machine.attrib["OSType"] == "Debian_64"
    assert machine.attrib[f"{{{NS['ovf']}}}required"] == "false"
    # VMware rejects a section that begins with anything else.
    assert machine[0].tag == f"{{{NS['ovf']}}}Info"
    expected = {
        ("CPU", "count"): "3",
        ("Memory", "RAMSize"): "3072",
        ("Firmware", "type"): "BIOS",
        ("Display", "controller"): "VMSVGA",
        ("RemoteDisplay", "enabled"): "false",
        ("BIOS/vbox:IOAPIC", "enabled"): "true",
        ("Network/vbox:Adapter", "type"): "82540EM",
        ("Network/vbox:Adapter", "enabled"): "true",
        ("AudioAdapter", "enabled"): "false",
        ("RTC", "localOrUTC"): "UTC",
    }
    for (path, name), value in expected.items():
        assert attribute(machine, f"vbox:Hardware/vbox:{path}", name) == value, path
    controller = "vbox:StorageControllers/vbox:StorageController"
    assert attribute(machine, controller, "type") == "AHCI"
    assert attribute(machine, f"{controller}/vbox:AttachedDevice", "nonrotational") == "true"
    assert attribute(machine, f"{controller}/vbox:AttachedDevice", "discard") == "true"


def test_the_standard_items(root: etree._Element) -> None:
    """Only resource types that VirtualBox and VMware both know; children in the order that VMware wants."""
    items = list(root.iterfind(".//ovf:VirtualHardwareSection/ovf:Item", NS))
    kinds = {item.findtext("rasd:ResourceType", namespaces=NS): item for item in items}
    assert sorted(kinds, key=lambda kind: int(kind or 0)) == ["3", "4", "10", "17", "20"]
    for item in items:
        names = [etree.QName(child).localname for child in item]
        assert names == sorted(names)
        assert {"Caption", "ElementName", "InstanceID", "ResourceType"} <= set(names)
    assert kinds["3"].findtext("rasd:VirtualQuantity", namespaces=NS) == "3"
    assert kinds["4"].findtext("rasd:VirtualQuantity", namespaces=NS) == "3072"
    assert kinds["4"].findtext("rasd:AllocationUnits", namespaces=NS) == "byte * 2^20"
    assert kinds["17"].findtext("rasd:Parent", namespaces=NS) == kinds["20"].findtext("rasd:InstanceID", namespaces=NS)
    disk = attribute(root, "ovf:DiskSection/ovf:Disk", "ovf:diskId")
    assert kinds["17"].findtext("rasd:HostResource", namespaces=NS) == f"ovf:/disk/{disk}"
    assert kinds["10"].findtext("rasd:Connection", namespaces=NS) == attribute(
        root, "ovf:NetworkSection/ovf:Network", "ovf:name"
    )
    identifiers = [item.findtext("rasd:InstanceID", namespaces=NS) for item in items]
    assert len(set(identifiers)) == len(identifiers)
    assert text(root, ".//vssd:VirtualSystemType") == "vmx-14"


def test_system_and_product(root: etree._Element) -> None:
    system = "ovf:VirtualSystem"
    assert text(root, f"{system}/ovf:OperatingSystemSection/vbox:OSType") == "Debian_64"
    assert text(root, f"{system}/ovf:ProductSection/ovf:Product") == "Deep Learning"
    assert text(root, f"{system}/ovf:ProductSection/ovf:Version") == "2026.11"
    # Every section needs an Info; a licence section would stop an import that nobody watches.
    for section in root.iterfind(".//*"):
        if etree.QName(section).localname.endswith("Section"):
            assert etree.QName(section[0]).localname == "Info"
    assert root.find(".//ovf:EulaSection", NS) is None


def test_description(course: Course, root: etree._Element) -> None:
    assert description(course) == (
        "Deep Learning 2026.11\n"
        "\n"
        "Browser: http://localhost:18888\n"
        "ssh: ssh -p 12022 dave@localhost\n"
        "User: dave\n"
        "Password: dummy\n"
        "\n"
        "To shut down, type bye in a terminal or !bye in a notebook."
    )
    assert text(root, "ovf:VirtualSystem/ovf:AnnotationSection/ovf:Annotation") == description(course)
    assert text(root, ".//vbox:Machine/vbox:Description") == description(course)


def test_a_hardened_course_keeps_its_password(tmp_path: Path) -> None:
    course = make_course(tmp_path, password="correct horse battery", more='[security]\nprofile = "hardened"')
    ovf = make_ovf(course, DISK, "x-disk1.vmdk")
    assert b"correct horse battery" not in ovf
    assert b"Password" not in ovf
    assert b"User: dave" in ovf


@pytest.mark.parametrize(
    "value", ['<b>"&amp;"</b>', "Tiefes Lernen für Öde ß", "]]>", "a > b & c", "深層学習", '"$HOME`']
)
def test_every_text_survives(tmp_path: Path, value: str) -> None:
    """What looks like markup is text, in the title and in the password."""
    ovf = make_ovf(make_course(tmp_path, title=value, password=value), DISK, "x-disk1.vmdk")
    root = etree.fromstring(ovf)
    assert text(root, ".//ovf:Product") == value
    assert f"Password: {value}" in (text(root, ".//ovf:Annotation") or "").split("\n")
    assert len(list(root.iter())) == len(list(etree.fromstring(make_ovf(make_course(tmp_path), DISK, "x")).iter()))


def test_same_input_same_bytes(tmp_path: Path, course: Course) -> None:
    """Nothing but course and disk shows: no time, no random number, no folder."""
    other = tmp_path / "elsewhere"
    other.mkdir()
    assert make_ovf(course, DISK, "x-disk1.vmdk") == make_ovf(make_course(other), DISK, "x-disk1.vmdk")


def test_another_disk_has_other_uuids(course: Course) -> None:
    other = VmdkInfo(**(vars(DISK) | {"sha256": "cd" * 32}))
    roots = [etree.fromstring(make_ovf(course, disk, "x-disk1.vmdk")) for disk in (DISK, other)]
    for path, name in ((".//vbox:Machine", "uuid"), ("ovf:DiskSection/ovf:Disk", "vbox:uuid")):
        assert len({attribute(root, path, name) for root in roots}) == 2


def test_golden_uuids(root: etree._Element) -> None:
    """They are derived from name, version and digest of the disk, and must not change from release to release."""
    assert attribute(root, ".//vbox:Machine", "uuid") == "{7e1ef13e-f61e-5503-9fce-e43bc6a1db62}"
    assert attribute(root, "ovf:DiskSection/ovf:Disk", "vbox:uuid") == "27545f79-a208-5508-b155-65512f1954d4"


def test_the_name_is_safe_in_every_file_system(course: Course) -> None:
    assert machine_name(course) == "deep-learning-2026.11"
