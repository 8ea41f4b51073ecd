// SPDX-License-Identifier: Apache-2.0
// Guests that must end alike on every processor (guest_programs.cc lists them). All lie at
// 0x1000; each begins in real mode, with flat segments and the stack at 0x7F00, and ends
// by OUT to port 0xF4. 1 MiB of memory, of which [0xA0000, 0xC0000) is a device; beyond
// it all is one. Reads of devices and ports give something else each time.
//
//   0x8000  results of the program     0xC000  IDT
//   0x9FE0  the stack ring 0 left      0xE800  the stack of ring 3
//   0x9FF0  end of the log             0xF000  task state
//   0xA000  the log of exceptions      0x30000 page tables, made by guest_programs.cc
//
// What may fault goes on at EBX: `faults` puts the next instruction there. The log has
// vector, error code, IP, CS, FLAGS (without arithmetic ones) and CR2 of each.
#define AT(label) (0x1000 + label - guest_programs)
#define LOG_END 0x9FF0
#define RING0_STACK 0x9FE0
#define CODE32 0x08
#define DATA 0x10
#define USER32 0x1B
#define USER_DATA 0x23
#define USER64 0x2B
#define CODE64 0x30
#define LIMITED 0x40
#define EXPAND_DOWN 0x48
#define ABSENT 0x50
#define LDT 0x58
#define GATE 0x63
#define CONFORMING 0x68
#define TSS2 0x70
#define TSS64 0x78
#define CODE16 0x88
#define DATA16 0x90
#define TSS 0x98
#define USER_LIMITED 0xA3

  .section .rodata
  .globl guest_programs, guest_programs_end
  .balign 16

.macro program name
  .globl guest_\name
guest_\name:
  .code16
.endm

.macro end
  cmp %al, %al
  out %al, $0xF4
8: jmp 8b
.endm

.macro faults insn:vararg
  mov $AT(9f), %ebx
  \insn
9:
.endm

// The arithmetic flags that an instruction defines all of.
.macro keep_flags at
  pushf
  pop %ax
  and $0xCD5, %ax
  mov %ax, \at
.endm

.macro enter_protected
  cli
  lgdtl AT(gdt_pointer)
  mov %cr0, %eax
  or $1, %al
  mov %eax, %cr0
  ljmpl $CODE32, $AT(7f)
  .code32
7:
  call protected_start
.endm

.macro enter_long
  enter_protected
  mov $0x20, %eax
  mov %eax, %cr4
  mov $0x35000, %eax
  mov %eax, %cr3
  mov $0xC0000080, %ecx
  rdmsr
  or $0x901, %eax               // NXE, LME, SCE
  wrmsr
  mov %cr0, %eax
  or $0x80010000, %eax          // PG, WP
  mov %eax, %cr0
  ljmpl $CODE64, $AT(7f)
  .code64
7:
  call long_start
.endm

// What runs in ring 3 comes back by INT 0x30 with EBX.
.macro enter_ring3 to
  mov %esp, RING0_STACK
  push $USER_DATA
  push $0xE800
  pushf
  push $USER32
  push $AT(\to)
  iret
.endm
.macro leave_ring3
  mov $AT(9f), %ebx
  int $0x30
9:
.endm

guest_programs:
first:                          // the same, for what is to need no relocation

// ---- Real mode ----

  .code16
real_handler_0: movb $0, 0x8FF0
  jmp real_handler
real_handler_4: movb $4, 0x8FF0
  jmp real_handler_trap
real_handler_5: movb $5, 0x8FF0
  jmp real_handler
real_handler_6: movb $6, 0x8FF0
  jmp real_handler
real_handler_13: movb $13, 0x8FF0
real_handler:                   // IP of the fault, and on at BX
  push %bp
  mov %sp, %bp
  push %ax
  push %di
  mov LOG_END, %di
  mov 0x8FF0, %al
  cbw
  mov %ax, (%di)
  mov 2(%bp), %ax
  mov %ax, 2(%di)
  mov 6(%bp), %ax
  and $0xF72A, %ax               // RF lies above
  mov %ax, 4(%di)
  add $6, %di
  mov %di, LOG_END
  mov %bx, 2(%bp)
  pop %di
  pop %ax
  pop %bp
  iret
real_handler_trap:
  push %ax
  incw 0x8FF2
  pop %ax
  iret

real_start:
  movw $0xA000, LOG_END
  movl $AT(real_handler_0), 0
  movl $AT(real_handler_4), 16
  movl $AT(real_handler_5), 20
  movl $AT(real_handler_6), 24
  movl $AT(real_handler_13), 52
  ret

program real_integer
  call real_start
  mov $0x1234, %ax
  mov $0x0FF0, %cx
  mul %cx
  mov %ax, 0x8000
  mov %dx, 0x8002
  mov $-300, %ax
  imul $77, %ax, %dx
  mov %dx, 0x8004
  mov $0x12, %dx
  mov $0x3456, %ax
  div %cx
  mov %ax, 0x8006
  mov %dx, 0x8008
  mov $0x89ABCDEF, %eax
  cdq
  mov $-12345, %esi
  idivl %esi
  mov %eax, 0x800C
  mov %edx, 0x8010
  mov $0x80000001, %eax
  rol $4, %eax
  mov %eax, 0x8014
  stc
  rcr $1, %eax
  mov %eax, 0x8018
  keep_flags 0x801C
  mov $0x1234, %ax
  mov $0xABCD, %dx
  shld $4, %ax, %dx
  mov %dx, 0x8020
  bsf %dx, %cx
  bsr %dx, %si
  mov %cx, 0x8022
  mov %si, 0x8024
  mov $0x29, %al
  add $0x38, %al
  daa
  mov %al, 0x8026
  sub $0x19, %al
  das
  mov %al, 0x8027
  mov $0x0709, %ax
  add $8, %al
  aaa
  mov %ax, 0x8028
  mov $0x63, %al
  aam
  mov %ax, 0x802A
  aad
  mov %ax, 0x802C
  sub $7, %al
  aas
  mov %ax, 0x802E
  mov $0x55AA, %ax
  bts $3, %ax
  btr $5, %ax
  btc $15, %ax
  mov %ax, 0x8030
  mov $0x7FFF, %ax
  add $1, %ax
  keep_flags 0x8032
  mov $0x10, %cx
  mov $0, %dx
1:
  add %cx, %dx
  adc $0, %dx
  loop 1b
  mov %dx, 0x8034
  mov $5, %cx
  xor %ax, %ax
2:
  inc %ax
  cmp $3, %ax
  loopne 2b
  mov %cx, 0x8036
  jcxz 3f
  incw 0x8038
