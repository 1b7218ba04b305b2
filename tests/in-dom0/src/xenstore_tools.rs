//! The XenStore client against the real server, call by call beside Xen's own `xenstore-*` tools.
//!
//! Each comparison runs over the kernel's device and over the server's socket.

use std::error::Error;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use xenstore::{Access, Client, Permission};

use crate::Outcome;

/// Name and body of each test.
pub(crate) const TESTS: &[crate::Test] = &[
    (
        "xenstore: what one writes the other reads, text and bytes",
        what_one_writes_the_other_reads,
    ),
    (
        "xenstore: both list the same children in the same order, few and many",
        both_list_the_same_children,
    ),
    (
        "xenstore: the whole tree with values and permissions is the one xenstore-ls shows",
        the_whole_tree_is_the_same,
    ),
    (
        "xenstore: both agree on what exists, and on removing it",
        both_agree_on_what_exists,
    ),
    (
        "xenstore: permissions set by one are read by the other",
        permissions_set_by_one_are_read_by_the_other,
    ),
    (
        "xenstore: a watch sees what xenstore-watch sees",
        a_watch_sees_what_xenstore_watch_sees,
    ),
    (
        "xenstore: the server's own commands answer as to xenstore-control",
        the_servers_commands_answer_the_same,
    ),
];

pub(crate) fn check(condition: bool, broken: impl FnOnce() -> String) -> Outcome {
    if condition {
        Ok(())
    } else {
        Err(broken().into())
    }
}

pub(crate) fn equal<T: PartialEq + std::fmt::Debug>(what: &str, ours: T, theirs: T) -> Outcome {
    check(ours == theirs, || {
        format!("{what}: {ours:?} here, but {theirs:?} there")
    })
}

/// A connection and a place of its own in the tree, removed in the end.
pub(crate) struct Place {
    /// The connection.
    pub(crate) client: Client,
    /// Where it may do what it likes.
    pub(crate) root: String,
    /// Which way the connection goes.
    pub(crate) way: &'static str,
}

impl Place {
    /// One place for each way to the server.
    pub(crate) fn each(name: &str) -> Result<Vec<Self>, Box<dyn Error>> {
        [xenstore::DEVICE, xenstore::SOCKET]
            .into_iter()
            .map(|way| {
                let client = Client::connect_path(Path::new(way))?;
                let root = format!("/tool/in-dom0/{name}");
                client.mkdir("/tool")?;
                client.mkdir("/tool/in-dom0")?;
                client.rm(&root)?;
                client.mkdir(&root)?;
                Ok(Self { client, root, way })
            })
            .collect()
    }

    /// A path below the place.
    pub(crate) fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.root)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // A connection a test has broken on purpose cannot tidy up.
        if let Ok(client) = Client::open() {
            let _ = client.rm(&self.root);
        }
    }
}

/// Runs a tool; its output if it succeeded, `None` if it said no.
fn tool(name: &str, arguments: &[&str]) -> Result<Option<Vec<u8>>, Box<dyn Error>> {
    let Output { status, stdout, .. } = Command::new(name)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{name} cannot be run: {error}"))?;
    Ok(status.success().then_some(stdout))
}

fn text(name: &str, arguments: &[&str]) -> Result<String, Box<dyn Error>> {
    let output = tool(name, arguments)?.ok_or_else(|| format!("{name} {arguments:?} failed"))?;
    Ok(String::from_utf8(output)?)
}

fn what_one_writes_the_other_reads() -> Outcome {
    for place in Place::each("values")? {
        let Place { client, way, .. } = &place;
        let path = place.path("deep/er/value");
        client.write(&path, "from here")?;
        equal(way, "from here\n", &text("xenstore-read", &[&path])?)?;
        text("xenstore-write", &[&path, "from there"])?;
        equal(way, client.read_string(&path)?.as_str(), "from there")?;

        let bytes: Vec<u8> = (0..=255).collect();
        client.write(&path, &bytes)?;
        let theirs = tool("xenstore-read", &["-R", &path])?.unwrap_or_default();
        equal("all bytes there", &bytes, &theirs)?;
        equal("all bytes here", &client.read(&path)?, &bytes)?;

        client.write(&path, "")?;
        equal("empty", text("xenstore-read", &[&path])?.as_str(), "\n")?;
        text("xenstore-write", &[&path, ""])?;
        equal("empty", client.read(&path)?, Vec::new())?;
    }
    Ok(())
}

fn both_list_the_same_children() -> Outcome {
    for place in Place::each("children")? {
        let Place { client, way, .. } = &place;
        // The last needs several messages.
        for count in [0, 1, 25] {
            let root = place.path(&format!("of-{count}"));
            client.mkdir(&root)?;
            for i in 0..count {
                let long = "x".repeat(200);
                client.mkdir(&format!("{root}/{long}-{i}"))?;
            }
            let ours = client.directory(&root)?;
            let theirs = text("xenstore-list", &[&root])?;
            equal(way, ours.len(), count)?;
            equal(way, ours, theirs.lines().map(str::to_owned).collect())?;
            let inside = client.transaction(|tx| tx.directory(&root))?;
            equal("in a transaction", inside.len(), count)?;
        }
    }
    Ok(())
}

fn the_whole_tree_is_the_same() -> Outcome {
    for place in Place::each("tree")? {
        let Place { client, way, .. } = &place;
        client.write(&place.path("odd"), b"tab\t, back\\slash, \x01\xff")?;
        let owner = Permission::new(0, Access::Read);
        client.set_permissions(
            &place.path("odd"),
            &[owner, Permission::new(9, Access::Write)],
        )?;
        let mut ours = String::new();
        show(client, "/", &mut ours)?;
        let theirs = text("xenstore-ls", &["-f", "-p", "/"])?;
        for (ours, theirs) in ours.lines().zip(theirs.lines()) {
            equal(way, ours, theirs)?;
        }
        equal(way, ours.lines().count(), theirs.lines().count())?;
    }
    Ok(())
}

