//! QEMU's own control channel, for reading the machine's memory. Xen does not notice.

use super::{Error, Result};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// QEMU answers at once; a machine under heavy load may need longer.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connection.
#[derive(Debug)]
pub(super) struct Qmp {
    reader: BufReader<UnixStream>,
    path: PathBuf,
}

impl Qmp {
    /// Takes the connection that QEMU has made.
    pub(super) fn new(stream: UnixStream, path: &Path) -> Result<Self> {
        stream
            .set_read_timeout(Some(PATIENCE))
            .map_err(Error::io("use", path))?;
        let mut qmp = Self {
            reader: BufReader::new(stream),
            path: path.to_path_buf(),
        };
        qmp.call("qmp_capabilities", &json!({}))?;
        Ok(qmp)
    }

    /// Physical memory of the machine, by way of this file.
    pub(super) fn memory(&mut self, address: u64, size: usize, file: &Path) -> Result<Vec<u8>> {
        let arguments = json!({ "val": address, "size": size, "filename": file });
        self.call("pmemsave", &arguments)?;
        std::fs::read(file).map_err(Error::io("read", file))
    }

    fn call(&mut self, command: &str, arguments: &Value) -> Result<Value> {
        let told = |path: &Path, problem: String| Error::Io {
            wanted: "control QEMU through",
            path: path.to_path_buf(),
            source: std::io::Error::other(problem),
        };
        let line = format!(
            "{}\n",
            json!({ "execute": command, "arguments": arguments })
        );
        self.reader
            .get_mut()
            .write_all(line.as_bytes())
            .map_err(Error::io("control QEMU through", &self.path))?;
        loop {
            let mut line = String::new();
            let count = self
                .reader
                .read_line(&mut line)
                .map_err(Error::io("control QEMU through", &self.path))?;
            if count == 0 {
                return Err(told(&self.path, "QEMU hung up".to_owned()));
            }
            // The greeting and events come in between.
            let answer: Value = serde_json::from_str(&line).unwrap_or_default();
            if let Some(problem) = answer.get("error") {
                return Err(told(&self.path, problem["desc"].to_string()));
            }
            if let Some(answer) = answer.get("return") {
                return Ok(answer.clone());
            }
        }
    }
}
