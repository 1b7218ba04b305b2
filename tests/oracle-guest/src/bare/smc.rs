//! A guest that calls the secure world with whatever it likes.

use super::console::report;
use super::{heartbeat, memory};
use core::arch::asm;
use hostile_calls::{Guest, Numbers, SESSION_AT};
use optee_abi::Uuid;
use optee_abi::smc::FunctionId;
use oracle_guest::fdt::Tree;

const PAGE: u64 = 4096;
/// Pages for a message, a list, and memory that is shared: more than the longest piece has.
const PAGES: usize = 16;
/// Calls between two lines.
const LINE: u64 = 1000;
/// What x0 has in its upper half when the secure world asks for something (optee_smc.h, `OPTEE_SMC_RETURN_RPC_PREFIX`), unless
/// the function is not known.
const ASKS: u64 = 0xffff_0000;
const UNKNOWN: u64 = 0xffff_ffff;

#[repr(C, align(4096))]
struct Pages([[u64; 512]; PAGES]);

static mut AREA: Pages = Pages([[0; 512]; PAGES]);

/// Calls for ever.
pub(super) fn flood(tree: &Tree<'_>, application: Uuid) -> ! {
    let area = (&raw mut AREA).expose_provenance() as u64;
    let (message, list, data) = (area, area + PAGE, area + 2 * PAGE);
    // Xen emulates it: no memory is there.
    let device = heartbeat::registers(tree).map_or(0, |[distributor, _]| distributor);
    let places = [
        message,
        list,
        data,
        data + 16,
        data - 8,
        device,
        area & !0xfff_ffff,
        0xffff_ffff_f000,
        u64::MAX,
    ];
    let pages = [data, data + PAGE, list, message, device, 1 << 50, data + 1];
    let mut numbers = Numbers::new(0x2545_f491_4f6c_dd1d);
    let mut session = 0_u32;
    for count in 1_u64.. {
        let sessions = [0, 1, session, session, session.wrapping_add(1), u32::MAX];
        let guest = Guest {
            application,
            message,
            places: &places,
            pages: &pages,
            sessions: &sessions,
        };
        let call = guest.call(&mut numbers);
        let words = call.message.chunks_exact(8);
        for (address, word) in (message..).step_by(8).zip(words) {
            memory::store(address, word.try_into().map_or(0, u64::from_le_bytes));
        }
        for (address, page) in (list..).step_by(8).zip(call.list) {
            memory::store(address, page);
        }
        let mut answer = smc(call.registers);
        // Most of the time it does what it is asked to, for else all its calls would soon be waiting for it.
        while answer[0] & ASKS == ASKS && answer[0] != UNKNOWN && numbers.below(8) > 0 {
            let thread = answer[3];
            answer = smc([
                FunctionId::RETURN_FROM_RPC.0.into(),
                0,
                0,
                thread,
                0,
                0,
                0,
                0,
            ]);
        }
        let opened = memory::load(message + SESSION_AT as u64) as u32;
        if opened != 0 {
            session = opened;
        }
        if count % LINE == 0 {
            report!("calls {count}");
        }
    }
    unreachable!()
}

/// Calls; x0 to x3 of the answer.
fn smc(registers: [u64; 8]) -> [u64; 4] {
    let [x0, x1, x2, x3, x4, x5, x6, x7] = registers;
    let (a0, a1, a2, a3);
    // SAFETY: SMCCC: only x0 to x17 change. What is written lies in the memory that the call names, which is `AREA` where it is
    // memory of this program: a mediator writes nowhere else.
    unsafe {
        asm!(
            "smc #0",
            inlateout("x0") x0 => a0,
            inlateout("x1") x1 => a1,
            inlateout("x2") x2 => a2,
            inlateout("x3") x3 => a3,
            in("x4") x4,
            in("x5") x5,
            in("x6") x6,
            in("x7") x7,
            clobber_abi("C"),
            options(nostack),
        );
    }
    [a0, a1, a2, a3]
}
