//! The cache as a user meets it: the real xtask, with apt, make and dpkg-deb replaced by small scripts.
//!
//! What the scripts stand for is Debian's archive and a long build; everything between them is real:
//! locks, keys, manifests, downloads (apt's own downloader, from `copy:`), signals.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// What `apt-cache` answers: each package in three versions.
const APT_CACHE: &str = r#"
case "$*" in
*showsrc*) for v in 4.20.3-1 4.20.4-1 4.20.5-1; do printf 'Package: xen\nVersion: %s\n\n' $v; done ;;
*madison*)
    for p; do case $p in
    xen*|lib*)
        for v in 4.20.5-1 4.20.4-1 4.20.3-1; do
            echo "$p | $v | http://x/debian trixie/main arm64 Packages"
        done ;;
    esac; done ;;
esac
"#;

/// `update` leaves an index behind. Files of 4.20.5 are listed but gone, as it happens when an archive moves on; of 4.20.4 the
/// source is there and a tool is gone.
const APT_GET: &str = r#"
echo "apt-get $*" >> "$ROOT/calls"
test ! -e "$ROOT/offline" || exit 100
list() { echo "'copy:$ROOT/archive/debian/$1' $1 $(stat -c %s "$2") SHA256:$(sha256sum < "$2" | cut -c1-64)"; }
case "$*" in
*update*) touch "$(dirname "$2")/lists/x_Packages" ;;
*--only-source*xen=*)
    v=${*##*xen=}; list xen_${v%-1}.orig.tar.gz "$ROOT/source.orig.tar.gz" ;;
*download*)
    for p; do case $p in
    *=*) list ${p%=*}_${p#*=}_arm64.deb "$ROOT/package" ;;
    esac; done ;;
esac
"#;

/// Files of a group, in the order of the recipes.
const XEN: [&str; 15] = [
    "xen-hypervisor-4.20-arm64",
    "xen-utils-4.20",
    "xen-utils-common",
    "xenstore-utils",
    "libxenmisc4.20",
    "libxencall1",
    "libxendevicemodel1",
    "libxenevtchn1",
    "libxenforeignmemory1",
    "libxengnttab1",
    "libxenhypfs1",
    "libxenstore4",
    "libxentoolcore1",
    "libxentoollog1",
    "libxen-dev",
];

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
        fs::create_dir_all(host.path("unpacked/xen-4.20.3/xen")).unwrap();
        for part in ["xen/xsm/flask/policy", "tools/flask/policy"] {
            let folder = host.path("unpacked/xen-4.20.3").join(part);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("users"), "gen_user(system_u)").unwrap();
        }
        fs::write(host.path("unpacked/xen-4.20.3/xen/main.c"), "int main;").unwrap();
        let packed = Command::new("tar")
            .arg("-C")
            .arg(host.path("unpacked"))
            .arg("-czf")
            .arg(host.path("source.orig.tar.gz"))
            .arg("xen-4.20.3")
            .status()
            .unwrap();
        assert!(packed.success());
        fs::write(host.path("package"), "package").unwrap();
        host.publish("archive/debian", "4.20.3-1");
        host.publish("archive/debian", "4.20.4-1");
        fs::remove_file(host.path("archive/debian/libxenstore4_4.20.4-1_arm64.deb")).unwrap();
        host.pin(&format!("copy:{}", host.path("archive/debian").display()));
        host
    }

    /// Puts all files of a release of Xen into a folder.
    fn publish(&self, folder: &str, version: &str) {
        let folder = self.path(folder);
        fs::create_dir_all(&folder).unwrap();
        let source = version.trim_end_matches("-1");
        let source = folder.join(format!("xen_{source}.orig.tar.gz"));
        fs::copy(self.path("source.orig.tar.gz"), source).unwrap();
        for package in XEN {
            let file = folder.join(format!("{package}_{version}_arm64.deb"));
            fs::copy(self.path("package"), file).unwrap();
        }
    }

    /// Pins 4.20.3 at this address. Nothing else of the file of pins is looked at here.
    fn pin(&self, address: &str) {
        let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/pins.toml");
        let shipped = fs::read_to_string(shipped).unwrap();
        let (head, rest) = shipped.split_once("\n[xen]").unwrap();
        let (_, rest) = rest.split_once("\n[").unwrap();
        let line = |package: &str, file: &str, like: &str| {
            let content = fs::read(self.path(like)).unwrap();
            let hash = Command::new("sha256sum").arg(self.path(like)).output();
            let hash = String::from_utf8(hash.unwrap().stdout).unwrap();
            format!(
                "{{ package = \"{package}\", version = \"4.20.3-1\", size = {}, sha256 = \"{}\", uri = \"{address}/{file}\" }},\n",
                content.len(),
                &hash[..64]
            )
        };
        let mut files = line("xen", "xen_4.20.3.orig.tar.gz", "source.orig.tar.gz");
        for package in XEN {
            files += &line(package, &format!("{package}_4.20.3-1_arm64.deb"), "package");
        }
        let pins = format!("{head}\n[xen]\nfiles = [\n{files}]\n[{rest}");
        fs::write(self.path("pins.toml"), pins).unwrap();
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
        self.start_with(&[])
    }

    fn start_with(&self, options: &[&str]) -> Child {
        let path = format!(
            "{}:{}",
            self.path("bin").display(),
            std::env::var("PATH").unwrap()
        );
        Command::new(env!("CARGO_BIN_EXE_xtask"))
            .args(["build", "xen", "--json"])
            .args(options)
            .env("AVPS_BED_PINS", self.path("pins.toml"))
            .env_remove("AVPS_DEBIAN_MIRROR")
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

    fn run_with(&self, options: &[&str]) -> Output {
        self.start_with(options).wait_with_output().unwrap()
    }

    /// Makes the archive lose a file of the pinned release.
    fn lose(&self, file: &str) {
        fs::remove_file(self.path("archive/debian").join(file)).unwrap();
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

/// What a report says about versions that are not the pinned ones.
fn notices(output: &Output) -> Vec<String> {
    assert!(succeeded(output));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let notes = report["notes"].as_array().unwrap().iter();
    let notes = notes.map(|note| note.as_str().unwrap().to_owned());
    notes.filter(|note| !note.starts_with('/')).collect()
}

#[test]
fn what_is_pinned_is_built_though_newer_is_on_offer_and_a_warm_run_needs_no_network() {
    let host = Host::new();
    let cold = host.run();
    assert!(notices(&cold).is_empty(), "{:?}", notices(&cold));
    let [artefact] = &host.artefacts()[..] else {
        panic!("one artefact")
    };
    assert_eq!(
        fs::read_to_string(artefact.join("xen")).unwrap(),
        "hypervisor\n"
    );
    assert_eq!(host.count("calls"), 0, "an index was asked for");

    host.set("offline");
    let warm = host.run();
    assert!(notices(&warm).is_empty());
    assert_eq!(host.count("calls"), 0, "a warm run asked apt");
    assert_eq!(host.count("builds"), 1);
    let report: serde_json::Value = serde_json::from_slice(&warm.stdout).unwrap();
    assert_eq!(report["figures"]["xen.built"], 0);
}

#[test]
fn a_pinned_file_that_is_gone_gives_way_to_a_whole_release_and_every_report_says_so() {
    let host = Host::new();
    host.publish("archive/debian", "4.20.4-1");
    host.lose("xen_4.20.3.orig.tar.gz");
    for run in ["cold", "warm"] {
        let output = host.run();
        let notices = notices(&output);
        let [notice] = &notices[..] else {
            panic!("{run}: one notice is wanted, not {notices:?}")
        };
        for part in [
            "xen 4.20.4-1 (and 15 more) instead of the pinned xen 4.20.3-1",
            "xen_4.20.3.orig.tar.gz",
        ] {
            assert!(notice.contains(part), "{run}: {notice}");
        }
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(told.contains(&format!("notice: {notice}")), "{run}: {told}");
        host.set("offline");
    }
    assert_eq!(host.count("builds"), 1);
}

#[test]
fn a_mix_of_releases_is_refused_and_what_is_missing_is_named() {
    let host = Host::new();
    // The source of 4.20.4 is there, one of its tools is not.
    host.lose("xen_4.20.3.orig.tar.gz");
    let refused = host.run();
    assert_eq!(refused.status.code(), Some(3));
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    for part in [
        "a whole release of xen",
        "libxenstore4_4.20.4-1_arm64.deb",
        "xen_4.20.3.orig.tar.gz",
        "--mirror",
    ] {
        assert!(told.contains(part), "no {part} in: {told}");
    }
    assert_eq!(host.count("builds"), 0);
}

#[test]
fn a_mirror_has_what_the_archive_lost_and_takes_the_place_of_what_stood_in() {
    let host = Host::new();
    host.pin("http://deb.debian.org/debian");
    host.publish("snapshot/debian", "4.20.3-1");
    host.publish("archive/debian", "4.20.4-1");
    let archive = host.path("archive/debian").display().to_string();
    host.lose("xen_4.20.3.orig.tar.gz");
    let without = host.run_with(&["--mirror", &archive]);
    assert!(notices(&without)[0].contains("4.20.4-1"));

    let snapshot = host.path("snapshot/debian").display().to_string();
    let with = host.run_with(&["--mirror", &archive, "--mirror", &snapshot]);
    assert!(notices(&with).is_empty(), "{:?}", notices(&with));
    host.set("offline");
    let warm = host.run();
    assert!(notices(&warm).is_empty(), "{:?}", notices(&warm));
    assert_eq!(host.count("builds"), 2);
}

#[test]
fn a_mirror_that_serves_other_content_under_a_pinned_name_is_not_believed() {
    let host = Host::new();
    host.pin("http://deb.debian.org/debian");
    host.publish("evil/debian", "4.20.3-1");
    let evil = host.path("evil/debian");
    let size = fs::read(host.path("source.orig.tar.gz")).unwrap().len();
    fs::write(evil.join("xen_4.20.3.orig.tar.gz"), vec![0; size]).unwrap();
    // Nothing else can be chosen.
    host.set("offline");
    let refused = host.run_with(&["--mirror", &evil.display().to_string()]);
    assert_eq!(refused.status.code(), Some(3), "{refused:?}");
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        told.contains("xen_4.20.3.orig.tar.gz") && told.contains("Hash Sum mismatch"),
        "{told}"
    );
    assert_eq!(host.count("builds"), 0);
}

#[test]
fn without_its_pins_nothing_is_built_and_the_file_is_named() {
    let host = Host::new();
    fs::remove_file(host.path("pins.toml")).unwrap();
    let refused = host.run();
    assert_eq!(refused.status.code(), Some(3));
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    let path = host.path("pins.toml").display().to_string();
    assert!(told.contains(&path), "{told}");
    assert_eq!(host.count("builds"), 0);
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
    fs::write(host.path("archive/debian/xen_4.20.3.orig.tar.gz"), "").unwrap();
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
fn without_sudo_everything_that_is_missing_is_named_at_once() {
    use std::os::unix::process::CommandExt;
    let host = Host::new();
    let world = fs::Permissions::from_mode(0o755);
    fs::set_permissions(host.root.path(), world).unwrap();
    fs::write(host.path("bin/apt-get"), "#!/bin/sh\nexit 0\n").unwrap();
    // A copy that another user may run, with a path that has nothing but apt.
    let program = host.path("xtask");
    fs::copy(env!("CARGO_BIN_EXE_xtask"), &program).unwrap();
    let cache = host.path("cache");
    fs::create_dir(&cache).unwrap();
    fs::set_permissions(&cache, fs::Permissions::from_mode(0o777)).unwrap();
    let mut run = Command::new(&program);
    run.args(["build", "userland"])
        .env("PATH", host.path("bin"))
        .env("XDG_CACHE_HOME", &cache)
        .env("AVPS_BED_PINS", host.path("pins.toml"));
    if rustix::process::geteuid().is_root() {
        run.uid(65534).gid(65534);
    }
    let refused = run.output().unwrap();
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(3), "{told}");
    for part in [
        "gcc-aarch64-linux-gnu",
        "qemu-system-arm",
        "there is no sudo: root has to install them",
        "\n  apt-get ",
    ] {
        assert!(told.contains(part), "no {part:?} in: {told}");
    }
    assert!(!told.contains("sudo apt-get"), "{told}");
}

#[test]
fn without_network_and_cache_the_host_is_named_as_the_reason() {
    let host = Host::new();
    host.set("offline");
    host.lose("xen_4.20.3.orig.tar.gz");
    let failed = host.run();
    assert_eq!(failed.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&failed.stderr).contains("package indices"));
}
