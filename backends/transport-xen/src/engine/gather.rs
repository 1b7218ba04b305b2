//! How many requests to serve before the driver is told, and how long to wait for those to come.
//!
//! A driver with many requests in flight submits new ones as it hears of old ones. Telling it of each costs an interrupt
//! and two register accesses each time; telling it of many together costs them once. How many a driver keeps in
//! flight cannot be seen, so it is found out: while waits are fulfilled the next is for more requests, and a wait in
//! vain says how many there are.
//!
//! There are two ways to wait. A thread that is awake serves each request as it comes and keeps back the answers
//! ([`Gather::pause`]). One that may not stay awake takes none before enough are there; the driver is asked (by
//! EVENT_IDX) to notify when that is so ([`Gather::plan`]).
//!
//! What it costs: a wait in vain, once in [`PATIENCE`] batches at most, of some times the time in which that many requests
//! have come lately ([`LONGEST`] at most). For a driver with one request in flight that is a thirtieth of its time.

use std::time::{Duration, Instant};

/// Fewer are not worth waiting for.
const LEAST: u16 = 4;
/// Most to wait for.
const MOST: u16 = 32;
/// Batches after a wait in vain before more is hoped for again.
const PATIENCE: u32 = 32;
/// No wait is longer.
const LONGEST: Duration = Duration::from_millis(10);
/// A pause this many times longer than the usual one between two requests says that no more come.
const PAUSES: u32 = 8;
/// As much for a driver that seems to have no more.
const TRIAL: u32 = 2;
/// No pause is longer.
const LONGEST_PAUSE: Duration = Duration::from_millis(2);
/// No answer is kept back longer than serving this many requests takes: a driver that sends on without waiting for
/// answers is not to get them much later than it could.
const KEPT_BACK: u32 = 48;
/// Nor longer than this.
const LONGEST_KEPT_BACK: Duration = Duration::from_millis(4);

/// What the last batches teach about the next.
#[derive(Debug)]
pub(super) struct Gather {
    /// How many to wait for; below [`LEAST`]: none.
    target: u16,
    /// Batches until more is hoped for.
    patience: u32,
    /// Time per request, lately.
    pace: Duration,
    /// Of that, the time spent on serving it.
    effort: Duration,
    last: Instant,
}

impl Gather {
    pub(super) fn new(now: Instant) -> Self {
        Gather {
            target: 0,
            patience: 0,
            pace: Duration::ZERO,
            effort: Duration::ZERO,
            last: now,
        }
    }

    /// A batch was taken.
    pub(super) fn taken(&mut self, requests: usize, now: Instant) {
        let Ok(requests @ 1..) = u32::try_from(requests) else {
            // Idle time says nothing about the pace.
            self.last = now;
            return;
        };
        let time = now.saturating_duration_since(self.last);
        self.last = now;
        let pace = time.checked_div(requests).unwrap_or_default().min(LONGEST);
        self.pace = average(self.pace, pace);
        self.patience = self.patience.saturating_sub(1);
        if self.target < LEAST && requests > 1 && self.patience == 0 {
            self.target = LEAST;
        }
    }

    /// How many requests to wait for, and how long, when `waiting` are there.
    pub(super) fn plan(&self, waiting: u16) -> Option<(u16, Duration)> {
        if self.target < LEAST || waiting >= self.target {
            return None;
        }
        let limit = self
            .pace
            .saturating_mul(u32::from(self.target))
            .saturating_mul(4);
        Some((self.target, limit.min(LONGEST)))
    }

    /// Some requests were served, which took this long.
    pub(super) fn served(&mut self, requests: u16, time: Duration) {
        let Some(each) = time.checked_div(requests.into()) else {
            return;
        };
        self.effort = average(self.effort, each);
    }

    /// Whether `served` requests are enough to tell the driver of them, the first of them served `age` ago.
    pub(super) fn suffices(&self, served: u16, age: Duration) -> bool {
        self.target >= LEAST && served >= self.target || age >= self.longest()
    }

    fn longest(&self) -> Duration {
        let longest = self.effort.saturating_mul(KEPT_BACK);
        longest.min(LONGEST_KEPT_BACK)
    }

    /// How long to wait for one more request, awake, when `served` are served, the first of them `age` ago, and no more
    /// are there.
    pub(super) fn pause(&self, served: u16, age: Duration) -> Option<Duration> {
        let pauses = match self.target >= LEAST {
            true if served < self.target => PAUSES,
            // Are there more than it seems?
            false if self.patience == 0 && !self.pace.is_zero() => TRIAL,
            _ => return None,
        };
        let left = self.longest().checked_sub(age)?;
        let pause = self.pace.saturating_mul(pauses);
        Some(pause.min(LONGEST_PAUSE).min(left))
    }

    /// A [`Gather::pause`] has ended, with one more request or, when `served` are served, without.
    pub(super) fn paused(&mut self, came: bool, served: u16) {
        match came {
            true => self.target = self.target.max(LEAST),
            false => {
                let trial = self.target < LEAST;
                self.all_there(served);
                if trial {
                    self.patience = PATIENCE.saturating_mul(TRIAL);
                }
            }
        }
    }

    /// The driver is told of `served` requests, because they suffice.
    pub(super) fn sufficed(&mut self, served: u16) {
        if self.patience == 0 && served >= self.target {
            self.target = self.target.saturating_mul(2).min(MOST);
        }
    }

    /// The driver has no more, or nearly: most of them another time.
    fn all_there(&mut self, count: u16) {
        self.target = count.saturating_mul(7).checked_div(8).unwrap_or(0);
        self.patience = PATIENCE;
    }

