/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The world switch of VMX.
 *
 * The VMCS holds the guest's rip, rsp, rflags, control and segment registers,
 * and the host's, which an exit loads; the other registers are moved here. An
 * exit clears all flags and goes on at the label that follows VMRESUME, with
 * the stack pointer that was put into the VMCS. An entry that is refused gets
 * there as well, by itself, but with CF or ZF set; and so does one that faults
 * because VMX was switched off for a reboot, since CF is set before.
 *
 * bool atl_vmx_switch(u64 *reg, bool launched)
 */
#include <linux/linkage.h>
#include <asm/asm.h>
#include <asm/nospec-branch.h>

#include "switch.S"

#define HOST_RSP	0x6c14

	.text
SYM_FUNC_START(atl_vmx_switch)
	push	%rbp
	push	%r15
	push	%r14
	push	%r13
	push	%r12
	push	%rbx
	push	%rdi
	mov	$HOST_RSP, %eax
.Lwrite:
	vmwrite	%rsp, %rax
.Lwritten:
	test	%sil, %sil
	mov	0*8(%rdi), %rax
	mov	1*8(%rdi), %rcx
	mov	2*8(%rdi), %rdx
	mov	3*8(%rdi), %rbx
	mov	5*8(%rdi), %rbp
	mov	6*8(%rdi), %rsi
	mov	8*8(%rdi), %r8
	mov	9*8(%rdi), %r9
	mov	10*8(%rdi), %r10
	mov	11*8(%rdi), %r11
	mov	12*8(%rdi), %r12
	mov	13*8(%rdi), %r13
	mov	14*8(%rdi), %r14
	mov	15*8(%rdi), %r15
	mov	7*8(%rdi), %rdi
	stc
	jnz	.Lresume
.Llaunch:
	vmlaunch
	jmp	.Lout
.Lresume:
	vmresume
SYM_INNER_LABEL(atl_vmx_exit, SYM_L_GLOBAL)
	ENDBR
.Lout:
	push	%rax
	mov	8(%rsp), %rax
	SAVE_GUEST
	pop	0*8(%rax)
	seta	%bl
	/* Neither predictions nor values of the guest stay behind. */
	FILL_RETURN_BUFFER %rax, RSB_CLEAR_LOOPS, X86_FEATURE_RSB_VMEXIT, \
			   X86_FEATURE_RSB_VMEXIT_LITE
	movzbl	%bl, %eax
	CLEAR_GUEST
	pop	%rdi
	pop	%rbx
	pop	%r12
	pop	%r13
	pop	%r14
	pop	%r15
	pop	%rbp
	RET
	_ASM_EXTABLE(.Lwrite, .Lwritten)
	_ASM_EXTABLE(.Llaunch, .Lout)
	_ASM_EXTABLE(.Lresume, .Lout)
SYM_FUNC_END(atl_vmx_switch)
