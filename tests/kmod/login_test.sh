#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# On an emulated host with atoll.ko: SeaBIOS reads ISOLINUX, a kernel and its initial file system
# from a qcow2 disk, and somebody logs in. $ATOLL_LAB is the path of tests/lab/lab-svm.
# usage: login_test.sh MODULE QUIET RUN IMG BIOS VMLINUZ BUSYBOX
set -euo pipefail
files=()
for f in "$@"; do files+=("$(readlink -f "$f")"); done
ko=${files[0]} quiet=${files[1]} run=${files[2]} img=${files[3]} bios=${files[4]}
vmlinuz=${files[5]} busybox=${files[6]}
lab=${ATOLL_LAB:?is not set to the path of tests/lab/lab-svm}
dir=$TEST_TMPDIR/login
mkdir -p "$dir"/{cd,root/{bin,dev,proc,etc,root}}
cp "$busybox" "$dir/root/bin/busybox"
echo 'root::0:0:root:/root:/bin/sh' >"$dir/root/etc/passwd"
cat >"$dir/root/init" <<'INIT'
#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t devtmpfs dev /dev
hostname guest
exec getty -L ttyS0 115200 vt100
INIT
chmod +x "$dir/root/init"
(cd "$dir/root" && find . | cpio -o -H newc --quiet -R 0:0 | gzip -1) >"$dir/cd/initrd"
cp "$vmlinuz" "$dir/cd/vmlinuz"
cp /usr/lib/ISOLINUX/isolinux.bin /usr/lib/syslinux/modules/bios/ldlinux.c32 "$dir/cd"
printf '%s\n' 'DEFAULT linux' 'LABEL linux' 'KERNEL /vmlinuz' \
  'APPEND initrd=/initrd console=ttyS0 quiet' >"$dir/cd/isolinux.cfg"
# What starts from a CD starts from a disk as well, by the MBR in front.
xorriso -as mkisofs -quiet -o "$dir/disk.raw" -b isolinux.bin -c boot.cat -no-emul-boot \
  -boot-load-size 4 -boot-info-table -isohybrid-mbr /usr/lib/ISOLINUX/isohdpfx.bin "$dir/cd"
truncate -s %1M "$dir/disk.raw"
"$img" convert -f raw -O qcow2 "$dir/disk.raw" "$dir/disk.qcow2"
cat >"$dir/go" <<GO
mkfifo in
$run -accel kvm,device=/dev/atoll -m 192 -nographic -no-reboot -bios $bios -hda disk.qcow2 <in >out 2>&1 &
exec 3>in
said() { for _ in {1..2400}; do grep -q "\$1" out && return; [ -e /proc/\$! ] || break; sleep 0.1; done; tail -n 30 out; exit 1; }
said 'guest login:'
echo root >&3
said '#'
echo 'echo uid \$(id -u), sum \$((6 * 7)); poweroff -f' >&3
said 'uid 0, sum 42'
wait \$! && echo 'logged in, switched off'
GO
cd "$dir"
exec "$lab" --module "$ko" --timeout 600 -- "$quiet" bash "$dir/go"
