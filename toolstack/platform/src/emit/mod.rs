//! A plan in the languages of other programs. Emitters see only the plan.

pub mod svg;
pub mod xl;
