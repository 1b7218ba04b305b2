//! Pictures of a plan as SVG: the physical memory, CPUs and who runs on them, and what ties domains together.
//!
//! A picture is one file: no script, no font or image from elsewhere. It has its own background and follows the viewer's choice of
//! light or dark, tells its content to screen readers (`title`, `desc`), and says nothing by colour alone. Names come from a
//! document and may be anything: they are escaped, measured with care, and cut where there is no room (the whole text stands
//! in a tooltip). The same plan gives the same bytes.

mod canvas;
mod cpus;
mod links;
mod memory;
mod regions;
mod style;
mod text;

pub use canvas::{Picture, TextBox};
pub use cpus::cpus;
pub use links::links;
pub use memory::memory;

use crate::plan::Plan;

/// All pictures, each with a file name.
pub fn all(plan: &Plan) -> [(&'static str, Picture); 3] {
    [
        ("memory.svg", memory(plan)),
        ("cpus.svg", cpus(plan)),
        ("links.svg", links(plan)),
    ]
}
