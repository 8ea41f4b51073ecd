# SPDX-License-Identifier: Apache-2.0
"""A German keyboard for a Linux guest."""

import struct

# Linux's keys where a German layout is not as the American one: what they type
# plain, with Shift and with AltGr.
GERMAN = {3: '2"', 4: "3§", 5: "4$", 7: "6&", 8: "7/{", 9: "8([", 10: "9)]", 11: "0=}", 12: "ß?\\",
          16: "qQ@", 21: "zZ", 26: "üÜ", 27: "+*~", 39: "öÖ", 40: "äÄ", 43: "#'", 44: "yY",
          51: ",;", 52: ".:", 53: "-_", 86: "<>|"}
AMERICAN = {2: "1!", 6: "5%", 17: "wW", 18: "eE", 19: "rR", 20: "tT", 22: "uU", 23: "iI", 24: "oO",
            25: "pP", 30: "aA", 31: "sS", 32: "dD", 33: "fF", 34: "gG", 35: "hH", 36: "jJ",
            37: "kK", 38: "lL", 45: "xX", 46: "cC", 47: "vV", 48: "bB", 49: "nN", 50: "mM"}
HOLE, SPECIAL = 0x0200, {1: 0x1B, 14: 0x7F, 15: 0x09, 28: 0x0201, 29: 0x0702, 42: 0x0700,
                         54: 0x0700, 56: 0x0703, 57: 0x20, 100: 0x0701}


def german_keymap():
    """As busybox's loadkmap takes it: plain, Shift and AltGr."""
    out = b"bkeymap" + bytes(1 if i < 3 else 0 for i in range(256))
    for level in range(3):
        keys = [HOLE] * 128
        for code, value in SPECIAL.items():
            keys[code] = value
        for code, typed in {**AMERICAN, **GERMAN}.items():
            if level < len(typed):
                letter = 0x0B00 if typed[level].isalpha() and ord(typed[level]) < 128 else 0
                keys[code] = letter | ord(typed[level])
        out += struct.pack("<128H", *keys)
    return out
