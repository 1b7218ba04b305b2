//! `avpsctl policy …`.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use platform::Plan;
use platform::flask::classes::{RELEASE, meaning};
use platform::flask::{CONTROL, Policy, Rule, label_of, type_of};
use platform::words::Flask as Mode;
use serde_json::json;
use xen::flask::Sid;
use xen::{Flask, PrivCmd};

use super::Context;
use super::document::{Waivers, in_document, load};
use crate::cli::{BuildArgs, DocumentArg, ExplainArgs, LoadArgs, PolicyCommand};
use crate::error::{Error, Result};
use crate::policy;

/// `avpsctl policy`.
pub(super) fn policy(context: &Context, command: &PolicyCommand) -> Result<()> {
    match command {
        PolicyCommand::Show(args) => show(context, args),
        PolicyCommand::Explain(args) => explain(context, args),
        PolicyCommand::Build(args) => build(context, args),
        PolicyCommand::Load(args) => load_policy(context, args),
        PolicyCommand::Check(args) => check(context, args),
    }
}

/// The plan of a document that has a policy, and the policy.
fn of(context: &Context, document: &Path, waivers: Waivers) -> Result<(Plan, Policy)> {
    let (_, plan) = load(context, document, waivers)?;
    let policy = of_plan(&plan)?;
    Ok((plan, policy))
}

/// The policy of a plan that has one.
pub(super) fn of_plan(plan: &Plan) -> Result<Policy> {
    match plan.xen.flask {
        Some(_) => Ok(Policy::of(plan)),
        None => Err(Error::Usage(
            "this platform has no FLASK: write flask = \"enforcing\" into [xen]".to_owned(),
        )),
    }
}

fn show(context: &Context, args: &DocumentArg) -> Result<()> {
    let (plan, policy) = of(context, &args.document, Waivers::Expire)?;
    let ui = &context.ui;
    if ui.json {
        let types = policy.types.iter();
        let types: Vec<_> = types
            .map(|(domain, of_type)| json!({"domain": domain, "type": of_type}))
            .collect();
        let rules: Vec<_> = policy.rules.iter().map(rule_json).collect();
        ui.json(&json!({
            "schema": "avps-policy/1", "platform": plan.platform, "types": types, "rules": rules,
        }));
        return Ok(());
    }
    let mut table = ui.table(&["WHO", "MAY", "TO", "FOR DOMAIN, SO THAT"]);
    for rule in &policy.rules {
        table.add_row([
            end(&policy, &rule.source),
            format!("{} {}", rule.class, rule.permissions.join(" ")),
            end(&policy, &rule.target),
            because(rule),
        ]);
    }
    ui.show(&table);
    Ok(())
}

fn rule_json(rule: &Rule) -> serde_json::Value {
    json!({
        "domain": rule.domain, "need": rule.need.words(), "source": rule.source, "target": rule.target,
        "class": rule.class, "permissions": rule.permissions,
    })
}

/// Whose a type is, in words.
fn end(policy: &Policy, of_type: &str) -> String {
    let plain = of_type.strip_suffix("_channel").unwrap_or(of_type);
    let plain = plain.strip_suffix("_device").unwrap_or(plain);
    let name = match policy.domain_of(plain) {
        Some(name) => name,
        None if plain == CONTROL => "dom0",
        None => plain,
    };
    match of_type {
        of_type if of_type.ends_with("_channel") => format!("channels of {name}"),
        of_type if of_type.ends_with("_device") => format!("devices of {name}"),
        _ => name.to_owned(),
    }
}

/// Why a rule is there; "it" is the domain named first.
fn because(rule: &Rule) -> String {
    format!("{}: {}", rule.domain, rule.need.words())
}

