//! A client of the secure world, run in the bed's domains: what is it answered, and how long does that take?
//!
//! Its calls are those of OP-TEE's own test applications (optee_test: ta/os_test/include/ta_os_test.h); what it is answered, as a
//! number of GlobalPlatform's, is for the test to judge. It must never turn a refusal into something else.

use clap::builder::RangedU64ValueParser;
use clap::{Parser, Subcommand};
use optee_abi::Uuid;
use rustix::process::{Gid, Uid};
use rustix::thread::{set_thread_res_gid, set_thread_res_uid};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::slice;
use std::time::{Duration, Instant};
use tee_device::{Buffer, Client, Direction, Outcome, PARAMETERS, Parameter, Tee};

/// OP-TEE's application for tests of its own services.
const OS_TEST: &str = "5b9e0e40-2636-11e1-ad9e-0002a5d5c51b";
/// OP-TEE's application for tests of cryptography (optee_test: ta/crypt/include/ta_crypt.h).
const CRYPT: &str = "cb3e5ba0-adf1-11e0-998b-0002a5d5c51b";
/// `TA_CRYPT_CMD_SHA256`: the hash of what it is given.
const SHA256: u32 = 2;
/// `TA_OS_TEST_CMD_WAIT`: waits so many milliseconds, or until it is cancelled.
const WAIT: u32 = 9;
/// `TA_OS_TEST_CMD_CLIENT_IDENTITY`: who the application is told its client is.
const CLIENT_IDENTITY: u32 = 20;
/// A function that the application does not have: it is entered with its parameters, and says so.
const NOTHING: u32 = 0xffff;