    /// The wait has ended, with this many there.
    pub(super) fn waited(&mut self, waiting: u16) {
        if waiting < self.target {
            self.all_there(waiting);
        } else {
            self.sufficed(waiting);
        }
    }
}

/// Half of what it was, half of what it is; only what it is where nothing was known.
fn average(before: Duration, now: Duration) -> Duration {
    match before {
        Duration::ZERO => now,
        _ => before.saturating_add(now).checked_div(2).unwrap_or(now),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Duration = Duration::from_micros(10);

    /// A driver that keeps `depth` requests in flight, served by batches; gives the batches' sizes.
    fn run(depth: u16, batches: usize) -> Vec<u16> {
        let mut now = Instant::now();
        let mut gather = Gather::new(now);
        let mut sizes = Vec::new();
        for _ in 0..batches {
            // Without waiting, two or so have come back meanwhile.
            let mut waiting = depth.min(2);
            if let Some((count, _)) = gather.plan(waiting) {
                waiting = depth.min(count);
                gather.waited(waiting);
            }
            now += PACE * u32::from(waiting);
            gather.taken(waiting.into(), now);
            sizes.push(waiting);
        }
        sizes
    }

    fn mean(sizes: &[u16]) -> f64 {
        sizes.iter().map(|&size| f64::from(size)).sum::<f64>() / sizes.len() as f64
    }

    #[test]
    fn a_single_request_in_flight_is_never_waited_for() {
        let mut gather = Gather::new(Instant::now());
        for _ in 0..1000 {
            gather.taken(1, Instant::now());
            assert_eq!(gather.plan(0), None);
        }
    }

    #[test]
    fn the_batches_of_a_deep_queue_become_large() {
        assert!(mean(&run(32, 100)[10..]) > 20.0);
    }

    #[test]
    fn the_depth_is_found_and_hoping_for_more_is_rare() {
        let sizes = run(8, 1000);
        assert!(mean(&sizes[20..]) >= 6.0, "{sizes:?}");
        let in_vain = sizes.iter().filter(|&&size| size == 8).count();
        assert!(in_vain <= 1000 / PATIENCE as usize * 3, "{in_vain}");
    }

    /// A driver that keeps `depth` requests in flight, served as they come by a thread that is awake; gives how many it
    /// was told of each time, and the waits in vain.
    fn run_awake(depth: u16, batches: usize) -> (Vec<u16>, usize) {
        let mut now = Instant::now();
        let mut gather = Gather::new(now);
        let (mut sizes, mut in_vain) = (Vec::new(), 0);
        while sizes.len() < batches {
            let mut served = 1;
            now += PACE;
            let begin = now;
            gather.served(1, PACE);
            while !gather.suffices(served, now - begin) {
                let Some(pause) = gather.pause(served, now - begin) else {
                    break;
                };
                let came = served < depth && pause >= PACE;
                gather.paused(came, served);
                if !came {
                    now += pause;
                    in_vain += 1;
                    break;
                }
                now += PACE;
                served += 1;
            }
            if gather.suffices(served, Duration::ZERO) {
                gather.sufficed(served);
            }
            gather.taken(served.into(), now);
            sizes.push(served);
        }
        (sizes, in_vain)
    }

    #[test]
    fn a_driver_of_many_requests_is_told_of_many_at_once() {
        let (sizes, in_vain) = run_awake(32, 100);
        assert!(mean(&sizes[40..]) > 28.0, "{sizes:?}");
        assert!(in_vain <= 8, "{in_vain}");
        let (sizes, _) = run_awake(8, 1000);
        assert!(mean(&sizes[40..]) >= 6.0, "{sizes:?}");
    }

    #[test]
    fn no_answer_is_kept_back_for_long_where_requests_come_slowly() {
        let mut now = Instant::now();
        let mut gather = Gather::new(now);
        gather.target = MOST;
        for _ in 0..100 {
            // Ten times the time that serving one takes.
            now += PACE * 10;
            gather.served(1, PACE);
            gather.taken(1, now);
        }
        let longest = PACE * KEPT_BACK;
        assert!(gather.pause(1, PACE).unwrap() <= longest);
        assert_eq!(gather.pause(5, longest + PACE), None);
        assert!(gather.suffices(5, longest));
        assert!(!gather.suffices(5, PACE));
    }

    #[test]
    fn a_driver_of_one_request_is_rarely_told_late() {
        let (sizes, in_vain) = run_awake(1, 1000);
        assert!(sizes.iter().all(|&size| size == 1));
        assert!(in_vain <= 1000 / 64 + 1, "{in_vain}");
    }

    #[test]
    fn two_in_flight_are_hardly_ever_waited_for() {
        let mut now = Instant::now();
        let mut gather = Gather::new(now);
        let mut waits = 0_u32;
        for _ in 0..640 {
            if gather.plan(2).is_some() {
                waits += 1;
                gather.waited(2);
            }
            now += PACE;
            gather.taken(2, now);
        }
        assert!(waits <= 640 / PATIENCE + 1, "{waits}");
    }

    #[test]
    fn a_wait_is_bounded_by_the_pace_and_for_good() {
        let mut now = Instant::now();
        let mut gather = Gather::new(now);
        for (pause, longest) in [
            (Duration::from_micros(20), Duration::from_micros(400)),
            (Duration::from_secs(9), LONGEST),
        ] {
            for _ in 0..20 {
                now += pause;
                gather.taken(2, now);
            }
            let (count, limit) = gather.plan(0).unwrap();
            assert_eq!(count, LEAST);
            assert!(limit <= longest, "{limit:?}");
        }
    }
}
