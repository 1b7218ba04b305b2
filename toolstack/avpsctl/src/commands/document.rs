//! Commands on the document alone, and how every command reads one.

use std::fs::{self, File};
use std::io::{ErrorKind, IsTerminal, Read};
use std::path::{Path, PathBuf, absolute};

use platform::host::{Host, check_host};
use platform::{Analysis, Finding, Plan, Report, Severity, Style, rules};

use super::Context;
use crate::cli::{CheckArgs, DocumentArg, EmitArgs, Language};
use crate::error::{Error, Result};
use crate::machine::Machine;
use crate::ui::Ui;

/// A document that was read.
pub(super) struct Loaded {
    /// As the user named it.
    pub(super) name: String,
    /// Absolute path.
    pub(super) path: PathBuf,
    text: String,
    analysis: Analysis,
}

impl Loaded {
    /// Reads and analyses a document.
    pub(super) fn read(path: &Path) -> Result<Loaded> {
        let name = path.display().to_string();
        let wanted = format!("reading {name}");
        let bytes = read_bytes(path)?;
        let path = absolute(path).map_err(Error::io(wanted))?;
        let base = path.parent().and_then(Path::to_str).ok_or_else(|| {
            Error::Usage(format!(
                "the path of {name} is not UTF-8; paths in XenStore have to be"
            ))
        })?;
        let (text, analysis) = match String::from_utf8(bytes) {
            Ok(text) => {
                let analysis = platform::analyse(&text, base);
                (text, analysis)
            }
            Err(error) => not_utf8(&error),
        };
        Ok(Loaded {
            name,
            path: path.clone(),
            text,
            analysis,
        })
    }

    /// Adds findings made on this machine.
    pub(super) fn add(&mut self, findings: Vec<Finding>) {
        for mut finding in findings {
            finding.locate(&self.analysis.spans);
            self.analysis.findings.push(finding);
        }
    }

    /// The plan, or [`Error::Findings`] when there are errors.
    pub(super) fn plan(&self) -> Result<Plan> {
        let errors = self.errors();
        match &self.analysis.plan {
            Some(plan) if errors == 0 => Ok(plan.clone()),
            _ => Err(Error::Findings { errors }),
        }
    }

    fn errors(&self) -> usize {
        let errors = self.analysis.findings.iter();
        errors
            .filter(|finding| finding.severity() == Severity::Error)
            .count()
    }

    /// The findings for programs.
    fn report(&self) -> Report {
        Report::new(&self.name, &self.text, &self.analysis.findings)
    }

    /// The findings for people.
    fn render(&self, color: bool) -> String {
        let style = Style {
            color,
            unicode: locale_is_utf8(),
            width: terminal_width(),
        };
        platform::render(&self.name, &self.text, &self.analysis.findings, style)
    }

    /// Shows findings as a command does whose result is something else: people see them beside the
    /// result, programs only when there is no result.
    pub(super) fn complain(&self, ui: &Ui) {
        if ui.json && self.errors() > 0 {
            ui.json(&self.report());
        }
        if !self.analysis.findings.is_empty() && (!ui.quiet || self.errors() > 0) {
            ui.complaint(&self.render(ui.color_err));
        }
    }
}

/// A file's content, or what the user is to hear.
fn read_bytes(path: &Path) -> Result<Vec<u8>> {
    let wanted = format!("reading {}", path.display());
    read_bounded(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound | ErrorKind::IsADirectory => Error::Usage(format!("{wanted}: {error}")),
        _ => Error::io(wanted)(error),
    })
}

/// A text that is no document yet.
pub(super) fn read_text(path: &Path) -> Result<String> {
    let bytes = read_bytes(path)?;
    let name = path.display();
    if bytes.len() > platform::MAX_DOCUMENT_BYTES {
        return Err(Error::Usage(format!(
            "{name} is too long to be written by people"
        )));
    }
    String::from_utf8(bytes).map_err(|_| Error::Usage(format!("{name} is not UTF-8 text")))
}

