# SPDX-License-Identifier: Apache-2.0
# A boot disk that lists the VGA BIOS's modes, or sets one and draws into it.
# What it is to do stands behind its first jump: a mode number and an action.
# It ends by isa-debug-exit with 1, or 2 where the BIOS refuses.
#
# Row y of a linear mode is the bytes (7 i + 11 y) & 255, i from 0. Entry i of the
# palette is i, i / 2, 63 - i, each modulo 64.
        .intel_syntax noprefix
        .code16
        .text

        .set SECTORS, 8
        .set INFO, 0x9000               # a mode's information block
        .set CONTROLLER, 0x9200
        .set PERIOD, 0x20000            # bytes (7 i) & 255, 16 KiB of them

        jmp     short start
        nop
        nop
mode:   .word   0
action: .word   0

start:  xor     ax, ax
        mov     ds, ax
        mov     es, ax
        mov     ss, ax
        mov     sp, 0x7C00
        cld
        ljmp    0, offset 1f
1:      mov     ax, 0x0200 + SECTORS
        mov     bx, 0x7E00
        mov     cx, 2
        xor     dh, dh
        int     0x13
        jc      fail
        mov     ax, [action]
        cmp     ax, 0
        je      list
        cmp     ax, 1
        je      linear
        cmp     ax, 2
        je      banked
        jmp     classic

fail:   mov     al, 2
        jmp     end
done:   mov     al, 1
end:    mov     dx, 0x501
        out     dx, al
        hlt
        jmp     end

        .org    510
        .byte   0x55, 0xAA

# Each mode: its number and its information block. 0xFFFF ends. Port 0x402 is
# where the VGA BIOS logs.
list:   mov     di, CONTROLLER
        mov     dword ptr [di], 0x32454256      # VBE2
        mov     ax, 0x4F00
        int     0x10
        cmp     ax, 0x4F
        jne     fail
        lfs     si, [CONTROLLER + 14]
1:      mov     cx, fs:[si]
        add     si, 2
        mov     bp, cx
        mov     al, cl
        call    say
        mov     al, ch
        call    say
        cmp     bp, 0xFFFF
        je      done
        mov     ax, 0x4F01
        mov     di, INFO
        int     0x10
        cmp     ax, 0x4F
        jne     fail
        mov     bx, INFO
2:      mov     al, [bx]
        call    say
        inc     bx
        cmp     bx, INFO + 256
        jne     2b
        jmp     1b

say:    mov     dx, 0x404
        out     dx, al
        ret

palette:
        mov     dx, 0x3C8
        xor     al, al
        out     dx, al
        inc     dx
        xor     bl, bl
1:      mov     al, bl
        and     al, 63
        out     dx, al
        mov     al, bl
        shr     al, 1
        and     al, 63
        out     dx, al
        mov     al, 63
        sub     al, bl
        and     al, 63
        out     dx, al
        inc     bl
        jnz     1b
        ret

period: push    es
        mov     ax, PERIOD >> 4
        mov     es, ax
        xor     di, di
        xor     al, al
1:      stosb
        add     al, 7
        cmp     di, 0x4000
        jne     1b
        pop     es
        ret

information:
        mov     ax, 0x4F01
        mov     cx, [mode]
        mov     di, INFO
        int     0x10
        cmp     ax, 0x4F
        jne     fail
        ret

# Linear modes through the framebuffer, planar ones through the window.
linear: call    information
        mov     bx, [mode]
        cmp     byte ptr [INFO + 27], 3
        je      1f
        or      bx, 0x4000
1:      mov     ax, 0x4F02
        int     0x10
        cmp     ax, 0x4F
        jne     fail
        call    palette
        cmp     byte ptr [INFO + 27], 3
        je      planes
        call    period
        cli
        lgdt    [gdtr]
        mov     eax, cr0
        or      al, 1
        mov     cr0, eax
        ljmp    8, offset flatly

        .code32
flatly: mov     ax, 16
        mov     ds, ax
        mov     es, ax
        mov     edi, [INFO + 40]
        movzx   ebp, word ptr [INFO + 16]       # bytes a row
        movzx   edx, word ptr [INFO + 20]       # rows
        xor     ebx, ebx                        # 221 y & 255: 7 * 221 = 11 mod 256
1:      movzx   esi, bl
        add     esi, PERIOD
        mov     ecx, ebp
        rep     movsb
        add     bl, 221
        dec     edx
        jnz     1b
        mov     al, 1
        mov     dx, 0x501
        out     dx, al
        hlt

        .code16
# The same through the window at 0xA0000, 64 KiB at a time.
banked: call    information
        mov     ax, 0x4F02
        mov     bx, [mode]
        int     0x10
        cmp     ax, 0x4F
        jne     fail
        call    palette
        call    period
        mov     ax, 0xA000
        mov     es, ax
        mov     ax, PERIOD >> 4
        mov     fs, ax
        xor     ebx, ebx                        # where in the picture
        xor     dx, dx                          # row
        call    bank
1:      mov     al, 221
        mul     dl
        movzx   si, al
        mov     cx, [INFO + 16]
2:      mov     al, fs:[si]
        inc     si
        mov     es:[bx], al
        inc     ebx
        test    bx, bx
        jnz     3f
        call    bank
3:      loop    2b
        inc     dx
        cmp     dx, [INFO + 20]
        jne     1b
        jmp     done

bank:   pushad
        mov     edx, ebx
        shr     edx, 16
        mov     ax, 0x4F05
        xor     bx, bx
        int     0x10
        popad
        ret

# The modes of function 0.
classic:
        mov     ax, [mode]
        int     0x10
        mov     ax, [mode]
        cmp     al, 0x13
        je      bytes
        cmp     al, 0x0D
        jae     planes
        mov     bx, 0xB800
        cmp     al, 7
        jne     1f
        mov     bx, 0xB000
1:      mov     es, bx
        xor     di, di
        cmp     al, 4
        jb      text
        cmp     al, 7
        je      text
        mov     cx, 0x4000
        xor     al, al
2:      stosb
        add     al, 7
        loop    2b
        jmp     done

# Cell i: character i, attribute i / 256 and changing with each row of 32.
text:   xor     cx, cx
1:      mov     al, cl
        stosb
        mov     ax, cx
        shr     ax, 3
        stosb
        inc     cx
        cmp     cx, 2000
        jne     1b
        jmp     done

bytes:  call    palette
        mov     ax, 0xA000
        mov     es, ax
        xor     di, di
        xor     al, al
1:      stosb
        add     al, 7
        cmp     di, 64000
        jne     1b
        jmp     done

# Plane p: bytes (7 i + 64 p) & 255, 64 KiB of them.
planes: mov     ax, 0xA000
        mov     es, ax
        mov     bl, 0
1:      mov     cl, bl
        mov     ah, 1
        shl     ah, cl
        mov     al, 2
        mov     dx, 0x3C4
        out     dx, ax
        mov     al, bl
        shl     al, 6
        xor     di, di
2:      stosb
        add     al, 7
        test    di, di
        jnz     2b
        inc     bl
        cmp     bl, 4
        jne     1b
        jmp     done

        .balign 8
gdt:    .quad   0
        .quad   0x00CF9B000000FFFF
        .quad   0x00CF93000000FFFF
gdtr:   .word   23
        .long   gdt
        .org    512 * (SECTORS + 1)
