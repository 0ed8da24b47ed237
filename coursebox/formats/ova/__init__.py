"""The appliance: streamOptimized VMDK, OVF descriptor and OVA."""