#[derive(Parser)]
#[command(name = "bed-tee")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Open sessions, then close them: what each opening was answered
    Open {
        application: Uuid,
        #[arg(long, default_value_t = 1)]
        count: usize,
        /// `TEE_IOCTL_LOGIN_*`
        #[arg(long, default_value_t = 0)]
        login: u32,
    },
    /// Open a session, and ask the application who its client is
    Identity {
        /// `TEE_IOCTL_LOGIN_*`
        #[arg(long)]
        login: u32,
        /// Be this effective user, or group
        #[arg(long, default_value_t = 0)]
        number: u32,
    },
    /// Share memory, again and again, and give all back at the end: how often that was possible
    Share {
        bytes: usize,
        #[arg(long, default_value_t = 1)]
        count: usize,
        /// Wait until there is such a file, then call a function that does nothing with each piece
        #[arg(long, value_name = "FILE")]
        until: Option<PathBuf>,
    },
    /// Call a function that does nothing, one call after the other
    Calls {
        count: usize,
        /// Bytes of a buffer that goes both ways
        #[arg(long, default_value_t = 0)]
        bytes: usize,
        /// So many parameters of so many bytes, each a buffer of its own
        #[arg(long, value_name = "N", default_value_t = 1, value_parser = RangedU64ValueParser::<usize>::new().range(1..=PARAMETERS as u64))]
        buffers: usize,
    },
    /// Have another application hash a buffer, one call after the other; a wrong hash is an error
    Hash {
        count: usize,
        #[arg(long)]
        bytes: usize,
    },
    /// Have the application wait
    Wait {
        milliseconds: u64,
        /// Several at once, in sessions of their own
        #[arg(long, default_value_t = 1)]
        at_once: usize,
    },
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(report) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(message) => {
            eprintln!("bed-tee: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<Value, String> {
    match command {
        Command::Open {
            application,
            count,
            login,
        } => open(application, count, login),
        Command::Identity { login, number } => identity(login, number),
        Command::Share {
            bytes,
            count,
            until,
        } => share(bytes, count, until.as_deref()),
        Command::Calls {
            count,
            bytes,
            buffers,
        } => calls(count, bytes, buffers),
        Command::Hash { count, bytes } => hash(count, bytes),
        Command::Wait {
            milliseconds,
            at_once,
        } => wait(milliseconds, at_once),
    }
}

fn tee() -> Result<Tee, String> {
    Tee::open(Path::new("/dev/tee0")).map_err(|error| error.to_string())
}

fn hexadecimal(result: u32) -> String {
    format!("{result:#010x}")
}

fn uuid(text: &str) -> Result<[u8; 16], String> {
    let uuid: Uuid = text.parse().map_err(|error| format!("{error}"))?;
    Ok(uuid.0)
}

fn session(tee: &Tee, application: [u8; 16], login: u32) -> Result<Result<u32, u32>, String> {
    let client = Client {
        login,
        ..Client::default()
    };
    session_of(tee, application, client)
}

fn session_of(
    tee: &Tee,
    application: [u8; 16],
    client: Client,
) -> Result<Result<u32, u32>, String> {
    let mut parameters = [Parameter::None; PARAMETERS];
    let (outcome, session) = tee
        .open_session(application, client, 0, &mut [], &mut parameters)
        .map_err(|error| error.to_string())?;
    Ok(match outcome.result {
        0 => Ok(session),
        refused => Err(refused),
    })
}

/// A session that must be had.
fn needed(tee: &Tee, application: &str) -> Result<u32, String> {
    session(tee, uuid(application)?, 0)?
        .map_err(|refused| format!("no session: {}", hexadecimal(refused)))
}

fn open(application: Uuid, count: usize, login: u32) -> Result<Value, String> {
    let tee = tee()?;
    let mut answers = Vec::new();
    let mut sessions = Vec::new();
    for _ in 0..count {
        match session(&tee, application.0, login)? {
            Ok(session) => {
                sessions.push(session);
                answers.push(hexadecimal(0));
            }
            Err(refused) => answers.push(hexadecimal(refused)),
        }
    }
    for session in sessions {
        tee.close_session(session)
            .map_err(|error| error.to_string())?;
    }
    Ok(json!({ "answers": answers }))
}

/// What `TEE_IOCTL_LOGIN_USER` and `TEE_IOCTL_LOGIN_GROUP` are.
const USER: u32 = 1;
const GROUP: u32 = 2;
const UUID: usize = 16;

fn identity(login: u32, number: u32) -> Result<Value, String> {
    let tee = tee()?;
    let mut buffer = Buffer::new(&tee, UUID).map_err(|error| error.to_string())?;
    let mut client = Client {
        login,
        ..Client::default()
    };
    // Linux takes the user from the calling thread, and the group as a number of which that must be.
    let become_it = match login {
        USER => set_thread_res_uid(None, Uid::from_raw(number), None),
        GROUP => {
            for (byte, of_group) in client.uuid.iter_mut().zip(number.to_ne_bytes()) {
                *byte = of_group;
            }
            set_thread_res_gid(None, Gid::from_raw(number), None)
        }
        _ => Ok(()),
    };
    become_it.map_err(|error| format!("cannot be {number}: {error}"))?;
    let session = session_of(&tee, uuid(OS_TEST)?, client)?
        .map_err(|refused| format!("no session: {}", hexadecimal(refused)))?;
    let mut parameters = [Parameter::None; PARAMETERS];
    parameters[0] = Parameter::Value(Direction::Output, [0; 3]);
    parameters[1] = Parameter::Memory {
        direction: Direction::Output,
        buffer: 0,
        offset: 0,
        size: UUID as u64,
    };
    let buffers = slice::from_mut(&mut buffer);
    let outcome = tee
        .invoke(session, CLIENT_IDENTITY, 0, buffers, &mut parameters)
        .map_err(|error| error.to_string())?;
    tee.close_session(session)
        .map_err(|error| error.to_string())?;
    if outcome.result != 0 {
        return Err(format!("no identity: {}", hexadecimal(outcome.result)));
    }
    let told = match parameters[0] {
        Parameter::Value(_, [login, ..]) => login,
        _ => return Err("no login".into()),
    };
    let bytes = buffer.bytes().iter().take(UUID);
    let bytes: String = bytes.map(|byte| format!("{byte:02x}")).collect();
    Ok(json!({ "login": told, "client": bytes }))
}

fn share(bytes: usize, count: usize, until: Option<&Path>) -> Result<Value, String> {
    let tee = tee()?;
    let mut buffers = Vec::new();
    let mut errors = Vec::new();
    for _ in 0..count {
        match Buffer::new(&tee, bytes) {
            Ok(buffer) => buffers.push(buffer),
            Err(error) => errors.push(error.errno()),
        }
    }
    let shared = buffers.len();
    let results = match until {
        Some(file) => {
            while !file.exists() {
                std::thread::sleep(Duration::from_millis(50));
            }
            let session = needed(&tee, OS_TEST)?;
            let results = with_each(&tee, session, &mut buffers);
            tee.close_session(session)
                .map_err(|error| error.to_string())?;
            results?
        }
        None => Results::new(),
    };
    Ok(json!({ "shared": shared, "errors": errors, "results": results }))
}

/// How often calls were answered what.
type Results = BTreeMap<String, usize>;

/// A call with each of these.
fn with_each(tee: &Tee, session: u32, buffers: &mut [Buffer]) -> Result<Results, String> {
    let mut results = Results::new();
    for buffer in buffers {
        let outcome = nothing(tee, session, slice::from_mut(buffer))?;
        *results.entry(hexadecimal(outcome.result)).or_default() += 1;
    }
    Ok(results)
}

/// Calls the function that there is not; buffers, a parameter each, go both ways.
fn nothing(tee: &Tee, session: u32, buffers: &mut [Buffer]) -> Result<Outcome, String> {
    let mut parameters = [Parameter::None; PARAMETERS];
    let each = parameters.iter_mut().zip(buffers.iter()).enumerate();
    for (number, (parameter, buffer)) in each {
        *parameter = Parameter::Memory {
            direction: Direction::Both,
            buffer: number,
            offset: 0,
            size: buffer.len() as u64,
        };
    }
    tee.invoke(session, NOTHING, 0, buffers, &mut parameters)
        .map_err(|error| error.to_string())
}

fn calls(count: usize, bytes: usize, buffers: usize) -> Result<Value, String> {
    let tee = tee()?;
    let session = needed(&tee, OS_TEST)?;
    let some = if bytes > 0 { buffers } else { 0 };
    let buffers: Result<Vec<_>, _> = (0..some).map(|_| Buffer::new(&tee, bytes)).collect();
    let mut buffers = buffers.map_err(|error| error.to_string())?;
    let timed = timed(count, || nothing(&tee, session, &mut buffers))?;
    tee.close_session(session)
        .map_err(|error| error.to_string())?;
    Ok(timed)
}

fn hash(count: usize, bytes: usize) -> Result<Value, String> {
    let tee = tee()?;
    let session = needed(&tee, CRYPT)?;
    let length = Sha256::output_size();
    let mut buffer = Buffer::new(&tee, bytes + length).map_err(|error| error.to_string())?;
    let content = buffer.bytes_mut().iter_mut().take(bytes);
    for (number, byte) in content.enumerate() {
        *byte = (number % 251) as u8;
    }
    let wanted = Sha256::digest(buffer.bytes().get(..bytes).unwrap_or_default());
    let timed = timed(count, || {
        let mut parameters = [Parameter::None; PARAMETERS];
        let memory = |direction, offset: usize, size: usize| Parameter::Memory {
            direction,
            buffer: 0,
            offset: offset as u64,
            size: size as u64,
        };
        parameters[0] = memory(Direction::Input, 0, bytes);
        parameters[1] = memory(Direction::Output, bytes, length);
        let buffers = slice::from_mut(&mut buffer);
        tee.invoke(session, SHA256, 0, buffers, &mut parameters)
            .map_err(|error| error.to_string())
    })?;
    tee.close_session(session)
        .map_err(|error| error.to_string())?;
    if buffer.bytes().get(bytes..bytes + length) != Some(wanted.as_slice()) {
        return Err(format!("the hash is wrong: {timed}"));
    }
    Ok(timed)
}

/// Makes so many calls: what they were answered, and how long one takes.
fn timed(count: usize, mut call: impl FnMut() -> Result<Outcome, String>) -> Result<Value, String> {
    let mut results = Results::new();
    let mut seconds = Vec::with_capacity(count);
    for _ in 0..count {
        let began = Instant::now();
        let outcome = call()?;
        seconds.push(began.elapsed().as_secs_f64());
        *results.entry(hexadecimal(outcome.result)).or_default() += 1;
    }
    seconds.sort_by(f64::total_cmp);
    let median = seconds.get(seconds.len() / 2).copied();
    Ok(json!({ "results": results, "median_seconds": median }))
}

fn wait(milliseconds: u64, at_once: usize) -> Result<Value, String> {
    let one = || -> Result<(String, f64), String> {
        let tee = tee()?;
        let session = needed(&tee, OS_TEST)?;
        let mut parameters = [Parameter::None; PARAMETERS];
        if let Some(first) = parameters.first_mut() {
            *first = Parameter::Value(Direction::Input, [milliseconds, 0, 0]);
        }
        let began = Instant::now();
        let outcome = tee
            .invoke(session, WAIT, 1, &mut [], &mut parameters)
            .map_err(|error| error.to_string())?;
        let seconds = began.elapsed().as_secs_f64();
        // What was given up can be closed, too.
        tee.close_session(session)
            .map_err(|error| error.to_string())?;
        Ok((hexadecimal(outcome.result), seconds))
    };
    let began = Instant::now();
    let ended: Vec<Result<(String, f64), String>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..at_once).map(|_| scope.spawn(one)).collect();
        let end = |thread: std::thread::ScopedJoinHandle<'_, _>| {
            thread
                .join()
                .unwrap_or_else(|_| Err("a thread panicked".into()))
        };
        threads.into_iter().map(end).collect()
    });
    let mut answers = Vec::new();
    for ended in ended {
        let (result, seconds) = ended?;
        answers.push(json!({ "result": result, "seconds": seconds }));
    }
    let all = Duration::as_secs_f64(&began.elapsed());
    Ok(json!({ "answers": answers, "seconds": all }))
}
