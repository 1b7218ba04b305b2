//! One agent, and what can be asked of it.

use super::{Client, Error, Exchange, Result};
use crate::frame::{Kind, MAX_PAYLOAD};
use crate::message::{Exit, LogChunk, Program, Reply, Request};
use std::io::Read;
use std::path::Path;
use std::time::{Duration, Instant};

/// Answers to small requests come at once, or something is wrong.
const PROMPT: Duration = Duration::from_secs(20);
/// Added to a time limit that the agent keeps, for the way there and back.
const MARGIN: Duration = Duration::from_secs(10);
const INPUT_CHUNK: usize = MAX_PAYLOAD / 2;

/// An agent in dom0 or in a guest.
#[derive(Clone)]
pub struct Remote {
    client: Client,
    channel: u16,
    name: String,
    /// Time limits are this many times longer.
    pace: f64,
}

/// What a program wrote, and how it ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// How it ended.
    pub exit: Exit,
    /// Standard output, as far as it was kept.
    pub stdout: Vec<u8>,
    /// Standard error, as far as it was kept.
    pub stderr: Vec<u8>,
}

impl Output {
    /// Standard output as text, without the last line end.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout)
            .trim_end_matches('\n')
            .to_owned()
    }

    /// Standard error as text, without the last line end.
    #[must_use]
    pub fn error_text(&self) -> String {
        String::from_utf8_lossy(&self.stderr)
            .trim_end_matches('\n')
            .to_owned()
    }
}

/// A program to be run by an agent.
pub struct Command<'a> {
    remote: &'a Remote,
    program: Program,
    input: Vec<u8>,
    time: Duration,
    max_output: u64,
}

impl Command<'_> {
    /// Sets a variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.program.env.insert(name.into(), value.into());
        self
    }

    /// Sets the working folder.
    #[must_use]
    pub fn cwd(mut self, dir: &str) -> Self {
        self.program.cwd = Some(dir.into());
        self
    }

    /// Sets standard input; empty without.
    #[must_use]
    pub fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = bytes.into();
        self
    }

    /// Sets the time limit; 30 s without.
    #[must_use]
    pub fn time(mut self, limit: Duration) -> Self {
        self.time = limit;
        self
    }

    /// Runs it; how it ended is the caller's to judge.
    ///
    /// # Errors
    /// [`Error::Lost`], [`Error::Timeout`], [`Error::Refused`] when it cannot be started.
    pub fn output(self) -> Result<Output> {
        let mut output = Output::default();
        let exit = self.stream(|kind, bytes| {
            if kind == Kind::Output {
                output.stdout.extend_from_slice(&bytes);
            } else {
                output.stderr.extend_from_slice(&bytes);
            }
            Ok(())
        })?;
        output.exit = exit;
        Ok(output)
    }

    /// Runs it and passes on what it writes as it comes.
    ///
    /// # Errors
    /// As [`Command::output`], and the sink's.
    pub fn stream(self, sink: impl FnMut(Kind, Vec<u8>) -> Result<()>) -> Result<Exit> {
        let time = self.remote.within(self.time);
        let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let request = Request::Exec {
            program: self.program,
            timeout_ms: millis,
            max_output: self.max_output,
        };
        let mut exchange = self.remote.begin(&request)?;
        for chunk in self.input.chunks(INPUT_CHUNK) {
            exchange.send(Kind::Input, chunk)?;
        }
        exchange.send(Kind::InputEnd, Vec::new())?;
        match exchange.finish(&request, time + MARGIN, sink)? {
            Reply::Exited(exit) => Ok(exit),
            other => Err(self.remote.unexpected(&other)),
        }
    }

    /// Runs it; anything but code 0 is an error. Returns standard output as text, without the last line end.
    ///
    /// # Errors
    /// As [`Command::output`], and [`Error::Program`].
    pub fn text(self) -> Result<String> {
        let (who, program) = (self.remote.name.clone(), self.program.argv.join(" "));
        let output = self.output()?;
        if output.exit.success() {
            return Ok(output.text());
        }
        let mut said = String::new();
        for stream in [output.text(), output.error_text()] {
            for line in stream
                .lines()
                .rev()
                .take(20)
                .collect::<Vec<_>>()
                .into_iter()
                .rev()
            {
                said.push_str("\n    ");
                said.push_str(line);
            }
        }
        Err(Error::Program {
            who,
            program,
            exit: output.exit,
            output: said,
        })
    }
}

