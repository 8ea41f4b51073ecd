// SPDX-License-Identifier: Apache-2.0
// The PC of i440FX and PIIX as ACPI describes it: one PCI root, the four links
// that route INTA# to INTD# to ISA interrupts, the fixed ISA devices, soft-off.
// What differs from machine to machine (processors, HPET table) stands in other
// tables; this one is the same for all.

// Slot s, pin p: link (s - 1 + p) mod 4, in both interrupt modes.
#define SLOT(s, a, b, c, d) \
  Package () { (s << 16) | 0xFFFF, 0, a, 0 }, \
  Package () { (s << 16) | 0xFFFF, 1, b, 0 }, \
  Package () { (s << 16) | 0xFFFF, 2, c, 0 }, \
  Package () { (s << 16) | 0xFFFF, 3, d, 0 }

// An interrupt link (PNP0C0F) over the PIIX register PRQ: bit 7 is "off".
#define LINK(name, uid, PRQ) \
  Device (name) { \
    Name (_HID, EisaId ("PNP0C0F")) \
    Name (_UID, uid) \
    Name (_PRS, ResourceTemplate () { \
      Interrupt (ResourceConsumer, Level, ActiveHigh, Shared) { 5, 10, 11 } \
    }) \
    Method (_STA, 0, NotSerialized) { \
      If (PRQ & 0x80) { Return (0x09) } \
      Return (0x0B) \
    } \
    Method (_DIS, 0, NotSerialized) { PRQ |= 0x80 } \
    Method (_CRS, 0, Serialized) { \
      Name (BUF, ResourceTemplate () { \
        Interrupt (ResourceConsumer, Level, ActiveHigh, Shared, , , IRQ) { 0 } \
      }) \
      CreateDWordField (BUF, IRQ._INT, NUM) \
      If (PRQ & 0x80) { NUM = 0 } Else { NUM = PRQ } \
      Return (BUF) \
    } \
    Method (_SRS, 1, Serialized) { \
      CreateDWordField (Arg0, 0x05, NUM) \
      PRQ = NUM \
    } \
  }

