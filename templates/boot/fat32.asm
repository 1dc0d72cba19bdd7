; The boot record of a FAT32 volume: sectors 0, 2 and 3. Finds BOOTMGR in the root directory, loads it, starts it.
;
; Part of nanovhd, MIT OR Apache-2.0. Written from the interface facts below and from Microsoft's "FAT: General Overview of
; On-Disk Format", not from anybody's listing.
;
; In:   an MBR loads sector 0 of the volume to 0:7C00 and jumps there, DL = BIOS drive. Where the volume lies is taken from the
;       BPB's hidden sectors.
;
; Out:  BOOTMGR, the whole file, contiguous at physical 20000h; jump to 2000:0000 with
;         DL = BIOS drive,
;         0:7C00 = sector 0 of the volume (BOOTMGR reads the bytes per sector at 7C0Bh and the hidden sectors at 7C1Ch),
;         DS = ES = FS = GS = SS = 0, SP = 7C00h, interrupts on, A20 as found.
;
; Sector 0 leaves bytes 03h..59h, the BPB, zero: whoever formats the volume fills them in. Sector 1 is FSInfo, and not ours; this
; program has its second stage in sectors 2 and 3, which are reserved on every FAT32 volume with room for a backup boot sector.
;
; All loops are bounded: a damaged volume ends in a message.

cpu 386
bits 16
org 0x7C00

; --- memory ---------------------------------------------------------------------------------------------------------
; 07C00..07DFF  sector 0
; 07E00..081FF  sectors 2 and 3
; 08200..       variables
; 08400..085FF  a sector of the root directory
; 08600..087FF  a sector of the FAT
; 20000..       BOOTMGR

STACK_TOP           equ 0x7C00
BOOT_SECTOR         equ 0x7C00
SECOND_STAGE        equ 0x7E00
VARIABLES           equ 0x8200
DIRECTORY           equ 0x8400
FAT                 equ 0x8600
BOOTMGR_SEGMENT     equ 0x2000
BOOTMGR_LINEAR      equ 0x20000
EBDA_SEGMENT        equ 0x040E

CHUNK               equ 64      ; sectors that one INT 13h reads at most; a power of two
READ_TRIES          equ 4
STAGE_MAGIC         equ 'NVF2'  ; the first four bytes of sector 2, the last four of sector 3

; --- the BPB --------------------------------------------------------------------------------------------------------

BYTES_PER_SECTOR    equ BOOT_SECTOR + 0x0B  ; u16
CLUSTER_SECTORS     equ BOOT_SECTOR + 0x0D  ; u8
RESERVED_SECTORS    equ BOOT_SECTOR + 0x0E  ; u16
FAT_COUNT           equ BOOT_SECTOR + 0x10  ; u8
HIDDEN_SECTORS      equ BOOT_SECTOR + 0x1C  ; u32, first LBA of the partition
FAT_SECTORS         equ BOOT_SECTOR + 0x24  ; u32
FAT_FLAGS           equ BOOT_SECTOR + 0x28  ; u16: bit 7 set: only the FAT of that number (bits 0..3) is kept
ROOT_CLUSTER        equ BOOT_SECTOR + 0x2C  ; u32
BOOT_CODE_OFFSET    equ 0x5A
SECTOR_SIZE         equ 512

ENTRY_ATTRIBUTES    equ 0x0B    ; u8
NO_FILE             equ 0x18    ; directory, volume label (and long names, which have that bit)
ENTRY_CLUSTER_HIGH  equ 0x14    ; u16
ENTRY_CLUSTER_LOW   equ 0x1A    ; u16
ENTRY_SIZE          equ 0x1C    ; u32
ENTRY_LENGTH        equ 32
DIRECTORY_SECTORS   equ 4096    ; 65,536 entries: the longest that a directory may be

; ====================================================================================================================
; Sector 0: loaded by the MBR, and never written to: BOOTMGR may see it as it is on the disk
; ====================================================================================================================

sector_0:
    jmp short start
    nop
    times BOOT_CODE_OFFSET - ($ - sector_0) db 0

%include "volume-start.inc"

    xor edx, edx
    mov eax, 2
    mov ecx, eax
    mov edi, SECOND_STAGE
    call read_sectors
    mov si, text_no_stage
    cmp dword [stage_magic], STAGE_MAGIC
    jne fail
    cmp dword [stage_end], STAGE_MAGIC
    je main
    ; falls into fail

%include "volume.inc"

text_prefix:      db 13, 10, "nanovhd: "
text_nothing:     db 0
text_extensions:  db "no INT 13h extensions", 0
text_sector_size: db "sector size not 512", 0
text_read:        db "disk read error", 0
text_no_stage:    db "bad boot record", 0
text_restart:     db 13, 10, "Press Ctrl+Alt+Del to restart", 0

    times 510 - ($ - sector_0) db 0
    dw 0xAA55

; ====================================================================================================================
; Sectors 2 and 3
; ====================================================================================================================

stage_magic:
    dd STAGE_MAGIC

main:
    mov si, text_bpb
    movzx ebx, byte [CLUSTER_SECTORS]
    lea eax, [ebx - 1]
    test ebx, ebx
    jz .fail
    test eax, ebx               ; a power of two?
    jnz .fail
    mov [cluster_sectors], ebx
    mov dword [fat_cached], -1

    movzx ecx, word [RESERVED_SECTORS]
    mov eax, [FAT_SECTORS]
    test eax, eax
    jz .fail
    movzx edx, byte [FAT_COUNT]
    mul edx
    test edx, edx
    jnz .fail
    add eax, ecx
    jc .fail
    mov [data_start], eax

    xor eax, eax                ; the FAT that counts
    mov dx, [FAT_FLAGS]
    test dl, 0x80
    jz .fat
    mov al, dl
    and al, 15
    cmp al, [FAT_COUNT]
    jae .fail
    mul dword [FAT_SECTORS]
