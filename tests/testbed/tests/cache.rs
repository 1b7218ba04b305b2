//! The cache as a user meets it: the real xtask, with apt, make and dpkg-deb replaced by small scripts.
//!
//! What the scripts stand for is Debian's archive and a long build; everything between them is real:
//! locks, keys, manifests, downloads (apt's own downloader, from `copy:`), signals.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// What `apt-cache` answers.
const APT_CACHE: &str = r#"
case "$*" in
*showsrc*) for v in 4.20.3-1 4.20.4-1; do printf 'Package: xen\nVersion: %s\n\n' $v; done ;;
*madison*) echo 'xen-hypervisor-4.20-arm64 | 4.20.3-1 | http://x/debian trixie/main arm64 Packages' ;;
esac
"#;

/// `update` leaves an index behind; files of 4.20.4 are listed but gone, as it happens when an archive moves on.
const APT_GET: &str = r#"
echo "apt-get $*" >> "$ROOT/calls"
test ! -e "$ROOT/offline" || exit 100
list() { echo "'copy:$ROOT/archive/$1' $1 $(stat -c %s "$ROOT/archive/$2") SHA256:$(sha256sum < "$ROOT/archive/$2" | cut -c1-64)"; }
case "$*" in
*update*) touch "$(dirname "$2")/lists/x_Packages" ;;
*xen=4.20.4-1*) list xen_4.20.4.orig.tar.gz source.orig.tar.gz ;;
*xen=4.20.3-1*) list source.orig.tar.gz source.orig.tar.gz ;;
*xen-hypervisor*) list xen-hypervisor-4.20-arm64_1.deb xen-hypervisor-4.20-arm64_1.deb ;;
esac
"#;

const DPKG_DEB: &str = r#"
mkdir -p "$3/boot" && echo 'CONFIG_ARM=y' > "$3/boot/xen-4.20-arm64.config"
"#;

/// `make … build`: slow while `$ROOT/slow` exists, with a child of its own; counts its calls.
const MAKE: &str = r#"
while [ "$1" != -C ]; do shift; done
cd "$2" || exit 2
case "$*" in
*build*)
    echo build >> "$ROOT/builds"
    if [ -e "$ROOT/broken" ]; then echo 'xen.c:1: error: no such thing'; exit 2; fi
    if [ -e "$ROOT/slow" ]; then echo $$ > "$ROOT/pid"; sleep 300 & echo $! > "$ROOT/child"; wait; exit 1; fi
    sleep 0.3
    echo hypervisor > xen; echo symbols > xen-syms ;;
esac
"#;

struct Host {
    root: tempfile::TempDir,
}

impl Host {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let host = Self { root };
        for (name, script) in [
            ("apt-cache", APT_CACHE),
            ("apt-get", APT_GET),
            ("dpkg-deb", DPKG_DEB),
            ("make", MAKE),
            ("rustup", "exit 1"),
        ] {
            let path = host.path("bin").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let archive = host.path("archive");
        fs::create_dir_all(host.path("unpacked/xen-4.20.3/xen")).unwrap();
        for part in ["xen/xsm/flask/policy", "tools/flask/policy"] {
            let folder = host.path("unpacked/xen-4.20.3").join(part);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("users"), "gen_user(system_u)").unwrap();
        }
        fs::create_dir_all(&archive).unwrap();
        fs::write(host.path("unpacked/xen-4.20.3/xen/main.c"), "int main;").unwrap();
        let packed = Command::new("tar")
            .arg("-C")
            .arg(host.path("unpacked"))
            .arg("-czf")
            .arg(archive.join("source.orig.tar.gz"))
            .arg("xen-4.20.3")
            .status()
            .unwrap();
        assert!(packed.success());
        fs::write(archive.join("xen-hypervisor-4.20-arm64_1.deb"), "package").unwrap();
        host
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn set(&self, flag: &str) {
        fs::write(self.path(flag), "").unwrap();
    }

    fn unset(&self, flag: &str) {
        fs::remove_file(self.path(flag)).unwrap();
    }