3:
  bswap %edx
  mov %edx, 0x803C
  mov $0x11223344, %eax
  lock xadd %eax, 0x803C
  mov $0x55667788, %ecx
  lock cmpxchg %ecx, 0x803C
  keep_flags 0x8040
  movsbw 0x803C, %ax
  movzbl 0x803D, %ecx
  mov %ax, 0x8044
  mov %ecx, 0x8048
  enter $16, $2
  mov %bp, 0x804C
  mov %sp, 0x804E
  leave
  pusha
  popa
  mov $0x7D, %bx
  mov $3, %al
  mov $0x8080, %bx
  xlat
  mov %al, 0x8050
  lds 0x8060, %si
  les 0x8064, %di
  mov %ds, %ax
  xor %dx, %dx
  mov %dx, %ds
  mov %ax, 0x8068
  end

program real_strings
  call real_start
  cld
  mov $AT(real_start), %si
  mov $0x8100, %di
  mov $60, %cx
  rep movsb
  mov $0x8100, %si
  mov $0x8101, %di              // overlaps: repeats the first byte
  mov $8, %cx
  rep movsb
  std
  mov $0x813E, %si
  mov $0x8180, %di
  mov $20, %cx
  rep movsw
  cld
  mov $0xDEADBEEF, %eax
  mov $0x8200, %di
  mov $9, %cx
  rep stosl
  mov $0x8200, %di
  mov $100, %cx
  repe scasl
  mov %cx, 0x8000
  mov %di, 0x8002
  keep_flags 0x8004
  mov $0x8100, %si
  mov $0x8101, %di
  mov $50, %cx
  repe cmpsb
  mov %cx, 0x8006
  mov %si, 0x8008
  mov $0x8100, %si
  mov $7, %cx
  rep lodsb
  mov %al, 0x800A
  mov $0xFFF8, %di              // wraps in its segment
  mov $0x1000, %ax
  mov %ax, %es
  mov $0xA5, %al
  mov $16, %cx
  rep stosb
  mov %di, 0x800C
  xor %cx, %cx
  mov %cx, %es
  rep stosb
  mov %di, 0x800E
  mov $0x8300, %edi
  mov $0x8100, %esi
  mov $5, %ecx
  .byte 0x67                     // by 32-bit addresses
  rep movsl
  mov %edi, 0x8010
  mov %ecx, 0x8014
  end

program real_exceptions
  call real_start
  movl $AT(1f), 0x21 * 4
  movl $AT(real_handler_4), 12  // INT3 too
  xor %dx, %dx
  xor %cx, %cx
  faults div %cx
  mov $-32768, %ax
  mov $-1, %cx
  mov $0xFFFF, %dx
  faults idiv %cx
  faults ud2
  mov $0x7F, %al
  add $1, %al
  into
  movw $10, 0x8010
  movw $20, 0x8012
  mov $15, %ax
  faults bound %ax, 0x8010
  mov $25, %ax
  faults bound %ax, 0x8010
  int3
  int $0x21
  pushf
  popw 0x8000
  pushl $0xF0000202
  popfl                         // VM and what is reserved stay 0
  pushfl
  popl 0x8004
  end
1:
  mov %sp, 0x8020
  pushf
  popw 0x8022                   // IF and TF clear
  incw 0x8024
  iret

program real_ports
  cld
  mov $0x21, %al
  out %al, $0x80
  in $0x81, %al
  in $0x82, %ax
  mov %ax, 0x8000
  in $0x84, %eax
  mov %eax, 0x8004
  out %ax, $0x86
  out %eax, $0x88
  mov $0x1234, %dx
  in %dx, %al
  out %al, %dx
  in %dx, %ax
  out %ax, %dx
  in %dx, %eax
  out %eax, %dx
  mov $0x8100, %di
  mov $5, %cx
  rep insb
  mov $3, %cx
  rep insw
  mov $4, %cx
  rep insl
  insb
  mov %di, 0x8008
  mov $0x8100, %si
  mov $6, %cx
  rep outsb
  mov $3, %cx
  rep outsw
  mov $2, %cx
  rep outsl
  outsw
  mov %si, 0x800A
  std
  mov $0x8180, %di
  mov $4, %cx
  rep insw
  mov $0x8180, %si
  mov $3, %cx
  rep outsl
  cld
  xor %cx, %cx
  rep insb
  mov %di, 0x800C
  mov $0x4000, %ax
  mov %ax, %es
  mov $0xFFD, %di               // crosses a page
  mov $0x500, %cx
  rep insw
  mov %di, 0x800E
  end

// A segment of 4 GiB, kept into real mode.
program real_big
  cli
  lgdtl AT(gdt_pointer)
  mov %cr0, %eax
  or $1, %al
  mov %eax, %cr0
  mov $DATA, %cx
  mov %cx, %ds
  and $0xFE, %al
  mov %eax, %cr0
  mov $0x12345678, %eax
  mov $0x50000, %esi
  mov %eax, (%esi)
  incl 4(%esi)
  mov $0x110000, %edi           // a device
  mov (%edi), %ecx
  mov %ecx, 0x8000
  xor %cx, %cx
  mov %cx, %ds
  mov (%esi), %eax       // still: a load in real mode keeps the limit
  mov %eax, 0x8004
  smsw %ax
  and $0x3F, %ax
  mov %ax, 0x8008
  end

// ---- Protected mode ----

  .code32
protected_start:
  mov $DATA, %eax
  mov %eax, %ds
  mov %eax, %es
  mov %eax, %ss
  pop %edx
  xor %eax, %eax
  mov %eax, %fs
  mov %eax, %gs
  mov $0x7F00, %esp
  push %edx
  movl $0xA000, LOG_END
  movl $0x7E00, 0xF004          // ESP0, SS0
  movl $DATA, 0xF008
  movw $0x100, 0xF066            // no I/O bitmap
  mov $0xC000, %edi
  mov $AT(stubs32), %eax
  mov $64, %ecx
1:
  mov %ax, (%edi)
  movw $CODE32, 2(%edi)
  movw $0x8E00, 4(%edi)
  movw $0, 6(%edi)
  add $16, %eax
  add $8, %edi
  loop 1b
  orb $0x60, 0xC000 + 3 * 8 + 5
  orb $0x60, 0xC000 + 4 * 8 + 5
  orb $0x60, 0xC000 + 0x30 * 8 + 5
  orb $0x60, 0xC000 + 0x31 * 8 + 5
  lidt AT(idt32_pointer)
  mov $TSS, %eax
  ltr %ax
  ret

  .balign 16
stubs32:
  .set v, 0
  .rept 64
  .balign 16
  .if v == 8 || (v >= 10 && v <= 14) || v == 17
  .else
  push $0
  .endif
  push $v
  jmp handler32
  .set v, v + 1
  .endr