impl Remote {
    pub(super) fn new(client: Client, channel: u16, name: &str) -> Self {
        Self {
            client,
            channel,
            name: name.into(),
            pace: 1.0,
        }
    }

    /// The same agent on a machine that takes `pace` times as long as an idle one: all time limits are that much longer.
    #[must_use]
    pub fn with_pace(self, pace: f64) -> Self {
        Self { pace, ..self }
    }

    /// A time limit that was set for an idle machine, for this one.
    #[must_use]
    pub fn within(&self, idle: Duration) -> Duration {
        idle.mul_f64(self.pace)
    }

    /// dom0, or the guest's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The channel's number, 0 for dom0.
    #[must_use]
    pub fn channel(&self) -> u16 {
        self.channel
    }

    fn begin(&self, request: &Request) -> Result<Exchange> {
        let json = serde_json::to_vec(request).map_err(|e| Error::Protocol {
            who: self.name.clone(),
            what: e.to_string(),
        })?;
        self.client.open(&self.name, self.channel, json)
    }

    fn ask(&self, request: &Request, time: Duration) -> Result<Reply> {
        let time = self.within(time);
        self.begin(request)?.finish(request, time, |_, _| Ok(()))
    }

    fn unexpected(&self, reply: &Reply) -> Error {
        Error::Protocol {
            who: self.name.clone(),
            what: format!("{reply:?}"),
        }
    }

