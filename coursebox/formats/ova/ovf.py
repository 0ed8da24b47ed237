"""A course and its disk → the OVF descriptor that VirtualBox and VMware both read.

OVF 1.0 (DMTF DSP0243) with VirtualBox's own `vbox:Machine`, the only place that can carry port forwards. The version
of its settings is one of the facts of an architecture.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping

from lxml import etree

from coursebox.architecture import AMD64, Architecture
from coursebox.core.errors import CourseboxError
from coursebox.course import Course
from coursebox.formats.ova.vmdk import VmdkInfo

GUEST_JUPYTER, GUEST_SSH = 8888, 22

_CIM = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2"
_OVF = "http://schemas.dmtf.org/ovf/envelope/1"
_RASD = f"{_CIM}/CIM_ResourceAllocationSettingData"
_VSSD = f"{_CIM}/CIM_VirtualSystemSettingData"
_VBOX = "http://www.virtualbox.org/ovf/machine"
_VMW = "http://www.vmware.com/schema/ovf"
# Prefixes are fixed: VirtualBox compares the prefix of vbox:Machine, not its namespace.
_PREFIXES = {"ovf": _OVF, "rasd": _RASD, "vssd": _VSSD, "vbox": _VBOX, "vmw": _VMW}
_STREAM_OPTIMIZED = "http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"
_SPACE = uuid.UUID("5f3b7f0e-6a0f-5d57-9d0e-0c7b1f0a6f52")

# Resource types of CIM_ResourceAllocationSettingData. VirtualBox refuses a file with one that it does not know.
_PROCESSOR, _MEMORY, _ETHERNET, _DISK, _STORAGE = "3", "4", "10", "17", "20"


def machine_name(course: Course) -> str:
    """The name of the machine in VirtualBox's list; it also becomes a folder on the student's disk."""
    return f"{course.name}-{course.version}"


def make_ovf(course: Course, disk: VmdkInfo, vmdk_name: str, architecture: Architecture = AMD64) -> bytes:
    """The descriptor of the course machine, UTF-8.

    disk: the disk as it was written; vmdk_name: its file name in the OVA. The same course and disk give the same bytes:
    the UUIDs are derived from them (VirtualBox makes new ones at each import).
    Raises CourseboxError when a text of the course cannot stand in XML.
    """
    identity = f"{course.name}/{course.version}/{disk.sha256}"
    disk_id = uuid.uuid5(_SPACE, f"{identity}/disk")
    machine_id = uuid.uuid5(_SPACE, f"{identity}/machine")
    try:
        envelope = etree.Element(_name("ovf:Envelope"), nsmap=_PREFIXES)
        envelope.set(_name("ovf:version"), "1.0")
        envelope.set("{http://www.w3.org/XML/1998/namespace}lang", "en-US")
        _references(envelope, disk, vmdk_name, disk_id)
        system = _add(envelope, "ovf:VirtualSystem", {"ovf:id": machine_name(course)})
        _add(system, "ovf:Info", text="A virtual machine")
        _add(system, "ovf:Name", text=machine_name(course))
        _describe(system, course, architecture)
        _hardware(system, course, architecture)
        _machine(system, course, architecture, machine_id, disk_id)
    except ValueError as error:
        raise CourseboxError(
            f"{course.source} holds a character that cannot stand in XML ({error})", hint="remove control characters"
        ) from None
    etree.indent(envelope)
    return etree.tostring(envelope, xml_declaration=True, encoding="UTF-8") + b"\n"


def description(course: Course) -> str:
    """What VirtualBox shows next to the machine: how to reach it, as whom, and how to stop it. Several lines."""
    lines = [
        f"{course.title} {course.version}",
        "",
        f"Browser: http://localhost:{course.ports.jupyter}",
        f"ssh: ssh -p {course.ports.ssh} {course.user.name}@localhost",
        f"User: {course.user.name}",
    ]
    # The descriptor travels with the file: whoever finds the one finds the other.
    if course.security.profile != "hardened":
        lines.append(f"Password: {course.user.password}")
    lines += ["", "To shut down, type bye in a terminal or !bye in a notebook."]
    return "\n".join(lines)


def _references(envelope: etree._Element, disk: VmdkInfo, vmdk_name: str, disk_id: uuid.UUID) -> None:
    references = _add(envelope, "ovf:References")
    _add(references, "ovf:File", {"ovf:href": vmdk_name, "ovf:id": "file1", "ovf:size": str(disk.size)})
    disks = _add(envelope, "ovf:DiskSection")
    _add(disks, "ovf:Info", text="Virtual disks")
    # VirtualBox compares vbox:uuid as text: lower case and without braces, or the import fails at its end.
    _add(
        disks,
        "ovf:Disk",
        {
            "ovf:capacity": str(disk.capacity),
            "ovf:diskId": "disk1",
            "ovf:fileRef": "file1",
            "ovf:format": _STREAM_OPTIMIZED,
            "ovf:populatedSize": str(disk.populated),
            "vbox:uuid": str(disk_id),
        },
    )
    networks = _add(envelope, "ovf:NetworkSection")
    _add(networks, "ovf:Info", text="Networks")
    network = _add(networks, "ovf:Network", {"ovf:name": "NAT"})
    _add(network, "ovf:Description", text="Network address translation")


def _describe(system: etree._Element, course: Course, architecture: Architecture) -> None:
    os_type, vmware = architecture.virtualbox.os_type, architecture.virtualbox.vmware[0]
    operating = _add(system, "ovf:OperatingSystemSection", {"ovf:id": "96", "vmw:osType": vmware})
    _add(operating, "ovf:Info", text="The operating system")
    _add(operating, "ovf:Description", text=os_type)
    _add(operating, "vbox:OSType", {"ovf:required": "false"}, os_type)
    product = _add(system, "ovf:ProductSection")
    _add(product, "ovf:Info", text="The course")
    _add(product, "ovf:Product", text=course.title)
    _add(product, "ovf:Version", text=course.version)
    annotation = _add(system, "ovf:AnnotationSection")
    _add(annotation, "ovf:Info", text="How to use it")
    _add(annotation, "ovf:Annotation", text=description(course))


def _hardware(system: etree._Element, course: Course, architecture: Architecture) -> None:
    """The hardware in the standard's words, which VMware reads; VirtualBox prefers vbox:Machine."""
    hardware = _add(system, "ovf:VirtualHardwareSection")
    _add(hardware, "ovf:Info", text="Virtual hardware")
    board = _add(hardware, "ovf:System")
    _add(board, "vssd:ElementName", text="Virtual Hardware Family")
    _add(board, "vssd:InstanceID", text="0")
    _add(board, "vssd:VirtualSystemIdentifier", text=machine_name(course))
    _add(board, "vssd:VirtualSystemType", text=architecture.virtualbox.vmware[1])
    processors, memory = str(course.machine.processors), str(course.machine.memory)
    items: list[dict[str, str]] = [
        {
            "ResourceType": _PROCESSOR,
            "AllocationUnits": "hertz * 10^6",
            "VirtualQuantity": processors,
            "Caption": "cpu",
        },
        {"ResourceType": _MEMORY, "AllocationUnits": "byte * 2^20", "VirtualQuantity": memory, "Caption": "memory"},
        {"ResourceType": _STORAGE, "ResourceSubType": "AHCI", "Address": "0", "Caption": "sataController0"},
        {
            "ResourceType": _DISK,
            "HostResource": "ovf:/disk/disk1",
            "Parent": "3",
            "AddressOnParent": "0",
            "Caption": "disk1",
        },
        {
            "ResourceType": _ETHERNET,
            "ResourceSubType": "E1000",
            "Connection": "NAT",
            "AutomaticAllocation": "true",
            "Caption": "ethernet0",
        },
    ]
    for number, item in enumerate(items, 1):
        element = _add(hardware, "ovf:Item")
        item |= {"InstanceID": str(number), "ElementName": item["Caption"]}
        # VMware's reader wants the children in alphabetical order.
        for key in sorted(item):
            _add(element, f"rasd:{key}", text=item[key])


