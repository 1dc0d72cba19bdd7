; The stand-in boot manager for UEFI: a 64-bit program that proves, on the console and on COM1, that the firmware found it whole.
;
; Part of nanovhd, MIT OR Apache-2.0.
;
; In:   what firmware hands to an application: RCX = handle of its image, RDX = system table.
; Says: which partition it was loaded from, under which path; whether its own pages are what they should be; whether
;       \EFI\Microsoft\Boot\BCD is on its own volume and begins like a hive. The last line is
;         nanovhd: boot chain ok
;       or
;         nanovhd: boot chain FAILED: <why>
;       after which it halts. All of it goes to the console first, and then once more, at a stretch, to COM1 (115200 8N1): firmware may
;       send its console there too. A PC without a COM1 is fine.
;
; The file is a PE32+ image in which offsets in the file and in memory are the same: headers, code, then words that depend on their
; position, so that a cluster that is missing, repeated or out of place shows, and memory to write to. It needs no relocation.
;
; Names and offsets of tables are those of the UEFI specification 2.10: 4.3 (system table), 4.4 (boot services), 9.1 (loaded image),
; 10.3.5.1 (hard drive device path), 13.4 and 13.5 (file system, file).

cpu x64
bits 64
default rel
org 0

PAGE            equ 0x1000
PATTERN_LENGTH  equ 0x18000     ; more than any cluster that FAT has
MULTIPLIER      equ 0x9E3779B1
COM1            equ 0x3F8

; System table, boot services, protocols.
CON_OUT             equ 64
BOOT_SERVICES       equ 96
OUTPUT_STRING       equ 8
HANDLE_PROTOCOL     equ 152
IMAGE_DEVICE        equ 24
IMAGE_PATH          equ 32
OPEN_VOLUME         equ 8
FILE_OPEN           equ 8
FILE_READ           equ 32
FILE_MODE_READ      equ 1

; Device paths: type, subtype, length (u16), data.
PATH_MEDIA          equ 4
PATH_HARD_DRIVE     equ 1
PATH_FILE           equ 4
PATH_END            equ 0x7F
DRIVE_NUMBER        equ 4
DRIVE_SIGNATURE     equ 24
DRIVE_FORMAT        equ 40
DRIVE_FORMAT_GPT    equ 2

SHADOW              equ 32      ; what a caller leaves for the four arguments in registers

; --- headers --------------------------------------------------------------------------------------------------------

    dw "MZ"
    times 0x3C - ($ - $$) db 0
    dd pe_header
pe_header:
    db "PE", 0, 0
    dw 0x8664                   ; AMD64
    dw 3                        ; sections
    dd 0, 0, 0
    dw optional_header.end - optional_header
    dw 0x0022                   ; executable, any address
optional_header:
    dw 0x20B                    ; PE32+
    db 0, 0
    dd pattern - code           ; size of code
    dd pattern_end - pattern    ; size of initialised data
    dd MEMORY_LENGTH            ; size of the rest
    dd entry
    dd code
    dq 0                        ; base: wherever
    dd PAGE, PAGE               ; alignment in memory and in the file
    dw 0, 0, 0, 0, 0, 0
    dd 0
    dd memory + MEMORY_LENGTH   ; size in memory
    dd code                     ; size of headers
    dd 0                        ; checksum: nobody looks at it
    dw 10                       ; EFI application
    dw 0x0100                   ; may be kept from running as data
    dq 0, 0, 0, 0
    dd 0
    dd 16                       ; directories, all empty
    times 16 dq 0
.end:
    db ".text", 0, 0, 0
    dd pattern - code, code, pattern - code, code
    dd 0, 0, 0
    dd 0x60000020               ; code, read and run
    db ".rdata", 0, 0
    dd pattern_end - pattern, pattern, pattern_end - pattern, pattern
    dd 0, 0, 0
    dd 0x40000040               ; data, read
    db ".data", 0, 0, 0
    dd MEMORY_LENGTH, memory, 0, 0
    dd 0, 0, 0
    dd 0xC0000080               ; zeros, read and write
    align PAGE, db 0

