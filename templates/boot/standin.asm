; The stand-in BOOTMGR: a 16-bit program that proves, on the screen and on COM1, that the boot chain reached it whole.
;
; Part of nanovhd, MIT OR Apache-2.0.
;
; In:   what a boot record hands to BOOTMGR: the whole file contiguous at physical 20000h, CS:IP = 2000:0000, DL = BIOS
;       drive, the partition's boot sector at 0:7C00.
; Says: what it was handed; whether its own file is intact (length and CRC-32 in its header, over all of it); whether the
;       sector at the hidden sectors' LBA, read again through INT 13h, is the one at 0:7C00. The last line is
;         nanovhd: boot chain ok
;       or
;         nanovhd: boot chain FAILED: <why>
;       after which it halts. COM1 is set to 115200 8N1; a PC without one is fine.
;
; The file is filled up with words that depend on their position, so that a cluster that is missing, repeated or out of
; place shows.
;
; Memory: 07C00..07DFF  boot sector, as handed over
;         08000..081FF  the same sector, read again
;         08200..       variables
;         20000..       this program

cpu 386
bits 16
org 0

SEGMENT_WANTED  equ 0x2000
BOOT_SECTOR     equ 0x7C00
SECOND_READ     equ 0x8000
FILE_LENGTH     equ 98765       ; more than 64 KiB, no multiple of any sector or cluster
PATTERN_START   equ 0x800
COM1            equ 0x3F8
MULTIPLIER      equ 0x9E3779B1

entry:
    jmp near start
    align 4, db 0
header:
    db "NVSI"
.length:
    dd FILE_LENGTH
.crc:                           ; of the whole file with these four bytes zero; filled in after assembly
    dd 0

; --- entry: where are we? -------------------------------------------------------------------------------------------

start:
    cli
    call .here
.here:
    pop bx
    sub bx, .here - entry       ; BX = IP at the entry
    mov ax, cs
    mov cx, ax
    movzx esi, ax
    shl esi, 4
    movzx edi, bx
    add esi, edi                ; ESI = linear address of the entry
    shr esi, 4                  ; at a multiple of 16, or nothing can be said at all
    xor ax, ax
    mov ss, ax
    mov sp, BOOT_SECTOR
    sti
    cld
    push si
    push word go_on
    retf                        ; from here on CS:0 is the entry, whatever it was before

go_on:
    push cs
    pop ds
    xor ax, ax
    mov es, ax
    mov [es:entry_cs], cx
    mov [es:entry_ip], bx
    mov [es:entry_dl], dl
    call open_serial

    mov si, text_reached
    call print
    call tell_entry
    call tell_volume
    call check_entry
    call check_boot_sector
    call check_image
    mov si, text_ok
    jmp finish

failed:                         ; SI = why
    push si
    mov si, text_failed
    call print
    pop si
finish:
    call print
    mov si, text_end_of_line
    call print
.halt:
    hlt
    jmp .halt

; --- what was handed over -------------------------------------------------------------------------------------------

tell_entry:
    mov si, text_entry
    call print
    mov ax, [es:entry_cs]
    call print_word
    mov al, ':'
    call print_character
    mov ax, [es:entry_ip]
    call print_word
    mov si, text_drive
    call print
    mov al, [es:entry_dl]
    call print_byte
    mov si, text_end_of_line
    jmp print

tell_volume:
    mov si, text_bytes
    call print
    mov ax, [es:BOOT_SECTOR + 0x0B]
    call print_word
    mov si, text_hidden
    call print
    mov eax, [es:BOOT_SECTOR + 0x1C]
    call print_long
    mov si, text_oem
    call print
    mov si, BOOT_SECTOR + 3
    mov cx, 8
.letter:
    mov al, [es:si]
    inc si
    cmp al, ' '
    jb .strange
    cmp al, '~'
    jbe .print
.strange:
    mov al, '?'
.print:
    call print_character
    loop .letter
    mov si, text_after_oem
    jmp print

check_entry:
    mov si, text_wrong_entry
    cmp word [es:entry_cs], SEGMENT_WANTED
    jne failed
    cmp word [es:entry_ip], 0
    jne failed
    mov si, text_wrong_drive
    test byte [es:entry_dl], 0x80
    jz failed
    ret

check_boot_sector:
    mov si, text_wrong_size
    cmp word [es:BOOT_SECTOR + 0x0B], 512
    jne failed
    mov si, text_wrong_hidden
    mov eax, [es:BOOT_SECTOR + 0x1C]
    test eax, eax
    jz failed
    mov [es:packet.lba], eax
    mov dword [es:packet.lba + 4], 0
    mov word [es:packet.size], 16
    mov word [es:packet.count], 1
    mov dword [es:packet.buffer], SECOND_READ
    mov ah, 0x42
    mov dl, [es:entry_dl]
    push ds
    push es
    pop ds
    mov si, packet
    int 0x13
    pop ds
    mov si, text_no_read
    jc failed
    push ds
    push es
    pop ds
    mov si, BOOT_SECTOR
    mov di, SECOND_READ
    mov cx, 512 / 4
    repe cmpsd
    pop ds
    mov si, text_other_sector
    jne failed
    mov si, text_same_sector
    jmp print

; --- the file itself ------------------------------------------------------------------------------------------------

