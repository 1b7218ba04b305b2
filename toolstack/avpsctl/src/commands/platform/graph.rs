//! `avpsctl platform graph`.

use platform::graph::{Graph, dot, tree};

use super::super::Context;
use super::super::document::{Waivers, load, locale_is_utf8};
use crate::cli::{GraphArgs, GraphFormat};
use crate::error::Result;

pub(super) fn graph(context: &Context, args: &GraphArgs) -> Result<()> {
    let (_, plan) = load(context, &args.document, Waivers::Hold)?;
    let ui = &context.ui;
    if args.svg {
        ui.raw(&platform::emit::svg::links(&plan).svg);
        return Ok(());
    }
    let graph = Graph::of(&plan);
    match args.format {
        _ if ui.json => ui.json(&graph),
        GraphFormat::Tree => ui.raw(&tree(&graph, locale_is_utf8())),
        GraphFormat::Dot => ui.raw(&dot(&graph)),
    }
    Ok(())
}
