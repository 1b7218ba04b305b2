//! What Xen's policy has refused, from Xen's own log.
//!
//! The log is read on this host, where all of the console is kept: the ring that `xl dmesg` shows forgets. That nothing was
//! refused is only believed when a refusal that was provoked afterwards has come out.

use super::super::own_machine::console;
use super::super::{Context, Failed, ensure};
use std::time::{Duration, Instant};

/// Begins what Xen says of a refusal.
const DENIED: &str = "avc:  denied";
/// What is provoked: no document's policy has a need for it.
const PROVOKED: &str = "trigger";
/// How long Xen's words may take to this host.
const ARRIVES: Duration = Duration::from_secs(20);

/// How long a word of Xen's is awaited that need not come.
const SETTLES: Duration = Duration::from_secs(2);

/// What Xen refuses from a moment on.
pub(in super::super) struct Refusals {
    /// Length of the console then.
    from: usize,
}

impl Refusals {
    /// From now on.
    pub(in super::super) fn watch(context: &Context) -> Result<Self, Failed> {
        Ok(Self {
            from: console(context)?.len(),
        })
    }

    fn said(&self, context: &Context) -> Result<String, Failed> {
        let mut text = console(context)?;
        // Whole characters: what is no text has been replaced.
        let mut from = self.from.min(text.len());
        while !text.is_char_boundary(from) {
            from -= 1;
        }
        Ok(text.split_off(from))
    }

    /// All so far, one line each. Xen is made to refuse something about `guest`, which runs, and that has to come out last.
    pub(in super::super) fn seen(
        &self,
        context: &Context,
        guest: &str,
    ) -> Result<Vec<String>, Failed> {
        let before = provoked(&self.said(context)?);
        let dom0 = context.dom0();
        // Its exit code is 0 whatever Xen answers (Xen: tools/xl/xl_misc.c, main_trigger).
        let done = dom0.command(["xl", "trigger", guest, "power"]).output()?;
        let until = Instant::now() + context.within(ARRIVES);
        loop {
            let said = self.said(context)?;
            if provoked(&said) > before {
                return Ok(others(&said));
            }
            ensure(Instant::now() < until, || {
                let said = done.error_text();
                format!("Xen's log has no word of a refusal that was provoked: {said}")
            })?;
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Whether Xen has refused this.
    pub(in super::super) fn has(
        &self,
        context: &Context,
        what: &Refusal<'_>,
    ) -> Result<bool, Failed> {
        let until = Instant::now() + context.within(SETTLES);
        loop {
            if self.said(context)?.lines().any(|line| what.is_in(line)) {
                return Ok(true);
            }
            if Instant::now() > until {
                return Ok(false);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

/// A permission that was refused.
pub(in super::super) struct Refusal<'a> {
    pub(in super::super) permission: &'a str,
    /// Type of who asked, and of what it was about.
    pub(in super::super) source: &'a str,
    pub(in super::super) target: &'a str,
    pub(in super::super) class: &'a str,
}

impl Refusal<'_> {
    /// Whether a line of Xen's log tells of it.
    fn is_in(&self, line: &str) -> bool {
        let Some((_, said)) = line.split_once(DENIED) else {
            return false;
        };
        let permissions = said
            .split_once('{')
            .and_then(|(_, rest)| rest.split_once('}'));
        let Some((permissions, rest)) = permissions else {
            return false;
        };
        let field = |name: &str| {
            let mut words = rest.split_whitespace();
            words.find_map(|word| word.strip_prefix(name))
        };
        let of_type = |name, wanted: &str| {
            let context = field(name).and_then(|context: &str| context.rsplit(':').next());
            context == Some(wanted)
        };
        permissions
            .split_whitespace()
            .any(|word| word == self.permission)
            && of_type("scontext=", self.source)
            && of_type("tcontext=", self.target)
            && field("tclass=") == Some(self.class)
    }
}

fn is_provoked(line: &str) -> bool {
    line.contains(&format!("{{ {PROVOKED} }}"))
}

fn provoked(said: &str) -> usize {
    let denied = said.lines().filter(|line| line.contains(DENIED));
    denied.filter(|line| is_provoked(line)).count()
}

fn others(said: &str) -> Vec<String> {
    let denied = said.lines().filter(|line| line.contains(DENIED));
    let others = denied.filter(|line| !is_provoked(line));
    others.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "(XEN) avc:  denied  { pause unpause } for domid=0 target=3 scontext=system_u:system_r:dom0_t \
                        tcontext=system_u:system_r:avps_alpha_t tclass=domain";

    fn refusal<'a>(permission: &'a str, target: &'a str, class: &'a str) -> Refusal<'a> {
        Refusal {
            permission,
            source: "dom0_t",
            target,
            class,
        }
    }

    #[test]
    fn only_the_refusal_of_this_permission_counts() {
        assert!(refusal("pause", "avps_alpha_t", "domain").is_in(LINE));
        assert!(refusal("unpause", "avps_alpha_t", "domain").is_in(LINE));
        assert!(!refusal("destroy", "avps_alpha_t", "domain").is_in(LINE));
        assert!(!refusal("pause", "avps_alpha", "domain").is_in(LINE));
        assert!(!refusal("pause", "avps_beta_t", "domain").is_in(LINE));
        assert!(!refusal("pause", "avps_alpha_t", "domain2").is_in(LINE));
        let other = Refusal {
            source: "avps_alpha_t",
            ..refusal("pause", "avps_alpha_t", "domain")
        };
        assert!(!other.is_in(LINE));
        let granted = LINE.replace("denied", "granted");
        assert!(!refusal("pause", "avps_alpha_t", "domain").is_in(&granted));
    }

    #[test]
    fn what_was_provoked_is_told_from_what_was_not() {
        let asked = LINE.replace("pause unpause", "trigger");
        let said = format!("(XEN) d1 has ended\n{LINE}\n{asked}\n(XEN) other\n");
        assert_eq!(provoked(&said), 1);
        assert_eq!(others(&said), [LINE]);
        assert_eq!(provoked(LINE), 0);
        assert!(others(&asked).is_empty());
    }
}
