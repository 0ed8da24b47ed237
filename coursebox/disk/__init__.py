"""A sealed tree → a disk that boots by BIOS and by UEFI, made without mounting anything."""