DefinitionBlock ("dsdt.aml", "DSDT", 1, "ATOLL ", "ATOLLPC ", 1)
{
  // Soft-off: SLP_TYP 0 of PIIX4's PM1a control register.
  Name (\_S5, Package () { 0, 0, 0, 0 })

  Scope (\_SB)
  {
    Device (PCI0)
    {
      Name (_HID, EisaId ("PNP0A03"))
      Name (_UID, 0)
      Name (_BBN, 0)

      Name (_CRS, ResourceTemplate ()
      {
        WordBusNumber (ResourceProducer, MinFixed, MaxFixed, PosDecode,
          0, 0, 255, 0, 256)
        IO (Decode16, 0xCF8, 0xCF8, 1, 8)
        WordIO (ResourceProducer, MinFixed, MaxFixed, PosDecode, EntireRange,
          0, 0x0000, 0x0CF7, 0, 0x0CF8)
        WordIO (ResourceProducer, MinFixed, MaxFixed, PosDecode, EntireRange,
          0, 0x0D00, 0xFFFF, 0, 0xF300)
        DWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, Cacheable, ReadWrite,
          0, 0x000A0000, 0x000BFFFF, 0, 0x00020000)
        DWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, NonCacheable, ReadWrite,
          0, 0xC0000000, 0xFEBFFFFF, 0, 0x3EC00000)
      })

      Name (_PRT, Package ()
      {
        SLOT (0, LNKD, LNKA, LNKB, LNKC),
        SLOT (1, LNKA, LNKB, LNKC, LNKD),
        SLOT (2, LNKB, LNKC, LNKD, LNKA),
        SLOT (3, LNKC, LNKD, LNKA, LNKB),
        SLOT (4, LNKD, LNKA, LNKB, LNKC),
        SLOT (5, LNKA, LNKB, LNKC, LNKD),
        SLOT (6, LNKB, LNKC, LNKD, LNKA),
        SLOT (7, LNKC, LNKD, LNKA, LNKB),
        SLOT (8, LNKD, LNKA, LNKB, LNKC),
        SLOT (9, LNKA, LNKB, LNKC, LNKD),
        SLOT (10, LNKB, LNKC, LNKD, LNKA),
        SLOT (11, LNKC, LNKD, LNKA, LNKB),
        SLOT (12, LNKD, LNKA, LNKB, LNKC),
        SLOT (13, LNKA, LNKB, LNKC, LNKD),
        SLOT (14, LNKB, LNKC, LNKD, LNKA),
        SLOT (15, LNKC, LNKD, LNKA, LNKB),
        SLOT (16, LNKD, LNKA, LNKB, LNKC),
        SLOT (17, LNKA, LNKB, LNKC, LNKD),
        SLOT (18, LNKB, LNKC, LNKD, LNKA),
        SLOT (19, LNKC, LNKD, LNKA, LNKB),
        SLOT (20, LNKD, LNKA, LNKB, LNKC),
        SLOT (21, LNKA, LNKB, LNKC, LNKD),
        SLOT (22, LNKB, LNKC, LNKD, LNKA),
        SLOT (23, LNKC, LNKD, LNKA, LNKB),
        SLOT (24, LNKD, LNKA, LNKB, LNKC),
        SLOT (25, LNKA, LNKB, LNKC, LNKD),
        SLOT (26, LNKB, LNKC, LNKD, LNKA),
        SLOT (27, LNKC, LNKD, LNKA, LNKB),
        SLOT (28, LNKD, LNKA, LNKB, LNKC),
        SLOT (29, LNKA, LNKB, LNKC, LNKD),
        SLOT (30, LNKB, LNKC, LNKD, LNKA),
        SLOT (31, LNKC, LNKD, LNKA, LNKB)
      })

      // PIIX3, function 0: the bridge to ISA.
      Device (ISA)
      {
        Name (_ADR, 0x00010000)
        OperationRegion (ROUT, PCI_Config, 0x60, 4)
        Field (ROUT, ByteAcc, NoLock, Preserve)
        {
          PRQA, 8,
          PRQB, 8,
          PRQC, 8,
          PRQD, 8
        }

        Device (PIC)
        {
          Name (_HID, EisaId ("PNP0000"))
          Name (_CRS, ResourceTemplate ()
          {
            IO (Decode16, 0x20, 0x20, 1, 2)
            IO (Decode16, 0xA0, 0xA0, 1, 2)
            IO (Decode16, 0x4D0, 0x4D0, 1, 2)
            IRQNoFlags () { 2 }
          })
        }
        Device (PIT)
        {
          Name (_HID, EisaId ("PNP0100"))
          Name (_CRS, ResourceTemplate ()
          {
            IO (Decode16, 0x40, 0x40, 1, 4)
            IRQNoFlags () { 0 }
          })
        }
        Device (RTC)
        {
          Name (_HID, EisaId ("PNP0B00"))
          Name (_CRS, ResourceTemplate ()
          {
            IO (Decode16, 0x70, 0x70, 1, 8)
            IRQNoFlags () { 8 }
          })
        }
        Device (KBD)
        {
          Name (_HID, EisaId ("PNP0303"))
          Name (_CRS, ResourceTemplate ()
          {
            IO (Decode16, 0x60, 0x60, 1, 1)
            IO (Decode16, 0x64, 0x64, 1, 1)
            IRQNoFlags () { 1 }
          })
        }
        Device (MOU)
        {
          Name (_HID, EisaId ("PNP0F13"))
          Name (_CRS, ResourceTemplate () { IRQNoFlags () { 12 } })
        }
        Device (COM1)
        {
          Name (_HID, EisaId ("PNP0501"))
          Name (_UID, 1)
          Name (_CRS, ResourceTemplate ()
          {
            IO (Decode16, 0x3F8, 0x3F8, 1, 8)
            IRQNoFlags () { 4 }
          })
        }
      }
    }

    LINK (LNKA, 1, \_SB.PCI0.ISA.PRQA)
    LINK (LNKB, 2, \_SB.PCI0.ISA.PRQB)
    LINK (LNKC, 3, \_SB.PCI0.ISA.PRQC)
    LINK (LNKD, 4, \_SB.PCI0.ISA.PRQD)

    Device (HPET)
    {
      Name (_HID, EisaId ("PNP0103"))
      Name (_UID, 0)
      OperationRegion (REGS, SystemMemory, 0xFED00000, 0x400)
      Field (REGS, DWordAcc, NoLock, Preserve)
      {
        VEND, 32,
        PRD, 32
      }
      // A machine without one reads all ones here.
      Method (_STA, 0, NotSerialized)
      {
        If (LOr (LEqual (PRD, 0), LEqual (VEND, 0xFFFFFFFF))) { Return (0) }
        Return (0x0F)
      }
      Name (_CRS, ResourceTemplate () { Memory32Fixed (ReadOnly, 0xFED00000, 0x400) })
    }
  }
}
