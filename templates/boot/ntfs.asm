; The boot record of an NTFS volume: all 8192 bytes of $Boot. Finds BOOTMGR in the root directory, loads it, starts it.
;
; Part of nanovhd, MIT OR Apache-2.0. Written from the interface facts below and from public descriptions of NTFS, not
; from anybody's listing.
;
; In:   an MBR loads sector 0 of the volume to 0:7C00 and jumps there, DL = BIOS drive. Nothing else matters: where the
;       volume lies is taken from the BPB's hidden sectors.
;
; Out:  BOOTMGR, the whole file, contiguous at physical 20000h; jump to 2000:0000 with
;         DL = BIOS drive,
;         0:7C00 = sector 0 of the volume (BOOTMGR reads the bytes per sector at 7C0Bh and the hidden sectors at 7C1Ch),
;         DS = ES = FS = GS = SS = 0, SP = 7C00h, interrupts on, A20 as found.
;
; Sector 0 leaves bytes 03h..53h, the BPB, zero: whoever formats the volume fills them in.
;
; How: the runs of $MFT give any FILE record. The root directory is searched without trust in its order: the entries of
; $INDEX_ROOT, then every INDX block that the index's $BITMAP says is in use. Names compare without regard to ASCII case,
; in any namespace. Any attribute may live in extension records that an attribute list, resident or not, names; its
; run list is then used segment by segment, so that fragmentation has no limit but that of the list (16 KiB for $MFT, 32 KiB
; for a file: 512 and 1024 entries). All loops are bounded: a damaged volume ends in a message.
;
; Messages go to the screen only: what is attached to the serial port of a PC is not ours to know.
;
; Calling convention: DS = ES = SS = 0, direction flag clear. Routines keep all registers but those that they
; return something in. What cannot go on jumps to `fail` with a text and does not come back.

cpu 386
bits 16
org 0x7C00

%include "ntfs-layout.inc"

CHUNK               equ 64      ; sectors that one INT 13h reads at most; a power of two
READ_TRIES          equ 4
SEGMENT_LOADS       equ 0x4000  ; several times what the longest attribute lists can need
STAGE_MAGIC         equ 'NVB2'  ; the first four bytes of sector 1, the last four of sector 15

; ====================================================================================================================
; Sector 0: loaded by the MBR, and never written to: BOOTMGR may see it as it is on the disk
; ====================================================================================================================

sector_0:
    jmp short start
    nop
    times BOOT_CODE_OFFSET - ($ - sector_0) db 0

%include "volume-start.inc"

    xor edx, edx
    mov eax, 1
    mov ecx, BOOT_FILE_SIZE / SECTOR_SIZE - 1
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
text_no_stage:    db "bad $Boot/hidden sectors", 0
text_restart:     db 13, 10, "Press Ctrl+Alt+Del to restart", 0

    times 510 - ($ - sector_0) db 0
    dw 0xAA55

; ====================================================================================================================
; Sectors 1..15
; ====================================================================================================================

stage_magic:
    dd STAGE_MAGIC

main:
    mov dword [budget], SEGMENT_LOADS
    mov byte [depth], 0
    mov word [on_read_error], read_error
    call check_drive
    call read_geometry

    mov word [subject], text_mft
    call open_mft

    mov word [subject], text_root
    mov eax, ROOT_DIRECTORY
    xor dx, dx
    call open_file
    call find_bootmgr

    mov word [subject], text_bootmgr
    call load_bootmgr

    xor ax, ax
    mov fs, ax
    mov gs, ax
    mov sp, STACK_TOP
    mov dl, [drive]
    jmp BOOTMGR_SEGMENT:0

; What fails with a text may add EDX:EAX, in hexadecimal.
fail_with_number:
    call report
    xchg eax, edx
    call print_hex
    xchg eax, edx
    call print_hex
    jmp stop

read_error:                     ; EDX:EAX = LBA
    mov si, text_read_at
    jmp fail_with_number

print_hex:                      ; EAX, eight digits
    push cx
    mov cx, 8
.digit:
    rol eax, 4
    push ax
    and al, 15
    cmp al, 10
    sbb al, 0x69                ; 0..9, 10..15 -> '0'..'9', 'A'..'F' after the decimal adjustment
    das
    call print_character
    pop ax
    loop .digit
    pop cx
    ret