.fat:
    add eax, ecx
    mov [fat_start], eax

    mov word [subject], text_root
    call find_bootmgr
    mov word [subject], text_bootmgr
    call load_bootmgr

    xor ax, ax
    mov fs, ax
    mov gs, ax
    mov sp, STACK_TOP
    mov dl, [drive]
    jmp BOOTMGR_SEGMENT:0
.fail:
    jmp fail

; Returns in BX the directory entry of BOOTMGR.
find_bootmgr:
    mov eax, [ROOT_CLUSTER]
    mov word [budget], DIRECTORY_SECTORS
.cluster:
    mov [cluster], eax
    call first_sector           ; EDX:EAX
    mov ebp, [cluster_sectors]
.sector:
    mov si, text_too_long
    dec word [budget]
    jz .fail
    mov ecx, 1
    mov edi, DIRECTORY
    call read_sectors
    mov bx, DIRECTORY
.entry:
    mov si, text_missing
    cmp byte [bx], 0            ; nothing is behind this one
    je .fail
    test byte [bx + ENTRY_ATTRIBUTES], NO_FILE
    jnz .next
    mov si, bx
    mov di, name_bootmgr
    mov cx, NAME_LENGTH
    repe cmpsb
    je .found
.next:
    add bx, ENTRY_LENGTH
    cmp bx, DIRECTORY + SECTOR_SIZE
    jb .entry
    add eax, 1
    adc edx, 0
    dec ebp
    jnz .sector
    call next_cluster
    mov si, text_missing
    jnc .cluster
.fail:
    jmp fail
.found:
    ret

; Loads the file of the directory entry at BX to 20000h.
load_bootmgr:
    call bootmgr_room
    mov si, text_empty
    mov ecx, [bx + ENTRY_SIZE]
    jecxz .fail
    mov si, text_too_large
    cmp ecx, eax
    ja .fail
    add ecx, SECTOR_SIZE - 1
    shr ecx, 9
    mov ebp, ecx                ; sectors that are still to be read
    mov ax, [bx + ENTRY_CLUSTER_HIGH]
    shl eax, 16
    mov ax, [bx + ENTRY_CLUSTER_LOW]
    mov edi, BOOTMGR_LINEAR
.cluster:
    mov [cluster], eax
    call first_sector
    mov ecx, [cluster_sectors]
    cmp ecx, ebp
    jbe .sized
    mov ecx, ebp
.sized:
    call read_sectors
    sub ebp, ecx
    jz .done
    shl ecx, 9
    add edi, ecx
    call next_cluster
    mov si, text_fat
    jnc .cluster                ; a chain that ends before its file
.fail:
    jmp fail
.done:
    ret

; Returns in EDX:EAX the first sector of cluster EAX.
first_sector:
    mov si, text_fat
    sub eax, 2
    jb fail
    mul dword [cluster_sectors]
    add eax, [data_start]
    adc edx, 0
    ret

; Returns in EAX the cluster that follows [cluster]; sets the carry flag if there is none.
next_cluster:
    push ecx
    push edi
    mov eax, [cluster]
    mov ecx, eax
    shr eax, 7                  ; 128 entries in a sector
    mov si, text_fat
    cmp eax, [FAT_SECTORS]
    jae fail
    cmp eax, [fat_cached]
    je .at_hand
    mov [fat_cached], eax
    push ecx
    xor edx, edx
    add eax, [fat_start]
    adc edx, edx
    mov ecx, 1
    mov edi, FAT
    call read_sectors
    pop ecx
.at_hand:
    and cx, 127
    shl cx, 2
    mov di, cx
    mov eax, [di + FAT]
    and eax, 0x0FFFFFFF
    cmp eax, 0x0FFFFFF8         ; this and what is above ends a chain; FFFFFF7h, a bad cluster, is beyond every volume
    cmc
    pop edi
    pop ecx
    ret

%include "room.inc"

text_root:       db "root directory: ", 0
text_bootmgr:    db "BOOTMGR: ", 0
text_bpb:        db "the BIOS parameter block is damaged", 0
text_fat:        db "damaged FAT", 0
text_too_long:   db "too long", 0
text_missing:    db "BOOTMGR is missing", 0
text_empty:      db "it is empty", 0
text_too_large:  db "it is too large for low memory", 0
text_memory:     db "too little low memory", 0
name_bootmgr:    db "BOOTMGR    "
NAME_LENGTH      equ $ - name_bootmgr

    times 3 * SECTOR_SIZE - 4 - ($ - sector_0) db 0
stage_end:
    dd STAGE_MAGIC

; ====================================================================================================================
; Variables: not loaded, nothing is set unless code sets it
; ====================================================================================================================

absolute VARIABLES

drive:            resb 1        ; what the BIOS gave in DL
                  resb 1
subject:          resw 1        ; -> text: what an error is about
on_read_error:    resw 1        ; -> where read_sectors goes when the drive fails
budget:           resw 1        ; sectors of the directory that may still be read
cluster:          resd 1        ; whose sectors were read last
cluster_sectors:  resd 1
data_start:       resd 1        ; the sector of cluster 2
fat_start:        resd 1
fat_cached:       resd 1        ; which sector of the FAT is at hand
