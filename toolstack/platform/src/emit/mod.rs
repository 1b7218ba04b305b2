//! A plan in the languages of other programs. Emitters see only the plan, and where a language needs it the machine's
//! device tree.

pub mod cmdline;
pub mod dom0less;
pub mod kconfig;
pub mod libxl_json;
pub mod partial;
mod pools;
pub mod report;
pub mod svg;
mod tree;
pub mod uboot;
pub mod xl;
