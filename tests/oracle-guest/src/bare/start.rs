//! From Xen's jump to [`super::main`]: header, own relocation, page table, MMU; exception vectors; other vCPUs' entry.
//!
//! The table maps everything one to one in blocks of 1 GiB: the first as device memory (that is where Xen puts what it
//! emulates, and where the board has its devices), the others as ordinary memory. With the MMU on, compiled code may
//! access memory unaligned, and atomics work.

use core::arch::global_asm;

unsafe extern "C" {
    static image_start: u8;
    static image_end: u8;
}

/// Bytes of this program, with its stack and page table.
pub(super) fn image_size() -> u64 {
    let (start, end) = (&raw const image_start, &raw const image_end);
    (end.addr() - start.addr()) as u64
}

/// Address of the code that [`super::vcpus`] starts other vCPUs with: it stores MPIDR_EL1 where x0 points, and rests.
pub(super) fn secondary_entry() -> u64 {
    unsafe extern "C" {
        fn secondary();
    }
    (secondary as *const ()).addr() as u64
}

global_asm!(
    r#"
    .section .head, "ax"
    .global start
start:
    b       1f
    .word   0
    .quad   0x80000             // offset from the start of RAM: the first page stays free to be tested
    .quad   0x100000            // size; Xen does not look at it
    .quad   0xa                 // little endian, 4-KiB pages, anywhere
    .quad   0, 0, 0
    .ascii  "ARM\x64"
    .word   0

1:  mov     x20, x0
    adr     x21, start

    // Only relative relocations (1027) occur in a static position-independent program.
    adrp    x2, relocations_start
    add     x2, x2, :lo12:relocations_start
    adrp    x3, relocations_end
    add     x3, x3, :lo12:relocations_end
2:  cmp     x2, x3
    b.hs    4f
    ldp     x4, x5, [x2], #16
    ldr     x6, [x2], #8
    cmp     x5, #1027
    b.ne    2b
    add     x6, x6, x21
    str     x6, [x21, x4]
    b       2b

4:  adrp    x0, page_table
    add     x0, x0, :lo12:page_table
    // Device memory, never executed: block, attribute 0, accessed.
    mov     x1, #0x401
    movk    x1, #0x60, lsl #48
    str     x1, [x0]
    // Ordinary memory: block, attribute 1, inner shareable, accessed.
    mov     x1, #0x705
    mov     x2, #1
5:  orr     x3, x1, x2, lsl #30
    str     x3, [x0, x2, lsl #3]
    add     x2, x2, #1
    cmp     x2, #512
    b.lo    5b
    dsb     sy

    msr     ttbr0_el1, x0
    mov     x1, #0xff04         // attribute 0: nGnRE; attribute 1: write-back
    msr     mair_el1, x1
    ldr     x1, =0x200803519    // 39 bits, write-back inner-shareable walks, 40-bit output, no second table
    msr     tcr_el1, x1
    adrp    x1, vectors
    add     x1, x1, :lo12:vectors
    msr     vbar_el1, x1
    mov     x1, #(3 << 20)      // floating point: compiled code copies with its registers
    msr     cpacr_el1, x1
    isb
    tlbi    vmalle1
    dsb     sy
    ic      iallu
    isb
    mrs     x1, sctlr_el1
    mov     x2, #0x1005         // MMU, data and instruction caches
    orr     x1, x1, x2
    bic     x1, x1, #2          // no alignment checks
    msr     sctlr_el1, x1
    isb

    adrp    x1, stack_top
    add     x1, x1, :lo12:stack_top
    mov     sp, x1
    mov     x0, x20
    mov     x1, x21
    bl      {main}
6:  wfi
    b       6b
    .ltorg

    // Runs with the MMU off and without a stack.
    .global secondary
secondary:
    mrs     x1, mpidr_el1
    str     x1, [x0]
    dsb     sy
7:  wfi
    b       7b

    .balign 2048
vectors:
    .rept 4
    b       unexpected
    .balign 128
    .endr
    b       synchronous
    .balign 128
    .rept 11
    b       unexpected
    .balign 128
    .endr

    // A fault of an access that touches on purpose: x1 gets ESR, x2 gets FAR, and the access is skipped.
synchronous:
    mrs     x9, elr_el1
    adrp    x10, touch_first
    add     x10, x10, :lo12:touch_first
    cmp     x9, x10
    b.lo    unexpected
    adrp    x10, touch_last
    add     x10, x10, :lo12:touch_last
    cmp     x9, x10
    b.hs    unexpected
    add     x9, x9, #4
    msr     elr_el1, x9
    mrs     x1, esr_el1
    mrs     x2, far_el1
    eret

unexpected:
    mrs     x0, esr_el1
    mrs     x1, elr_el1
    mrs     x2, far_el1
    bl      {exception}

    // x0: address. Gives the value in x0, and ESR in x1 and FAR in x2 after a fault.
    .global touch_read
touch_read:
    mov     x1, #0
touch_first:
    ldr     w0, [x0]
    nop
    dsb     sy
    ret

    // x0: address, w3: value.
    .global touch_write
touch_write:
    mov     x1, #0
    str     w3, [x0]
    dsb     sy
touch_last:
    ret

    .section .bss.page_table, "aw", @nobits
    .balign 4096
page_table:
    .skip   4096
    .text
"#,
    main = sym super::main,
    exception = sym exception,
);

extern "C" fn exception(esr: u64, elr: u64, far: u64) -> ! {
    super::report!("exception esr={esr:#x} elr={elr:#x} far={far:#x}");
    super::cpu::rest()
}
