#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""viewers_test.py PATTERN_SERVER PICTURE_DISTANCE: viewers of others see what is there.

gvnccapture (gtk-vnc) pixel by pixel; vncsnapshot, whose pictures are JPEG,
nearly, in each encoding that it has.
"""

import os
import subprocess
import sys
import tempfile

from pattern import PatternServer, distance


def run(*command, **more):
    p = subprocess.run(command, capture_output=True, text=True, timeout=60, **more)
    if p.returncode != 0:
        sys.exit(f"{' '.join(command)}: {p.returncode}\n{p.stdout}{p.stderr}")


def main():
    program, compare = (os.path.abspath(p) for p in sys.argv[1:])
    os.chdir(tempfile.mkdtemp(dir=os.environ.get("TEST_TMPDIR")))
    os.environ["HOME"] = os.getcwd()
    errors = []
    for kind in ("desk", "text", "photo", "noise"):
        # A size that no tile divides.
        with PatternServer(program, 805, 613) as server:
            server.do(f"draw {kind} 7")
            server.do("save expected.png")
            run("gvnccapture", server.display, "seen.png")
            d = distance(compare, "expected.png", "seen.png")
            print(f"{kind}: gvnccapture {d}")
            if d != 0:
                errors.append(f"{kind}: gvnccapture is {d} off")
            if kind != "desk":
                continue
            # Its files are JPEG: what it saw is compared with what it saw in Raw.
            for encoding in ("raw", "rre", "hextile", "zlib", "tight"):
                run("vncsnapshot", "-quiet", "-encodings", f"{encoding} copyrect", "-quality", "9",
                    server.display, f"{encoding}.jpg", stdin=subprocess.DEVNULL)
                off = distance(compare, "raw.jpg", f"{encoding}.jpg")
                print(f"{kind}: vncsnapshot {encoding} {off}")
                if off > (2 if encoding == "tight" else 0):
                    errors.append(f"{kind}: vncsnapshot in {encoding} is {off} off")
            off = distance(compare, "expected.png", "raw.jpg")
            if off > 1200:
                errors.append(f"{kind}: vncsnapshot is {off} off")
            log = "".join(server.log).lower()
            for encoding in ("encoding raw", "encoding rre", "encoding hextile", "encoding zlib",
                             "encoding tight", "encoding zrle"):
                if encoding not in log:
                    errors.append(f"{encoding} was not used:\n{log}")
    with PatternServer(program, 640, 480, "vnc", "secret") as server:
        with open("passwd", "wb") as f:
            # "secret", as vncpasswd hides it.
            f.write(bytes.fromhex(PASSWORD))
        run("vncsnapshot", "-quiet", "-passwd", "passwd", server.display, "seen.jpg",
            stdin=subprocess.DEVNULL)
        server.do("draw text 1")
        if not any(line.startswith("attach") and "VncAuth" in line for line in server.log):
            errors.append("no attach with VncAuth in the log: " + "".join(server.log))
    for e in errors:
        print(e, file=sys.stderr)
    return 1 if errors else 0


PASSWORD = "2e2dbf576eb06c9e"

if __name__ == "__main__":
    sys.exit(main())