    fn start(&self) -> Child {
        let path = format!(
            "{}:{}",
            self.path("bin").display(),
            std::env::var("PATH").unwrap()
        );
        Command::new(env!("CARGO_BIN_EXE_xtask"))
            .args(["build", "xen", "--json"])
            .env("PATH", path)
            .env("ROOT", self.root.path())
            .env("XDG_CACHE_HOME", self.path("cache"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    fn run(&self) -> Output {
        self.start().wait_with_output().unwrap()
    }

    /// How often something was recorded by a script.
    fn count(&self, file: &str) -> usize {
        fs::read_to_string(self.path(file)).map_or(0, |text| text.lines().count())
    }

    fn artefacts(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.path("cache/avps"))
            .into_iter()
            .flatten()
            .flatten();
        let paths = entries.map(|entry| entry.path());
        paths
            .filter(|path| {
                path.file_name()
                    .unwrap()
                    .to_string_lossy()
                    .starts_with("xen-")
            })
            .collect()
    }
}

fn succeeded(output: &Output) -> bool {
    eprintln!("{}", String::from_utf8_lossy(&output.stderr));
    output.status.success()
}

fn eventually(what: &str, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "{what}: not within a minute"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn alive(pid_file: &Path) -> bool {
    let pid = fs::read_to_string(pid_file).unwrap();
    Path::new("/proc").join(pid.trim()).join("exe").exists()
}

#[test]
fn a_version_that_cannot_be_had_gives_way_to_the_next_and_a_warm_run_needs_no_network() {
    let host = Host::new();
    let cold = host.run();
    assert!(succeeded(&cold));
    assert!(
        String::from_utf8_lossy(&cold.stderr)
            .contains("4.20.4-1 cannot be had, trying the next version")
    );
    let [artefact] = &host.artefacts()[..] else {
        panic!("one artefact")
    };
    assert_eq!(
        fs::read_to_string(artefact.join("xen")).unwrap(),
        "hypervisor\n"
    );

    host.set("offline");
    let calls = host.count("calls");
    let warm = host.run();
    assert!(succeeded(&warm));
    assert_eq!(host.count("calls"), calls, "a warm run asked apt");
    assert_eq!(host.count("builds"), 1);
    let report: serde_json::Value = serde_json::from_slice(&warm.stdout).unwrap();
    assert_eq!(report["figures"]["xen.built"], 0);
}

#[test]
fn a_corrupt_artefact_is_noticed_and_rebuilt() {
    let host = Host::new();
    assert!(succeeded(&host.run()));
    let file = host.artefacts()[0].join("xen");
    fs::write(&file, "hypervisoR\n").unwrap();
    let again = host.run();
    assert!(succeeded(&again));
    assert!(String::from_utf8_lossy(&again.stderr).contains("damaged"));
    assert_eq!(fs::read_to_string(file).unwrap(), "hypervisor\n");
    assert_eq!(host.count("builds"), 2);
}

#[test]
fn interruption_ends_every_child_leaves_no_half_artefact_and_the_next_run_goes_on() {
    let host = Host::new();
    host.set("slow");
    let mut run = host.start();
    eventually("the build starts", || host.path("child").exists());
    let interrupted = Command::new("kill")
        .args(["-INT", &run.id().to_string()])
        .status()
        .unwrap();
    assert!(interrupted.success());
    assert_eq!(run.wait().unwrap().code(), Some(130));
    eventually("make ends", || !alive(&host.path("pid")));
    eventually("make's child ends", || !alive(&host.path("child")));
    assert!(host.artefacts().is_empty());
    assert_eq!(
        fs::read_dir(host.path("cache/avps/tmp")).unwrap().count(),
        0
    );

    host.unset("slow");
    // The source is still unpacked: the archive is not needed again.
    fs::write(host.path("archive/source.orig.tar.gz"), "").unwrap();
    assert!(succeeded(&host.run()));
    assert_eq!(host.artefacts().len(), 1);
}

#[test]
fn two_runs_at_once_build_once_and_both_succeed() {
    let host = Host::new();
    let (one, two) = (host.start(), host.start());
    assert!(succeeded(&one.wait_with_output().unwrap()));
    assert!(succeeded(&two.wait_with_output().unwrap()));
    assert_eq!(host.count("builds"), 1);
}

#[test]
fn a_failed_build_shows_its_last_lines_and_where_its_log_is() {
    let host = Host::new();
    host.set("broken");
    let failed = host.run();
    assert_eq!(failed.status.code(), Some(1));
    let told = String::from_utf8_lossy(&failed.stderr).into_owned();
    assert!(
        told.contains("building Xen") && told.contains("error: no such thing"),
        "{told}"
    );
    let log = host.path("cache/avps/logs/xen.log");
    assert!(told.contains(&log.display().to_string()), "{told}");
    assert!(
        fs::read_to_string(log)
            .unwrap()
            .contains("error: no such thing")
    );
    assert!(host.artefacts().is_empty());
}

#[test]
fn without_network_and_cache_the_host_is_named_as_the_reason() {
    let host = Host::new();
    host.set("offline");
    let failed = host.run();
    assert_eq!(failed.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&failed.stderr).contains("package indices"));
}
