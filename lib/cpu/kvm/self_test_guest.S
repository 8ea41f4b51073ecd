// SPDX-License-Identifier: Apache-2.0
// The guest of the self-test: real mode, protected mode, long mode with paging,
// a page fault that its handler mends, page tables that change. It lies at
// kGuestAt and tells what it does by OUT to the ports of self_test.cc. eax is
// the phase that begins; the last thing is HLT.
#define AT(label) (0x1000 + label - self_test_guest)
#define PHASE 0x10

  .section .rodata
  .globl self_test_guest, self_test_guest_end
  .balign 16
self_test_guest:
  .code16
  cli
  mov $1, %al
  out %al, $PHASE
  mov $2000, %cx
1:
  dec %cx
  jnz 1b
  mov $2, %al
  out %al, $PHASE
  lgdtl AT(gdt_pointer)
  mov %cr0, %eax
  or $1, %al
  mov %eax, %cr0
  ljmpl $0x08, $AT(protected_mode)

  .code32
protected_mode:
  mov $0x10, %eax
  mov %eax, %ds
  mov %eax, %es
  mov %eax, %ss
  mov $0x9000, %esp
  mov $20000, %ecx
1:
  incl 0x8000
  dec %ecx
  jnz 1b
  mov $3, %al
  out %al, $PHASE
  mov $0x20, %eax               // PAE
  mov %eax, %cr4
  mov $0x10000, %eax            // page tables, made by the host
  mov %eax, %cr3
  mov $0xC0000080, %ecx         // EFER.LME
  rdmsr
  or $0x100, %eax
  wrmsr
  mov %cr0, %eax
  or $0x80000000, %eax
  mov %eax, %cr0
  ljmpl $0x18, $AT(long_mode)

  .code64
long_mode:
  // An interrupt gate for vector 14.
  mov $AT(page_fault), %eax
  mov %ax, 0x7000 + 14 * 16
  movw $0x18, 0x7000 + 14 * 16 + 2
  movw $0x8E00, 0x7000 + 14 * 16 + 4
  lidt AT(idt_pointer)
  mov $4, %al
  out %al, $PHASE
  mov $50000, %ecx
  xor %edx, %edx
1:
  incl 0x8000
  add %rcx, %rdx
  dec %ecx
  jnz 1b

  // Each page of [4 MiB, 5 MiB) is absent: the handler maps it, the store goes on.
  mov $5, %al
  out %al, $PHASE
  mov $0x400000, %edi
2:
  mov %edi, (%rdi)
  add $0x1000, %edi
  cmp $0x500000, %edi
  jne 2b

  // The page tables change under the processor, as a kernel's do all the time.
  mov $6, %al
  out %al, $PHASE
  mov $500, %ecx
3:
  mov %cr3, %rax
  mov %rax, %cr3
  invlpg 0x400000
  mov 0x400000, %eax
  dec %ecx
  jnz 3b

  mov $7, %al
  out %al, $PHASE
  hlt
  mov $8, %al                   // woken by an interrupt that nobody sent
  out %al, $PHASE
4:
  jmp 4b

// 4 KiB pages: the page table of [4 MiB, 6 MiB) is at 0x13000. All map 0x8000.
page_fault:
  push %rax
  push %rbx
  mov %cr2, %rbx
  shr $12, %rbx
  and $511, %ebx
  movq $0x8003, 0x13000(,%rbx,8)
  incl 0x8008
  pop %rbx
  pop %rax
  add $8, %rsp                  // error code
  iretq

  .balign 8
gdt:
  .quad 0
  .quad 0x00CF9B000000FFFF      // 32-bit code
  .quad 0x00CF93000000FFFF      // data
  .quad 0x00AF9B000000FFFF      // 64-bit code
gdt_pointer:
  .word 31
  .long AT(gdt)
idt_pointer:
  .word 15 * 16 - 1
  .quad 0x7000
self_test_guest_end:

  .section .note.GNU-stack, "", @progbits
