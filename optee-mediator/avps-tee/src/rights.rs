//! What a guest may do in the secure world: the document's `[domain.tee]`, as avpsctl writes it into XenStore.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use optee_abi::{Login, Uuid};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

/// Rights of a guest. What is not written is not allowed.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rights {
    /// Trusted applications it may open.
    #[serde(deserialize_with = "uuids")]
    pub(crate) applications: Vec<Uuid>,
    /// Applications of which it gets another one.
    #[serde(default, deserialize_with = "pairs")]
    pub(crate) stand_ins: Vec<(Uuid, Uuid)>,
    /// Sessions it may have open at once.
    pub(crate) sessions: u32,
    /// Bytes it may share at once, in whole pages.
    pub(crate) shared_memory_bytes: u64,
    /// Calls per second; no limit without.
    #[serde(default)]
    pub(crate) rate: Option<u32>,
    /// Calls it may have under way at once.
    pub(crate) concurrency: u32,
    /// How long a call may take; no limit without.
    #[serde(default)]
    pub(crate) timeout_ms: Option<u32>,
    /// Its share of the secure world when others want it too.
    pub(crate) weight: u32,
    /// The interrupt by which it is told that a long call has ended, as its controller counts.
    #[serde(default)]
    pub(crate) interrupt: Option<u32>,
}

fn uuids<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Uuid>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    let parse = |text: &String| text.parse().map_err(D::Error::custom);
    texts.iter().map(parse).collect()
}

fn pairs<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<(Uuid, Uuid)>, D::Error> {
    let texts = BTreeMap::<String, String>::deserialize(deserializer)?;
    let parse = |text: &String| text.parse().map_err(D::Error::custom);
    texts
        .iter()
        .map(|(asked, opened)| Ok((parse(asked)?, parse(opened)?)))
        .collect()
}

impl Rights {
    /// The application with which a session is opened for whoever asks for this one; else why none is.
    pub(crate) fn opens(&self, application: Uuid, login: Login) -> Result<Uuid, Denied> {
        let mut others = self.stand_ins.iter();
        let other = others.find(|(asked, _)| *asked == application);
        let opened = match other {
            Some((_, opened)) => *opened,
            None if self.applications.contains(&application) => application,
            None => return Err(Denied::Application(application)),
        };
        match login {
            Login::Public | Login::User | Login::Group => Ok(opened),
            // Linux knows users and groups only (drivers/tee/tee_core.c, `tee_session_calc_client_uuid`).
            _ => Err(Denied::Login(login)),
        }
    }

    /// As they are told.
    pub(crate) fn told(&self) -> tee_report::Rights {
        tee_report::Rights {
            applications: self.applications.iter().map(Uuid::to_string).collect(),
            stand_ins: self
                .stand_ins
                .iter()
                .map(|(asked, opened)| (asked.to_string(), opened.to_string()))
                .collect(),
            sessions: self.sessions,
            shared_memory_bytes: self.shared_memory_bytes,
            rate: self.rate,
            concurrency: self.concurrency,
            timeout_ms: self.timeout_ms,
            weight: self.weight,
            interrupt: self.interrupt,
        }
    }

    /// How long a call may take.
    pub(crate) fn timeout(&self) -> Option<Duration> {
        self.timeout_ms
            .map(|ms| Duration::from_millis(u64::from(ms)))
    }
}

/// Why a guest may not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Denied {
    /// Not one of its applications.
    #[error("{0} is not among its applications")]
    Application(Uuid),
    /// Not as such a client.
    #[error("{name}: a client can be public, a user or a group", name = .0.name())]
    Login(Login),
    /// Too many clients.
    #[error("it has had {0} users and groups as clients, as many as it may")]
    Clients(usize),
    /// A call of it has not ended.
    #[error("it is quarantined until a call ends that it no longer waits for")]
    Quarantine,
    /// Enough sessions.
    #[error("it has {0} sessions open, as many as it may")]
    Sessions(u32),
    /// Too much memory.
    #[error("it would share more than {0} bytes")]
    Memory(u64),
    /// Too fast.
    #[error("more than {0} calls in a second")]
    Rate(u32),
}

/// Counts calls against a rate: a second's worth may come at once.
#[derive(Debug)]
pub(crate) struct Pace {
    since: Instant,
    /// Calls that are left, in billionths; below zero after calls that could not be refused.
    left: i64,
}

