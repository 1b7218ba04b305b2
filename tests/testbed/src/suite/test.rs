//! `cargo xtask test`: everything, from the source's form to Xen on QEMU.

use super::checks::CHECKS;
use super::parts::Part;
use super::report::Report;
use super::{
    Test, bindings, deny, documents, dom0less, dom0less_disk, driver, junit, oracle, registry,
    runner, tee, unit, vhost_user,
};
use crate::artefacts::Workshop;
use crate::artefacts::rust::Profile;
use crate::failure::{FAILED, Failure, INTERRUPTED};
use crate::oracle::Oracle;
use crate::paths;
use crate::process::Error;
use crate::run::media::Media;
use crate::run::qemu::Machine;
use clap::Args;
use std::process::ExitCode;
use std::time::Instant;

/// Run all tests: formatting, lints, licences, unit tests, then Xen on QEMU.
#[derive(Args)]
pub(crate) struct TestCommand {
    /// Only tests whose name holds this text.
    filter: Option<String>,
    /// Only what needs no Xen.
    #[arg(long, conflicts_with = "bed_only")]
    unit_only: bool,
    /// Only what runs in the bed.
    #[arg(long)]
    bed_only: bool,
    /// Print the names of the bed's tests.
    #[arg(long)]
    list: bool,
    /// How many of the bed's tests that fail get a second try, in a fresh boot. The report names each and what it saw first.
    #[arg(long, value_name = "COUNT", default_value_t = 2)]
    second_tries: u32,
    /// One JSON object on standard output; everything else goes to standard error.
    #[arg(long)]
    json: bool,
}

impl TestCommand {
    /// Runs them; exit code 1 when one failed.
    pub(crate) fn run(self) -> Result<ExitCode, Failure> {
        if self.list {
            for test in registry::tests()? {
                println!("{}", test.name);
            }
            let own_boots = [
                driver::tests(),
                driver::on_changed_xen(),
                tee::tests(),
                tee::under_flask(),
            ];
            for test in own_boots.iter().flatten() {
                println!("{}", test.name);
            }
            println!("{}", vhost_user::NAME);
            documents::names().for_each(|name| println!("{name}"));
            println!("{}", dom0less::NAME);
            println!("{}", dom0less_disk::NAME);
            println!("{}<document>", oracle::NAME);
            return Ok(ExitCode::SUCCESS);
        }
        let mut report = Report::new(self.json);
        if !self.bed_only {
            let began = Instant::now();
            self.skeleton(&mut report).map_err(failure)?;
            report.part(Part::Skeleton, began.elapsed());
        }
        let mut logs = Vec::new();
        if !self.unit_only {
            logs = self.bed(&mut report)?;
            logs.extend(self.drivers(&mut report)?);
            logs.extend(self.tee(&mut report)?);
            self.oracle(&mut report)?;
        }
        write_junit(&report)?;
        report.finish(&logs);
        if report.cases().is_empty() {
            return Err(Failure::new(
                "no test has such a name; `cargo xtask test --list` prints the bed's",
            ));
        }
        Ok(if report.failed() == 0 {
            ExitCode::SUCCESS
        } else {
            ExitCode::from(FAILED)
        })
    }

    fn wanted(&self, name: &str) -> bool {
        self.filter
            .as_deref()
            .is_none_or(|filter| name.contains(filter))
    }

    fn skeleton(&self, report: &mut Report) -> Result<(), Error> {
        for check in CHECKS {
            if self.wanted(check.name) {
                check.run(report)?;
            } else {
                report.skip(1);
            }
        }
        if self.wanted(deny::NAME) {
            deny::run(report)?;
        } else {
            report.skip(1);
        }
        if self.wanted(bindings::NAME) {
            bindings::run(report)?;
        } else {
            report.skip(1);
        }
        unit::run(self.filter.as_deref(), report)
    }