fn explain(context: &Context, args: &ExplainArgs) -> Result<()> {
    let (plan, policy) = of(context, &args.document, Waivers::Expire)?;
    let of_domain = |name: &str| -> Result<String> {
        if name == "dom0" || plan.control().is_some_and(|control| control.name == name) {
            return Ok(CONTROL.to_owned());
        }
        Ok(type_of(&in_document(&plan, name)?.name))
    };
    let who = of_domain(&args.who)?;
    let whom = args.whom.as_deref().map(of_domain).transpose()?;
    let is = |of_type: &str, wanted: &str| {
        of_type == wanted
            || of_type
                .strip_prefix(wanted)
                .is_some_and(|rest| rest == "_channel" || rest == "_device")
    };
    let rules = policy.rules.iter().filter(|rule| {
        is(&rule.source, &who) && whom.as_ref().is_none_or(|whom| is(&rule.target, whom))
    });
    let rights: Vec<_> = rules
        .flat_map(|rule| {
            rule.permissions
                .iter()
                .map(move |permission| (rule, *permission))
        })
        .collect();
    let ui = &context.ui;
    if ui.json {
        let rights: Vec<_> = rights
            .iter()
            .map(|(rule, permission)| {
                json!({
                    "to": end(&policy, &rule.target), "what": meaning(rule.class, permission),
                    "permission": permission, "class": rule.class, "because": because(rule),
                })
            })
            .collect();
        ui.json(&json!({"schema": "avps-policy-explain/1", "who": args.who, "rights": rights}));
        return Ok(());
    }
    if rights.is_empty() {
        let to = args.whom.as_deref().unwrap_or("anybody");
        ui.line(&format!("{} may do nothing to {to}", args.who));
        return Ok(());
    }
    let mut before = None;
    for (rule, permission) in rights {
        let to = end(&policy, &rule.target);
        let head = (to.clone(), because(rule));
        if before.as_ref() != Some(&head) {
            ui.line(&format!("{} to {to}, for {}:", args.who, head.1));
            before = Some(head);
        }
        let what = meaning(rule.class, permission);
        ui.line(&format!("  may {what} ({} {permission})", rule.class));
    }
    ui.line("Everything else between these domains is refused.");
    Ok(())
}

fn build(context: &Context, args: &BuildArgs) -> Result<()> {
    let is_source = args
        .document
        .extension()
        .is_some_and(|ending| ending == "te");
    let (source, contexts) = if is_source {
        edited(&args.document)?
    } else {
        let (_, policy) = of(context, &args.document, Waivers::Expire)?;
        (policy.source(), policy.contexts())
    };
    let binary = policy::compile(&args.xen_source, &source, contexts.as_deref())?;
    write_whole(&args.output, &binary)?;
    context.ui.note(&format!(
        "wrote {} ({} bytes)",
        args.output.display(),
        binary.len()
    ));
    Ok(())
}

/// A policy's source as somebody left it, and the labels beside it.
fn edited(path: &Path) -> Result<(String, Option<String>)> {
    let read = |path: &Path| {
        fs::read_to_string(path).map_err(Error::io(format!("reading {}", path.display())))
    };
    let contexts = path.with_extension("contexts");
    let contexts = contexts.is_file().then(|| read(&contexts)).transpose()?;
    Ok((read(path)?, contexts))
}

/// Writes a file whole, or not at all.
fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let failed = || format!("writing {}", path.display());
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder.to_path_buf(),
        _ => PathBuf::from("."),
    };
    let mut file = tempfile::Builder::new()
        .permissions(fs::Permissions::from_mode(0o666))
        .tempfile_in(folder)
        .map_err(Error::io(failed()))?;
    file.write_all(bytes).map_err(Error::io(failed()))?;
    file.as_file().sync_all().map_err(Error::io(failed()))?;
    file.persist(path)
        .map(drop)
        .map_err(|error| Error::io(failed())(error.error))
}

fn flask() -> Result<(PrivCmd, Flask, bool)> {
    let privcmd = PrivCmd::open().map_err(|error| match error {
        xen::Error::Open { device, source, .. }
            if source.kind() != std::io::ErrorKind::PermissionDenied =>
        {
            Error::NotDom0 { device }
        }
        error => Error::Xen(error.to_string()),
    })?;
    let flask = Flask::new(privcmd.clone());
    let enforcing = flask.enforcing().map_err(refused)?;
    let enforcing = enforcing.ok_or(Error::NoFlask)?;
    Ok((privcmd, flask, enforcing))
}

