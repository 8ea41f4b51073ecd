# SPDX-License-Identifier: Apache-2.0
"""What the tests say to a guest's QMP socket."""

import json
import socket


def stop(path):
    """The guest stands still when this returns."""
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(path)
        f = s.makefile("rw")
        for command in ("qmp_capabilities", "stop"):
            f.write(json.dumps({"execute": command}) + "\n")
            f.flush()
            while "return" not in json.loads(f.readline()):
                pass
        f.close()