handler32:
  pusha
  push %ds
  mov $DATA, %eax
  mov %eax, %ds
  mov LOG_END, %edi
  mov 36(%esp), %eax
  mov %eax, (%edi)
  mov 40(%esp), %eax
  mov %eax, 4(%edi)
  mov 44(%esp), %eax
  mov %eax, 8(%edi)
  movzwl 48(%esp), %eax
  mov %eax, 12(%edi)
  mov 52(%esp), %eax
  and $0xFFFEF72A, %eax          // nor RF
  mov %eax, 16(%edi)
  xor %eax, %eax
  cmpl $14, 36(%esp)
  jne 1f
  mov %cr2, %eax
1:
  mov %eax, 20(%edi)
  add $24, %edi
  mov %edi, LOG_END
  mov 36(%esp), %eax
  cmp $0x30, %eax
  je 3f
  cmp $1, %eax
  je 2f
  cmp $3, %eax
  je 2f
  cmp $4, %eax
  je 2f
  cmp $32, %eax
  jae 2f
  mov 20(%esp), %ecx
  mov %ecx, 44(%esp)
2:
  pop %ds
  popa
  add $8, %esp
  iret
3:
  mov 20(%esp), %ebx
  mov RING0_STACK, %esp
  mov $DATA, %eax
  mov %eax, %ds
  mov %eax, %es
  jmp *%ebx

program protected_segments
  enter_protected
  mov $ABSENT, %eax
  faults mov %eax, %es
  mov $0x1000, %eax
  faults mov %eax, %es           // past the GDT
  faults mov %eax, %ds
  mov $CODE32, %eax
  mov %eax, %es
  mov %es:0x1000, %ecx           // code can be read
  faults ljmp $DATA, $0
  faults ljmp $ABSENT, $0
  mov $DATA, %eax
  mov %eax, %es
  movl $0x8200000F, 0xD008
  movl $0x00409300, 0xD00C
  mov $LDT, %eax
  lldt %ax
  sldt 0x8010
  mov $0x0C, %eax                // the LDT's second: data of 16 bytes
  mov %eax, %fs
  movb $0x33, %fs:15
  mov $0x04, %eax
  faults mov %eax, %fs           // its first is null
  mov $DATA, %eax
  lar %eax, %ecx
  and $0xF0FF00, %ecx
  mov %ecx, 0x8020
  lsl %eax, %ecx
  mov %ecx, 0x8024
  mov $LIMITED, %eax
  lsl %eax, %ecx
  mov %ecx, 0x8028
  mov $ABSENT, %eax
  verr %ax
  setz 0x802C
  mov $CODE32, %eax
  verw %ax
  setz 0x802D
  verr %ax
  setz 0x802E
  str 0x8030
  smsw 0x8032
  andw $0x3F, 0x8032
  sgdt 0x8034
  sidt 0x803C
  lcall $CONFORMING, $AT(far_return)
  mov $DATA, %eax
  mov %eax, %es
  // A segment of 16 bits and back.
  lcall $CODE16, $AT(code16)
  arpl %ax, 0x8020
  end
far_return:
  mov %cs, 0x8050
  lret
  .code16
code16:
  mov %sp, 0x8054
  data32 lret

// What a segment allows, looked at by each access.
program segment_access
  call real_start
  mov $0x10000, %esi
  faults movb (%esi), %al
  faults movw 0xFFFF, %ax
  enter_protected
  mov $LIMITED, %eax
  mov %eax, %es
  movl $0x11111111, %es:0xFC
  faults movl $1, %es:0xFD
  faults movb $1, %es:0x100
  mov $EXPAND_DOWN, %eax
  mov %eax, %es
  faults movb $1, %es:0xFF
  movb $0x22, %es:0x100
  xor %eax, %eax
  mov %eax, %es
  faults movb $1, %es:0          // null
  mov $CODE32, %eax
  mov %eax, %es
  faults movb $1, %es:0x8000     // code is not written
  mov $CONFORMING, %eax
  mov %eax, %es
  mov %es:0x1000, %ecx
  end

// RF is set in what faults push, clear in what traps do.
program resume_flag
  enter_protected
  movw $AT(1f), 0xC000
  movw $AT(1f), 0xC000 + 3 * 8
  mov $0x8000, %edi
  xor %ecx, %ecx
  faults div %ecx
  nop                            // takes with it what IRET set
  int3
  end
1:
  mov 8(%esp), %eax
  stosl
  mov (%esp), %eax
  cmpw $0xF1F7, (%eax)           // that DIV
  jne 2f
  mov %ebx, (%esp)
2:
  iret

program protected_rings
  enter_protected
  enter_ring3 1f
1:
  mov $USER_DATA, %eax
  mov %eax, %ds
  mov %eax, %es
  mov %cs, 0x8000
  mov %ss, 0x8004
  mov %esp, 0x8008
  faults cli
  faults hlt
  faults in $0x80, %al
  faults mov %cr0, %eax
  faults lgdtl AT(gdt_pointer)
  faults int $0x20               // its gate is ring 0's
  faults invlpg 0
  faults wrmsr
  mov $DATA, %eax
  faults mov %eax, %es
  int $0x31                      // a gate of ring 3's
  int3
  lcall $GATE, $0                // to ring 0 and back
  mov %esp, 0x8010
  pushf
  orl $0x3200, (%esp)            // IOPL and IF stay
  popf
  pushf
  popl 0x8014
  mov $0x8018, %eax
  movw $USER_DATA & ~3, (%eax)
  mov $3, %ecx
  arpl %cx, (%eax)
  leave_ring3
  mov %esp, 0x801C
  // A bitmap opens ports 0x81 and 0x82, not 0x80.
  movw $0x68, 0xF066
  movb $0xF9, 0xF068 + 0x10
  movb $0xFF, 0xF068 + 0x11
  enter_ring3 3f
3:
  mov $USER_DATA, %eax
  mov %eax, %ds
  in $0x81, %al
  mov %al, 0x8020
  faults in $0x80, %al
  faults in $0x82, %ax           // its second byte is closed
  mov $0x81, %edx
  in %dx, %ax
  mov %ax, 0x8022
  leave_ring3
  end
gate_target:
  mov %cs, 0x8030
  mov 4(%esp), %eax              // the caller's CS
  mov %eax, 0x8034
  lret