; --- entry ----------------------------------------------------------------------------------------------------------

code:
entry:
    sub rsp, SHADOW + 8 + 16    ; aligned to 16, with room for a fifth argument
    cld
    mov [image_handle], rcx
    mov [system_table], rdx
    lea rax, [report]
    mov [report_end], rax

    lea rsi, [text_reached]
    call print
    call tell_image
    call check_self
    call check_store
    lea rsi, [text_ok]
    call print
    jmp finish

; Ends it all: RSI = why.
failed:
    push rsi
    push rsi
    lea rsi, [text_failed]
    call print
    pop rsi
    pop rsi
    call print
    lea rsi, [text_line]
    call print

; The report to COM1, and the end.
finish:
    call open_serial
    lea rsi, [report]
.next:
    cmp rsi, [report_end]
    jae .halt
    lodsb
    call send
    jmp .next
.halt:
    cli
    hlt
    jmp .halt

; --- where from -----------------------------------------------------------------------------------------------------

; Which partition and which file this was loaded from. Sets device_handle.
tell_image:
    sub rsp, SHADOW + 8
    lea rdx, [guid_loaded_image]
    mov rcx, [image_handle]
    call protocol
    lea rsi, [why_image]
    jnz failed
    mov rcx, [rax + IMAGE_DEVICE]
    mov [device_handle], rcx
    mov rbx, [rax + IMAGE_PATH]
    lea rsi, [text_file]
    call print
.file:
    test rbx, rbx
    jz .device
    cmp byte [rbx], PATH_END
    je .device
    cmp word [rbx], PATH_MEDIA | PATH_FILE << 8
    jne .next_file
    lea rsi, [rbx + 4]
    call print_wide
.next_file:
    call next_node
    jmp .file
.device:
    lea rsi, [text_line]
    call print
    mov rcx, [device_handle]
    lea rdx, [guid_device_path]
    call protocol
    lea rsi, [why_device]
    jnz failed
    mov rbx, rax
.node:
    cmp byte [rbx], PATH_END
    lea rsi, [why_partition]
    je failed
    cmp word [rbx], PATH_MEDIA | PATH_HARD_DRIVE << 8
    je .drive
    call next_node
    jmp .node
.drive:
    lea rsi, [text_partition]
    call print
    mov eax, [rbx + DRIVE_NUMBER]
    call print_decimal
    lea rsi, [text_mbr]
    cmp byte [rbx + DRIVE_FORMAT], DRIVE_FORMAT_GPT
    jne .signature
    lea rsi, [text_gpt]
    call print
    lea rsi, [guid_order]       ; a GUID is written in another order than it is stored in
    mov ecx, 16 + 4
.digit:
    lodsb
    cmp al, '-'
    je .dash
    movzx eax, al
    mov al, [rbx + DRIVE_SIGNATURE + rax]
    call print_hex
    jmp .counted
.dash:
    call put_char
.counted:
    dec ecx
    jnz .digit
    jmp .end
.signature:
    call print
    mov ecx, 4
.byte:
    mov al, [rbx + DRIVE_SIGNATURE + rcx - 1]
    call print_hex
    dec ecx
    jnz .byte
.end:
    call flush
    lea rsi, [text_line]
    call print
    add rsp, SHADOW + 8
    ret

; RBX = the node behind RBX; one without a length ends it all.
next_node:
    movzx eax, word [rbx + 2]
    cmp eax, 4
    lea rsi, [why_device]
    jb failed
    add rbx, rax
    ret

; RAX = the interface of the protocol with the GUID at RDX of the handle RCX; ZF = there is one.
protocol:
    sub rsp, SHADOW + 8
    lea r8, [interface]
    mov rax, [system_table]
    mov rax, [rax + BOOT_SERVICES]
    call [rax + HANDLE_PROTOCOL]
    test rax, rax
    mov rax, [interface]
    lea rsp, [rsp + SHADOW + 8]
    ret

; --- checks ---------------------------------------------------------------------------------------------------------

