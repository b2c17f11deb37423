#!/usr/bin/env bash
# boot.sh FOLDER PREPARE: this machine's own systemd as process 1 of a throw-away machine, as root.
#
# New pid, mount, uts, ipc, net and cgroup namespaces. Its root is an overlay of ours: it reads our files and writes none.
# /proc/sys is read-only but for net, which is the namespace's own. PREPARE is run with the new root as its argument.
# Writes its process 1, as we number it, to FOLDER/pid. It ends when this script's process does.
set -euo pipefail
folder=$(realpath "$1")
if [ "${2:-}" != --inside ]; then
    # A cgroup of its own, in the version 2 hierarchy that every kernel has, wherever it is mounted.
    mkdir -p "$folder/cgroup"
    exec unshare --mount --propagation private bash -c '
        mount -t cgroup2 none "$1/cgroup" && mkdir -p "$1/cgroup/muxproxy-tests-$$" && echo $$ >"$1/cgroup/muxproxy-tests-$$/cgroup.procs"
        echo "muxproxy-tests-$$" >"$1/group"
        exec unshare --pid --mount --uts --ipc --net --cgroup --fork --kill-child=KILL bash "$2" "$1" --inside "$3"' \
        - "$folder" "$0" "$2"
fi
hostname booted
ip link set lo up
mount --make-rprivate /
top=$folder/top root=$folder/top/root
mkdir -p "$top"
mount -t tmpfs -o size=1g none "$top"
mkdir "$top/up" "$top/work" "$root"
mount -t overlay none -o "lowerdir=/,upperdir=$top/up,workdir=$top/work" "$root"
mount -t proc proc "$root/proc"
mount --bind "$root/proc/sys" "$root/proc/sys"
mount -o remount,bind,ro "$root/proc/sys"
mount --bind "$root/proc/sys/net" "$root/proc/sys/net"
mount -o remount,bind,rw "$root/proc/sys/net"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t cgroup2 none "$root/sys/fs/cgroup"
mount -t tmpfs -o mode=755 none "$root/run"
mount -t tmpfs -o mode=1777 none "$root/tmp"
mount -t tmpfs -o mode=755 none "$root/dev"
for name in null zero full random urandom tty console; do
    touch "$root/dev/$name"
    mount --bind "/dev/${name/console/null}" "$root/dev/$name"
done
mkdir "$root/dev/shm" "$root/dev/pts"
mount -t tmpfs none "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
for link in fd: stdin:/0 stdout:/1 stderr:/2; do ln -s "/proc/self/fd${link#*:}" "$root/dev/${link%%:*}"; done

# A target of its own: none of the machine's services.
units=$root/etc/systemd/system
rm -rf "$units"/*.wants "$root/etc/fstab"
mkdir -p "$units"
cat >"$units/tests.target" <<'UNIT'
[Unit]
Requires=basic.target
After=basic.target
AllowIsolate=yes
UNIT
for name in systemd-{udevd,udev-trigger,timesyncd,networkd,resolved,sysctl,modules-load,remount-fs,firstboot,logind}.service \
    console-getty.service sys-kernel-{debug,tracing,config}.mount sys-fs-fuse-connections.mount dev-hugepages.mount \
    systemd-journald-audit.socket proc-sys-fs-binfmt_misc.automount; do
    ln -sf /dev/null "$units/$name"
done
bash "$3" "$root"
mkdir -p "$root/old"
cd "$root"
pivot_root . old
cd /
umount -l /old
exec env -i container=tests PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 \
    /lib/systemd/systemd --system --unit=tests.target --show-status=0 --log-target=journal-or-kmsg --log-level=info
