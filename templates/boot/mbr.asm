; The master boot record: finds the one active partition of an MBR disk and starts its boot record.
;
; Part of nanovhd, MIT OR Apache-2.0. Written from the interface facts below, not from anybody's listing.
;
; In:   the BIOS loads sector 0 of the disk to 0:7C00 and jumps there, DL = BIOS drive.
; Out:  0:7C00 = first sector of the active partition, DL = BIOS drive, DS:SI and SS:BP = its 16-byte entry in the
;       relocated table, DS = ES = SS = 0, SP = 7C00h, interrupts on.
;
; Memory: 00600..007FF  this sector, moved out of the way
;         00800..07BFF  stack, growing down from 07C00
;         07C00..07DFF  the partition's boot record
;
; The code ends before byte 440: the disk signature (440) and the partition table (446) belong to whoever writes the disk.

cpu 386
bits 16
org 0x600

CODE_LIMIT      equ 440         ; bytes before the disk signature
ENTRIES         equ 0x600 + 446 ; four entries of 16 bytes
ENTRY_SIZE      equ 16
ENTRY_STATUS    equ 0           ; 80h active, 00h not
ENTRY_FIRST_LBA equ 8           ; u32
ACTIVE          equ 0x80
LOADED          equ 0x7C00
BOOT_SIGNATURE  equ 0xAA55      ; u16 at 510
READ_TRIES      equ 3

start:
    cli
    xor ax, ax
    mov ss, ax
    mov sp, LOADED
    sti
    cld
    mov ds, ax
    mov es, ax
    mov si, LOADED
    mov di, 0x600
    mov cx, 256
    rep movsw
    jmp 0:find_active

find_active:
    xor bp, bp
    mov si, ENTRIES
    mov cx, 4
.entry:
    mov al, [si + ENTRY_STATUS]
    test al, al
    jz .next
    cmp al, ACTIVE
    mov bx, text_table
    jne fail
    test bp, bp
    mov bx, text_several
    jnz fail
    mov bp, si
.next:
    add si, ENTRY_SIZE
    loop .entry
    test bp, bp
    mov bx, text_none
    jz fail

check_extensions:
    push dx
    mov ah, 0x41
    mov bx, 0x55AA
    int 0x13
    pop dx
    jc .missing
    cmp bx, 0xAA55
    jne .missing
    test cl, 1                  ; the functions that take a disk address packet
    jnz load
.missing:
    mov bx, text_extensions
    jmp fail

load:
    mov eax, [bp + ENTRY_FIRST_LBA]
    mov [packet.lba], eax
    mov cx, READ_TRIES
.try:
    pusha
    mov byte [packet.count], 1  ; the BIOS stores here how many it read
    mov ah, 0x42
    mov si, packet
    int 0x13
    popa
    jnc .read
    pusha
    xor ah, ah                  ; reset the drive
    int 0x13
    popa
    loop .try
    mov bx, text_read
    jmp fail
.read:
    cmp word [LOADED + 510], BOOT_SIGNATURE
    mov bx, text_no_record
    jne fail
    mov si, bp
    jmp 0:LOADED

; Prints the text at BX and stops; Ctrl+Alt+Del still works.
fail:
    mov si, text_prefix
    call print
    mov si, bx
    call print
    mov si, text_restart
    call print
.halt:
    sti
    hlt
    jmp .halt

; Prints the zero-terminated text at SI. Keeps BX.
print:
    push bx
.next:
    lodsb
    test al, al
    jz .done
    mov ah, 0x0E
    mov bx, 7
    int 0x10
    jmp .next
.done:
    pop bx
    ret

packet:                         ; disk address packet of INT 13h AH=42h
    db 16, 0
.count:
    dw 1
    dw LOADED, 0
.lba:
    dq 0

text_prefix:     db 13, 10, "nanovhd MBR: ", 0
text_none:       db "no active partition", 0
text_several:    db "several active partitions", 0
text_table:      db "invalid partition table", 0
text_extensions: db "BIOS without INT 13h extensions", 0
text_read:       db "disk read error", 0
text_no_record:  db "no boot record in the active partition", 0
text_restart:    db 13, 10, "Press Ctrl+Alt+Del to restart", 13, 10, 0

%if $ - $$ > CODE_LIMIT
    %error "the MBR code runs into the disk signature"
%endif
