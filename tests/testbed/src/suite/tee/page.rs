//! What the commands in the mediator's page find when they run.

use super::super::{Context, Outcome};
use super::callers;

/// The mediator runs, with a supplicant.
pub(in super::super) fn prepare(context: &Context) -> Outcome {
    super::super::guests::backend(&context.dom0())?;
    callers::mediator(context)
}
