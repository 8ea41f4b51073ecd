# SPDX-License-Identifier: Apache-2.0
# A boot disk that draws into the linear memory of a mode of 1024x768 in 32 bits. For
# each byte n from the serial port it changes 64 n pixels, wherever a generator says,
# then a run of them, and says the byte back. First it says 6.
        .include "linear_mode.inc"
        .text

        .set    BYTES, 1024 * 768 * 4

        LINEAR_MODE 1024, 768
        mov     ebp, 2463534242
        mov     al, 6
        jmp     say

next:   pause
        mov     dx, 0x3FD
        in      al, dx
        test    al, 1
        jz      next
        mov     dx, 0x3F8
        in      al, dx
        movzx   esi, al
        shl     esi, 6
        jz      3f
1:      call    random
        mov     edi, ebp
        and     edi, 0x3FFFFC
        cmp     edi, BYTES
        jae     2f
        xor     [ebx + edi], ebp
2:      dec     esi
        jnz     1b
3:      push    eax
        call    random
        mov     edi, ebp
        and     edi, 0x1FFFFC
        add     edi, ebx
        mov     ecx, ebp
        shr     ecx, 22
        mov     eax, ebp
        rep     stosd
        pop     eax
say:    mov     dx, 0x3F8
        out     dx, al
        jmp     next

random: mov     ecx, ebp
        shl     ecx, 13
        xor     ebp, ecx
        mov     ecx, ebp
        shr     ecx, 17
        xor     ebp, ecx
        mov     ecx, ebp
        shl     ecx, 5
        xor     ebp, ecx
        ret

        .org    510
        .byte   0x55, 0xAA