program protected_paging
  enter_protected
  mov $0x10, %eax                // PSE
  mov %eax, %cr4
  mov $0x30000, %eax
  mov %eax, %cr3
  mov %cr0, %eax
  or $0x80000000, %eax
  mov %eax, %cr0
  movl $0x12345678, 0x44000
  mov 0x444000, %eax             // by a large page
  mov %eax, 0x8000
  mov 0x443000, %eax
  faults mov 0x40000, %eax       // absent
  faults movl $1, 0x40000
  movl $7, 0x41000               // read-only: ring 0 may
  mov %cr0, %eax
  or $0x10000, %eax
  mov %eax, %cr0
  faults movl $8, 0x41000
  faults movl $8, 0x40FFE        // the first page of two decides
  faults mov 0x3FFFE, %eax
  // A page mapped anew, with and without INVLPG or CR3.
  movl $0x44007, 0x31000 + 4 * 0x40
  mov 0x40000, %ecx
  mov %ecx, 0x8004
  movl $0x45007, 0x31000 + 4 * 0x40
  invlpg 0x40000
  mov 0x40000, %ecx
  mov %ecx, 0x8008
  movl $0x44007, 0x31000 + 4 * 0x40
  mov %cr3, %ecx
  mov %ecx, %cr3
  mov 0x40000, %ecx
  mov %ecx, 0x800C
  enter_ring3 1f
1:
  mov $USER_DATA, %eax
  mov %eax, %ds
  faults mov 0x42000, %eax       // the kernel's
  faults movl $1, 0x41000
  mov 0x41000, %eax
  mov %eax, 0x8010
  faults call 0x42000 - 0x1000 + first
  leave_ring3
  mov %cr2, %eax
  mov %eax, 0x8014
  mov %cr0, %eax
  and $0x7FFFFFFF, %eax
  mov %eax, %cr0
  end

program protected_pae
  enter_protected
  mov $0x20, %eax                // PAE
  mov %eax, %cr4
  mov $0x32000, %eax
  mov %eax, %cr3
  mov $0xC0000080, %ecx          // EFER.NXE
  rdmsr
  or $0x800, %eax
  wrmsr
  mov %cr0, %eax
  or $0x80010000, %eax
  mov %eax, %cr0
  movl $0xC3, 0x43000            // ret, in a page without execution
  mov $0x43000, %eax
  faults call *%eax
  add $4, %esp
  faults mov 0x40000, %eax
  faults movl $8, 0x41000
  movl $0xABCD, 0x44000
  mov 0x244000, %eax             // a large page
  mov %eax, 0x8000
  // Page directory pointers are read when CR3 is loaded, or later.
  mov 0x40000000, %eax
  mov %eax, 0x8004
  movl $0, 0x32008
  mov %cr3, %eax
  mov %eax, %cr3
  faults mov 0x40000000, %eax
  movl $0x33001, 0x32008
  mov %cr3, %eax
  mov %eax, %cr3
  mov 0x40044000, %eax
  mov %eax, 0x8008
  enter_ring3 1f
1:
  mov $USER_DATA, %eax
  mov %eax, %ds
  faults mov 0x42000, %eax
  mov $0x43000, %eax
  faults call *%eax
  leave_ring3
  andb $~0x20, 0x32000           // no processor marks these as accessed, QEMU's does
  andb $~0x20, 0x32008
  end

program protected_task
  enter_protected
  // A task that adds and goes back by IRET, then one by JMP.
  mov $0xF100, %edi
  mov $26, %ecx
  xor %eax, %eax
  rep stosl
  movl $AT(task), 0xF100 + 0x20
  movl $0x1002, 0xF100 + 0x24
  movl $7, 0xF100 + 0x28
  movl $0xE700, 0xF100 + 0x38
  movl $DATA, 0xF100 + 0x48
  movl $CODE32, 0xF100 + 0x4C
  movl $DATA, 0xF100 + 0x50
  movl $DATA, 0xF100 + 0x54
  movw $0x68, 0xF100 + 0x66
  mov $0x11, %ecx
  mov $0x22, %edx
  lcall $TSS2, $0
  mov %ecx, 0x8000
  mov %edx, 0x8004
  str 0x8008
  clts
  ljmp $TSS2, $0
  str 0x8010
  pushf
  popl 0x8014
  clts
  faults ljmp $TSS, $0           // busy
  end
task:
  str 0x8020
  mov %eax, 0x8024
  add $1, %eax
  pushf
  popl 0x8028                    // NT
  iret
  str 0x802C
  ljmp $TSS, $0

// A task switch sets TS.
program task_switched_flag
  enter_protected
  mov $0xF100, %edi
  mov $26, %ecx
  xor %eax, %eax
  rep stosl
  movl $AT(1f), 0xF100 + 0x20
  movl $2, 0xF100 + 0x24
  movl $0xE700, 0xF100 + 0x38
  movl $DATA, 0xF100 + 0x48
  movl $CODE32, 0xF100 + 0x4C
  movl $DATA, 0xF100 + 0x50
  movl $DATA, 0xF100 + 0x54
  movw $0x68, 0xF100 + 0x66
  ljmp $TSS2, $0
1:
  mov %cr0, %eax
  mov %eax, 0x8000
  clts
  end

// ---- MMIO ----

program mmio_widths
  enter_protected
  mov $0x180000, %esi
  movb $0x12, (%esi)
  movw $0x1234, 2(%esi)
  movl $0x12345678, 4(%esi)
  mov 8(%esi), %al
  mov %al, 0x8000
  mov 10(%esi), %ax
  mov %ax, 0x8002
  mov 12(%esi), %eax
  mov %eax, 0x8004
  movzbl 16(%esi), %eax
  mov %eax, 0x8008
  movsbl 17(%esi), %eax
  mov %eax, 0x800C
  movzwl 18(%esi), %eax
  mov %eax, 0x8010
  movswl 20(%esi), %eax
  mov %eax, 0x8014
  mov 0x180020, %eax
  mov %eax, 0x180024
  mov 0x180028, %al
  mov %al, 0x180029
  mov $0x8100, %edi
  lea 0x40(%esi), %esi
  mov $4, %ecx
  cld
  rep movsl
  mov $0x8100, %esi
  mov $0x180080, %edi
  mov $4, %ecx
  rep movsb
  mov $0x5A5A5A5A, %eax
  mov $2, %ecx
  rep stosl
  mov $0x180100, %esi
  lodsw
  mov %ax, 0x8018
  end

program mmio_read_modify_write
  enter_protected
  mov $0x180000, %esi
  mov $0x01020304, %eax
  add %eax, (%esi)
  orl $0xF0, 4(%esi)
  andl $0x0F0F0F0F, 8(%esi)
  xorw $0xFFFF, 12(%esi)
  sub %al, 14(%esi)
  incl 16(%esi)
  decw 20(%esi)
  notl 24(%esi)
  negl 28(%esi)
  xchg %eax, 36(%esi)
  mov %eax, 0x8000
  btsl $5, 40(%esi)
  setc 0x8004
  testb $0x40, 44(%esi)
  setz 0x8005
  cmpb $0x40, 45(%esi)
  setb 0x8006
  lock orl $0, 48(%esi)
  xadd %eax, 52(%esi)
  mov %eax, 0x8008
  add 56(%esi), %eax
  mov %eax, 0x800C
  push 64(%esi)
  pop 68(%esi)
  cmp %eax, %eax
  adcl $1, 76(%esi)
  end

