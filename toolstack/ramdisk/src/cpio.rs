//! A writer for the cpio format "newc", as Linux unpacks it (Documentation/driver-api/early-userspace/buffer-format.rst).
//!
//! Everything belongs to root and is dated 0, so that the same content gives the same archive. Device nodes can
//! be written without being root.

use std::collections::BTreeSet;
use std::io::{self, Write};

const MAGIC: &str = "070701";
const TRAILER: &str = "TRAILER!!!";
const S_IFDIR: u32 = 0o040_000;
const S_IFCHR: u32 = 0o020_000;
const S_IFREG: u32 = 0o100_000;
const S_IFLNK: u32 = 0o120_000;
/// Linux pads archives to this; some loaders expect it.
const BLOCK: u64 = 512;

/// Writes one archive. Paths are relative to the root, without a leading slash.
#[derive(Debug)]
pub struct Cpio<W: Write> {
    to: W,
    written: u64,
    inode: u32,
    folders: BTreeSet<String>,
}

struct Header<'a> {
    path: &'a str,
    mode: u32,
    links: u32,
    size: u32,
    device: (u32, u32),
}

impl<W: Write> Cpio<W> {
    /// An archive written to `to`.
    pub fn new(to: W) -> Self {
        Self {
            to,
            written: 0,
            inode: 0,
            folders: BTreeSet::new(),
        }
    }

    /// A folder, and those above it that have not been written yet. A second time does nothing.
    ///
    /// # Errors
    /// What writing says; a path that is too long.
    pub fn folder(&mut self, path: &str, mode: u32) -> io::Result<()> {
        let path = path.trim_matches('/');
        if path.is_empty() || self.folders.contains(path) {
            return Ok(());
        }
        self.parents(path)?;
        self.folders.insert(path.to_owned());
        self.header(&Header {
            path,
            mode: S_IFDIR | mode,
            links: 2,
            size: 0,
            device: (0, 0),
        })
    }

    /// A regular file.
    ///
    /// # Errors
    /// What writing says; a file or a path that is too long.
    pub fn file(&mut self, path: &str, mode: u32, content: &[u8]) -> io::Result<()> {
        self.content(path, S_IFREG | mode, content)
    }

    /// A symbolic link.
    ///
    /// # Errors
    /// What writing says; a path that is too long.
    pub fn link(&mut self, path: &str, target: &str) -> io::Result<()> {
        self.content(path, S_IFLNK | 0o777, target.as_bytes())
    }

    /// A character device.
    ///
    /// # Errors
    /// What writing says; a path that is too long.
    pub fn character_device(
        &mut self,
        path: &str,
        mode: u32,
        major: u32,
        minor: u32,
    ) -> io::Result<()> {
        self.parents(path)?;
        self.header(&Header {
            path,
            mode: S_IFCHR | mode,
            links: 1,
            size: 0,
            device: (major, minor),
        })
    }

    /// Ends the archive and returns what it was written to.
    ///
    /// # Errors
    /// What writing says.
    pub fn finish(mut self) -> io::Result<W> {
        self.inode = 0;
        self.header(&Header {
            path: TRAILER,
            mode: 0,
            links: 1,
            size: 0,
            device: (0, 0),
        })?;
        self.pad(BLOCK)?;
        self.to.flush()?;
        Ok(self.to)
    }

    fn content(&mut self, path: &str, mode: u32, content: &[u8]) -> io::Result<()> {
        self.parents(path)?;
        let size = u32::try_from(content.len()).map_err(|_| {
            io::Error::new(io::ErrorKind::FileTooLarge, format!("{path} exceeds 4 GiB"))
        })?;
        self.header(&Header {
            path,
            mode,
            links: 1,
            size,
            device: (0, 0),
        })?;
        self.write(content)?;
        self.pad(4)
    }

    fn parents(&mut self, path: &str) -> io::Result<()> {
        match path.trim_matches('/').rsplit_once('/') {
            Some((parent, _)) => self.folder(parent, 0o755),
            None => Ok(()),
        }
    }

