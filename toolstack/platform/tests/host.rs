//! What a plan needs of this machine's files and memory.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::Path;

use platform::host::{Host, check_host};
use platform::{Finding, analyse};

fn document(extra: &str) -> String {
    format!(
        "schema = \"avps/1\"\n[platform]\nname = \"d\"\n[[domain]]\nname = \"a\"\n\
         kernel = \"Image\"\nramdisk = \"rd\"\nmemory = \"64MiB\"\n{extra}"
    )
}

fn good_files(folder: &Path) {
    fs::write(folder.join("Image"), "kernel").expect("written");
    fs::write(folder.join("rd"), "ramdisk").expect("written");
    image(folder, "a.img", 1024 * 1024);
}

fn image(folder: &Path, name: &str, bytes: u64) {
    let file = File::create(folder.join(name)).expect("created");
    file.set_len(bytes).expect("sized");
}

fn findings(folder: &Path, text: &str, host: Host) -> Vec<Finding> {
    let base = folder.to_str().expect("UTF-8");
    let analysis = analyse(text, base);
    let plan = analysis
        .plan
        .unwrap_or_else(|| panic!("{:?}", analysis.findings));
    let mut findings = check_host(&plan, &host);
    for finding in &mut findings {
        finding.locate(&analysis.spans);
        assert!(finding.span.is_some());
    }
    findings
}

fn only(findings: &[Finding]) -> (&'static str, &str) {
    assert_eq!(findings.len(), 1, "{findings:#?}");
    (findings[0].rule.id, &findings[0].message)
}

const BLOCK: &str = "[[domain.block]]\nimage = \"a.img\"\n";

#[test]
fn a_machine_with_everything_in_place_has_no_finding() {
    let dir = tempfile::tempdir().expect("temporary folder");
    good_files(dir.path());
    let host = Host {
        memory_bytes: Some(64 << 20),
    };
    assert!(findings(dir.path(), &document(BLOCK), host).is_empty());
}

#[test]
fn a_missing_kernel_ramdisk_or_image_is_named() {
    for (file, id) in [
        ("Image", "AVPS0301"),
        ("rd", "AVPS0302"),
        ("a.img", "AVPS0303"),
    ] {
        let dir = tempfile::tempdir().expect("temporary folder");
        good_files(dir.path());
        fs::remove_file(dir.path().join(file)).expect("removed");
        let found = findings(dir.path(), &document(BLOCK), Host::default());
        let (found_id, message) = only(&found);
        assert_eq!(found_id, id);
        assert!(message.contains("does not exist"), "{message}");
    }
}

#[test]
fn a_missing_partial_device_tree_is_named_and_an_image_of_another_domain_is_not_looked_for() {
    let dir = tempfile::tempdir().expect("temporary folder");
    good_files(dir.path());
    let text = document(&format!("device_tree = \"rtc.dtb\"\n{BLOCK}"));
    let found = findings(dir.path(), &text, Host::default());
    assert_eq!(only(&found).0, "AVPS0306");

    fs::remove_file(dir.path().join("a.img")).expect("removed");
    let served = format!(
        "{}backend = \"storage\"\n[[domain]]\nname = \"storage\"\nkind = \"driver\"\nkernel = \"Image\"\nmemory = \"64MiB\"\n\
         [xen]\nflask = \"enforcing\"\n",
        document(BLOCK)
    );
    let found = findings(dir.path(), &served, Host::default());
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn an_image_that_does_not_end_on_a_block_is_refused() {
    let dir = tempfile::tempdir().expect("temporary folder");
    good_files(dir.path());
    image(dir.path(), "a.img", 1000);
    let found = findings(dir.path(), &document(BLOCK), Host::default());
    assert_eq!(only(&found).0, "AVPS0304");
    assert!(
        found[0].help.contains("truncate -s 1024 "),
        "{}",
        found[0].help
    );

    image(dir.path(), "a.img", 512 * 3);
    assert!(findings(dir.path(), &document(BLOCK), Host::default()).is_empty());
    let large_blocks = document(&format!("{BLOCK}block_size = 4096\n"));
    assert_eq!(
        only(&findings(dir.path(), &large_blocks, Host::default())).0,
        "AVPS0304"
    );
}

#[test]
fn an_image_that_is_empty_a_folder_or_a_pipe_is_refused_without_waiting() {
    let dir = tempfile::tempdir().expect("temporary folder");
    good_files(dir.path());
    let text = document(BLOCK);
    let path = dir.path().join("a.img");
    let refused = |reason: &str| {
        let found = findings(dir.path(), &text, Host::default());
        let (id, message) = only(&found);
        assert_eq!(id, "AVPS0303");
        assert!(message.contains(reason), "{message}");
    };
    image(dir.path(), "a.img", 0);
    refused("is empty");
    fs::remove_file(&path).expect("removed");
    fs::create_dir(&path).expect("created");
    refused("neither a file nor a block device");
    fs::remove_dir(&path).expect("removed");
    let status = std::process::Command::new("mkfifo").arg(&path).status();
    assert!(status.expect("mkfifo is part of coreutils").success());
    refused("neither a file nor a block device");
}

#[test]
fn more_memory_than_the_machine_has_is_refused_and_the_largest_domain_shown() {
    let dir = tempfile::tempdir().expect("temporary folder");
    good_files(dir.path());
    let second = "[[domain]]\nname = \"b\"\nkernel = \"Image\"\nmemory = \"2GiB\"\n";
    let host = Host {
        memory_bytes: Some(1 << 30),
    };
    let found = findings(dir.path(), &document(second), host);
    let (id, message) = only(&found);
    assert_eq!(id, "AVPS0305");
    assert!(
        message.contains("2112MiB") && message.contains("1GiB"),
        "{message}"
    );
    assert_eq!(found[0].at, "domain[1].memory");
}

#[test]
fn one_image_written_under_two_names_is_found() {
    let dir = tempfile::tempdir().expect("temporary folder");
    good_files(dir.path());
    symlink("a.img", dir.path().join("b.img")).expect("linked");
    let text = document(&format!("{BLOCK}[[domain.block]]\nimage = \"b.img\"\n"));
    let found = findings(dir.path(), &text, Host::default());
    assert_eq!(only(&found).0, "AVPS0205");
}
