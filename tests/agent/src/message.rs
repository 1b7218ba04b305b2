//! What the host asks and the agent answers: the JSON inside request and reply frames.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Sent once when an agent starts to serve.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Hello {
    /// Where the agent runs.
    pub place: Place,
    /// Seconds·1000 since the kernel started.
    pub uptime_ms: u64,
    /// What was done before: mounts, daemons.
    pub steps: Vec<Step>,
}

/// Where an agent runs.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// The control domain.
    Dom0,
    /// A guest; its agent is reached over its console.
    Guest,
    /// Neither: a test of the agent itself.
    Host,
}

/// One step of the start-up.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Step {
    /// Its name, for a report.
    pub name: String,
    /// How long it took, in milliseconds.
    pub ms: u64,
    /// What went wrong, if something did.
    pub error: Option<String>,
}

/// A program to run.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct Program {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Variables set besides the agent's own.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Working folder; `/` when none.
    #[serde(default)]
    pub cwd: Option<String>,
}

impl Program {
    /// A program with the agent's own environment.
    #[must_use]
    pub fn new<S: Into<String>>(argv: impl IntoIterator<Item = S>) -> Self {
        Self {
            argv: argv.into_iter().map(Into::into).collect(),
            ..Self::default()
        }
    }
}

/// A request.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Request {
    /// Is the agent alive? Answer: [`Reply::Done`].
    Ping,
    /// What [`Hello`] said. Answer: [`Reply::Hello`].
    Hello,
    /// Runs a program; input frames are its standard input. Answer: [`Reply::Exited`].
    Exec {
        /// The program.
        program: Program,
        /// Killed after this many milliseconds, with everything it started.
        timeout_ms: u64,
        /// Bytes of each output stream that are sent; the rest is counted and dropped.
        max_output: u64,
    },
    /// Starts a program in the background. Answer: [`Reply::Spawned`].
    Spawn {
        /// The program.
        program: Program,
        /// Both output streams are appended to this file.
        log: String,
    },
    /// Waits for a spawned program. Answer: [`Reply::Exited`], or an error after `timeout_ms`.
    Wait {
        /// From [`Reply::Spawned`].
        pid: u32,
        /// How long, in milliseconds.
        timeout_ms: u64,
    },
    /// Sends a signal to a spawned program's process group. Answer: [`Reply::Done`].
    Kill {
        /// From [`Reply::Spawned`].
        pid: u32,
        /// Signal number.
        signal: i32,
        /// Only this process, not those it started.
        only: bool,
    },
    /// Writes a file from the input frames. Answer: [`Reply::Done`] with its size.
    Put {
        /// Where.
        path: String,
        /// Permission bits.
        mode: u32,
    },
    /// Sends a file as output frames. Answer: [`Reply::Done`] with the bytes sent.
    Get {
        /// Which.
        path: String,
    },
    /// Sends what is and will be in the files below a folder, until cancelled: output frames, each `LogChunk`.
    Follow {
        /// The folder.
        dir: String,
    },
    /// dom0 only: speaks to the agent of a guest over its console. Answer: [`Reply::Attached`].
    Attach {
        /// The guest.
        domid: u32,
        /// How long to wait for its agent, in milliseconds.
        timeout_ms: u64,
    },
    /// dom0 only: lets go of a guest's console.
    Detach {
        /// From [`Reply::Attached`].
        channel: u16,
    },
    /// Ends this machine or guest. No answer is certain.
    Poweroff,
    /// Restarts this guest. No answer is certain.
    Reboot,
}

/// An answer.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Reply {
    /// It was done.
    Done {
        /// Bytes moved, where the request moves bytes.
        bytes: u64,
    },
    /// Answer to [`Request::Hello`].
    Hello(Hello),
    /// A program ended.
    Exited(Exit),
    /// A program was started.
    Spawned {
        /// Its process id, valid until waited for.
        pid: u32,
    },
    /// A guest's agent answers on this channel.
    Attached {
        /// To be used in frames.
        channel: u16,
    },
    /// It could not be done.
    Failed {
        /// Why, one sentence.
        reason: String,
    },
}

/// How a program ended.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
pub struct Exit {
    /// Exit code, if it ended by itself.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// It was killed because its time was over.
    pub timed_out: bool,
    /// Milliseconds it ran.
    pub ms: u64,
    /// Bytes of standard output and standard error that were dropped.
    pub dropped: [u64; 2],
}

impl Exit {
    /// Exit code 0.
    #[must_use]
    pub fn success(&self) -> bool {
        self.code == Some(0)
    }
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.timed_out, self.code, self.signal) {
            (true, ..) => write!(f, "was killed after {} ms, its time limit", self.ms),
            (_, Some(code), _) => write!(f, "ended with code {code}"),
            (_, _, Some(signal)) => write!(f, "was ended by signal {signal}"),
            _ => f.write_str("ended without telling how"),
        }
    }
}

/// A piece of a followed file: `path length u16 · path · offset u64 · bytes`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogChunk {
    /// Path below the followed folder.
    pub path: String,
    /// Where the bytes belong in the file.
    pub offset: u64,
    /// The bytes.
    pub bytes: Vec<u8>,
}

impl LogChunk {
    /// The payload of an output frame.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let path = self.path.as_bytes();
        let path = path.get(..usize::from(u16::MAX)).unwrap_or(path);
        let length = u16::try_from(path.len()).unwrap_or(u16::MAX);
        [
            &length.to_le_bytes()[..],
            path,
            &self.offset.to_le_bytes(),
            &self.bytes,
        ]
        .concat()
    }

    /// Reads a payload; `None` when it is none of [`LogChunk::encode`]'s.
    #[must_use]
    pub fn decode(payload: &[u8]) -> Option<Self> {
        let (length, rest) = payload.split_first_chunk::<2>()?;
        let (path, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
        let (offset, bytes) = rest.split_first_chunk::<8>()?;
        Some(Self {
            path: String::from_utf8(path.to_vec()).ok()?,
            offset: u64::from_le_bytes(*offset),
            bytes: bytes.to_vec(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_survive_json() {
        let request = Request::Exec {
            program: Program::new(["echo", "a b"]),
            timeout_ms: 1000,
            max_output: 10,
        };
        let text = serde_json::to_string(&request).unwrap();
        assert!(text.starts_with(r#"{"do":"exec""#), "{text}");
        assert_eq!(serde_json::from_str::<Request>(&text).unwrap(), request);
    }

    #[test]
    fn a_log_chunk_comes_back_and_a_cut_one_is_refused() {
        let chunk = LogChunk {
            path: "bed/x.log".into(),
            offset: 9,
            bytes: vec![1, 2],
        };
        let bytes = chunk.encode();
        assert_eq!(LogChunk::decode(&bytes), Some(chunk));
        assert_eq!(LogChunk::decode(&bytes[..12]), None);
    }
}
