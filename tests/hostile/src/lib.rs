//! A hostile virtio driver against the real engine and a real block device, on a played Xen.
//!
//! - [`trials`]: one thing is wrong, and what must come of it is known;
//! - [`chaos`]: anything at any time, while a second thread rewrites rings and buffers;
//! - [`neighbour`]: another guest that must notice nothing;
//! - [`attack`]: one seed of all that, and what must hold after it;
//! - [`coverage`]: every refusal in the source must have been reached;
//! - [`mutants`]: with any validation removed, the attack must fail.
//!
//! Everything but the interleaving of threads follows from the seed.

pub mod attack;
pub mod chaos;
pub mod choices;
pub mod counts;
pub mod coverage;
pub mod lab;
pub mod machine;
pub mod mutants;
pub mod neighbour;
pub mod run;
pub mod trials;