program mmio_rare
  enter_protected
  mov $0x180000, %esi
  mov $5, %cl
  shll $3, (%esi)
  shrw $1, 4(%esi)
  sarl %cl, 8(%esi)
  rolb $1, 12(%esi)
  imul $3, 16(%esi), %eax
  cmp %eax, %eax
  setc 20(%esi)
  sete 21(%esi)
  end

program mmio_long
  enter_long
  mov $0x180000, %esi
  mov (%rsi), %rax
  mov %rax, 0x8000
  mov %rax, 8(%rsi)
  movq $-5, 16(%rsi)
  movslq 24(%rsi), %rax
  mov %rax, 0x8008
  add %rax, 32(%rsi)
  mov 0x18002C, %r9d
  mov %r9, 0x8010
  mov $0x8100, %edi
  mov $3, %ecx
  cld
  rep movsq
  mov 0x181FFE - 0x1000, %r10w
  mov %r10, 0x8018
  xchg %r10, 0x180048
  mov %r10, 0x8028
  movabs 0x180050, %al
  mov %al, 0x8030
  movabs %rax, 0x180058
  end

// Told by bytes: how an access is split where it is not aligned is nobody's business.
program mmio_unaligned
  enter_long
  out %al, $0xE2
  mov $0x180000, %esi
  mov 1(%rsi), %ax
  mov %eax, 0x8000
  mov 3(%rsi), %ecx
  mov %rcx, 0x8008
  mov 5(%rsi), %rdx
  mov %rdx, 0x8010
  mov 0x180FFD, %r10             // crosses a page
  mov %r10, 0x8018
  mov %r10d, 0x180FFE
  mov %cx, 0x180FFF
  mov %rdx, 0x180111
  movl $0x12345678, 0x180121
  mov $0x180FF9, %edi
  mov $0x1122334455667788, %rax
  cld
  mov $3, %ecx
  rep stosq
  lea 0x13(%rsi), %esi
  mov $0x8101, %edi
  mov $5, %ecx
  rep movsl
  end

// ---- Interrupts ----

program interrupts
  enter_protected
  mov $0x20, %al
  out %al, $0xE0                 // asks for that vector: interrupts are off
  nop
  incl 0x8000
  sti
  incl 0x8004                    // in STI's shadow
  incl 0x8008
  cli
  mov $0x21, %al
  out %al, $0xE0
  sti
  hlt                            // ended by it
  cli
  mov $0x22, %al
  out %al, $0xE0
  pushf
  orl $0x200, (%esp)
  popf                           // no shadow
  incl 0x800C
  cli
  mov $0x23, %al
  out %al, $0xE0
  push $DATA
  sti
  mov $0x24, %ecx
  cli
  mov $0x25, %al
  out %al, $0xE0
  pushf
  orl $0x200, (%esp)
  push %cs
  push $AT(1f)
  iret
1:
  incl 0x8010
  // In ring 3.
  cli
  mov $0x26, %al
  out %al, $0xE0
  mov %esp, RING0_STACK
  push $USER_DATA
  push $0xE800
  push $0x202
  push $USER32
  push $AT(2f)
  iret
2:
  mov $USER_DATA, %eax
  mov %eax, %ds
  incl 0x8014
  leave_ring3
  sti
  mov $0x27, %al
  out %al, $0xE0                 // on: at once
  incl 0x8018
  cli
  end

program nmi
  enter_protected
  mov $0xC000, %edi
  movw $AT(1f), 2 * 8(%edi)
  out %al, $0xE1                 // asks for an NMI
  nop
  incl 0x8000
  out %al, $0xE1
  nop
  end
1:
  incl 0x8004
  push %eax
  mov 4(%esp), %eax
  mov %eax, 0x8008
  pop %eax
  iret

// An NMI waits for the IRET of the one before.
program nmi_blocking
  enter_protected
  mov $0xC000, %edi
  movw $AT(1f), 2 * 8(%edi)
  out %al, $0xE1
  nop
  nop
  end
1:
  incl 0x8000
  cmpl $1, 0x8000
  jne 2f
  out %al, $0xE1
  nop
  mov 0x8000, %ecx
  mov %ecx, 0x8004
2:
  iret

// ---- Exceptions of ring 0 in long mode ----

  .code64
long_start:
  mov $DATA, %eax
  mov %eax, %ss
  xor %eax, %eax
  mov %eax, %ds
  mov %eax, %es
  movq $0x7E00, 0xF004           // RSP0
  movq $0x7B00, 0xF024           // IST1
  mov $0xC000, %edi
  mov $AT(stubs64), %eax
  mov $64, %ecx
1:
  mov %ax, (%rdi)
  movw $CODE64, 2(%rdi)
  movw $0x8E00, 4(%rdi)
  movw $0, 6(%rdi)
  movq $0, 8(%rdi)
  add $16, %eax
  add $16, %edi
  loop 1b
  orb $0x60, 0xC000 + 3 * 16 + 5
  orb $0x60, 0xC000 + 0x30 * 16 + 5
  lidt AT(idt64_pointer)
  andb $~2, AT(gdt) + TSS64 + 5
  mov $TSS64, %eax
  ltr %ax
  ret

  .balign 16
stubs64:
  .set v, 0
  .rept 64
  .balign 16
  .if v == 8 || (v >= 10 && v <= 14) || v == 17
  .else
  push $0
  .endif
  push $v
  jmp handler64
  .set v, v + 1
  .endr

handler64:
  push %rax
  push %rdi
  mov LOG_END, %edi
  mov 16(%rsp), %rax
  mov %rax, (%rdi)
  mov 24(%rsp), %rax
  mov %rax, 8(%rdi)
  mov 32(%rsp), %rax
  mov %rax, 16(%rdi)
  movzwl 40(%rsp), %eax
  mov %rax, 24(%rdi)
  mov 48(%rsp), %rax
  and $0xFFFEF72A, %eax          // nor RF
  mov %rax, 32(%rdi)
  xor %eax, %eax
  cmpl $14, 16(%rsp)
  jne 1f
  mov %cr2, %rax
1:
  mov %rax, 40(%rdi)
  mov 56(%rsp), %rax
  mov %rax, 48(%rdi)
  add $56, %edi
  mov %edi, LOG_END
  mov 16(%rsp), %eax
  cmp $0x30, %eax
  je 3f
  cmp $1, %eax
  je 4f
  cmp $3, %eax
  je 2f
  cmp $32, %eax
  jae 2f
  mov %rbx, 32(%rsp)
