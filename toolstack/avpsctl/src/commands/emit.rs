//! `avpsctl emit`: a document in another program's language.

use std::fs;

use platform::emit::{cmdline, dom0less, kconfig, libxl_json, partial, report, svg, uboot, xl};
use platform::plan::Module;
use platform::{Files, HostFiles, Plan};
use serde_json::json;

use super::Context;
use super::document::{Loaded, Waivers, in_document, load};
use crate::cli::{EmitArgs, Language};
use crate::error::{Error, Result};
use crate::ramdisks::Ramdisks;

/// A file as it would be written.
struct Emitted {
    name: String,
    content: Content,
}

enum Content {
    Text(String),
    Binary(Vec<u8>),
}

impl Emitted {
    fn text(name: impl Into<String>, text: String) -> Self {
        Emitted {
            name: name.into(),
            content: Content::Text(text),
        }
    }

    fn binary(name: impl Into<String>, bytes: Vec<u8>) -> Self {
        Emitted {
            name: name.into(),
            content: Content::Binary(bytes),
        }
    }
}

/// `avpsctl emit`.
pub(super) fn emit(context: &Context, args: &EmitArgs) -> Result<()> {
    if args.language.is_binary() && args.output.is_none() {
        return Err(Error::Usage(
            "what this language gives is no text; name a folder for it: --output DIR".to_owned(),
        ));
    }
    let (loaded, mut plan) = load(context, &args.document, Waivers::Expire)?;
    if let Some(name) = &args.domain {
        if !args.language.is_per_domain() {
            return Err(Error::Usage(
                "this language describes the whole platform; leave --domain out".to_owned(),
            ));
        }
        let domain = in_document(&plan, name)?.clone();
        plan.domains = vec![domain];
    }
    let mut made = context.ramdisks();
    if let Some(program) = &args.backend {
        if args.language != Language::Ramdisk {
            return Err(Error::Usage(
                "only ramdisks are made of avps-backend; leave --backend out".to_owned(),
            ));
        }
        made = made.with_program(program);
    }
    let files = in_language(&loaded, &plan, args.language, &made)?;
    let ui = &context.ui;
    let Some(folder) = &args.output else {
        if args.language == Language::Svg && !ui.json {
            return Err(Error::Usage(
                "svg writes three files: name a folder with --output, or one picture, for example svg-links"
                    .to_owned(),
            ));
        }
        let texts = files.into_iter().filter_map(|file| match file.content {
            Content::Text(text) => Some((file.name, text)),
            Content::Binary(_) => None,
        });
        if ui.json {
            let files: Vec<_> = texts
                .map(|(name, text)| json!({"file_name": name, "text": text}))
                .collect();
            ui.json(&json!({"schema": "avps-emit/1", "files": files}));
        } else {
            let texts: Vec<_> = texts.map(|(_, text)| text).collect();
            ui.raw(&texts.join("\n"));
        }
        return Ok(());
    };
    fs::create_dir_all(folder).map_err(Error::io(format!("creating {}", folder.display())))?;
    for file in files {
        let path = folder.join(file.name);
        let bytes = match file.content {
            Content::Text(text) => text.into_bytes(),
            Content::Binary(bytes) => bytes,
        };
        fs::write(&path, bytes).map_err(Error::io(format!("writing {}", path.display())))?;
        ui.note(&format!("wrote {}", path.display()));
    }
    Ok(())
}

