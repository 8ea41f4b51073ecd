# The form people have always typed: no subcommand.
$ img -f qcow gtes11.img 20G
Formatting 'gtes11.img', fmt=qcow size=21474836480

$ img info gtes11.img | grep -v 'disk size'
image: gtes11.img
file format: qcow
virtual size: 20 GiB (21474836480 bytes)
cluster_size: 4096

$ img create -f qcow2 a.qcow2 1536M
Formatting 'a.qcow2', fmt=qcow2 cluster_size=65536 extended_l2=off compression_type=zlib size=1610612736 lazy_refcounts=off refcount_bits=16

$ img create -q -f qcow2 -b a.qcow2 -F qcow2 top.qcow2 && img info top.qcow2 | sed -n 3,7p
virtual size: 1.5 GiB (1610612736 bytes)
disk size: 19[0-9] KiB (re)
cluster_size: 65536
backing file: a.qcow2
backing file format: qcow2

# Nothing is made when something is wrong.
$ img create -f qcow2 -o cluster_size=3 bad 1G
Formatting 'bad', fmt=qcow2 cluster_size=3 extended_l2=off compression_type=zlib size=1073741824 lazy_refcounts=off refcount_bits=16
img: bad: Cluster size must be a power of two between 512 and 2048k
[1]
$ img create -f qcow2 -b missing.img -F raw bad
img: bad: Could not open 'missing.img': No such file or directory
Could not open backing image.
[1]
$ img create -f qcow2 -b a.qcow2 bad
img: bad: Backing file specified without backing format
Detected format of qcow2.
[1]
$ img create -f qcwo2 bad 1G
img: bad: Unknown file format 'qcwo2': did you mean 'qcow2'? (valid: raw, qcow, qcow2)
[1]
$ img create -f qcow2 no/such/folder 1G
Formatting 'no/such/folder', fmt=qcow2 cluster_size=65536 extended_l2=off compression_type=zlib size=1073741824 lazy_refcounts=off refcount_bits=16
img: no/such/folder: Could not create 'no/such/folder': No such file or directory
[1]
$ ls
a.qcow2
gtes11.img
top.qcow2

# An old image is replaced in place: its links and mode stay.
$ img create -q old 4M; chmod 600 old; ln old link; img create -q -f qcow2 old 1M; stat -c '%a %h' old; cmp old link
600 2
