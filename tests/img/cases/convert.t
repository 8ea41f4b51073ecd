$ head -c 300000 /dev/zero | tr '\0' 'a' > a.raw; truncate -s 1M a.raw
$ img convert -f raw -O qcow2 a.raw a.qcow2; img compare a.raw a.qcow2
Images are identical.
$ img map a.qcow2
Offset          Length          Mapped to       File
0               0x50000         0x50000         a.qcow2
$ img convert -p -c -O qcow2 a.qcow2 c.qcow2 | tr '\r' '\n' | tail -2 | head -1
    (100.00/100%)
$ img convert --progress=json -O raw c.qcow2 b.raw 2>&1 | tail -1
{"progress": {"what": "convert", "done": 1048576, "total": 1048576, "percent": 100.00}}
$ cmp a.raw b.raw
$ img compare -s a.qcow2 c.qcow2
Strict mode: Offset 0 block status mismatch!
[1]
$ img convert -f raw -O qcow2 a.raw a.raw
img: a.raw: error while converting qcow2: 'a.raw' is a file of the source: writing it would destroy what is to be read
[1]
$ img convert -O raw a.raw
img: Must specify image file name
Try 'img convert --help' for more information
[2]
$ img convert -O raw nosuch.img x; ls x
img: Could not open 'nosuch.img': No such file or directory
ls: cannot access 'x': No such file or directory
[2]
$ img resize -q a.qcow2 +1M; img resize a.qcow2 -1536k
img: Use the --shrink option to perform a shrink operation.
img: warning: Shrinking an image will delete all data beyond the shrunken image's end. Before performing such an operation, make sure there is no important data there.
[1]
$ img resize --shrink a.qcow2 -1536k; img info a.qcow2 | grep virtual
Image resized.
virtual size: 512 KiB (524288 bytes)
$ img dd if=a.raw of=d.raw bs=1k count=2 && stat -c %s d.raw
2048
$ img measure -O qcow2 --size 1G
required size: 393216
fully allocated size: 1074135040
