#!/bin/sh
# Runs in the tools container: installs the packages of /repository and writes the tree as a tar to stdout.
#   mmdebstrap.sh PACKAGE,… SUITE [DPKG-OPTION …]
#
# py3compile and update-initramfs do nothing while packages are installed: every .pyc and the initramfs are made once,
# at the end, by the roles. Both come back before the tree is packed, and what is random or of this machine goes: host
# keys, the container's name, the list with the repository. The container has no right to mount anything;
# mmdebstrap says so and installs without /proc and /sys, which no package here needs.
set -eu

packages=$1
suite=$2
shift 2
for option in "$@"; do
    set -- "$@" "--dpkgopt=$option"
    shift
done

held_back='py3compile:/usr/bin update-initramfs:/usr/sbin'
# The hooks are for mmdebstrap's shell, which sets $1 to the tree: nothing here may expand now.
# shellcheck disable=SC2016
hold='for tool in '$held_back'; do
    name=${tool%%:*}; path=${tool##*:}/$name
    chroot "$1" dpkg-divert --quiet --local --rename --divert "$path.real" --add "$path"
    printf "#!/bin/sh\nexit 0\n" > "$1$path"
    chmod 755 "$1$path"
done'
# shellcheck disable=SC2016
release='for tool in '$held_back'; do
    name=${tool%%:*}; path=${tool##*:}/$name
    rm "$1$path"
    chroot "$1" dpkg-divert --quiet --local --rename --remove "$path"
done
rm -f "$1"/etc/ssh/ssh_host_* "$1/etc/apt/sources.list" "$1/etc/hostname"'

mkdir -p "$TMPDIR"
exec mmdebstrap --mode=root --variant=essential --format=tar \
    --include="$packages" --aptopt='APT::Install-Recommends "false"' --dpkgopt=force-unsafe-io "$@" \
    --essential-hook="$hold" --customize-hook="$release" \
    "$suite" - "deb [trusted=yes] copy:///repository ./"
