// SPDX-License-Identifier: Apache-2.0
// The guests of snapshot_test.cc: 64-bit code, copied to kCodeAt, entered at a label.
// They say what they computed by OUT to kSay and end by OUT to kEnd. No CPUID, so
// that they do the same on every backend.
#define SAY 0x80
#define END 0x81
#define SCRATCH 0x300100
#define SHARED 0x300200

  .macro SET_MSR msr, high, low
  mov $\msr, %ecx
  mov $\low, %eax
  mov $\high, %edx
  wrmsr
  .endm
  .macro SAY_RAX
  mov %rax, %rcx
  shr $32, %rcx
  xor %ecx, %eax
  out %eax, $SAY
  .endm
  .macro SAY_MSR msr
  mov $\msr, %ecx
  rdmsr
  xor %edx, %eax
  out %eax, $SAY
  .endm

  .section .rodata
  .globl snapshot_guest, snapshot_guest_end
  .globl snapshot_compute, snapshot_ticks, snapshot_steps, snapshot_nmis, snapshot_pair
  .globl snapshot_on_fault, snapshot_on_tick, snapshot_on_interrupt, snapshot_on_nmi
  .balign 16
snapshot_guest:
  .code64

// rdi: whether there is AVX; rsi: rounds. Each says a sum over all registers.
snapshot_compute:
  // What only the end looks at.
  movabs $0x123456789A, %rax
  mov %rax, %dr0
  mov %rax, %cr2
  add %rax, %rax
  mov %rax, %dr1
  mov $0x302000, %eax
  mov %rax, %dr3
  SET_MSR 0xC0000081, 0x00230010, 0
  SET_MSR 0xC0000082, 0xFFFFFFFF, 0x81234567
  SET_MSR 0xC0000084, 0, 0x47700
  SET_MSR 0xC0000101, 0x12, 0x30FF00
  SET_MSR 0xC0000102, 0x7FFF, 0x12345678
  SET_MSR 0x174, 0, 0x10
  SET_MSR 0x176, 0, 0x89ABCDE
  SET_MSR 0x277, 0x00070406, 0x00070106
  movl $0x3F80, SCRATCH
  ldmxcsr SCRATCH
  fninit
  fldpi
  fldl2e
  fld1
  movabs $0x9E3779B97F4A7C15, %rbx
  movabs $0x2545F4914F6CDD1D, %rbp
  mov %rbx, %r8
  mov %rbp, %r15
2:
  imul %rbp, %rbx
  add %rbx, %r8
  adc %r8, %r9
  rol $13, %r9
  xor %r9, %r10
  sbb %r10, %r11
  ror $7, %r11
  add %r11, %r12
  xor %r12, %r13
  add %r13, %r14
  adc %r14, %r15
  movq %rbx, %xmm0
  punpcklqdq %xmm0, %xmm0
  paddq %xmm0, %xmm1
  pxor %xmm1, %xmm2
  paddd %xmm2, %xmm15
  cvtsi2sd %ebx, %xmm3
  divsd %xmm3, %xmm4
  addsd %xmm3, %xmm4
  test %rdi, %rdi
  jz 3f
  vinsertf128 $1, %xmm1, %ymm5, %ymm5
  vxorps %ymm5, %ymm6, %ymm6
  vpermilps $0x39, %ymm6, %ymm6
  vxorps %ymm6, %ymm14, %ymm14
3:
  movzbl %bl, %eax
  mov %eax, SCRATCH
  fildl SCRATCH
  faddp
  fmul %st(1), %st
  fsqrt
  fadd %st(2), %st
  fxch %st(1)
  fstl SCRATCH + 8
  mov SCRATCH + 8, %rax
  xor %rbx, %rax
  xor %r15, %rax
  movq %xmm2, %rdx
  xor %rdx, %rax
  movq %xmm4, %rdx
  xor %rdx, %rax
  movhlps %xmm15, %xmm7
  movq %xmm7, %rdx
  xor %rdx, %rax
  test %rdi, %rdi
  jz 4f
  vextractf128 $1, %ymm14, %xmm7
  vmovq %xmm7, %rdx
  xor %rdx, %rax
