#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""desktop_viewers_test.py PATTERN_SERVER: what people look with.

TigerVNC's viewer under Xvfb, in each encoding, and noVNC in headless Chromium,
over ws and wss: every pixel is the guest's. By hand, for it needs much that is
not in ./setup: xvfb, tigervnc-viewer, novnc, chromium, openssl.
"""

import http.server
import os
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse

from pattern import PatternServer

WIDTH, HEIGHT = 800, 600
PAGE = """<!DOCTYPE html><html><body><div id="screen"></div>
<script type="module">
import RFB from "/core/rfb.js";
const rfb = new RFB(document.getElementById("screen"),
    location.protocol.replace("http", "ws") + "//" + location.host + "/websockify");
// What stands behind the # is typed, as characters.
const type = text => {
  for (const c of text) {
    const keysym = c == "\\n" ? 0xFF0D : c.codePointAt(0);
    rfb.sendKey(keysym, null, true);
    rfb.sendKey(keysym, null, false);
  }
};
const tell = what => { new Image().src = "http://127.0.0.1:@PORT@/" + what; };
rfb.addEventListener("disconnect", e => { tell("disconnect"); });
rfb.addEventListener("connect", () => {
  setTimeout(() => type(decodeURIComponent(location.hash.slice(1))), 1000);
  let last = "";
  setInterval(() => {
    const c = document.querySelector("canvas");
    const d = c.getContext("2d").getImageData(0, 0, c.width, c.height).data;
    let h = 2166136261;
    for (let i = 0; i < d.length; i += 4) {
      for (let j = 0; j < 3; j++) { h ^= d[i + j]; h = Math.imul(h, 16777619) >>> 0; }
    }
    const now = c.width + "x" + c.height + "-" + h;
    if (now != last) tell(now);
    last = now;
  }, 300);
});
</script></body></html>
"""


def ppm_pixels(path):
    with open(path, "rb") as f:
        return f.read()[-3 * WIDTH * HEIGHT:]


def xwd_pixels(path, view=(WIDTH, HEIGHT)):
    """RGB of the upper left of Xvfb's screen, which is a file."""
    view_width, view_height = view
    with open(path, "rb") as f:
        data = f.read()
    header = struct.unpack(">25I", data[:100])
    size, width, stride, colours = header[0], header[4], header[12], header[19]
    start = size + 12 * colours
    out = bytearray()
    for y in range(view_height):
        row = data[start + y * stride:start + y * stride + 4 * view_width]
        line = bytearray(3 * view_width)
        line[0::3], line[1::3], line[2::3] = row[2::4], row[1::4], row[0::4]
        out += line
    return bytes(out), width


def tigervnc(program, errors):
    with tempfile.TemporaryDirectory() as folder:
        x = subprocess.Popen(["Xvfb", ":96", "-screen", "0", f"{WIDTH}x{HEIGHT}x24", "-fbdir",
                              folder, "-nolisten", "tcp"], stderr=subprocess.DEVNULL)
        time.sleep(2)
        env = {**os.environ, "DISPLAY": ":96", "HOME": folder}
        try:
            for seed, encoding in enumerate(("Raw", "Hextile", "ZRLE", "Tight"), 9):
                with PatternServer(program, WIDTH, HEIGHT) as server:
                    viewer = subprocess.Popen(
                        ["xtigervncviewer", "-FullScreen", "-AutoSelect=0", "-FullColor",
                         f"-PreferredEncoding={encoding}", "-NoJPEG", "-MenuKey=",
                         "-RemoteResize=0", f"localhost::{server.port}"],
                        env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                    time.sleep(6)
                    # What changes is seen, too; and scrolling.
                    # To another picture than the viewer before, which is still there.
                    for command in ("draw text 5", "scroll 48", f"draw desk {seed}", "scroll 16"):
                        server.do(command)
                        time.sleep(1)
                    server.do(f"save {folder}/expected.ppm")
                    time.sleep(1)
                    expected = ppm_pixels(f"{folder}/expected.ppm")
                    seen, _ = xwd_pixels(f"{folder}/Xvfb_screen0")
                    wrong = sum(a != b for a, b in zip(expected, seen))
                    print(f"TigerVNC, {encoding}: {wrong} bytes differ", flush=True)
                    viewer.terminate()
                    viewer.wait()
                    # The pointer of X stands somewhere.
                    if wrong > 3 * 600:
                        errors.append(f"TigerVNC in {encoding}: {wrong} bytes differ")
        finally:
            x.terminate()
            x.wait()


class Told(http.server.ThreadingHTTPServer):
    """What a page says, as the paths that it asks for."""

    def __init__(self):
        paths = self.paths = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                paths.append(self.path[1:])
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_):
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def __exit__(self, *args):
        self.shutdown()
        super().__exit__(*args)


def fnv(rgb):
    h = 2166136261
    for b in rgb:
        h = ((h ^ b) * 16777619) & 0xFFFFFFFF
    return h


def make_page(folder, told):
    """noVNC with a page that says what it shows; the folder of both."""
    web = folder + "/web"
    os.mkdir(web)
    for name in ("core", "vendor"):
        subprocess.run(["cp", "-rL", "/usr/share/novnc/" + name, web], check=True)
    with open(web + "/test.html", "w") as f:
        f.write(PAGE.replace("@PORT@", str(told.server_port)))
    return web


def make_certificate(folder):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj",
                    "/CN=localhost", "-days", "2", "-keyout", folder + "/key", "-out",
                    folder + "/cert"], check=True, stderr=subprocess.DEVNULL)
    return folder + "/cert", folder + "/key"


def browse(folder, port, secure, seen, text="", seconds=60):
    """The page in Chromium until `seen`."""
    browser = subprocess.Popen(
        ["chromium", "--headless=new", "--no-sandbox", "--disable-gpu",
         "--ignore-certificate-errors", f"--user-data-dir={folder}/chromium",
         f"http{'s' if secure else ''}://localhost:{port}/test.html#{urllib.parse.quote(text)}"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(2 * seconds):
        if seen():
            break
        time.sleep(0.5)
    browser.terminate()
    browser.wait()


def novnc(program, secure, errors):
    with tempfile.TemporaryDirectory() as folder, Told() as told:
        options = ["ws"]
        if secure:
            options += ["cert", *make_certificate(folder)]
        with PatternServer(program, WIDTH, HEIGHT, *options) as server:
            server.do("draw text 3")
            server.do(f"save {folder}/expected.ppm")
            expected = f"{WIDTH}x{HEIGHT}-{fnv(ppm_pixels(folder + '/expected.ppm'))}"
            name = "wss" if secure else "ws"
            server.do("web " + make_page(folder, told))
            browse(folder, server.web_port, secure, lambda: expected in told.paths)
            print(f"noVNC, {name}: {told.paths[-1:]}, expected {expected}", flush=True)
            if expected not in told.paths:
                errors.append(f"noVNC over {name} sees {told.paths}\n" + "".join(server.log))


def main():
    program = os.path.abspath(sys.argv[1])
    errors = []
    tigervnc(program, errors)
    novnc(program, False, errors)
    novnc(program, True, errors)
    for e in errors:
        print(e, file=sys.stderr)
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
