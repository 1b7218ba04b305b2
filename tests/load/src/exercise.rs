//! Writes a region, flushes, reads all of it back, and checks each sector.

use crate::args::Exercise;
use crate::buffer::{Buffer, open_direct};
use crate::pattern::{self, SECTOR};
use crate::plan::{self, Request};
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Shorter pauses between two completed requests are not worth a word.
const PAUSE: Duration = Duration::from_millis(10);
/// Most pauses that are told.
const MAX_PAUSES: usize = 4096;

#[derive(Serialize)]
pub(crate) struct Report {
    /// Bytes of the region, all written and read back and checked in each pass.
    bytes: u64,
    passes: u64,
    /// Of all passes.
    writes: u64,
    reads: u64,
    flushes: u64,
    seconds: f64,
    /// Of the region, as read back in the last pass.
    sha256: String,
    /// Times of 10 ms and more in which no request was completed, longest first, in milliseconds.
    pauses_ms: Vec<u64>,
}

pub(crate) fn run(options: &Exercise) -> Result<Report, String> {
    let begin = Instant::now();
    let pace = Pace::new();
    let mut options = options.clone();
    let mut report = pass(&options, &pace)?;
    let wanted = |options: &Exercise| {
        let sought = options.until.as_ref().is_some_and(|file| !file.exists());
        sought || begin.elapsed() < Duration::from_secs(options.seconds)
    };
    while wanted(&options) {
        options.seed = options.seed.wrapping_add(1);
        let next = pass(&options, &pace)?;
        report = Report {
            passes: report.passes + 1,
            writes: report.writes + next.writes,
            reads: report.reads + next.reads,
            flushes: report.flushes + next.flushes,
            ..next
        };
    }
    report.seconds = begin.elapsed().as_secs_f64();
    report.pauses_ms = pace.pauses_ms();
    Ok(report)
}

fn pass(options: &Exercise, pace: &Pace) -> Result<Report, String> {
    let file = open_direct(&options.device, true)?;
    let writes = plan::cover(
        options.bytes,
        options.min_request,
        options.max_request,
        options.seed,
    )?;
    let flushes = AtomicU64::new(0);
    in_parallel(options, &writes, pace, |request, buffer, done| {
        pattern::fill(buffer, request.offset / SECTOR as u64, options.seed);
        file.write_all_at(buffer, request.offset)
            .map_err(|error| failed("write", request, &error))?;
        if options.flush_every > 0 && done % options.flush_every == 0 {
            flush(&file, &flushes)?;
        }
        Ok(())
    })?;
    flush(&file, &flushes)?;
    let mut report = verify(options, pace)?;
    report.writes = writes.len() as u64;
    report.flushes = flushes.into_inner();
    Ok(report)
}

pub(crate) fn verify_only(options: &Exercise) -> Result<Report, String> {
    let begin = Instant::now();
    let pace = Pace::new();
    let mut report = verify(options, &pace)?;
    report.seconds = begin.elapsed().as_secs_f64();
    report.pauses_ms = pace.pauses_ms();
    Ok(report)
}

fn verify(options: &Exercise, pace: &Pace) -> Result<Report, String> {
    let file = open_direct(&options.device, false)?;
    // Another cut than the one that wrote: a request boundary that moves data would show.
    let reads = plan::cover(
        options.bytes,
        options.min_request,
        options.max_request,
        !options.seed,
    )?;
    in_parallel(options, &reads, pace, |request, buffer, _| {
        file.read_exact_at(buffer, request.offset)
            .map_err(|error| failed("read", request, &error))?;
        pattern::check(buffer, request.offset / SECTOR as u64, options.seed)
    })?;
    Ok(Report {
        bytes: options.bytes,
        passes: 1,
        writes: 0,
        reads: reads.len() as u64,
        flushes: 0,
        seconds: 0.0,
        sha256: digest(&file, options, pace)?,
        pauses_ms: Vec::new(),
    })
}

/// When requests complete, over all threads.
struct Pace(Mutex<(Instant, Vec<Duration>)>);

impl Pace {
    fn new() -> Self {
        Self(Mutex::new((Instant::now(), Vec::new())))
    }

    /// A request is complete.
    fn completed(&self) {
        // No code that could panic runs under the lock.
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (last, pauses) = &mut *state;
        let now = Instant::now();
        let pause = now.duration_since(std::mem::replace(last, now));
        if pause >= PAUSE && pauses.len() < MAX_PAUSES {
            pauses.push(pause);
        }
    }

    fn pauses_ms(self) -> Vec<u64> {
        let (_, mut pauses) = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        pauses.sort_unstable_by(|one, two| two.cmp(one));
        pauses
            .into_iter()
            .map(|pause| u64::try_from(pause.as_millis()).unwrap_or(u64::MAX))
            .collect()
    }
}

fn failed(verb: &str, request: &Request, error: &std::io::Error) -> String {
    format!(
        "{verb} of {} bytes at {}: {error}",
        request.length, request.offset
    )
}

fn flush(file: &File, count: &AtomicU64) -> Result<(), String> {
    file.sync_data()
        .map_err(|error| format!("flush: {error}"))?;
    count.fetch_add(1, Ordering::Relaxed);
    Ok(())
}

/// Runs `work(request, buffer, number of this thread's request)` for each request, `depth` at a time;
/// the first error ends it.
fn in_parallel(
    options: &Exercise,
    requests: &[Request],
    pace: &Pace,
    work: impl Fn(&Request, &mut [u8], u64) -> Result<(), String> + Sync,
) -> Result<(), String> {
    let queue = Mutex::new(requests.iter());
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..options.depth.max(1))
            .map(|_| {
                scope.spawn(|| -> Result<(), String> {
                    let mut buffer = Buffer::new(options.max_request)?;
                    let mut done = 0;
                    loop {
                        let next = queue.lock().map_err(|_| "another thread failed")?.next();
                        let Some(request) = next else { return Ok(()) };
                        done += 1;
                        work(request, buffer.bytes_mut(request.length as usize), done)?;
                        pace.completed();
                    }
                })
            })
            .collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().map_err(|_| "a thread panicked".to_owned())?)
    })
}

/// SHA-256 of the region, read in order.
fn digest(file: &File, options: &Exercise, pace: &Pace) -> Result<String, String> {
    let mut hash = Sha256::new();
    let mut buffer = Buffer::new(options.max_request)?;
    let mut offset = 0;
    while offset < options.bytes {
        let length = options.max_request.min(options.bytes - offset);
        let part = buffer.bytes_mut(length as usize);
        file.read_exact_at(part, offset)
            .map_err(|error| failed("read", &Request { offset, length }, &error))?;
        hash.update(part);
        pace.completed();
        offset += length;
    }
    Ok(hash
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect())
}
