/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The world switch of SVM.
 *
 * VMRUN exchanges rax, rsp, rip, rflags, control registers and the segments ES,
 * CS, SS, DS; VMLOAD and VMSAVE the rest of the hidden state: FS, GS, TR, LDTR,
 * and the MSRs of SYSCALL and SYSENTER. The other registers are moved here.
 * GIF is clear all the time, so neither interrupts nor NMIs see the guest's GS;
 * STI lets VMRUN itself end for an interrupt.
 *
 * void atl_svm_switch(u64 vmcb_pa, u64 *reg, u64 host_pa)
 */
#include <linux/linkage.h>
#include <asm/asm.h>
#include <asm/nospec-branch.h>

#include "switch.S"

	.text
SYM_FUNC_START(atl_svm_switch)
	push	%rbp
	push	%r15
	push	%r14
	push	%r13
	push	%r12
	push	%rbx
	push	%rsi
	push	%rdx
	mov	%rdi, %rax
	/*
	 * GIF is clear: interrupts wait for the guest. Not right before VMRUN, where
	 * QEMU's SVM carries the shadow of STI over into the guest.
	 */
	sti
	vmload	%rax
	mov	1*8(%rsi), %rcx
	mov	2*8(%rsi), %rdx
	mov	3*8(%rsi), %rbx
	mov	5*8(%rsi), %rbp
	mov	7*8(%rsi), %rdi
	mov	8*8(%rsi), %r8
	mov	9*8(%rsi), %r9
	mov	10*8(%rsi), %r10
	mov	11*8(%rsi), %r11
	mov	12*8(%rsi), %r12
	mov	13*8(%rsi), %r13
	mov	14*8(%rsi), %r14
	mov	15*8(%rsi), %r15
	mov	6*8(%rsi), %rsi
	vmrun	%rax
	cli
	vmsave	%rax
	pop	%rax
	vmload	%rax
	pop	%rax
	SAVE_GUEST
	/* Neither predictions nor values of the guest stay behind. */
	FILL_RETURN_BUFFER %rax, RSB_CLEAR_LOOPS, X86_FEATURE_RETPOLINE
	UNTRAIN_RET
	CLEAR_GUEST
	pop	%rbx
	pop	%r12
	pop	%r13
	pop	%r14
	pop	%r15
	pop	%rbp
	RET
SYM_FUNC_END(atl_svm_switch)
