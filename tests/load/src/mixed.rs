//! Reads, writes and flushes mixed, several in flight, of random sizes at random places; every sector that is read is
//! checked against what was last written there.
//!
//! Each thread has a part of the region for itself, so it knows what each of its sectors must hold. Neither place nor
//! memory is aligned to pages: requests begin and end within pages as a file system's never do.

use crate::args::Mixed;
use crate::buffer::{Buffer, PAGE, open_direct};
use crate::pattern::{self, Random, SECTOR};
use crate::plan::{self, Request};
use serde::Serialize;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    /// Reads and writes, those that gave the region its first contents and that read it at the end included.
    requests: u64,
    reads: u64,
    writes: u64,
    flushes: u64,
    /// Read and written.
    bytes: u64,
    /// Requests that failed; each ended its thread.
    errors: u64,
    /// Reads that found what was not written there; each ended its thread.
    corruptions: u64,
    /// Of the first thread that was ended.
    trouble: Option<String>,
}

impl Report {
    /// Whether all went well.
    pub(crate) fn outcome(self) -> Result<(), String> {
        self.trouble.map_or(Ok(()), Err)
    }

    fn add(&mut self, more: Report) {
        self.requests += more.requests;
        self.reads += more.reads;
        self.writes += more.writes;
        self.flushes += more.flushes;
        self.bytes += more.bytes;
        self.errors += more.errors;
        self.corruptions += more.corruptions;
        self.trouble = self.trouble.take().or(more.trouble);
    }
}

pub(crate) fn run(options: &Mixed) -> Result<Report, String> {
    run_on(&open_direct(&options.device, true)?, options)
}

fn run_on(file: &File, options: &Mixed) -> Result<Report, String> {
    let depth = options.depth.max(1);
    let part = options.bytes / depth as u64 / options.max_request.max(1) * options.max_request;
    if part == 0 {
        return Err(format!(
            "{} bytes are too few: each of {depth} threads needs room for {}",
            options.bytes, options.max_request
        ));
    }
    let mut parts = (0..depth as u64)
        .map(|thread| Part::new(file, options, thread, part))
        .collect::<Result<Vec<_>, _>>()?;
    let taken = AtomicU64::new(0);
    let ended = std::thread::scope(|scope| {
        let threads: Vec<_> = parts
            .iter_mut()
            .map(|part| scope.spawn(|| part.work(&taken)))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().map_err(|_| "a thread panicked".to_owned()))
            .collect::<Result<Vec<_>, _>>()
    })?;
    let mut report = Report::default();
    for (part, ended) in parts.into_iter().zip(ended) {
        report.add(part.told(ended));
    }
    Ok(report)
}

/// What ends a thread.
#[derive(Debug)]
enum Trouble {
    /// A request failed.
    Request(String),
    /// A read found what was not written there.
    Contents(String),
}

/// A thread's part of the region.
struct Part<'a> {
    file: &'a File,
    options: &'a Mixed,
    /// Where it begins, in bytes.
    start: u64,
    /// What each sector was last written with.
    versions: Vec<u64>,
    /// The next write's.
    version: u64,
    random: Random,
    buffer: Buffer,
    report: Report,
}

impl<'a> Part<'a> {
    fn new(file: &'a File, options: &'a Mixed, thread: u64, bytes: u64) -> Result<Self, String> {
        let version = (options.seed << 40) | (thread << 32);
        let sectors = usize::try_from(bytes).map_err(|_| "the region is too large")? / SECTOR;
        Ok(Part {
            file,
            options,
            start: thread * bytes,
            versions: vec![version; sectors],
            version,
            random: Random::new(version),
            buffer: Buffer::new(options.max_request + PAGE as u64)?,
            report: Report::default(),
        })
    }

    fn bytes(&self) -> u64 {
        (self.versions.len() * SECTOR) as u64
    }

    /// Gives all of it contents, does its share of the requests, and reads all of it.
    fn work(&mut self, taken: &AtomicU64) -> Result<(), Trouble> {
        for request in self.cover(self.version)? {
            self.write(request)?;
        }
        let mut done = 0;
        while taken.fetch_add(1, Ordering::Relaxed) < self.options.requests {
            let request = self.somewhere();
            match self.random.below(2) {
                0 => self.write(request)?,
                _ => self.read(request)?,
            }
            done += 1;
            if self.options.flush_every > 0 && done % self.options.flush_every == 0 {
                self.flush()?;
            }
        }
        self.flush()?;
        for request in self.cover(!self.version)? {
            self.read(request)?;
        }
        Ok(())
    }

    fn cover(&self, seed: u64) -> Result<Vec<Request>, Trouble> {
        let (smallest, largest) = (self.options.min_request, self.options.max_request);
        plan::cover(self.bytes(), smallest, largest, seed).map_err(Trouble::Request)
    }