4:
  SAY_RAX
  dec %rsi
  jnz 2b

  mov %dr0, %rax
  SAY_RAX
  mov %dr1, %rax
  SAY_RAX
  mov %dr3, %rax
  SAY_RAX
  mov %dr7, %rax
  SAY_RAX
  mov %cr2, %rax
  SAY_RAX
  mov %cr3, %rax
  SAY_RAX
  mov %cr4, %rax
  SAY_RAX
  SAY_MSR 0xC0000081
  SAY_MSR 0xC0000082
  SAY_MSR 0xC0000084
  SAY_MSR 0xC0000100
  SAY_MSR 0xC0000101
  SAY_MSR 0xC0000102
  SAY_MSR 0x174
  SAY_MSR 0x176
  SAY_MSR 0x277
  stmxcsr SCRATCH
  mov SCRATCH, %eax
  out %eax, $SAY
  fnstsw %ax
  movzwl %ax, %eax
  out %eax, $SAY
  sgdt SCRATCH
  mov SCRATCH, %rax
  SAY_RAX
  sidt SCRATCH
  mov SCRATCH, %rax
  SAY_RAX
  str %eax
  out %eax, $SAY
  mov %ss, %eax
  out %eax, $SAY
  jmp finish

// Halts until there were rsi ticks. rdi: 0, somebody else makes them; 1, the LAPIC's
// periodic timer; 2, its TSC deadline. They come each 2 ms, by a bus of 1 GHz and a
// TSC of about two.
snapshot_ticks:
  movl $0, SCRATCH
  mov %edi, SCRATCH + 4
  test %edi, %edi
  jz 2f
  mov $0x1B, %ecx
  rdmsr
  or $0xC00, %eax
  wrmsr
  SET_MSR 0x80F, 0, 0x1FF
  SET_MSR 0x83E, 0, 0xB
  cmp $2, %edi
  je 1f
  SET_MSR 0x832, 0, 0x20030
  SET_MSR 0x838, 0, 2000000
  jmp 2f
1:
  SET_MSR 0x832, 0, 0x40030
  call arm
2:
  sti
  hlt
  cli
  cmp %esi, SCRATCH
  jb 2b
  jmp finish
arm:
  rdtsc
  add $4000000, %eax
  adc $0, %edx
  mov $0x6E0, %ecx
  wrmsr
  ret

snapshot_on_tick:
  push %rax
  push %rcx
  push %rdx
  incl SCRATCH
  mov SCRATCH, %eax
  out %eax, $SAY
  cmpl $2, SCRATCH + 4
  jb 1f
  call arm
1:
  cmpl $0, SCRATCH + 4
  je 2f
  SET_MSR 0x80B, 0, 0
2:
  pop %rdx
  pop %rcx
  pop %rax
  iretq

// Counts its instructions in rbx; the interrupt says how many came before it.
snapshot_steps:
  inc %rbx
  inc %rbx
  inc %rbx
  inc %rbx
  inc %rbx
  inc %rbx
  inc %rbx
  inc %rbx
  mov %ebx, %eax
  out %eax, $SAY
  jmp finish
// No test expects an exception: where it was, with its error code or without.
snapshot_on_fault:
  mov (%rsp), %rax
  out %eax, $SAY
  mov 8(%rsp), %rax
  out %eax, $SAY
  jmp finish
snapshot_on_interrupt:
  mov %ebx, %eax
  or $0x100, %eax
  out %eax, $SAY
  iretq

// Says 1 and waits for rsi NMIs. Each says 0x11, and 0x12 before it ends.
snapshot_nmis:
  movl $0, SCRATCH
  mov $1, %eax
  out %eax, $SAY
1:
  pause
  cmp %esi, SCRATCH
  jb 1b
  jmp finish
snapshot_on_nmi:
  mov $0x11, %eax
  out %eax, $SAY
  incl SCRATCH
  mov $0x12, %eax
  out %eax, $SAY
  iretq

// Adds 1 to what is shared rsi times, with a sum of its own that starts with rdi.
snapshot_pair:
  movabs $0x9E3779B97F4A7C15, %rbp
  lea 1(%rdi), %rbx
1:
  imul %rbp, %rbx
  rol $17, %rbx
  lock incq SHARED
  dec %rsi
  jnz 1b
  mov %rbx, %rax
  SAY_RAX

finish:
  mov $1, %eax
  out %eax, $END
  cli
1:
  hlt
  jmp 1b
snapshot_guest_end:
  .section .note.GNU-stack, "", @progbits
