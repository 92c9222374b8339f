#!/bin/sh
# Run a command as a container would: `confined.sh ROOT IMAGE PYTHON COMMAND…` in namespaces of its own.
# The root is read-only and holds the machine's libraries, the image's folder, its Python, and two
# writable places, as the manifest mounts them.
set -eu
new=$1 image=$2 python=$3
shift 3
mount -t tmpfs -o mode=755 none "$new"
mkdir "$new/tmp"
mount -t tmpfs -o mode=1777 none "$new/tmp" # first, because the image may be below it
for each in /usr /bin /lib /lib64 /etc "$python" "$image"; do
    [ -e "$each" ] || continue
    mkdir -p "$new${each%/*}"
    if [ -L "$each" ]; then cp -P "$each" "$new$each"; continue; fi
    mkdir -p "$new$each"
    mount --bind "$each" "$new$each"
    mount -o remount,bind,ro "$new$each"
done
mkdir -p "$new/proc" "$new/dev" "$new/var/lib/byoc"
mount -t proc none "$new/proc"
for each in null urandom; do touch "$new/dev/$each"; mount --bind "/dev/$each" "$new/dev/$each"; done
mount -t tmpfs -o mode=700 none "$new/var/lib/byoc"
chown 10001:10001 "$new/var/lib/byoc" 2>/dev/null || true
mount -o remount,bind,ro "$new"
cd "$new"
pivot_root . .
umount -l .
cd /
exec "$@"
