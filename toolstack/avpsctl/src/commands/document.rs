//! Commands on the document alone, and how every command reads one.

use std::fs::File;
use std::io::{ErrorKind, IsTerminal, Read};
use std::path::{Path, absolute};
use std::time::{SystemTime, UNIX_EPOCH};

use platform::host::{Host, check_host};
use platform::plan::{Console, DomainPlan};
use platform::units::Date;
use platform::{Analysis, Finding, HostFiles, Options, Plan, Report, Severity, Style, rules};

use super::Context;
use crate::cli::{CheckArgs, DocumentArg};
use crate::error::{Error, Result};
use crate::ui::Ui;

/// A document that was read.
pub(super) struct Loaded {
    /// As the user named it.
    pub(super) name: String,
    pub(super) text: String,
    pub(super) analysis: Analysis,
}

/// Whether waivers expire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waivers {
    /// They do: what is judged at a desk, or in continuous integration.
    Expire,
    /// They do not: a vehicle must not stop starting its domains because a day has come.
    Hold,
}

impl Loaded {
    /// Reads and analyses a document.
    pub(super) fn read(path: &Path, waivers: Waivers) -> Result<Loaded> {
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
                let today = (waivers == Waivers::Expire).then(today);
                let analysis = platform::analyse_with(&text, base, &HostFiles, Options { today });
                (text, analysis)
            }
            Err(error) => not_utf8(&error),
        };
        Ok(Loaded {
            name,
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
        let Loaded {
            name,
            text,
            analysis,
            ..
        } = self;
        Report::new(name, text, &analysis.findings).with_waived(text, &analysis.waived)
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

/// The day, in UTC; the first one of all for a clock that stands before 1970.
fn today() -> Date {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    Date::from_days(since.map_or(0, |since| since.as_secs() / 86_400))
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
        waived: Vec::new(),
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
pub(super) fn load(context: &Context, path: &Path, waivers: Waivers) -> Result<(Loaded, Plan)> {
    let loaded = Loaded::read(path, waivers)?;
    loaded.complain(&context.ui);
    let plan = loaded.plan()?;
    Ok((loaded, plan))
}

/// The same, without the domains that Xen itself starts: no command starts or ends them.
pub(super) fn load_startable(context: &Context, path: &Path) -> Result<(Loaded, Plan)> {
    let (loaded, mut plan) = load(context, path, Waivers::Hold)?;
    plan.domains = plan.toolstack().cloned().collect();
    Ok((loaded, plan))
}

/// Whether this program can start these domains as they are described. It gives up before anything is started: a domain
/// without what its document gives it is not the one that was checked.
pub(super) fn can_be_started(domains: &[DomainPlan]) -> Result<()> {
    for domain in domains {
        if let Some((key, why)) = not_given(domain) {
            return Err(Error::Usage(format!(
                "domain \"{}\" cannot be started as it is described: {key}: {why}",
                domain.name
            )));
        }
    }
    Ok(())
}

/// The first key of a domain that libxl cannot express: why, and what can be done.
fn not_given(domain: &DomainPlan) -> Option<(&'static str, &'static str)> {
    let keys = [
        (
            domain.arinc653_runtime_us.is_some(),
            "arinc653",
            "libxl has no call that sets ARINC653's time table (libxenctrl has one, xc_sched_arinc653_schedule_set), and without \
             a slot the domain never runs; use another scheduler",
        ),
        (
            domain.console == Console::None,
            "console",
            "libxl gives every domain a paravirtual console; use \"pv\" or \"vpl011\"",
        ),
    ];
    let unused = keys.into_iter().find(|(used, ..)| *used);
    unused.map(|(_, key, why)| (key, why))
}

/// `avpsctl check`.
pub(super) fn check(context: &Context, args: &CheckArgs) -> Result<()> {
    let ui = &context.ui;
    if args.sarif && ui.json {
        // clap sees a conflict only behind the name of the command.
        let message = "--sarif and --json are two forms of the same: choose one";
        return Err(Error::Usage(message.to_owned()));
    }
    let mut loaded = Loaded::read(&args.document, Waivers::Expire)?;
    if args.host
        && let Some(plan) = &loaded.analysis.plan
    {
        let host = match context.machine().and_then(|machine| machine.domains.host()) {
            Ok(host) => Host {
                memory_bytes: Some(host.total_memory_kib.saturating_mul(1024)),
            },
            Err(error) => {
                ui.note(&format!("memory is not checked: {error}"));
                Host::default()
            }
        };
        let mut findings = check_host(plan, &host);
        findings.extend(context.ramdisks().findings(plan));
        loaded.add(findings);
    }
    let report = loaded.report();
    if args.sarif {
        let Loaded {
            name,
            text,
            analysis,
            ..
        } = &loaded;
        ui.json_text(&platform::sarif(
            name,
            text,
            &analysis.findings,
            &analysis.waived,
        ));
    } else if ui.json {
        ui.json(&report);
    } else {
        ui.rendered(&loaded.render(ui.color_out));
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
        if !report.waived.is_empty() && !ui.quiet {
            let waived = report.waived.len();
            ui.line(&format!("{}: {waived} finding(s) waived", loaded.name));
        }
    }
    match report.errors {
        0 => Ok(()),
        errors => Err(Error::Findings { errors }),
    }
}

/// `avpsctl plan`.
pub(super) fn plan(context: &Context, args: &DocumentArg) -> Result<()> {
    let (_, plan) = load(context, &args.document, Waivers::Expire)?;
    context.ui.json_text(&plan.to_json());
    Ok(())
}

/// The domain of this name in the plan.
pub(super) fn in_document<'a>(plan: &'a Plan, name: &str) -> Result<&'a DomainPlan> {
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