/// The tree below `path` as `xenstore-ls -f -p` prints it.
fn show(client: &Client, path: &str, into: &mut String) -> Outcome {
    for name in client.directory(path)? {
        let path = xenstore::path::join(path, &name);
        let value = client.read(&path)?;
        let permissions: Vec<String> = client
            .permissions(&path)?
            .iter()
            .map(ToString::to_string)
            .collect();
        into.push_str(&format!(
            "{path} = \"{}\"   ({})\n",
            escaped(&value),
            permissions.join(",")
        ));
        show(client, &path, into)?;
    }
    Ok(())
}

/// A value as the tools print it.
fn escaped(value: &[u8]) -> String {
    let escape = |byte: &u8| match byte {
        b'\t' => "\\t".to_owned(),
        b'\n' => "\\n".to_owned(),
        b'\r' => "\\r".to_owned(),
        b'\\' => "\\\\".to_owned(),
        b' '..=b'~' => char::from(*byte).to_string(),
        0..=7 => format!("\\{byte:03o}"),
        _ => format!("\\x{byte:02x}"),
    };
    value.iter().map(escape).collect()
}

fn both_agree_on_what_exists() -> Outcome {
    for place in Place::each("existence")? {
        let Place { client, way, .. } = &place;
        let path = place.path("a/b");
        let there =
            |path: &str| Ok::<_, Box<dyn Error>>(tool("xenstore-exists", &[path])?.is_some());
        equal(way, client.exists(&path)?, there(&path)?)?;
        client.mkdir(&path)?;
        equal(way, client.exists(&path)?, true)?;
        equal(way, there(&path)?, true)?;
        text("xenstore-rm", &[&path])?;
        equal(way, client.exists(&path)?, false)?;
        equal(way, client.read_opt(&path)?, None)?;
        check(client.read(&path).is_err_and(|e| e.is_not_found()), || {
            "a removed node is read".to_owned()
        })?;
        client.rm(&path)?;
        client.write(&place.path("a/b/c"), "x")?;
        client.rm(&place.path("a"))?;
        equal(way, there(&path)?, false)?;
        let error = client.rm(&path);
        check(error.is_err_and(|e| e.is_not_found()), || {
            "removing below nothing succeeded".to_owned()
        })?;
        equal("and there", tool("xenstore-rm", &[&path])?, None)?;
    }
    Ok(())
}

fn permissions_set_by_one_are_read_by_the_other() -> Outcome {
    for place in Place::each("permissions")? {
        let Place { client, way, .. } = &place;
        let path = place.path("node");
        client.write(&path, "")?;
        text("xenstore-chmod", &[&path, "n0", "r5", "w6", "b7"])?;
        let expected: Vec<Permission> = ["n0", "r5", "w6", "b7"]
            .iter()
            .map(|text| text.parse())
            .collect::<Result<_, _>>()?;
        equal(way, client.permissions(&path)?, expected)?;
        let ours = [
            Permission::new(0, Access::Read),
            Permission::new(3, Access::Both),
        ];
        client.set_permissions(&path, &ours)?;
        equal(way, client.permissions(&path)?.as_slice(), &ours[..])?;
        let theirs = text("xenstore-ls", &["-f", "-p", &place.root])?;
        check(theirs.trim_end().ends_with("(r0,b3)"), || theirs.clone())?;
    }
    Ok(())
}

fn a_watch_sees_what_xenstore_watch_sees() -> Outcome {
    for place in Place::each("watching")? {
        let Place { client, root, .. } = &place;
        let watch = client.watch(root)?;
        let mut child = Command::new("xenstore-watch")
            .args(["-n", "5", root])
            .stdout(Stdio::piped())
            .spawn()?;
        let mut lines = BufReader::new(child.stdout.take().ok_or("no output")?).lines();
        let mut both = |client: &Client, change: &dyn Fn(&Client) -> xenstore::Result<()>| {
            change(client)?;
            let theirs = lines.next().ok_or("xenstore-watch has ended")??;
            equal(place.way, watch.recv()?.path, theirs)
        };
        // The first event of all comes without a change.
        both(client, &|_| Ok(()))?;
        both(client, &|client| client.write(&place.path("a/b"), "1"))?;
        both(client, &|client| client.mkdir(&place.path("c")))?;
        both(client, &|client| {
            client.set_permissions(&place.path("c"), &[Permission::new(0, Access::Both)])
        })?;
        both(client, &|client| client.rm(&place.path("a")))?;
        child.wait()?;
        // Nothing more, up to what happens last.
        client.write(&place.path("last"), "")?;
        equal("the last", watch.recv()?.path, place.path("last"))?;
    }
    Ok(())
}

fn the_servers_commands_answer_the_same() -> Outcome {
    for place in Place::each("control")? {
        let Place { client, way, .. } = &place;
        let ours = client.control(&["help"])?;
        equal(
            way,
            ours.trim_end(),
            text("xenstore-control", &["help"])?.trim_end(),
        )?;
        let ours = client.control(&["quota"])?;
        equal(
            way,
            ours.trim_end(),
            text("xenstore-control", &["quota"])?.trim_end(),
        )?;
        let error = client.control(&["no-such-command"]);
        check(
            error.is_err_and(|e| e.errno_name() == Some("EINVAL")),
            || "a command that does not exist was carried out".to_owned(),
        )?;
    }
    Ok(())
}