2:
  pop %rdi
  pop %rax
  add $16, %rsp
  iretq
4:
  orl $0x10000, 48(%rsp)         // RF: once past a breakpoint
  jmp 2b
3:
  mov RING0_STACK, %rsp
  mov $DATA, %eax
  mov %eax, %ss
  jmp *%rbx

program long_exceptions
  enter_long
  xor %ecx, %ecx
  faults div %ecx
  faults ud2
  int3
  faults mov 0x40000, %eax
  faults movl $1, 0x41000
  mov $0x43000, %eax
  movb $0xC3, (%rax)
  faults call *%rax
  mov $0x7F00, %esp
  mov $0x800000000000, %rax
  faults mov (%rax), %ecx
  faults mov 0x3FFFFE, %ecx      // its second half is nowhere
  mov $0x1000, %eax
  faults mov %eax, %es
  mov $ABSENT, %eax
  faults mov %eax, %es
  faults lldt %ax
  mov $0x80000001, %eax          // PG and PE only would do; NW alone does not
  or $0x20000000, %eax
  faults mov %rax, %cr0
  mov %cr4, %rax
  and $~0x20, %eax
  faults mov %rax, %cr4          // PAE stays in long mode
  mov $1 << 40, %rax
  faults mov %rax, %cr4
  mov %cr0, %rax
  or $8, %eax
  mov %rax, %cr0
  faults fld1                    // TS: no device
  clts
  // On a stack of its own.
  movb $1, 0xC000 + 6 * 16 + 4
  faults ud2
  movb $0, 0xC000 + 6 * 16 + 4
  // Single steps over three instructions.
  pushf
  orl $0x100, (%rsp)
  popf
  nop
  mov $1, %eax
  pushf
  andl $~0x100, (%rsp)
  popf
  nop
  mov %dr6, %rax
  mov %rax, 0x8000
  end

program idt_limit
  enter_long
  faults int $0x50
  faults int $0xFF
  end

program cr8_reserved
  enter_long
  mov $0x20, %eax
  faults mov %rax, %cr8
  end

program debug_general_detect
  enter_long
  mov $0xFFFF0FF0, %eax
  mov %rax, %dr6
  mov $0x2400, %eax
  mov %rax, %dr7
  mov %dr0, %rax                 // #DB, which clears GD
  mov %rax, 0x8020
  mov %dr6, %rax
  mov %rax, 0x8028
  end

program long_breakpoints
  enter_long
  mov $0xFFFF0FF0, %eax
  mov %rax, %dr6
  mov $AT(1f), %eax
  mov %rax, %dr0                 // execution
  mov $0x8100, %eax
  mov %rax, %dr1                 // a store of 4 bytes
  mov $0x8108, %eax
  mov %rax, %dr2                 // any access of 8
  mov $0x0BD00400 | 1 << 1 | 1 << 3 | 1 << 5, %eax
  mov %rax, %dr7
  mov 0x8100, %ecx
  movb $1, 0x8102
  mov %dr6, %rax
  mov %rax, 0x8000
  mov $0xFFFF0FF0, %eax          // B0 to B3 may stay or not
  mov %rax, %dr6
  mov 0x810C, %ecx
  mov %dr6, %rax
  mov %rax, 0x8008
  mov $0xFFFF0FF0, %eax
  mov %rax, %dr6
1:
  nop
  mov %dr6, %rax
  mov %rax, 0x8018
  mov $0x400, %eax
  mov %rax, %dr7
  mov %dr7, %rax
  mov %rax, 0x8010
  mov %cr4, %rax
  or $8, %eax                    // DE
  mov %rax, %cr4
  faults mov %dr4, %rax
  end

// ---- Long mode ----

program long_integer
  enter_long
  mov $0x123456789ABCDEF0, %rax
  mov $0x0FEDCBA987654321, %rcx
  mul %rcx
  mov %rax, 0x8000
  mov %rdx, 0x8008
  div %rcx
  mov %rax, 0x8010
  mov %rdx, 0x8018
  imul $-77, %rcx, %r8
  mov %r8, 0x8020
  mov $-1, %eax                  // clears the upper half
  mov %rax, 0x8028
  mov $0x8081, %r9d
  mov %r9b, %al                  // leaves the rest
  mov %r9b, %sil
  mov %rax, 0x8030
  mov %rsi, 0x8038
  bswap %rcx
  mov %rcx, 0x8040
  movslq %r9d, %r10
  movsbq %r9b, %r11
  mov %r10, 0x8048
  mov %r11, 0x8050
  mov $70, %ecx                  // six bits of it count
  mov $1, %r12d
  shl %cl, %r12
  mov %r12, 0x8058
  sar %cl, %rax
  mov %rax, 0x8060
  lock cmpxchg16b 0x8070
  setz 0x8080
  mov %rdx, 0x8088
  popcnt %r11, %r13
  mov %r13, 0x8090
  bt %r11, %r12
  setc 0x8098
  xor %r8d, %r8d
  cmovz %r10, %r8
  mov %r8, 0x80A0
  lea 5(%r8, %r12, 8), %r14d
  mov %r14, 0x80A8
  end

program long_system_calls
  enter_long
  mov $0xC0000081, %ecx          // STAR
  xor %eax, %eax
  mov $(USER32 << 16) | CODE64, %edx
  wrmsr
  inc %ecx                       // LSTAR
  mov $AT(1f), %eax
  xor %edx, %edx
  wrmsr
  add $2, %ecx                   // SFMASK
  mov $0x40700, %eax
  wrmsr
  mov $0xC0000102, %ecx          // KERNEL_GS_BASE
  mov $0x8400, %eax
  wrmsr
  mov $0xC0000101, %ecx          // GS_BASE
  mov $0x8500, %eax
  wrmsr
  mov %rsp, RING0_STACK
  mov $AT(2f), %ecx
  mov $0x202, %r11d
  mov $0xE800, %esp
  sysretq
2:
  mov %cs, 0x8000
  mov %ss, 0x8004
  movl $0x1111, %gs:0
  pushfq
  orl $0x100 << 10, (%rsp)       // AC: the mask clears it
  popfq
  syscall
  mov %rcx, 0x8010
  pushfq
  popq 0x8018
  andl $~0x40000, 0x8018
  movl $0x2222, %gs:4
  faults swapgs
  faults sysretq
  mov $AT(3f), %ebx
  int $0x30
1:                               // in the kernel
  swapgs
  mov %cs, 0x8020
  mov %ss, 0x8024
  pushfq
  popq 0x8028
  mov %r11, 0x8030
  movl $0x3333, %gs:0
  swapgs
  sysretq
3:
  mov $0xC0000080, %ecx          // without SCE there is no SYSCALL
  rdmsr
  and $~1, %eax
  wrmsr
  faults syscall
  faults sysretq
  end

