"""Run what was built: QEMU, Docker, VirtualBox."""