/// A call, in billionths.
const CALL: i64 = 1_000_000_000;

impl Pace {
    /// Full.
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            since: now,
            left: i64::MAX,
        }
    }

    /// Takes a call; false if there is none left.
    pub(crate) fn take(&mut self, now: Instant, rate: u32) -> bool {
        self.fill(now, rate);
        if self.left < CALL {
            return false;
        }
        self.charge();
        true
    }

    /// Takes a call that cannot be refused: later ones have to wait for it.
    pub(crate) fn owe(&mut self, now: Instant, rate: u32) {
        self.fill(now, rate);
        self.charge();
    }

    fn fill(&mut self, now: Instant, rate: u32) {
        let elapsed = now.saturating_duration_since(self.since);
        self.since = now;
        let nanoseconds = i64::try_from(elapsed.as_nanos()).unwrap_or(i64::MAX);
        let full = CALL.saturating_mul(rate.into());
        let come = nanoseconds.saturating_mul(rate.into());
        self.left = self.left.saturating_add(come).min(full);
    }

    fn charge(&mut self) {
        self.left = self.left.saturating_sub(CALL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"{"applications":["8aaaf200-2450-11e4-abe2-0002a5d5c51b"],"sessions":2,
        "shared_memory_bytes":65536,"concurrency":2,"weight":1}"#;

    #[test]
    fn only_what_is_listed_may_be_opened_and_by_clients_that_linux_knows() {
        let rights: Rights = serde_json::from_str(TEXT).unwrap();
        let listed = "8aaaf200-2450-11e4-abe2-0002a5d5c51b".parse().unwrap();
        let other = "8aaaf200-2450-11e4-abe2-0002a5d5c51c".parse().unwrap();
        assert_eq!(rights.opens(listed, Login::Public), Ok(listed));
        assert_eq!(
            rights.opens(other, Login::Public),
            Err(Denied::Application(other))
        );
        for login in Login::ALL {
            let known = matches!(login, Login::Public | Login::User | Login::Group);
            let wanted = if known {
                Ok(listed)
            } else {
                Err(Denied::Login(login))
            };
            assert_eq!(rights.opens(listed, login), wanted);
        }
    }

    #[test]
    fn one_application_can_stand_in_for_another() {
        let mut rights: Rights = serde_json::from_str(TEXT).unwrap();
        let listed = rights.applications[0];
        let [asked, own] = [Uuid([1; 16]), Uuid([2; 16])];
        rights.stand_ins = vec![(asked, own), (listed, own)];
        assert_eq!(rights.opens(asked, Login::Public), Ok(own));
        // A list beside it does not give the shared one back.
        assert_eq!(rights.opens(listed, Login::Public), Ok(own));
        assert!(rights.opens(own, Login::Public).is_err());
    }

    #[test]
    fn what_is_told_is_what_is_understood() {
        let mut rights: Rights = serde_json::from_str(TEXT).unwrap();
        rights.stand_ins = vec![(Uuid([1; 16]), Uuid([2; 16]))];
        let told = serde_json::to_string(&rights.told()).unwrap();
        assert_eq!(serde_json::from_str::<Rights>(&told).unwrap(), rights);
    }

    #[test]
    fn a_list_with_a_word_that_is_no_uuid_is_refused_as_a_whole() {
        let text = TEXT.replace("8aaaf200-2450", "8aaaf200_2450");
        assert!(serde_json::from_str::<Rights>(&text).is_err());
    }

    #[test]
    fn a_second_has_as_many_calls_as_the_rate_says() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        let at = |pace: &mut Pace, ms| pace.take(start + Duration::from_millis(ms), 10);
        assert_eq!((0..100).filter(|_| at(&mut pace, 0)).count(), 10);
        assert!(!at(&mut pace, 99));
        assert!(at(&mut pace, 100));
        assert!(!at(&mut pace, 100));
        assert_eq!((0..100).filter(|_| at(&mut pace, 60_000)).count(), 10);
        assert!(!Pace::new(start).take(start, 0));
    }

    #[test]
    fn calls_that_cannot_be_refused_are_owed() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        (0..13).for_each(|_| pace.owe(start, 10));
        let at = |pace: &mut Pace, ms| pace.take(start + Duration::from_millis(ms), 10);
        assert!(!at(&mut pace, 399));
        assert!(at(&mut pace, 401));
        assert!(!at(&mut pace, 402));
    }
}