check_image:
    mov si, text_image
    call print
    mov eax, [header.length]
    call print_long
    mov si, text_crc
    call print
    mov si, text_wrong_header
    cmp dword [header.length], FILE_LENGTH
    jb failed                   ; a copy may be longer, if its header says so
    cmp dword [header.length], 0x7F000
    ja failed

    xor ebp, ebp
    xchg ebp, [header.crc]
    call crc_of_image
    mov [header.crc], ebp
    sub ebp, eax
    call print_long
    mov si, text_end_of_line
    call print
    mov si, text_damaged
    test ebp, ebp
    jnz failed
    mov si, text_intact
    jmp print

; Returns in EAX the CRC-32 (reflected polynomial EDB88320h, start and end inverted) of header.length bytes at CS:0.
crc_of_image:
    push es
    mov ecx, [header.length]
    mov ax, cs
    mov es, ax
    xor di, di
    mov eax, -1
.byte:
    xor al, [es:di]
    mov dl, 8
.bit:
    shr eax, 1
    jnc .even
    xor eax, 0xEDB88320
.even:
    dec dl
    jnz .bit
    inc di
    test di, 15
    jnz .next
    mov bx, es                  ; on to the next 16 bytes, so that DI never wraps
    inc bx
    mov es, bx
    xor di, di
.next:
    dec ecx
    jnz .byte
    not eax
    pop es
    ret

; --- screen and serial port -----------------------------------------------------------------------------------------

open_serial:
    mov si, serial_settings
    mov cx, SERIAL_SETTINGS
.next:
    lodsw                       ; register, value
    movzx dx, al
    add dx, COM1
    mov al, ah
    out dx, al
    loop .next
    ret

serial_settings:
    db 1, 0x00                  ; no interrupts
    db 3, 0x80                  ; divisor latch on
    db 0, 1                     ; divisor 1: 115200
    db 1, 0
    db 3, 0x03                  ; 8N1
    db 2, 0x07                  ; FIFO on and empty
    db 4, 0x03                  ; DTR, RTS
SERIAL_SETTINGS equ ($ - serial_settings) / 2

print:                          ; zero-terminated text at DS:SI
    lodsb
    test al, al
    jz .done
    call print_character
    jmp print
.done:
    ret

print_long:                     ; EAX
    push eax
    shr eax, 16
    call print_word
    pop eax
print_word:                     ; AX
    push ax
    mov al, ah
    call print_byte
    pop ax
print_byte:                     ; AL
    push ax
    shr al, 4
    call .digit
    pop ax
    push ax
    and al, 15
    call .digit
    pop ax
    ret
.digit:
    add al, '0'
    cmp al, '9'
    jbe print_character
    add al, 'A' - '9' - 1
    ; falls into print_character

print_character:                ; AL, to the screen and to COM1
    pushad
    push ax
    mov ah, 0x0E
    mov bx, 7
    int 0x10
    pop ax
    mov ah, al
    xor cx, cx                  ; a port that never gets ready must not stop us
.wait:
    mov dx, COM1 + 5
    in al, dx
    test al, 0x20               ; transmitter empty
    loopz .wait
    mov dx, COM1
    mov al, ah
    out dx, al
    popad
    ret

; --- data -----------------------------------------------------------------------------------------------------------

text_reached:      db 13, 10, "nanovhd: stand-in BOOTMGR reached", 13, 10, 0
text_entry:        db "  entry         CS:IP ", 0
text_drive:        db ", DL ", 0
text_bytes:        db "  volume        bytes per sector ", 0
text_hidden:       db "h, hidden sectors ", 0
text_oem:          db "h, OEM name '", 0
text_after_oem:    db "'"
text_end_of_line:  db 13, 10, 0
text_same_sector:  db "  boot sector   the one at that LBA is the one at 0:7C00", 13, 10, 0
text_image:        db "  own file      length ", 0
text_crc:          db "h, CRC-32 ", 0
text_intact:       db "                is intact", 13, 10, 0
text_ok:           db "nanovhd: boot chain ok", 0
text_failed:       db 13, 10, "nanovhd: boot chain FAILED: ", 0
text_wrong_entry:  db "not entered at 2000:0000", 0
text_wrong_drive:  db "DL is not a hard disk", 0
text_wrong_size:   db "bytes per sector at 7C0Bh are not 512", 0
text_wrong_hidden: db "hidden sectors at 7C1Ch are zero", 0
text_no_read:      db "the boot sector cannot be read again", 0
text_other_sector: db "the sector at the hidden sectors' LBA is not the one at 0:7C00", 0
text_wrong_header: db "the length in its header is wrong", 0
text_damaged:      db "its own file is damaged", 0

; The last byte of the pattern is cut off, so that the length is odd.
    times PATTERN_START - ($ - entry) db 0
%assign position PATTERN_START
%rep (FILE_LENGTH - PATTERN_START) / 4
    dd position * MULTIPLIER & 0xFFFFFFFF
    %assign position position + 4
%endrep
    db position * MULTIPLIER & 0xFF

%if $ - entry != FILE_LENGTH
    %error "the pattern does not end where the file should"
%endif

; Variables lie outside the file, whose checksum they would change. ES = 0.
absolute 0x8200

packet:                         ; disk address packet of INT 13h AH=42h
.size:             resw 1
.count:            resw 1
.buffer:           resd 1
.lba:              resq 1

entry_cs:          resw 1
entry_ip:          resw 1
entry_dl:          resb 1