; The words of the pattern.
check_self:
    lea rdi, [pattern]
    mov ecx, pattern
.next:
    imul eax, ecx, MULTIPLIER
    cmp [rdi], eax
    lea rsi, [why_self]
    jne failed
    add rdi, 4
    add ecx, 4
    cmp ecx, pattern_end
    jb .next
    lea rsi, [text_whole]
    jmp print

; The boot configuration on this program's own volume.
check_store:
    sub rsp, SHADOW + 16 + 8
    mov rcx, [device_handle]
    lea rdx, [guid_file_system]
    call protocol
    lea rsi, [why_volume]
    jnz failed
    mov rcx, rax
    lea rdx, [volume]
    call [rax + OPEN_VOLUME]
    test rax, rax
    lea rsi, [why_volume]
    jnz failed
    mov rcx, [volume]
    lea rdx, [file]
    lea r8, [path_store]
    mov r9d, FILE_MODE_READ
    mov qword [rsp + SHADOW], 0
    call [rcx + FILE_OPEN]
    test rax, rax
    lea rsi, [why_store]
    jnz failed
    mov rcx, [file]
    lea rdx, [length]
    mov qword [rdx], 4
    lea r8, [head]
    call [rcx + FILE_READ]
    test rax, rax
    lea rsi, [why_read]
    jnz failed
    cmp dword [head], "regf"
    lea rsi, [why_hive]
    jne failed
    lea rsi, [text_store]
    call print
    add rsp, SHADOW + 16 + 8
    ret

; --- output ---------------------------------------------------------------------------------------------------------

; Prints the text of bytes at RSI, which ends with a zero. Changes RAX, RSI, and what a call of firmware may.
print:
    lodsb
    test al, al
    jz flush
    call put_char
    jmp print

; The same of 16-bit characters, those of ASCII only; others become question marks.
print_wide:
    lodsw
    test ax, ax
    jz flush
    cmp ax, 0x7F
    jb .put
    mov al, '?'
.put:
    call put_char
    jmp print_wide

; EAX in decimal digits.
print_decimal:
    push rbx
    mov ebx, 10
    xor ecx, ecx
.split:
    xor edx, edx
    div ebx
    push rdx
    inc ecx
    test eax, eax
    jnz .split
.digit:
    pop rax
    add al, '0'
    call put_char
    dec ecx
    jnz .digit
    pop rbx
    ret

; AL in two hexadecimal digits.
print_hex:
    push rax
    shr al, 4
    call .digit
    pop rax
    and al, 15
.digit:
    add al, '0'
    cmp al, '9'
    jbe put_char
    add al, 'a' - '0' - 10
    ; falls through

; Puts AL into the report and onto the line for the console. Keeps all registers.
put_char:
    push rdi
    mov rdi, [report_end]
    lea rdi, [rdi + 1]
    push rax
    lea rax, [report + REPORT_LENGTH]
    cmp rdi, rax
    pop rax
    ja .full                    ; it is longer than anybody reads
    mov [rdi - 1], al
    mov [report_end], rdi
.full:
    mov rdi, [line_end]
    cmp rdi, (LINE_LENGTH - 1) * 2
    jae .end
    push rbx
    lea rbx, [line]
    mov [rbx + rdi], al
    mov byte [rbx + rdi + 1], 0
    pop rbx
    add qword [line_end], 2
.end:
    pop rdi
    ret

; Shows the line on the console. Keeps RBX, RSI and RDI, as calls of firmware do.
flush:
    push rbp
    mov rbp, rsp
    and rsp, -16
    sub rsp, SHADOW
    lea rdx, [line]
    mov rax, [line_end]
    mov word [rdx + rax], 0
    mov qword [line_end], 0
    mov rcx, [system_table]
    mov rcx, [rcx + CON_OUT]
    test rcx, rcx
    jz .none
    call [rcx + OUTPUT_STRING]
.none:
    mov rsp, rbp
    pop rbp
    ret

