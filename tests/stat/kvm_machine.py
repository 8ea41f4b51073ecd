# SPDX-License-Identifier: Apache-2.0
"""The smallest VMM on the kernel's KVM, in a process of its own, that does as many
exits as it is told to and none between."""

import ctypes
import fcntl
import mmap
import os
import signal
import struct

# out dx, al; hlt; back: two exits to user space a round.
CODE = bytes.fromhex("ee f4 ebfc")
IO, HLT = 2, 5


class Machine:
    """Keeps its descriptors of counters open."""

    def __init__(self):
        kvm = os.open("/dev/kvm", os.O_RDWR | os.O_CLOEXEC)
        self.vm = fcntl.ioctl(kvm, 0xAE01, 0)
        self.memory = mmap.mmap(-1, 0x10000)
        self.memory[0x1000:0x1000 + len(CODE)] = CODE
        address = ctypes.addressof(ctypes.c_char.from_buffer(self.memory))
        fcntl.ioctl(self.vm, 0x4020AE46, struct.pack("<IIQQQ", 0, 0, 0, 0x10000, address))
        self.vcpu = fcntl.ioctl(self.vm, 0xAE41, 0)
        self.shared = mmap.mmap(self.vcpu, fcntl.ioctl(kvm, 0xAE04, 0))
        sregs = bytearray(312)
        fcntl.ioctl(self.vcpu, 0x8138AE83, sregs)
        sregs[0:8] = bytes(8)  # cs: base and selector 0
        sregs[12:14] = bytes(2)
        fcntl.ioctl(self.vcpu, 0x4138AE84, sregs)
        regs = bytearray(144)
        regs[24:32] = struct.pack("<Q", 0x10)  # rdx
        regs[128:144] = struct.pack("<QQ", 0x1000, 2)  # rip, rflags
        fcntl.ioctl(self.vcpu, 0x4090AE82, regs)
        self.stats = [fcntl.ioctl(self.vm, 0xAECE, 0), fcntl.ioctl(self.vcpu, 0xAECE, 0)]

    def run(self, rounds):
        for _ in range(rounds):
            for wanted in (IO, HLT):
                fcntl.ioctl(self.vcpu, 0xAE80, 0)
                reason = struct.unpack_from("<I", self.shared, 8)[0]
                assert reason == wanted, reason


class Guest:
    """A Machine in a child."""

    def __init__(self):
        order, self.orders = os.pipe()
        self.answers, answer = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.close(self.orders)
                machine = Machine()
                os.write(answer, b"!")
                while text := os.read(order, 4):
                    machine.run(struct.unpack("<I", text)[0])
                    os.write(answer, b"!")
            finally:
                os._exit(1)
        os.close(order)
        os.close(answer)
        self.wait()

    def wait(self):
        assert os.read(self.answers, 1) == b"!", "the guest has ended"

    def run(self, rounds):
        """Returns when it stands still again."""
        os.write(self.orders, struct.pack("<I", rounds))
        self.wait()

    def end(self):
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.orders)
        os.close(self.answers)
