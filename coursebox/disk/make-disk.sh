#!/bin/sh
# Runs in the tools container, as an ordinary user without network: writes /out/disk.raw.
#   DISK_BYTES *_UUID ESP_VOLUME_ID HASH_SEED SOURCE_DATE_EPOCH   from the environment
#   ROOT_TYPE EFI_* BIOS_*                                        the same, from coursebox/architecture.py; without
#                                                                 BIOS_PLATFORM there is no boot loader for a BIOS
#   /tree.tar                                                     the sealed tree
set -eu
export LC_ALL=C.UTF-8 TZ=UTC

disk=/out/disk.raw
work=/out/work
mkdir "$work"
mib=1048576
esp_mib=64

# Partitions: 1 MiB for GRUB's core image (BIOS), the EFI system partition, and the root file system up to the end.
truncate --size="$DISK_BYTES" "$disk"
sfdisk --quiet "$disk" << END
label: gpt
label-id: $DISK_UUID
unit: sectors
first-lba: 2048
start=2048, size=2048, type=21686148-6449-6E6F-744E-656564454649, uuid=$BIOS_UUID, name=bios
start=4096, size=$((esp_mib * 2048)), type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, uuid=$ESP_UUID, name=esp
start=$((4096 + esp_mib * 2048)), type=$ROOT_TYPE, uuid=$ROOT_PART_UUID, name=root
END
root_start=$((2 + esp_mib))
root_size=$((DISK_BYTES / mib - root_start - 1))

# The boot loader finds the root file system by its UUID and reads the menu there.
cat > "$work/early.cfg" << END
search.fs_uuid $ROOT_UUID root
set prefix=(\$root)/boot/grub
configfile \$prefix/grub.cfg
END
modules="part_gpt ext2 fat search search_fs_uuid configfile normal linux echo test sleep ls cat halt reboot minicmd"
# shellcheck disable=SC2086
grub-mkimage --format="$EFI_PLATFORM" --prefix=/boot/grub --config="$work/early.cfg" --output="$work/$EFI_FILE" \
    $modules $EFI_MODULES
if [ -n "$BIOS_PLATFORM" ]; then
    # shellcheck disable=SC2086
    grub-mkimage --format="$BIOS_PLATFORM" --prefix=/boot/grub --config="$work/early.cfg" --output=/out/core.img \
        $modules $BIOS_MODULES
    cp "/usr/lib/grub/$BIOS_PLATFORM/boot.img" /out/boot.img
fi

truncate --size="${esp_mib}M" "$work/esp.img"
mkfs.vfat --invariant -F 32 -i "$ESP_VOLUME_ID" -n ESP "$work/esp.img" > /dev/null
export MTOOLS_SKIP_CHECK=1
touch --date="@$SOURCE_DATE_EPOCH" "$work/$EFI_FILE"
mmd -i "$work/esp.img" ::/EFI ::/EFI/BOOT
mcopy -m -i "$work/esp.img" "$work/$EFI_FILE" "::/EFI/BOOT/$EFI_FILE"
dd if="$work/esp.img" of="$disk" bs=1M seek=2 conv=notrunc,sparse status=none

# All of -E must be one option: mke2fs keeps only the last. Inode tables and journal are written as holes now, so that
# no kernel thread fills the thin disk with zeros after the first start.
mke2fs -q -t ext4 -F -L course -U "$ROOT_UUID" -m 1 -d /tree.tar \
    -E "offset=$((root_start * mib)),hash_seed=$HASH_SEED,lazy_itable_init=0,lazy_journal_init=0,nodiscard" \
    "$disk" "${root_size}M"

rm -r "$work"
