//! Telling the guest: data and statuses of all that has ended, in one copy.

use super::BlockQueue;
use super::work::{CopyBack, Outcome, Work};
use crate::block::request::Status;
use crate::chain::{Segments, slice_segments};
use crate::device::Completions;
use crate::memory::{CopyOut, MemoryError, PayloadMemory};
use crate::refusal::refused;

impl BlockQueue {
    /// Copies all small read data and all statuses in one operation, and completes what has ended.
    pub(super) fn answer(&mut self, memory: &mut dyn PayloadMemory, done: &mut Completions) {
        let works = std::mem::take(&mut self.ended);
        let serial = self.shared.config.serial_bytes();
        let places: Vec<(Segments, [u8; 1])> = works
            .iter()
            .map(|work| {
                let last = u64::from(work.chain.writable_len().saturating_sub(1));
                (
                    slice_segments(work.chain.writable(), last, 1),
                    [work.outcome.status as u8],
                )
            })
            .collect();
        let mut jobs = Vec::with_capacity(works.len().saturating_mul(2));
        let mut data_jobs = Vec::with_capacity(works.len());
        for (work, (place, status)) in works.iter().zip(&places) {
            jobs.push(CopyOut::new(place, status));
            let data = match work.outcome.copy_out {
                CopyBack::Nothing => None,
                CopyBack::Buffer(len) => work
                    .buffer
                    .as_ref()
                    .and_then(|buffer| buffer.first(len as usize).ok()),
                CopyBack::Serial(len) => serial.get(..len as usize),
            };
            match data.filter(|data| !data.is_empty()) {
                Some(data) => {
                    jobs.push(CopyOut::new(work.chain.writable(), data));
                    data_jobs.push(true);
                }
                None => data_jobs.push(false),
            }
        }
        memory.copy_out(&mut jobs);
        let mut results = jobs.into_iter().map(|job| job.result);
        let verdicts: Vec<_> = data_jobs
            .into_iter()
            .map(|has_data| {
                let status = results.next().unwrap_or(Ok(()));
                let data = match has_data {
                    true => results.next().unwrap_or(Ok(())),
                    false => Ok(()),
                };
                (status, data)
            })
            .collect();
        for ((work, (place, _)), (status, data)) in works.into_iter().zip(&places).zip(verdicts) {
            self.complete(work, place, status, data, memory, done);
        }
    }

    fn complete(
        &mut self,
        work: Work,
        place: &Segments,
        status: Result<(), MemoryError>,
        data: Result<(), MemoryError>,
        memory: &mut dyn PayloadMemory,
        done: &mut Completions,
    ) {
        let Work {
            chain,
            large,
            mut outcome,
            ..
        } = work;
        self.mapped = self.mapped.saturating_sub(large);
        self.begun = self.begun.saturating_sub(1);
        let mut told = status;
        if data.is_err() {
            // The status says "done", but the data did not arrive: say so before the guest looks.
            outcome = Outcome::of(Status::IoError);
            let mut job = CopyOut::new(place, &[Status::IoError as u8]);
            memory.copy_out(std::slice::from_mut(&mut job));
            told = job.result;
        }
        if outcome.status != Status::Ok {
            self.shared.counters.errors.inc();
        }
        match told {
            Ok(()) => done.complete(chain, outcome.data_in.saturating_add(1)),
            Err(error) => done.cannot_answer(
                chain,
                refused(
                    "request: a status that cannot be written",
                    format!("the status of a disk request cannot be written: {error}"),
                ),
            ),
        }
    }
}