def _machine(
    system: etree._Element, course: Course, architecture: Architecture, machine_id: uuid.UUID, disk_id: uuid.UUID
) -> None:
    """The machine in VirtualBox's words; VMware skips it."""
    facts = architecture.virtualbox
    machine = _add(
        system,
        "vbox:Machine",
        {
            "ovf:required": "false",
            "version": facts.settings,
            "uuid": f"{{{machine_id}}}",
            "name": machine_name(course),
            "OSType": facts.os_type,
            "snapshotFolder": "Snapshots",
        },
    )
    # A section that starts with anything else makes VMware reject the file.
    _add(machine, "ovf:Info", text="The machine in VirtualBox's own words")
    _add(machine, "vbox:Description", text=description(course))
    hardware = _add(machine, "vbox:Hardware")
    processor = _add(hardware, "vbox:CPU", {"count": str(course.machine.processors)})
    _add(processor, "vbox:PAE", {"enabled": "true"})
    _add(processor, "vbox:LongMode", {"enabled": "true"})
    _add(processor, "vbox:X2APIC", {"enabled": "true"})
    _add(hardware, "vbox:Memory", {"RAMSize": str(course.machine.memory)})
    _add(hardware, "vbox:Firmware", {"type": facts.firmware})
    boot = _add(hardware, "vbox:Boot")
    for position, device in enumerate(("HardDisk", "None", "None", "None"), 1):
        _add(boot, "vbox:Order", {"position": str(position), "device": device})
    _add(hardware, "vbox:Display", {"controller": "VMSVGA", "VRAMSize": "16"})
    _add(hardware, "vbox:RemoteDisplay", {"enabled": "false"})
    bios = _add(hardware, "vbox:BIOS")
    _add(bios, "vbox:ACPI", {"enabled": "true"})
    _add(bios, "vbox:IOAPIC", {"enabled": "true"})
    network = _add(hardware, "vbox:Network")
    adapter = _add(network, "vbox:Adapter", {"slot": "0", "enabled": "true", "cable": "true", "type": "82540EM"})
    nat = _add(adapter, "vbox:NAT")
    # The guest asks VirtualBox, which asks the host at that moment: names resolve also after the host changed its
    # network, and within its VPN (VirtualBox manual, "Using the host's resolver as a DNS proxy in NAT mode").
    _add(nat, "vbox:DNS", {"pass-domain": "true", "use-proxy": "false", "use-host-resolver": "true"})
    rules = (("jupyter", course.ports.jupyter, GUEST_JUPYTER), ("ssh", course.ports.ssh, GUEST_SSH))
    for name, host, guest in rules:
        rule = {"name": name, "proto": "1", "hostip": "127.0.0.1", "hostport": str(host), "guestport": str(guest)}
        _add(nat, "vbox:Forwarding", rule)
    _add(hardware, "vbox:AudioAdapter", {"driver": "Null", "enabled": "false"})
    _add(hardware, "vbox:RTC", {"localOrUTC": "UTC"})
    storage = _add(machine, "vbox:StorageControllers")
    controller = {
        "name": "SATA", "type": "AHCI", "PortCount": "1", "useHostIOCache": "false", "Bootable": "true",
    }  # fmt: skip
    sata = _add(storage, "vbox:StorageController", controller)
    # TRIM shrinks the disk again when it was imported as VDI; VirtualBox goes on without where a format cannot.
    disk = {"type": "HardDisk", "nonrotational": "true", "discard": "true", "port": "0", "device": "0"}
    _add(_add(sata, "vbox:AttachedDevice", disk), "vbox:Image", {"uuid": f"{{{disk_id}}}"})


def _name(name: str) -> str:
    """`prefix:name` in the notation of lxml; a name without prefix has no namespace."""
    prefix, colon, local = name.partition(":")
    return f"{{{_PREFIXES[prefix]}}}{local}" if colon else name


def _add(
    parent: etree._Element, name: str, attributes: Mapping[str, str] | None = None, text: str | None = None
) -> etree._Element:
    """Append one element."""
    element = etree.SubElement(parent, _name(name), {_name(key): value for key, value in (attributes or {}).items()})
    element.text = text
    return element