; COM1: 115200 baud, 8 bits, no parity, one stop bit, no interrupts.
open_serial:
    lea rsi, [serial_setup]
    mov ecx, serial_setup.end - serial_setup
    shr ecx, 1
.next:
    lodsw
    movzx edx, al
    add edx, COM1
    mov al, ah
    out dx, al
    dec ecx
    jnz .next
    ret

serial_setup:
    db 1, 0x00, 3, 0x80, 0, 1, 1, 0, 3, 0x03, 2, 0xC7, 4, 0x03
.end:

; Sends AL, or gives up on a port that is never ready.
send:
    mov ah, al
    mov ecx, 0x10000
    mov edx, COM1 + 5
.wait:
    in al, dx
    test al, 0x20
    jnz .ready
    dec ecx
    jnz .wait
.ready:
    mov al, ah
    mov edx, COM1
    out dx, al
    ret

; --- words ----------------------------------------------------------------------------------------------------------

text_reached    db 13, 10, "nanovhd: the stand-in boot manager for UEFI was reached", 13, 10, 0
text_file       db "nanovhd: file ", 0
text_partition  db "nanovhd: partition ", 0
text_gpt        db ", GPT ", 0
text_mbr        db ", MBR ", 0
text_whole      db "nanovhd: the program is whole", 13, 10, 0
text_store      db "nanovhd: \EFI\Microsoft\Boot\BCD is a hive", 13, 10, 0
text_ok         db "nanovhd: boot chain ok", 13, 10, 0
text_failed     db "nanovhd: boot chain FAILED: ", 0
text_line       db 13, 10, 0
why_image       db "the firmware does not know what it loaded", 0
why_device      db "the device has no path", 0
why_partition   db "not loaded from a partition", 0
why_self        db "the program is not whole", 0
why_volume      db "the volume cannot be opened", 0
why_store       db "there is no \EFI\Microsoft\Boot\BCD", 0
why_read        db "\EFI\Microsoft\Boot\BCD cannot be read", 0
why_hive        db "\EFI\Microsoft\Boot\BCD is no hive", 0

guid_order      db 3, 2, 1, 0, '-', 5, 4, '-', 7, 6, '-', 8, 9, '-', 10, 11, 12, 13, 14, 15

    align 8, db 0
guid_loaded_image:              ; 5b1b31a1-9562-11d2-8e3f-00a0c969723b
    dd 0x5B1B31A1
    dw 0x9562, 0x11D2
    db 0x8E, 0x3F, 0x00, 0xA0, 0xC9, 0x69, 0x72, 0x3B
guid_device_path:               ; 09576e91-6d3f-11d2-8e39-00a0c969723b
    dd 0x09576E91
    dw 0x6D3F, 0x11D2
    db 0x8E, 0x39, 0x00, 0xA0, 0xC9, 0x69, 0x72, 0x3B
guid_file_system:               ; 964e5b22-6459-11d2-8e39-00a0c969723b
    dd 0x964E5B22
    dw 0x6459, 0x11D2
    db 0x8E, 0x39, 0x00, 0xA0, 0xC9, 0x69, 0x72, 0x3B

path_store:
    dw __utf16__('\EFI\Microsoft\Boot\BCD'), 0

    align PAGE, db 0

; --- pattern --------------------------------------------------------------------------------------------------------

pattern:
%assign at PAGE * 2
%rep PATTERN_LENGTH / 4
    dd (at * MULTIPLIER) & 0xFFFFFFFF
%assign at at + 4
%endrep
pattern_end:

; --- memory that is not in the file ---------------------------------------------------------------------------------

REPORT_LENGTH   equ 4096
LINE_LENGTH     equ 512

memory          equ pattern_end
image_handle    equ memory
system_table    equ memory + 8
device_handle   equ memory + 16
interface       equ memory + 24
volume          equ memory + 32
file            equ memory + 40
length          equ memory + 48
head            equ memory + 56
report_end      equ memory + 64
line_end        equ memory + 72
line            equ memory + 80
report          equ line + LINE_LENGTH * 2
MEMORY_LENGTH   equ report + REPORT_LENGTH - memory
