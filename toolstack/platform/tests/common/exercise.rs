//! Everything that is ever done with a document's text, for tests that throw texts at it. The fuzz target includes this file too.

use platform::import::{Source, import};
use platform::migrate::migrate;
use platform::{Analysis, Files, NoFiles, Plan, Style, analyse_in, emit, render};

/// A machine whose only file is its device tree.
struct Machine<'a>(&'a [u8]);

impl Files for Machine<'_> {
    fn read(&self, _path: &str) -> std::io::Result<Vec<u8>> {
        Ok(self.0.to_vec())
    }
}

/// Reads, checks, shows and emits a text, once without files and once on a machine with this device tree.
///
/// # Panics
/// If anything in it does, or a promise about every text is broken.
pub(crate) fn exercise(text: &str, machine: &[u8]) {
    for files in [&NoFiles as &dyn Files, &Machine(machine)] {
        let analysis = analyse_in(text, "/base", files);
        show(text, &analysis);
        assert_eq!(analysis.plan.is_none(), analysis.has_errors());
        let Some(plan) = analysis.plan else { continue };
        let again = analyse_in(text, "/base", files).plan.expect("as before");
        assert_eq!(plan.to_json(), again.to_json(), "the same plan");
        assert!(platform::diff::diff(&plan, &again).is_empty());
        platform::graph::Graph::of(&plan);
        emit::report::emit(&plan, &analysis.findings, &analysis.waived);
        emit_all(&plan, machine);
    }
    let _ = migrate(text);
    let (name, platform) = ("a.cfg", "imported");
    let _ = import(platform, &[Source { name, text }]);
}

/// Findings in all their forms; each stands on a place of the text, if anywhere.
fn show(text: &str, analysis: &Analysis) {
    for unicode in [false, true] {
        let style = Style {
            color: unicode,
            unicode,
            width: 60,
        };
        render("doc", text, &analysis.findings, style);
    }
    platform::Report::new("doc", text, &analysis.findings);
    platform::sarif("doc", text, &analysis.findings, &analysis.waived);
}

fn emit_all(plan: &Plan, machine: &[u8]) {
    if let Ok(configs) = emit::xl::emit(plan) {
        for config in configs {
            let (name, text) = (config.file_name.as_str(), config.text.as_str());
            import("imported", &[Source { name, text }]).expect("our own xl is xl");
        }
    }
    let _ = emit::uboot::emit(plan);
    emit::libxl_json::emit(plan);
    emit::kconfig::emit(plan);
    emit::cmdline::emit(plan);
    emit::svg::all(plan);
    let _ = emit::partial::emit(plan, machine);
    let _ = emit::dom0less::dtbo(plan, None, &|_| None);
    let _ = emit::dom0less::dts(plan, None, &|_| None);
    if let Ok(blob) = emit::dom0less::dtb(plan, machine, &|_| Some(4096)) {
        assert!(platform::device_tree::facts(&blob).is_ok(), "a whole tree");
    }
}