; Refuses drives with sectors of another size, as far as the BIOS says.
check_drive:
    mov si, drive_parameters
    mov word [si], DRIVE_PARAMETERS_SIZE
    mov word [si + DRIVE_SECTOR_SIZE], SECTOR_SIZE  ; stays if the BIOS cannot tell
    mov ah, 0x48
    mov dl, [drive]
    int 0x13
    mov si, text_sector_size
    cmp word [drive_parameters + DRIVE_SECTOR_SIZE], SECTOR_SIZE
    jne fail
    ret

; Takes cluster, record and index block sizes from the BPB.
read_geometry:
    mov si, text_bpb
    mov al, [CLUSTER_SECTORS]
    cmp al, 0x80
    ja .exponent
    movzx eax, al
    bsf ecx, eax
    jz fail
    lea edx, [eax - 1]
    test eax, edx               ; a power of two?
    jnz fail
    jmp .shift
.exponent:
    neg al
    mov cl, al
    cmp cl, MAX_CLUSTER_SHIFT
    ja fail
.shift:
    mov [cluster_shift], cl
    mov eax, 1
    shl eax, cl
    dec eax
    mov [cluster_mask], eax

    mov al, [RECORD_SIZE]
    mov edx, MAX_RECORD_SIZE
    call structure_size
    mov [record_size], eax
    mov al, [INDEX_SIZE]
    mov edx, MAX_INDEX_BLOCK
    call structure_size
    mov [index_size], eax
    ret

; Decodes the size byte AL to EAX bytes, at most EDX. SI = text to fail with.
structure_size:
    push ecx
    test al, al
    jz fail
    js .exponent
    movzx eax, al               ; in clusters; at most 127 << 21 bytes
    mov cl, [cluster_shift]
    add cl, 9
    jmp .scale
.exponent:
    neg al
    mov cl, al
    cmp cl, 31
    ja fail
    mov eax, 1
.scale:
    shl eax, cl
    cmp eax, SECTOR_SIZE
    jb fail
    cmp eax, edx
    ja fail
    lea ecx, [eax - 1]
    test eax, ecx
    jnz fail
    pop ecx
    ret

%include "ntfs-stream.inc"
%include "ntfs-directory.inc"

; Loads the file that found_record and found_sequence name to 20000h.
load_bootmgr:
    mov eax, [found_record]
    mov dx, [found_sequence]
    call open_file
    mov si, text_directory
    test byte [FILE_BASE + FILE_FLAGS], FILE_DIRECTORY
    jnz fail

    mov bx, stream_a
    mov eax, TYPE_DATA
    mov cl, UNNAMED
    call open_stream
    mov si, text_no_data
    jc fail
    mov di, [stream_a + stream.attribute]
    mov ax, [di + ATTR_FLAGS]
    mov si, text_compressed
    test ax, ATTR_COMPRESSED
    jnz fail
    mov si, text_encrypted
    test ax, ATTR_ENCRYPTED
    jnz fail
    mov si, text_sparse
    test ax, ATTR_SPARSE
    jnz fail

    cmp byte [di + ATTR_NONRESIDENT], 0
    jne .runs

    movzx ecx, word [di + ATTR_VALUE_LENGTH]
    mov si, text_empty
    jcxz .fail
    mov si, di
    add si, [di + ATTR_VALUE_OFFSET]
    mov ax, BOOTMGR_SEGMENT
    mov es, ax
    xor di, di
    rep movsb
    xor ax, ax
    mov es, ax
    ret
.fail:
    jmp fail

.runs:
    call bootmgr_room
    mov ebp, eax
    load64 di + ATTR_DATA_SIZE
    mov si, text_too_large
    test edx, edx
    jnz fail_with_number
    cmp eax, ebp
    ja fail_with_number
    mov si, text_empty
    test eax, eax
    jz fail
    mov ebp, eax                ; EBP = size, ESI = how much of it is initialized
    load64 di + ATTR_INITIALIZED
    test edx, edx
    jnz .whole
    cmp eax, ebp
    jb .read
.whole:
    mov eax, ebp
.read:
    mov esi, eax
    lea ecx, [ebp + SECTOR_SIZE - 1]
    shr ecx, 9
    xor eax, eax
    mov edi, BOOTMGR_LINEAR
    call read_stream

    sub ebp, esi                ; what was never written reads as zeros, whatever the disk holds
    jz .done
    add esi, BOOTMGR_LINEAR
.zero:
    mov eax, esi
    shr eax, 4
    mov es, ax
    mov di, si
    and di, 15
    mov byte [es:di], 0
    inc esi
    dec ebp
    jnz .zero
    mov es, bp
.done:
    ret

%include "room.inc"

text_mft:        db "$MFT: ", 0
text_root:       db "root directory: ", 0
text_bootmgr:    db "BOOTMGR: ", 0

