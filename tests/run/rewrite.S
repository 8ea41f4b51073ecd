# SPDX-License-Identifier: Apache-2.0
# A boot sector that writes itself over the second sector of its disk, reads that
# back and writes a K to the debug console where it is the same.
.intel_syntax noprefix
.code16
.globl _start
_start:
    cli
    xor ax, ax
    mov ds, ax
    mov es, ax
    mov ss, ax
    mov sp, 0x7C00
    sti
    cld
    mov [drive], dl
    mov ax, 0x0301
    mov bx, 0x7C00
    call transfer
    mov ax, 0x0201
    mov bx, 0x9000
    call transfer
    mov si, 0x7C00
    mov di, 0x9000
    mov cx, 256
    repe cmpsw
    mov al, 'K'
    je say
failed:
    mov al, '!'
say:
    mov dx, 0x402
    out dx, al
    mov dx, 0x501
    mov al, 21
    out dx, al
    hlt

transfer:
    mov cx, 2
    xor dh, dh
    mov dl, [drive]
    int 0x13
    jc failed
    ret

drive:
    .byte 0
.org 0x1FE
    .word 0xAA55