/// Refuses to start domains of a plan under another policy than its own, as far as that is seen at a glance: their types are
/// known, and refusals are carried out. `policy check` asks about everything.
pub(super) fn in_force(plan: &Plan) -> Result<()> {
    let Some(mode) = plan.xen.flask else {
        return Ok(());
    };
    let (_, flask, enforcing) = flask()?;
    if mode == Mode::Enforcing && !enforcing {
        return Err(Error::NotEnforcing);
    }
    let unknown = plan
        .toolstack()
        .map(|domain| domain.name.as_str())
        .find_map(|name| match sid(&flask, &label_of(name)) {
            Ok(Some(_)) => None,
            Ok(None) => Some(Error::NoType(name.to_owned())),
            Err(error) => Some(error),
        });
    unknown.map_or(Ok(()), Err)
}

fn refused(error: xen::Error) -> Error {
    Error::Xen(error.to_string())
}

fn load_policy(context: &Context, args: &LoadArgs) -> Result<()> {
    let name = args.policy.display().to_string();
    let bytes = fs::read(&args.policy).map_err(Error::io(format!("reading {name}")))?;
    let (_, flask, enforcing) = flask()?;
    flask.load(&bytes).map_err(|error| match error.errno() {
        Some(code) if code == rustix::io::Errno::INVAL.raw_os_error() => {
            Error::NotAPolicy(name.clone())
        }
        _ => refused(error),
    })?;
    let ui = &context.ui;
    if ui.json {
        ui.json(&json!({"schema": "avps-policy-load/1", "policy": name, "enforcing": enforcing}));
    } else {
        ui.note(&format!("Xen has taken {name}"));
    }
    if !enforcing {
        ui.note(
            "Xen does not enforce it: it was booted with flask=permissive and logs denials only",
        );
    }
    Ok(())
}

fn check(context: &Context, args: &DocumentArg) -> Result<()> {
    let (plan, policy) = of(context, &args.document, Waivers::Hold)?;
    let (privcmd, flask, enforcing) = flask()?;
    let version = privcmd.xen_version().map_err(refused)?;
    if (version.major, version.minor) != RELEASE {
        let (major, minor) = RELEASE;
        return Err(Error::Xen(format!(
            "this is Xen {version}; how permissions are numbered is known of Xen {major}.{minor} only"
        )));
    }
    let mut questions = 0_u32;
    let mut sids = BTreeMap::new();
    let differences = policy::compare(&policy, |source, target, class| {
        questions += 1;
        for context in [source, target] {
            if !sids.contains_key(context) {
                sids.insert(context.to_owned(), sid(&flask, context)?);
            }
        }
        let known = |context: &str| sids.get(context).copied().flatten();
        let pair = known(source).zip(known(target));
        let ask = |(source, target)| flask.allowed(source, target, class);
        pair.map(ask).transpose().map_err(refused)
    })?;
    let too_lax = plan.xen.flask == Some(Mode::Enforcing) && !enforcing;
    let ui = &context.ui;
    if ui.json {
        ui.json(&json!({
            "schema": "avps-policy-check/1", "platform": plan.platform, "enforcing": enforcing,
            "questions": questions, "differences": differences,
        }));
    } else {
        for difference in &differences {
            let (who, whom) = (
                end(&policy, &difference.source),
                end(&policy, &difference.target),
            );
            for (what, sign, word) in [
                (&difference.missing, '-', "may not, and has to"),
                (&difference.beyond, '+', "may, and need not"),
            ] {
                if !what.is_empty() {
                    let what = what.join(" ");
                    ui.line(&format!(
                        "{sign} {who} {word}, to {whom}: {} {what}",
                        difference.class
                    ));
                }
            }
        }
        if too_lax {
            ui.line("+ everybody may everything: Xen logs denials only (flask=permissive)");
        } else if differences.is_empty() {
            ui.line(&format!(
                "Xen enforces what {} needs and nothing else ({questions} questions)",
                plan.platform
            ));
        }
    }
    match differences.len() + usize::from(too_lax) {
        0 => Ok(()),
        count => Err(Error::PolicyDiffers(count)),
    }
}

/// The number of a context; none when the running policy does not know it.
fn sid(flask: &Flask, context: &str) -> Result<Option<Sid>> {
    match flask.sid(context) {
        Ok(sid) => Ok(Some(sid)),
        Err(error) if error.errno() == Some(rustix::io::Errno::INVAL.raw_os_error()) => Ok(None),
        Err(error) => Err(refused(error)),
    }
}