    /// Documents against Xen: the oracle's sample, when all tests are wanted or its name is, those that ship, and a whole
    /// machine.
    fn oracle(&self, report: &mut Report) -> Result<(), Failure> {
        let filter = self.filter.as_deref();
        let began = Instant::now();
        let sample = filter.is_none_or(|filter| filter.starts_with(oracle::NAME));
        let shipped = documents::names().any(|name| self.wanted(&name));
        let machine = self.wanted(dom0less::NAME);
        if !machine {
            report.skip(1);
        }
        let disk = self.wanted(dom0less_disk::NAME);
        if !disk {
            report.skip(1);
        }
        if !sample && !shipped && !machine && !disk {
            report.skip(documents::names().count());
            return Ok(());
        }
        let oracle = Oracle::get(Workshop::open())?;
        if sample {
            oracle::run(&oracle, filter, report)?;
        }
        documents::run(&oracle, &|name| self.wanted(name), report)?;
        if machine {
            dom0less::run(&Media::get()?, &oracle, report)?;
        }
        if disk {
            dom0less_disk::run(&Media::get()?, &oracle, report)?;
        }
        report.part(Part::Oracle, began.elapsed());
        Ok(())
    }

    /// Those tests that are wanted.
    fn some(&self, tests: Vec<Test>, report: &mut Report) -> Vec<Test> {
        let (tests, others): (Vec<_>, Vec<_>) =
            tests.into_iter().partition(|test| self.wanted(&test.name));
        report.skip(others.len());
        tests
    }

    /// Driver domains: Xen enforces a policy in their boot.
    fn drivers(&self, report: &mut Report) -> Result<Vec<String>, Failure> {
        let tests = self.some(driver::tests(), report);
        let on_changed_xen = self.some(driver::on_changed_xen(), report);
        if tests.is_empty() && on_changed_xen.is_empty() {
            return Ok(Vec::new());
        }
        let began = Instant::now();
        let media = Media::get()?;
        report.part(Part::Build, began.elapsed());
        let began = Instant::now();
        let machine = driver::machine();
        let mut logs = Vec::new();
        if !tests.is_empty() {
            logs = runner::run(&media, &machine, tests, self.second_tries, report)?;
        }
        if !on_changed_xen.is_empty() {
            let media = Media::changed()?;
            logs.extend(runner::run(
                &media,
                &machine,
                on_changed_xen,
                self.second_tries,
                report,
            )?);
        }
        report.part(Part::DriverDomain, began.elapsed());
        Ok(logs)
    }

    /// OP-TEE: the machine of these tests has a secure world. In the second boot Xen enforces a policy.
    fn tee(&self, report: &mut Report) -> Result<Vec<String>, Failure> {
        let tests = self.some(tee::tests(), report);
        let under_flask = self.some(tee::under_flask(), report);
        if tests.is_empty() && under_flask.is_empty() {
            return Ok(Vec::new());
        }
        let began = Instant::now();
        let (media, machine) = tee::boot(Profile::Bed)?;
        let (_, enforcing) = tee::boot_under_flask()?;
        report.part(Part::Build, began.elapsed());
        let began = Instant::now();
        let mut logs = Vec::new();
        for (machine, tests) in [(machine, tests), (enforcing, under_flask)] {
            logs.extend(runner::run(
                &media,
                &machine,
                tests,
                self.second_tries,
                report,
            )?);
        }
        report.part(Part::OpTee, began.elapsed());
        Ok(logs)
    }

    fn bed(&self, report: &mut Report) -> Result<Vec<String>, Failure> {
        let tests = self.some(registry::tests()?, report);
        let without_xen = self.wanted(vhost_user::NAME);
        if !without_xen {
            report.skip(1);
        }
        if tests.is_empty() && without_xen {
            vhost_user::run(report)?;
        }
        if tests.is_empty() {
            return Ok(Vec::new());
        }
        let began = Instant::now();
        let media = Media::get()?;
        report.part(Part::Build, began.elapsed());
        let began = Instant::now();
        if without_xen {
            vhost_user::run(report)?;
        }
        let logs = runner::run(
            &media,
            &Machine::default(),
            tests,
            self.second_tries,
            report,
        )?;
        report.part(Part::VirtioCore, began.elapsed());
        Ok(logs)
    }
}

pub(super) fn failure(error: Error) -> Failure {
    let code = if matches!(error, Error::Interrupted) {
        INTERRUPTED
    } else {
        FAILED
    };
    Failure {
        message: error.to_string(),
        code,
    }
}

fn write_junit(report: &Report) -> Result<(), Failure> {
    let path = paths::tree_target().join("junit.xml");
    std::fs::create_dir_all(paths::tree_target())
        .and_then(|()| std::fs::write(&path, junit::document(report.cases())))
        .map_err(|e| Failure::new(format!("cannot write {}: {e}", path.display())))
}
