//! The list of the bed's tests: one line per subject.

use super::{
    Test, block, control, faults, hostile, in_dom0, kills, lifecycle, pages, placement, plain_xl,
    refusals, sandbox, shipped, soak_block, starts, upgrade,
};
use crate::failure::Failure;

/// All tests that run in the bed, in their order.
pub(super) fn tests() -> Result<Vec<Test>, Failure> {
    let mut tests = in_dom0::tests()?;
    tests.extend(without_in_dom0());
    Ok(tests)
}

/// The same without the tests of crate `in-dom0`, whose names only its program tells.
pub(super) fn without_in_dom0() -> Vec<Test> {
    let mut tests = control::tests();
    tests.extend(block::tests());
    tests.extend(soak_block::tests());
    tests.extend(lifecycle::tests());
    tests.extend(starts::tests());
    tests.extend(placement::tests());
    tests.extend(plain_xl::tests());
    tests.extend(shipped::tests());
    tests.extend(pages::tests());
    tests.extend(refusals::tests());
    tests.extend(kills::tests());
    tests.extend(upgrade::tests());
    tests.extend(hostile::tests());
    tests.extend(sandbox::tests());
    // The last of them ruins its boot.
    tests.extend(faults::tests());
    tests
}
