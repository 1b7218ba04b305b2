//! What Xen accepts, and what its guests then have.

use super::{Case, Sketch, accepted};

pub(super) fn cases() -> Vec<Case> {
    vec![
        accepted("plain", "one-domain", Sketch::of(1)),
        accepted("plain", "two-domains", Sketch::of(2)),
    ]
}