    /// A program to run; see [`Command`].
    #[must_use]
    pub fn command<S: Into<String>>(&self, argv: impl IntoIterator<Item = S>) -> Command<'_> {
        Command {
            remote: self,
            program: Program::new(argv),
            input: Vec::new(),
            time: Duration::from_secs(30),
            max_output: if self.channel == 0 {
                16 << 20
            } else {
                256 << 10
            },
        }
    }

    /// A line for the shell; see [`Command`].
    #[must_use]
    pub fn shell(&self, line: &str) -> Command<'_> {
        self.command(["sh", "-c", line])
    }

    /// Is it there? Returns how long the answer took.
    ///
    /// # Errors
    /// [`Error::Lost`], [`Error::Timeout`].
    pub fn ping(&self, time: Duration) -> Result<Duration> {
        let began = Instant::now();
        self.ask(&Request::Ping, time)?;
        Ok(began.elapsed())
    }

    /// Starts a program in the background; both its outputs go to `log`. Returns its process id.
    ///
    /// # Errors
    /// As [`Command::output`].
    pub fn spawn<S: Into<String>>(
        &self,
        argv: impl IntoIterator<Item = S>,
        log: &str,
    ) -> Result<u32> {
        let request = Request::Spawn {
            program: Program::new(argv),
            log: log.into(),
        };
        match self.ask(&request, PROMPT)? {
            Reply::Spawned { pid } => Ok(pid),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Waits for a spawned program.
    ///
    /// # Errors
    /// [`Error::Refused`] when it still runs after `time`.
    pub fn wait(&self, pid: u32, time: Duration) -> Result<Exit> {
        let timeout_ms = u64::try_from(self.within(time).as_millis()).unwrap_or(u64::MAX);
        match self.ask(&Request::Wait { pid, timeout_ms }, time + MARGIN)? {
            Reply::Exited(exit) => Ok(exit),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Sends a signal to a spawned program and all it started.
    ///
    /// # Errors
    /// [`Error::Refused`] when it has ended.
    pub fn kill(&self, pid: u32, signal: i32) -> Result<()> {
        self.ask(
            &Request::Kill {
                pid,
                signal,
                only: false,
            },
            PROMPT,
        )
        .map(drop)
    }

    /// Sends a signal to a spawned program, not to what it started.
    ///
    /// # Errors
    /// [`Error::Refused`] when it has ended.
    pub fn kill_only(&self, pid: u32, signal: i32) -> Result<()> {
        self.ask(
            &Request::Kill {
                pid,
                signal,
                only: true,
            },
            PROMPT,
        )
        .map(drop)
    }

    /// Writes a file.
    ///
    /// # Errors
    /// [`Error::Refused`] when it cannot be written there.
    pub fn put_bytes(&self, bytes: &[u8], path: &str, mode: u32) -> Result<()> {
        self.put(&mut &bytes[..], path, mode)
    }

    /// Copies a local file with its permissions.
    ///
    /// # Errors
    /// [`Error::File`] for the local one, [`Error::Refused`] for the remote one.
    pub fn put_file(&self, local: &Path, path: &str) -> Result<()> {
        use std::os::unix::fs::PermissionsExt;
        let failed = |source| Error::File {
            path: local.display().to_string(),
            source,
        };
        let mut file = std::fs::File::open(local).map_err(failed)?;
        let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o7777;
        self.put(&mut file, path, mode)
    }

    fn put(&self, reader: &mut dyn Read, path: &str, mode: u32) -> Result<()> {
        let request = Request::Put {
            path: path.into(),
            mode,
        };
        let mut exchange = self.begin(&request)?;
        let mut buffer = vec![0; INPUT_CHUNK];
        loop {
            let count = reader.read(&mut buffer).map_err(|source| Error::File {
                path: path.into(),
                source,
            })?;
            if count == 0 {
                break;
            }
            exchange.send(Kind::Input, &buffer[..count])?;
        }
        exchange.send(Kind::InputEnd, Vec::new())?;
        exchange
            .finish(&request, Duration::from_secs(120), |_, _| Ok(()))
            .map(drop)
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`Error::Refused`] when it cannot be read.
    pub fn get(&self, path: &str) -> Result<Vec<u8>> {
        let request = Request::Get { path: path.into() };
        let mut bytes = Vec::new();
        self.begin(&request)?
            .finish(&request, Duration::from_secs(120), |_, chunk| {
                bytes.extend_from_slice(&chunk);
                Ok(())
            })?;
        Ok(bytes)
    }

    /// Speaks to the agent of a guest over its console; waits until it answers.
    ///
    /// # Errors
    /// [`Error::Refused`] when it does not answer in `time`.
    pub fn attach(&self, domid: u32, name: &str, time: Duration) -> Result<Self> {
        let timeout_ms = u64::try_from(self.within(time).as_millis()).unwrap_or(u64::MAX);
        match self.ask(&Request::Attach { domid, timeout_ms }, time + MARGIN)? {
            Reply::Attached { channel } => {
                self.client.forget_loss(channel);
                Ok(Self {
                    client: self.client.clone(),
                    channel,
                    name: name.into(),
                    pace: self.pace,
                })
            }
            other => Err(self.unexpected(&other)),
        }
    }

    /// Lets go of a guest's console, so that others can read it.
    ///
    /// # Errors
    /// [`Error::Refused`] when it was let go already.
    pub fn detach(&self) -> Result<()> {
        let dom0 = self.client.dom0();
        dom0.ask(
            &Request::Detach {
                channel: self.channel,
            },
            PROMPT,
        )
        .map(drop)
    }

    /// Follows the files below a folder until the follower is dropped or finished.
    ///
    /// # Errors
    /// [`Error::Lost`].
    pub fn follow(&self, dir: &str) -> Result<Follower> {
        let request = Request::Follow { dir: dir.into() };
        Ok(Follower {
            exchange: self.begin(&request)?,
        })
    }

    /// Ends this machine or guest; an answer is not waited for.
    ///
    /// # Errors
    /// [`Error::Lost`].
    pub fn poweroff(&self) -> Result<()> {
        self.give_up_after(&Request::Poweroff)
    }

    /// Restarts this guest; an answer is not waited for.
    ///
    /// # Errors
    /// [`Error::Lost`].
    pub fn reboot(&self) -> Result<()> {
        self.give_up_after(&Request::Reboot)
    }

    fn give_up_after(&self, request: &Request) -> Result<()> {
        let mut exchange = self.begin(request)?;
        // A cancel would be one more thing on the way to a machine that ends.
        exchange.over = true;
        Ok(())
    }
}

/// Files that are being followed.
pub struct Follower {
    exchange: Exchange,
}

impl Follower {
    /// A way to ask for the rest from elsewhere; [`Follower::next_chunk`] then ends.
    pub fn stopper(&self) -> impl Fn() + Send + 'static {
        let (client, channel, id) = (
            self.exchange.client.clone(),
            self.exchange.channel,
            self.exchange.id,
        );
        move || {
            // Lost already: then it ends by itself.
            let _ = client.send(
                "dom0",
                &crate::frame::Frame::new(channel, Kind::Cancel, id, Vec::new()),
            );
        }
    }

    /// Waits for the next piece; `None` at the end.
    pub fn next_chunk(&mut self) -> Option<LogChunk> {
        loop {
            let frame = self.exchange.next(None).ok()??;
            match frame.kind {
                Kind::Reply => return None,
                _ => {
                    if let Some(chunk) = LogChunk::decode(&frame.payload) {
                        return Some(chunk);
                    }
                }
            }
        }
    }
}