fn read_bounded(path: &Path) -> std::io::Result<Vec<u8>> {
    let limit = platform::MAX_DOCUMENT_BYTES as u64 + 1;
    let mut bytes = Vec::new();
    File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn not_utf8(error: &std::string::FromUtf8Error) -> (String, Analysis) {
    let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
    // What was replaced is longer than before, but nothing changed in front of it.
    let at = error.utf8_error().valid_up_to();
    let finding = Finding::new(&rules::SYNTAX, "", "the document is not UTF-8 text")
        .label("not UTF-8")
        .help("save it as UTF-8")
        .span(at..at + '\u{fffd}'.len_utf8());
    let analysis = Analysis {
        plan: None,
        findings: vec![finding],
        spans: platform::SpanMap::default(),
    };
    (text, analysis)
}

pub(super) fn locale_is_utf8() -> bool {
    ["LC_ALL", "LC_CTYPE", "LANG"]
        .into_iter()
        .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
        .is_some_and(|value| {
            let value = value.to_ascii_lowercase();
            value.contains("utf-8") || value.contains("utf8")
        })
}

fn terminal_width() -> usize {
    let stdout = std::io::stdout();
    if !stdout.is_terminal() {
        return 100;
    }
    rustix::termios::tcgetwinsize(&stdout)
        .map_or(80, |size| usize::from(size.ws_col).clamp(40, 120))
}

/// Reads a document and gives its plan; findings are shown.
pub(super) fn load(context: &Context, path: &Path) -> Result<(Loaded, Plan)> {
    let loaded = Loaded::read(path)?;
    loaded.complain(&context.ui);
    let plan = loaded.plan()?;
    Ok((loaded, plan))
}

/// The same, without the domains that Xen itself starts: no command starts or ends them.
pub(super) fn load_startable(context: &Context, path: &Path) -> Result<(Loaded, Plan)> {
    let (loaded, mut plan) = load(context, path)?;
    plan.domains = plan.toolstack().cloned().collect();
    Ok((loaded, plan))
}

/// `avpsctl check`.
pub(super) fn check(context: &Context, args: &CheckArgs) -> Result<()> {
    let ui = &context.ui;
    let mut loaded = Loaded::read(&args.document)?;
    if args.host
        && let Some(plan) = &loaded.analysis.plan
    {
        let host = match Machine::open(false).and_then(|machine| machine.domains.host()) {
            Ok(host) => Host {
                memory_bytes: Some(host.total_memory_kib.saturating_mul(1024)),
            },
            Err(error) => {
                ui.note(&format!("memory is not checked: {error}"));
                Host::default()
            }
        };
        let findings = check_host(plan, &host);
        loaded.add(findings);
    }
    let report = loaded.report();
    if ui.json {
        ui.json(&report);
    } else {
        ui.raw(&loaded.render(ui.color_out));
        if report.findings.is_empty() {
            if !ui.quiet {
                ui.line(&format!("{}: no findings", loaded.name));
            }
        } else {
            let (errors, warnings) = (report.errors, report.warnings);
            ui.line(&format!(
                "{}: {errors} error(s), {warnings} warning(s)",
                loaded.name
            ));
        }
    }
    match report.errors {
        0 => Ok(()),
        errors => Err(Error::Findings { errors }),
    }
}

/// `avpsctl plan`.
pub(super) fn plan(context: &Context, args: &DocumentArg) -> Result<()> {
    let (_, plan) = load(context, &args.document)?;
    context.ui.raw(&plan.to_json());
    Ok(())
}

/// A file that `emit` makes.
struct Emitted {
    file_name: String,
    text: String,
}

/// `avpsctl emit`.
pub(super) fn emit(context: &Context, args: &EmitArgs) -> Result<()> {
    let (_, mut plan) = load(context, &args.document)?;
    if let Some(name) = &args.domain {
        if args.language != Language::Xl {
            let message = "--domain is for xl: every other form shows the platform as a whole";
            return Err(Error::Usage(message.into()));
        }
        let domain = in_document(&plan, name)?.clone();
        plan.domains = vec![domain];
    }
    let files = emitted(&plan, args.language)?;
    let ui = &context.ui;
    match &args.output {
        None if ui.json => {
            let files: Vec<_> = files
                .iter()
                .map(|file| serde_json::json!({"file_name": file.file_name, "text": file.text}))
                .collect();
            ui.json(&serde_json::json!({"schema": "avps-emit/1", "files": files}));
        }
        None if args.language == Language::Svg => {
            let message = "svg writes three files: name a folder with --output, or one picture, \
                           for example svg-links";
            return Err(Error::Usage(message.into()));
        }
        None => {
            let texts: Vec<_> = files.into_iter().map(|file| file.text).collect();
            ui.raw(&texts.join("\n"));
        }
        Some(folder) => {
            fs::create_dir_all(folder)
                .map_err(Error::io(format!("creating {}", folder.display())))?;
            for file in files {
                let path = folder.join(file.file_name);
                fs::write(&path, file.text)
                    .map_err(Error::io(format!("writing {}", path.display())))?;
                ui.note(&format!("wrote {}", path.display()));
            }
        }
    }
    Ok(())
}

fn emitted(plan: &Plan, language: Language) -> Result<Vec<Emitted>> {
    let [memory, cpus, links] = [0, 1, 2];
    let pictures = |wanted: &[usize]| {
        let all = platform::emit::svg::all(plan).into_iter().enumerate();
        all.filter(|(index, _)| wanted.contains(index))
            .map(|(_, (name, picture))| Emitted {
                file_name: format!("{}-{name}", plan.platform),
                text: picture.svg,
            })
            .collect()
    };
    Ok(match language {
        Language::Xl => platform::emit::xl::emit(plan)
            .map_err(|error| Error::Usage(error.to_string()))?
            .into_iter()
            .map(|file| Emitted {
                file_name: file.file_name,
                text: file.text,
            })
            .collect(),
        Language::Svg => pictures(&[memory, cpus, links]),
        Language::SvgMemory => pictures(&[memory]),
        Language::SvgCpus => pictures(&[cpus]),
        Language::SvgLinks => pictures(&[links]),
    })
}

/// The domain of this name in the plan.
pub(super) fn in_document<'a>(
    plan: &'a Plan,
    name: &str,
) -> Result<&'a platform::plan::DomainPlan> {
    plan.domain(name).ok_or_else(|| {
        let known: Vec<_> = plan
            .domains
            .iter()
            .map(|domain| domain.name.as_str())
            .collect();
        Error::NotInDocument {
            name: name.to_owned(),
            known: known.join(", "),
        }
    })
}