    /// A request of any size at any place.
    fn somewhere(&mut self) -> Request {
        let (smallest, largest) = (self.options.min_request, self.options.max_request);
        let length = smallest
            << self
                .random
                .below(u64::from((largest / smallest).ilog2()) + 1);
        let places = (self.bytes() - length) / smallest + 1;
        Request {
            offset: self.random.below(places) * smallest,
            length,
        }
    }

    fn write(&mut self, request: Request) -> Result<(), Trouble> {
        self.version += 1;
        let (file, version) = (self.file, self.version);
        let (place, memory, versions) = self.at(request);
        pattern::fill(memory, place / SECTOR as u64, version);
        file.write_all_at(memory, place)
            .map_err(|error| failed("write", request.length, place, &error))?;
        versions.fill(version);
        self.report.writes += 1;
        self.report.bytes += request.length;
        Ok(())
    }

    fn read(&mut self, request: Request) -> Result<(), Trouble> {
        let file = self.file;
        let (place, memory, versions) = self.at(request);
        file.read_exact_at(memory, place)
            .map_err(|error| failed("read", request.length, place, &error))?;
        let sectors = memory.chunks_exact(SECTOR).zip(place / SECTOR as u64..);
        for ((sector, number), version) in sectors.zip(versions.iter()) {
            pattern::check(sector, number, *version).map_err(Trouble::Contents)?;
        }
        self.report.reads += 1;
        self.report.bytes += request.length;
        Ok(())
    }

    /// A request's place on the device, memory for it, and what its sectors were last written with.
    fn at(&mut self, request: Request) -> (u64, &mut [u8], &mut [u64]) {
        let unit = self.options.min_request;
        let skip = self.random.below((PAGE as u64 / unit).max(1)) * unit;
        let (skip, length) = (skip as usize, request.length as usize);
        let first = request.offset as usize / SECTOR;
        (
            self.start + request.offset,
            &mut self.buffer.bytes_mut(skip + length)[skip..],
            &mut self.versions[first..first + length / SECTOR],
        )
    }

    fn flush(&mut self) -> Result<(), Trouble> {
        let flushed = self.file.sync_data();
        flushed.map_err(|error| Trouble::Request(format!("flush: {error}")))?;
        self.report.flushes += 1;
        Ok(())
    }

    fn told(self, ended: Result<(), Trouble>) -> Report {
        let mut report = self.report;
        report.requests = report.reads + report.writes;
        report.trouble = match ended {
            Ok(()) => None,
            Err(Trouble::Request(text)) => {
                report.errors += 1;
                Some(text)
            }
            Err(Trouble::Contents(text)) => {
                report.corruptions += 1;
                Some(text)
            }
        };
        report
    }
}

fn failed(verb: &str, length: u64, place: u64, error: &std::io::Error) -> Trouble {
    Trouble::Request(format!("{verb} of {length} bytes at {place}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> Mixed {
        Mixed {
            device: "unused".into(),
            requests: 300,
            bytes: 1 << 20,
            min_request: 512,
            max_request: 64 << 10,
            depth: 4,
            seed: 1,
            flush_every: 8,
        }
    }

    #[test]
    fn requests_of_all_sizes_are_made_and_what_is_read_was_written() {
        let file = tempfile::tempfile().unwrap();
        let report = run_on(&file, &options()).unwrap();
        assert_eq!((report.errors, report.corruptions), (0, 0), "{report:?}");
        assert!(report.requests > 300, "{report:?}");
        assert!(report.flushes >= 4 && report.reads > 100 && report.writes > 100);
        assert_eq!(file.metadata().unwrap().len(), 1 << 20);
    }

    #[test]
    fn a_stale_sector_and_a_failed_request_are_told_apart() {
        let file = tempfile::tempfile().unwrap();
        let options = options();
        let mut part = Part::new(&file, &options, 1, 1 << 18).unwrap();
        let request = Request {
            offset: 512,
            length: 4096,
        };
        part.write(request).unwrap();
        let mut old = [0; SECTOR];
        file.read_exact_at(&mut old, part.start + 1024).unwrap();
        part.write(request).unwrap();
        part.read(request).unwrap();
        file.write_all_at(&old, part.start + 1024).unwrap();
        let found = part.read(request);
        assert!(matches!(&found, Err(Trouble::Contents(_))), "{found:?}");

        file.set_len(part.start).unwrap();
        let found = part.read(request);
        assert!(matches!(&found, Err(Trouble::Request(_))), "{found:?}");
        let report = part.told(found);
        assert_eq!((report.errors, report.corruptions), (1, 0));
        assert!(report.outcome().is_err());
    }

    #[test]
    fn a_region_too_small_for_its_threads_is_refused() {
        let file = tempfile::tempfile().unwrap();
        let few = Mixed {
            bytes: 128 << 10,
            ..options()
        };
        assert!(run_on(&file, &few).is_err());
    }
}