// From 64-bit code to 32-bit code under long mode and back.
program long_compatibility
  enter_long
  mov $0x1122334455667788, %rax
  mov %rax, %r8
  ljmp *AT(4f)
  .code32
1:
  mov $DATA, %edx
  mov %edx, %ds
  mov %edx, %es
  inc %eax                       // a REX prefix in 64-bit code
  mov %eax, 0x8000
  push %eax
  pop 0x8004
  faults mov 0x40000, %eax
  mov $0x44000, %edi
  movl $0xFFFFFFFF, (%edi)
  aam
  ljmp $CODE64, $AT(2f)
  .code64
2:
  mov %r8, 0x8008
  mov %rsp, 0x8010
  push $CODE64
  push $AT(3f)
  lretq
3:
  end
4:
  .long AT(1b)
  .word CODE32

// ---- Registers of the system ----

program control_registers
  enter_long
  mov %cr0, %rax
  mov %rax, 0x8000
  mov %cr4, %rax
  mov %rax, 0x8008
  mov $5, %eax
  mov %rax, %cr8
  mov %cr8, %rax
  mov %rax, 0x8010
  xor %eax, %eax
  mov %rax, %cr8
  mov $0x123456789AB, %rax
  mov %rax, %cr2
  mov %cr2, %rax
  mov %rax, 0x8018
  mov $0xA, %eax                 // LMSW: MP and TS go up, PE stays
  lmsw %ax
  mov %cr0, %rax
  mov %rax, 0x8020
  clts
  mov %cr0, %rax
  and $~0x10, %eax               // ET is always set
  mov %rax, %cr0
  mov %cr0, %rax
  mov %rax, 0x8028
  mov %cr3, %rax
  mov %rax, 0x8030
  mov $0xFFF, %eax
  mov %rax, %dr3
  mov %dr3, %rax
  mov %rax, 0x8038
  mov $1, %rax
  shl $33, %rax
  faults mov %rax, %dr7
  mov $0xC0000080, %ecx
  rdmsr
  mov %eax, 0x8040
  sgdt 0x8050
  sidt 0x8060
  str 0x8070
  end

program msrs
  enter_long
  mov $0x8000, %edi
  mov $0x12345678, %eax
  mov $0x00000ABC, %edx
  mov $AT(5f), %esi
1:
  lodsl (%rsi), %eax
  test %eax, %eax
  jz 2f
  mov %eax, %ecx
  mov $0x12345678, %eax
  mov $0x0ABC, %edx
  wrmsr
  xor %eax, %eax
  xor %edx, %edx
  rdmsr
  mov %eax, (%rdi)
  mov %edx, 4(%rdi)
  add $8, %edi
  jmp 1b
2:
  mov $0x174, %ecx               // SYSENTER_CS, ESP and EIP
3:
  mov $0x30, %eax
  xor %edx, %edx
  wrmsr
  rdmsr
  stosl
  inc %ecx
  cmp $0x177, %ecx
  jne 3b
  mov $0x277, %ecx               // PAT
  mov $0x07040600, %eax
  mov $0x00070406, %edx
  wrmsr
  rdmsr
  stosl
  mov $0x07040603, %eax
  faults wrmsr                   // 3 is no type
  mov $0xC0000080, %ecx
  rdmsr
  and $~0x400, %eax
  stosl
  mov $1 << 20, %edx
  faults wrmsr                   // reserved
  mov $0xDEAD0000, %ecx
  faults rdmsr
  xor %eax, %eax
  xor %edx, %edx
  faults wrmsr
  mov $0xC0000100, %ecx          // FS_BASE
  mov $0x8600, %eax
  wrmsr
  movl $0x77, %fs:8
  end
5:
  .long 0xC0000083, 0xC0000100, 0xC0000101, 0xC0000102, 0

// Addresses that are not canonical.
program msrs_not_canonical
  enter_long
  mov $0xC0000100, %ecx
  mov $0x8000, %edx
  xor %eax, %eax
  faults wrmsr
  mov $0xC0000101, %ecx
  faults wrmsr
  end
program msrs_not_canonical_entry
  enter_long
  mov $0xC0000082, %ecx
  mov $0x8000, %edx
  xor %eax, %eax
  faults wrmsr
  mov $0xC0000102, %ecx
  faults wrmsr
  mov $0x175, %ecx
  faults wrmsr
  end

// #SS: the stack segment's limit, absence, and addresses that are not canonical.
program stack_faults
  enter_protected
  mov $ABSENT, %eax
  faults mov %eax, %ss
  enter_ring3 1f
1:
  mov $USER_LIMITED, %eax
  mov %eax, %ss
  mov $0x200, %ecx
  faults mov %ss:(%ecx), %eax
  faults push %eax
  faults enter $16, $0
  mov $USER_DATA, %eax
  mov %eax, %ss
  leave_ring3
  end
program stack_faults_long
  enter_long
  mov $0x800000000000, %rbp
  faults mov (%rbp), %eax
  end

program cpuid
  enter_long
  xor %eax, %eax
  cpuid
  cmp $0xB, %eax
  setae 0x8000
  mov $1, %eax
  cpuid
  and $0x80000028, %ecx          // hypervisor; MONITOR, VMX
  mov %ecx, 0x8004
  and $0x0789A37D, %edx          // what every x86-64 has
  mov %edx, 0x8008
  and $0xFFFF0000, %ebx          // APIC id, count
  mov %ebx, 0x800C
  mov $0x80000001, %eax
  xor %ecx, %ecx
  cpuid
  and $5, %ecx                   // LAHF; SVM
  mov %ecx, 0x8010
  and $0x20100800, %edx          // long mode, NX, SYSCALL
  mov %edx, 0x8014
  mov $0xB, %eax
  xor %ecx, %ecx
  cpuid
  mov %eax, 0x8018
  mov %ebx, 0x801C
  mov %ecx, 0x8020
  mov %edx, 0x8024
  mov $0xB, %eax
  mov $1, %ecx
  cpuid
  mov %ebx, 0x8028
  mov %ecx, 0x802C
  mov $5, %eax                   // MONITOR's leaf
  xor %ecx, %ecx
  cpuid
  or %ebx, %eax
  or %ecx, %eax
  or %edx, %eax
  mov %eax, 0x8030
  mov $0x80000000, %eax
  cpuid
  cmp $0x8000000A, %eax          // SVM's leaf
  mov $0x8000000A, %eax
  jae 2f
  mov $5, %eax
2:
  xor %ecx, %ecx
  cpuid
  or %ebx, %eax
  or %ecx, %eax
  or %edx, %eax
  mov %eax, 0x8034
  end