    fn header(&mut self, header: &Header<'_>) -> io::Result<()> {
        let path = header.path.trim_matches('/');
        let name_size = u32::try_from(path.len() + 1)
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "a path is too long"))?;
        if header.path != TRAILER {
            self.inode += 1;
        }
        let fields = [
            self.inode,
            header.mode,
            0, // user
            0, // group
            header.links,
            0, // time
            header.size,
            0, // device the file lies on, major
            0, // and minor
            header.device.0,
            header.device.1,
            name_size,
            0, // checksum, unused in this format
        ];
        let mut text = String::from(MAGIC);
        for field in fields {
            text.push_str(&format!("{field:08x}"));
        }
        text.push_str(path);
        text.push('\0');
        self.write(text.as_bytes())?;
        self.pad(4)
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.to.write_all(bytes)?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    fn pad(&mut self, to: u64) -> io::Result<()> {
        while !self.written.is_multiple_of(to) {
            self.write(&[0])?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Cpio;
    use std::io::Write;
    use std::process::{Command, Stdio};

    fn archive() -> Vec<u8> {
        let mut cpio = Cpio::new(Vec::new());
        cpio.folder("tmp", 0o1777).unwrap();
        cpio.file("init", 0o755, b"program").unwrap();
        cpio.file("usr/share/odd", 0o644, b"12345").unwrap();
        cpio.link("bin", "usr/bin").unwrap();
        cpio.folder("usr/share", 0o700).unwrap();
        cpio.character_device("dev/console", 0o600, 5, 1).unwrap();
        cpio.finish().unwrap()
    }

    /// What the ordinary cpio program makes of it.
    fn read_by_cpio(archive: &[u8], options: &[&str]) -> String {
        let mut child = Command::new("cpio")
            .args(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("cpio is among the packages that the bed needs");
        child.stdin.take().unwrap().write_all(archive).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    #[test]
    fn the_ordinary_cpio_program_reads_the_same_names() {
        assert_eq!(
            read_by_cpio(&archive(), &["-t"])
                .lines()
                .collect::<Vec<_>>(),
            [
                "tmp",
                "init",
                "usr",
                "usr/share",
                "usr/share/odd",
                "bin",
                "dev",
                "dev/console"
            ]
        );
    }

    #[test]
    fn kinds_permissions_owners_sizes_and_device_numbers_are_right() {
        let listing = read_by_cpio(&archive(), &["-tvn"]);
        let of = |name: &str| -> Vec<String> {
            let line = listing.lines().find(|line| line.contains(name)).unwrap();
            line.split_whitespace().map(str::to_owned).collect()
        };
        assert_eq!(of("tmp")[0], "drwxrwxrwt");
        assert_eq!(of("init")[..5], ["-rwxr-xr-x", "1", "0", "0", "7"]);
        assert_eq!(of("odd")[4], "5");
        assert!(listing.contains("bin -> usr/bin"));
        assert_eq!(of("dev/console")[0], "crw-------");
        assert_eq!(of("dev/console")[4..6], ["5,", "1"]);
    }

    #[test]
    fn content_comes_back_unchanged() {
        let folder = tempfile::tempdir().unwrap();
        let mut cpio = Cpio::new(Vec::new());
        for size in 0..9_u8 {
            cpio.file(&format!("size{size}"), 0o644, &vec![size; size.into()])
                .unwrap();
        }
        let archive = cpio.finish().unwrap();
        assert_eq!(archive.len() % 512, 0);
        let directory = folder.path().to_str().unwrap();
        read_by_cpio(&archive, &["-i", "-D", directory]);
        for size in 0..9_u8 {
            let content = std::fs::read(folder.path().join(format!("size{size}"))).unwrap();
            assert_eq!(content, vec![size; size.into()]);
        }
    }

    #[test]
    fn the_same_content_gives_the_same_archive() {
        assert_eq!(archive(), archive());
    }
}
