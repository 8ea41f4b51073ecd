$ img
img: Not enough arguments
Try 'img --help' for more information
[2]
$ qemu-img
qemu-img: Not enough arguments
Try 'qemu-img --help' for more information
[1]
$ img crate x
img: Command not found: crate: did you mean 'create'? (valid: check, compare, convert, create, dd, info, map, measure, resize, snapshot)
Try 'img --help' for more information
[2]
$ img info --outptu=json x
img: unknown option '--outptu': did you mean '--output'?
Try 'img info --help' for more information
[2]
$ img info -f
img: option '-f' needs a value: -f FMT
Try 'img info --help' for more information
[2]
$ img check -r some x
img: Unknown option value for -r (expecting 'leaks' or 'all'): some
Try 'img check --help' for more information
[1]
$ img --version
img version 7.2 (atoll 0.1)
$ img snapshot --help
usage: img snapshot [-lqU] [-f FMT] FILE

list the internal snapshots of an image

  -f FMT                format of the image (default found from the contents)
  -l                    list the snapshots; this is what happens without an
                        option too
  -q                    print errors only
  -U, --force-share     open the image although another process writes to it
$ img info /dev/null/x
img: Could not open '/dev/null/x': Not a directory
[1]
# A full disk under the output is an error.
$ img create -q x 1M; img info x > /dev/full
img: standard output: No space left on device
[1]