fn in_language(
    loaded: &Loaded,
    plan: &Plan,
    language: Language,
    made: &Ramdisks,
) -> Result<Vec<Emitted>> {
    let sizes: dom0less::Sizes<'_> = &size;
    let name = |ending: &str| format!("{}.{ending}", plan.platform);
    let files = match language {
        Language::Xl => {
            let files = xl::emit(plan).map_err(usage)?.into_iter();
            files
                .map(|file| Emitted::text(file.file_name, file.text))
                .collect()
        }
        Language::LibxlJson => {
            let files = libxl_json::emit(plan).into_iter();
            files
                .map(|file| Emitted::text(file.file_name, format!("{:#}\n", file.config)))
                .collect()
        }
        Language::Dom0lessDts => {
            let base = base(plan)?;
            let source = dom0less::dts(plan, base.as_deref(), sizes).map_err(usage)?;
            vec![Emitted::text(name("dts"), source)]
        }
        Language::Dom0lessDtb => {
            let dtb = dom0less::dtb(plan, &needed_base(plan)?, sizes).map_err(usage)?;
            vec![Emitted::binary(uboot::tree_name(plan), dtb)]
        }
        Language::Dom0lessDtbo => {
            let base = base(plan)?;
            let dtbo = dom0less::dtbo(plan, base.as_deref(), sizes).map_err(usage)?;
            vec![Emitted::binary(name("dtbo"), dtbo)]
        }
        Language::PartialDtb => {
            let trees = partial::emit(plan, &needed_base(plan)?).map_err(usage)?;
            let files = trees.into_iter();
            files
                .map(|file| Emitted::binary(file.file_name, file.dtb))
                .collect()
        }
        Language::Ramdisk => ramdisks(plan, made)?,
        Language::Uboot => vec![Emitted::text("boot.cmd", uboot::emit(plan).map_err(usage)?)],
        Language::Cmdline => vec![Emitted::text("cmdline.txt", cmdline::emit(plan))],
        Language::Kconfig => {
            let fragments = kconfig::emit(plan).into_iter();
            fragments
                .map(|fragment| Emitted::text(fragment.file_name, fragment.text))
                .collect()
        }
        Language::Flask => {
            let policy = super::policy::of_plan(plan)?;
            let contexts = policy.contexts();
            let contexts = contexts.map(|text| Emitted::text(name("contexts"), text));
            let source = Emitted::text(name("te"), policy.source());
            [source].into_iter().chain(contexts).collect()
        }
        Language::Svg => pictures(plan, &["memory", "cpus", "links"]),
        Language::SvgMemory => pictures(plan, &["memory"]),
        Language::SvgCpus => pictures(plan, &["cpus"]),
        Language::SvgLinks => pictures(plan, &["links"]),
        Language::Report => {
            let analysis = &loaded.analysis;
            let text = report::emit(plan, &analysis.findings, &analysis.waived);
            vec![Emitted::text(format!("{}-safety.md", plan.platform), text)]
        }
    };
    Ok(files)
}

/// The ramdisks that the plan leaves to this program, under the names that the plan gives them.
fn ramdisks(plan: &Plan, made: &Ramdisks) -> Result<Vec<Emitted>> {
    let domains: Vec<_> = plan
        .domains
        .iter()
        .filter(|domain| domain.ramdisk_generated)
        .collect();
    if domains.is_empty() {
        return Err(Error::Usage(
            "no driver domain here wants a ramdisk made; each names its own, or \"none\""
                .to_owned(),
        ));
    }
    let archive = made.archive()?;
    let files = domains.into_iter().map(|domain| {
        let path = domain.ramdisk.as_deref().unwrap_or_default();
        let name = path.rsplit('/').next().unwrap_or_default();
        Emitted::binary(name, archive.clone())
    });
    Ok(files.collect())
}

/// Pictures of these subjects.
fn pictures(plan: &Plan, wanted: &[&str]) -> Vec<Emitted> {
    let all = svg::all(plan).into_iter();
    all.filter(|(name, _)| wanted.contains(&name.trim_end_matches(".svg")))
        .map(|(name, picture)| Emitted::text(format!("{}-{name}", plan.platform), picture.svg))
        .collect()
}

fn usage(error: impl std::error::Error) -> Error {
    Error::Usage(error.to_string())
}

/// The machine's device tree, where the document names one.
fn base(plan: &Plan) -> Result<Option<Vec<u8>>> {
    let Some(path) = &plan.machine.device_tree else {
        return Ok(None);
    };
    let bytes = HostFiles.read(path);
    bytes
        .map(Some)
        .map_err(Error::io(format!("reading {path}")))
}

/// The same for a language that cannot do without.
fn needed_base(plan: &Plan) -> Result<Vec<u8>> {
    base(plan)?.ok_or_else(|| {
        Error::Usage(
            "this language is made from the machine's device tree; add [machine] device_tree = \"….dtb\""
                .to_owned(),
        )
    })
}

/// Length of a module's file, if it is on this machine.
fn size(module: &Module) -> Option<u64> {
    let file = fs::metadata(&module.path).ok()?;
    file.is_file().then_some(file.len())
}
