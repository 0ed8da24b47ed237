"""A finished disk → the appliance that VirtualBox and VMware import: VMDK, OVF, OVA."""
