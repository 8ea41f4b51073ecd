# SPDX-License-Identifier: Apache-2.0
# A boot sector that reads all of the disk it came from by the BIOS and writes a
# checksum of its bytes to the debug console, in hexadecimal: sum = rotate left
# (sum, 1) + byte. Then it ends the machine by isa-debug-exit. The test puts the
# disk's shape at `tracks` and what follows.
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
    jmp 0:main
main:
    mov [drive], dl
    xor ebx, ebx
    mov [sum], ebx
    cmp dword ptr [sectors], 0
    jne by_address

by_cylinder:
    mov word ptr [track], 0
next_track:
    mov byte ptr [head], 0
next_head:
    mov di, 3                       # tries, as every driver of a floppy makes
again:
    mov ax, 0x1000
    mov es, ax
    xor bx, bx
    mov ch, [track]
    mov cl, 1
    mov dh, [head]
    mov dl, [drive]
    mov ah, 2
    mov al, [per_track]
    int 0x13
    jnc got_track
    xor ah, ah
    mov dl, [drive]
    int 0x13
    dec di
    jnz again
    jmp failed
got_track:
    movzx ecx, byte ptr [per_track]
    shl ecx, 9
    call add_bytes
    inc byte ptr [head]
    mov al, [head]
    cmp al, [heads]
    jb next_head
    inc word ptr [track]
    mov ax, [track]
    cmp ax, [tracks]
    jb next_track
    jmp show

by_address:                         # sectors of 2048 bytes, one by one
    mov si, offset packet
    mov ah, 0x42
    mov dl, [drive]
    int 0x13
    jc failed
    mov ecx, 2048
    call add_bytes
    inc dword ptr [packet + 8]
    mov eax, [packet + 8]
    cmp eax, [sectors]
    jb by_address
    jmp show

add_bytes:                          # ecx bytes at 0x10000
    push ds
    mov ax, 0x1000
    mov ds, ax
    xor si, si
    mov ebx, cs:[sum]
1:  lodsb
    movzx eax, al
    rol ebx, 1
    add ebx, eax
    dec ecx
    jnz 1b
    mov cs:[sum], ebx
    pop ds
    ret

failed:
    movzx ebx, ah
    mov [sum], ebx
    mov al, '!'
    mov dx, 0x402
    out dx, al
show:
    mov ebx, [sum]
    mov cx, 8
    mov dx, 0x402
1:  rol ebx, 4
    mov al, bl
    and al, 15
    add al, '0'
    cmp al, '9'
    jbe 2f
    add al, 7
2:  out dx, al
    loop 1b
    mov dx, 0x501
    mov al, 21
    out dx, al
    hlt

packet:                             # int 0x13, 0x42: 16 bytes, one sector, to 0x1000:0
    .word 16, 1, 0, 0x1000
    .quad 0
drive:
    .byte 0
head:
    .byte 0
track:
    .word 0
sum:
    .long 0

.org 0x1E0
tracks:
    .word 80
heads:
    .byte 2
per_track:
    .byte 18
sectors:                            # not 0: a CD of so many
    .long 0
.org 0x1FE
    .word 0xAA55
