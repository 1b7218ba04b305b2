//! Makes a policy as Xen loads it, of a plan's rules and Xen's reference policy.
//!
//! What is put together, and in which order, is that of tools/flask/policy/Makefile.common of Xen's source, without MLS.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use platform::flask::MODULES;

use crate::error::{Error, Result};

/// Newest format that Xen reads (`POLICY_VER_LIST_HV` there).
const FORMAT: &str = "30";
/// Sensitivities and categories of MLS: the reference policy names them although it is compiled without.
const MLS: [&str; 4] = ["-D", "mls_num_sens=16", "-D", "mls_num_cats=256"];

/// Compiles `source` and `contexts` on top of the reference policy in `xen`, the folder of Xen's source, and returns the
/// binary policy.
///
/// # Errors
/// [`Error::Usage`] when the folder is not Xen's source, [`Error::PolicyTool`] when m4 or checkpolicy is missing or refuses,
/// with its words.
pub fn compile(xen: &Path, source: &str, contexts: Option<&str>) -> Result<Vec<u8>> {
    let work = tempfile::tempdir().map_err(Error::io("making a folder to work in"))?;
    let write = |name: &str, text: &str| -> Result<PathBuf> {
        let path = work.path().join(name);
        fs::write(&path, text).map_err(Error::io(format!("writing {}", path.display())))?;
        Ok(path)
    };
    let own = write("platform.te", source)?;
    let contexts = contexts
        .map(|text| write("platform.contexts", text))
        .transpose()?;
    let sections = sections(xen, own, contexts)?;
    let expanded = tool(
        Command::new("m4")
            .args(["-D", "self_contained_policy", "-s"])
            .args(MLS)
            .args(sections),
    )?;
    let whole = work.path().join("policy.conf");
    fs::write(&whole, expanded.stdout)
        .map_err(Error::io(format!("writing {}", whole.display())))?;
    let binary = work.path().join("xenpolicy");
    tool(
        Command::new("checkpolicy")
            .args(["-t", "Xen", "-c", FORMAT, "-o"])
            .args([&binary, &whole]),
    )?;
    fs::read(&binary).map_err(Error::io(format!("reading {}", binary.display())))
}

/// The files of a policy in their order.
fn sections(xen: &Path, own: PathBuf, contexts: Option<PathBuf>) -> Result<Vec<PathBuf>> {
    let hypervisor = xen.join("xen/xsm/flask/policy");
    let tools = xen.join("tools/flask/policy");
    let policy = tools.join("policy");
    let modules = tools.join("modules");
    let mut files = vec![
        hypervisor.join("security_classes"),
        policy.join("security_classes"),
        hypervisor.join("initial_sids"),
        hypervisor.join("access_vectors"),
        policy.join("access_vectors"),
    ];
    files.extend(macros(&policy.join("support"))?);
    files.push(policy.join("mls"));
    files.push(modules.join("xen.if"));
    files.push(policy.join("global_tunables"));
    files.extend(MODULES.map(|module| modules.join(format!("{module}.te"))));
    files.push(own);
    let last = ["users", "initial_sids", "device_contexts"];
    files.extend(last.map(|name| policy.join(name)));
    files.extend(contexts);
    match files.iter().find(|file| !file.is_file()) {
        Some(missing) => Err(not_xen(missing)),
        None => Ok(files),
    }
}

/// The macros' files, by name.
fn macros(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).map_err(|_| not_xen(folder))?;
    let mut files: Vec<PathBuf> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "spt"))
        .collect();
    files.sort();
    Ok(files)
}

fn not_xen(missing: &Path) -> Error {
    Error::Usage(format!(
        "--xen-source has to name the folder of Xen's source: there is no {}",
        missing.display()
    ))
}

/// Runs a tool to its end.
fn tool(command: &mut Command) -> Result<Output> {
    let name = command.get_program().to_string_lossy().into_owned();
    let failed = |said: String| Error::PolicyTool {
        tool: name.clone(),
        said,
    };
    let output = command.output().map_err(|error| {
        failed(match error.kind() {
            io::ErrorKind::NotFound => "is not installed".to_owned(),
            _ => format!("cannot be started: {error}"),
        })
    })?;
    if output.status.success() {
        return Ok(output);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(failed(format!("refuses: {}", said.trim())))
}

#[cfg(test)]
mod tests {
    use super::compile;
    use crate::error::{Error, Exit};

    #[test]
    fn a_folder_that_is_not_xens_source_is_named_with_what_it_lacks() {
        let folder = tempfile::tempdir().unwrap();
        let error = compile(folder.path(), "", None).unwrap_err();
        assert!(
            matches!(&error, Error::Usage(said) if said.contains("policy/support")),
            "{error}"
        );
        assert_eq!(error.exit(), Exit::Usage);
    }
}