text_read_at:    db "disk read error, LBA ", 0
text_bpb:        db "the BIOS parameter block is damaged", 0
text_record:     db "damaged FILE record ", 0
text_attribute:  db "damaged attribute in FILE record ", 0
text_list:       db "damaged attribute list", 0
text_long_list:  db "attribute list too long", 0
text_runs:       db "damaged run list, at cluster ", 0
text_endless:    db "damaged: its attribute lists lead in circles", 0
text_block:      db "damaged index block ", 0
text_node:       db "damaged index node", 0
text_no_index:   db "damaged: not a directory", 0
text_too_many:   db "too large to search", 0
text_missing:    db "BOOTMGR is missing", 0
text_directory:  db "it is a directory", 0
text_no_data:    db "it has no data", 0
text_empty:      db "it is empty", 0
text_compressed: db "it is compressed; it must be stored plain", 0
text_encrypted:  db "it is encrypted; it must be stored plain", 0
text_sparse:     db "it is sparse; it must be stored plain", 0
text_too_large:  db "it is too large for low memory, bytes ", 0
text_memory:     db "too little low memory", 0
name_bootmgr:    db "BOOTMGR"
NAME_LENGTH      equ $ - name_bootmgr

first_of_mft:                   ; the segment in record 0
    istruc stream
        at .file,           dw file_mft
        at .buffer,         dw MFT_BASE
        at .type,           dd TYPE_DATA
        at .name_units,     db UNNAMED
        at .attribute,      dw 0
    iend

stream_mft:                     ; the later ones
    istruc stream
        at .file,           dw file_mft
        at .buffer,         dw MFT_EXTENSION
        at .type,           dd TYPE_DATA
        at .name_units,     db UNNAMED
        at .attribute,      dw 0
    iend

stream_a:
    istruc stream
        at .file,           dw file_at_hand
        at .buffer,         dw RECORD_A
    iend

stream_b:
    istruc stream
        at .file,           dw file_at_hand
        at .buffer,         dw RECORD_B
    iend

stream_list:                    ; a non-resident attribute list; its runs all lie in the base record
    istruc stream
        at .file,           dw file_without_list
    iend

file_mft:
    istruc file
        at .number,         dd 0
        at .base,           dw MFT_BASE
        at .list,           dw MFT_LIST
        at .list_limit,     dw MFT_LIST_LIMIT
    iend

file_at_hand:
    istruc file
        at .base,           dw FILE_BASE
        at .list,           dw FILE_LIST
        at .list_limit,     dw FILE_LIST_LIMIT
    iend

file_without_list:
    istruc file
    iend

    times BOOT_FILE_SIZE - 4 - ($ - sector_0) db 0
stage_end:
    dd STAGE_MAGIC

; ====================================================================================================================
; Variables: not loaded, nothing is set unless code sets it
; ====================================================================================================================

absolute VARIABLES

drive:            resb 1        ; what the BIOS gave in DL
cluster_shift:    resb 1        ; log2 of sectors per cluster
depth:            resb 1        ; how many FILE records are being located inside one another
                  resb 1
subject:          resw 1        ; -> text: what an error is about
on_read_error:    resw 1        ; -> where read_sectors goes when the drive fails, with SI = text, EDX:EAX = LBA
drive_parameters: resb DRIVE_PARAMETERS_SIZE  ; of INT 13h AH=48h
                  resb 2
cluster_mask:     resd 1        ; sectors per cluster - 1
record_size:      resd 1        ; bytes
index_size:       resd 1        ; bytes
budget:           resd 1        ; how many run list segments may still be loaded
record_number:    resd 1        ; for messages

wanted_vcn:       resq 1        ; of lookup and find_in_list
run_vcn:          resq 1
run_lcn:          resq 1
run_length:       resq 1
integer:          resq 1        ; of read_integer
run_sector:       resq 1        ; result of lookup: sector of the volume ...
run_sectors:      resd 1        ; ... and how many sectors follow without a gap, that one included

wanted_low:       resq 1        ; of find_attribute
listed_low:       resq 1        ; result of find_in_list
listed_record:    resd 1
listed_sequence:  resw 1
                  resw 1

bitmap_size:      resd 1        ; of the root directory's $BITMAP, bytes
bitmap_value:     resw 1        ; -> it, if it is resident
                  resw 1
found_record:     resd 1        ; BOOTMGR
found_sequence:   resw 1

%if $ > MFT_BASE
    %error "the variables run into the record buffers"
%endif
