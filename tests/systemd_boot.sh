#!/bin/sh
# systemd_boot.sh FOLDER CHECKOUT: becomes systemd, the first process of the PID namespace that it was started in.
#
# Its root is this machine's, seen through an overlay in memory: what it writes is gone with it. Of this machine's own
# services it starts none: /etc/systemd/system holds the two units of packaging/systemd and a target that wants nothing.
set -e
folder=$1 checkout=$2 root=$1/root
mount --make-rprivate /
mount -t tmpfs tmpfs "$folder"
mkdir "$folder/upper" "$folder/work" "$root"
mount -t overlay -o "lowerdir=/,upperdir=$folder/upper,workdir=$folder/work" overlay "$root"
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
for own in run dev; do mount -t tmpfs -o mode=755 tmpfs "$root/$own"; done
for device in null zero full random urandom tty; do
  touch "$root/dev/$device"
  mount --bind "/dev/$device" "$root/dev/$device"
done
mkdir "$root/dev/shm" "$root/dev/pts"
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
mount -t tmpfs tmpfs "$root/dev/shm"

units=$root/etc/systemd/system
rm -rf "$units" "$root/opt/kube-vrrp"
mkdir -p "$units" "$root/opt" "$root/old"
ln -s "$checkout/.venv" "$root/opt/kube-vrrp"
# a unit's own user must come to the program and its Python, wherever those lie: in the overlay alone
mkdir -p "$root$checkout"
for above in "$checkout" "$(dirname "$(readlink -f "$checkout/.venv/bin/python")")"; do
  while [ "$above" != / ]; do
    chmod o+x "$root$above"
    above=$(dirname "$above")
  done
done
# the overlay shows one file system
[ "$(stat -c %d "$checkout")" = "$(stat -c %d /)" ] || mount --bind "$checkout" "$root$checkout"
cp "$checkout"/packaging/systemd/*.service "$units"
case $checkout in
  /tmp/* | /var/tmp/*) # a unit with a /tmp of its own does not see it there
    for unit in "$units"/*.service; do
      mkdir "$unit.d"
      printf "[Service]\nBindReadOnlyPaths=%s\n" "$checkout" >"$unit.d/tmp.conf"
    done
    ;;
esac
printf '[Unit]\nDescription=A host of a test\n' >"$units/host.target"
for none in systemd-journald.service systemd-journald.socket systemd-journald-dev-log.socket \
  systemd-journald-audit.socket systemd-journal-flush.service systemd-udevd.service systemd-udev-trigger.service \
  systemd-udevd-control.socket systemd-udevd-kernel.socket systemd-remount-fs.service systemd-tmpfiles-setup.service \
  systemd-tmpfiles-setup-dev.service systemd-sysctl.service systemd-modules-load.service networking.service; do
  ln -s /dev/null "$units/$none"
done
cd "$root"
pivot_root . old
umount -l /old
exec env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin \
  /lib/systemd/systemd --unit=host.target --log-target=console --show-status=false