// XCR0 stays what it was set to.
program xcr0
  enter_long
  mov %cr4, %rax
  or $0x40000, %eax
  faults mov %rax, %cr4
  mov $1, %eax
  cpuid
  shr $27, %ecx
  and $1, %ecx
  mov %ecx, 0x8008               // CR4.OSXSAVE shows
  xor %eax, %eax
  xor %ecx, %ecx
  xor %edx, %edx
  faults xsetbv                  // x87 cannot be off
  mov $3, %eax
  faults xsetbv
  out %al, $0x80
  faults xgetbv
  mov %eax, 0x8000
  xor %ebx, %ebx                 // what CPUID left there
  end

// ---- x87 and SSE ----

program floating_point
  enter_long
  mov %cr4, %rax
  or $0x600, %eax                // OSFXSR, OSXMMEXCPT
  mov %rax, %cr4
  mov %cr0, %rax
  or $0x22, %eax                 // NE, MP
  mov %rax, %cr0
  fninit
  fldpi
  fld1
  fadd %st(1), %st
  fsqrt
  fstpt 0x8000
  fstpl 0x8010
  fldl2e
  fistpl 0x8018
  fnstsw 0x801C
  fnstcw 0x801E
  movl $0x12345678, 0x8020
  fildl 0x8020
  fbstp 0x8028
  fldz
  fld1
  fdivp %st, %st(1)              // 1/0: masked
  fstpt 0x8040
  fnstsw 0x804C
  fnclex
  movw $0x37B, 0x8050            // division by zero unmasked
  fldcw 0x8050
  fld1
  fldz
  fdivrp %st, %st(1)
  faults fwait                   // #MF
  fnstsw 0x8052
  fnclex
  fninit
  movl $0x1F80, 0x8054
  ldmxcsr 0x8054
  mov $0x3FF0000000000000, %rax
  movq %rax, %xmm0
  mov $0x4008000000000000, %rax
  movq %rax, %xmm1
  movaps %xmm0, %xmm2
  divsd %xmm1, %xmm2
  movsd %xmm2, 0x8060
  orl $0x6000, 0x8054            // toward zero
  ldmxcsr 0x8054
  movaps %xmm0, %xmm3
  divsd %xmm1, %xmm3
  movsd %xmm3, 0x8068
  cvtsd2si %xmm3, %rax
  mov %rax, 0x8070
  stmxcsr 0x8078
  movl $0x1F80, 0x8054
  ldmxcsr 0x8054
  pxor %xmm5, %xmm5
  pcmpeqd %xmm6, %xmm6
  punpcklbw %xmm6, %xmm5
  movdqu %xmm5, 0x8081
  movups 0x8060, %xmm7
  shufps $0x1B, %xmm7, %xmm7
  mov $0x8201, %esi
  faults movaps (%rsi), %xmm0    // not aligned
  fld1
  fldpi
  mov $0x8400, %edi
  fxsave64 (%rdi)
  movq $0, 0x8408                // x87's pointers, and MXCSR's mask
  movq $0, 0x8410
  movl $0, 0x841C
  movw $0, 0x8406
  fninit
  xorps %xmm5, %xmm5
  fxrstor64 (%rdi)
  fstpl 0x8090
  movdqu %xmm5, 0x80A0
  mov %cr0, %rax
  or $4, %eax                    // EM
  mov %rax, %cr0
  faults fld1
  faults addps %xmm0, %xmm1
  and $~4, %eax
  mov %rax, %cr0
  end

program sse_exceptions
  enter_long
  mov %cr4, %rax
  or $0x600, %eax
  mov %rax, %cr4
  mov %cr0, %rax
  or $2, %eax
  mov %rax, %cr0
  mov $0x8400, %edi
  movl $0x1D80, 0x8054           // division by zero unmasked
  ldmxcsr 0x8054
  mov $0x3FF0000000000000, %rax
  movq %rax, %xmm0
  xorps %xmm4, %xmm4
  faults divsd %xmm4, %xmm0      // #XM
  stmxcsr 0x807C
  fxsave64 (%rdi)
  movl $0x10000, 0x8418
  faults fxrstor64 (%rdi)        // reserved in MXCSR
  movl $0x10000, 0x8054
  faults ldmxcsr 0x8054
  end

// ---- Code that changes itself ----

program self_modifying
  enter_protected
  mov $50, %ecx
  xor %edx, %edx
1:
  add $0x11, %edx                // its immediate is changed
  incb 1b + 2 - guest_programs + 0x1000
  loop 1b
  mov %edx, 0x8000
  mov $AT(2f), %edi
  mov $0x42424242, %eax          // inc %edx, four times
  stosl
2:
  nop
  nop
  nop
  nop
  mov %edx, 0x8004
  // Code copied elsewhere, run, changed there, run again.
  mov $AT(3f), %esi
  mov $0x50000, %edi
  mov $(4f - 3f), %ecx
  rep movsb
  mov $0x50000, %eax
  call *%eax
  movb $0x4A, 0x50000            // dec %edx
  call *%eax
  mov %edx, 0x8008
  end
3:
  inc %edx
  ret
4:

// ---- Tables ----

  .balign 8
gdt:
  .quad 0
  .quad 0x00CF9B000000FFFF       // 08: 32-bit code
  .quad 0x00CF93000000FFFF       // 10: data
  .quad 0x00CFFB000000FFFF       // 18: ring 3's
  .quad 0x00CFF3000000FFFF       // 20
  .quad 0x00AFFB000000FFFF       // 28: ring 3's 64-bit code
  .quad 0x00AF9B000000FFFF       // 30: 64-bit code
  .quad 0x00CF93000000FFFF       // 38: SYSCALL's SS
  .quad 0x00409300810000FF       // 40: 256 bytes
  .quad 0x00409700810000FF       // 48: all but those
  .quad 0x00CF13000000FFFF       // 50: not present
  .quad 0x00008200D000000F       // 58: an LDT
  .word AT(gate_target), CODE32, 0xEC00, 0  // 60
  .quad 0x00CF9F000000FFFF       // 68: conforming
  .quad 0x00008900F1000067       // 70: TSS
  .quad 0x00008900F0000067, 0    // 78: TSS of 64 bits
  .quad 0x00009B000000FFFF       // 88: 16-bit code
  .quad 0x000093000000FFFF       // 90
  .quad 0x00008900F0000088       // 98: TSS, with a bitmap
  .quad 0x0040F300810000FF       // A0: ring 3's of 256 bytes
gdt_pointer:
  .word 0xA7
  .long AT(gdt)
  .long 0
idt32_pointer:
  .word 64 * 8 - 1
  .long 0xC000
idt64_pointer:
  .word 64 * 16 - 1
  .quad 0xC000
guest_programs_end:

  .section .note.GNU-stack, "", @progbits
