//! What the kernel's command line says to this program: words that begin with `avps.`.

use clap::ValueEnum;

use super::disks::RamDisk;
use crate::cli::{LogLevel, Polling, SandboxMode};

const PREFIX: &str = "avps.";

/// What was said.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Words {
    pub(super) log: LogLevel,
    /// Rather no disk than a worker without a part of its sandbox.
    pub(super) sandbox: SandboxMode,
    pub(super) polling: Polling,
    pub(super) disks: Vec<RamDisk>,
    /// What is wrong with the others.
    pub(super) complaints: Vec<String>,
}

impl Words {
    /// The words of the running kernel; without any, what is usual.
    pub(super) fn of_this_kernel() -> Self {
        match std::fs::read_to_string("/proc/cmdline") {
            Ok(line) => Self::parse(&line),
            Err(error) => {
                let mut words = Self::parse("");
                let text = format!("the kernel's command line cannot be read: {error}");
                words.complaints.push(text);
                words
            }
        }
    }

    /// A bad word is told and changes nothing: a domain that serves its guests is better than one that does not start. Of
    /// several for one thing the last counts, as for Linux's own; RAM disks add up.
    pub(super) fn parse(line: &str) -> Self {
        let mut words = Self {
            log: LogLevel::Info,
            sandbox: SandboxMode::Required,
            polling: Polling::Auto,
            disks: Vec::new(),
            complaints: Vec::new(),
        };
        for word in line.split_whitespace() {
            if let Some(rest) = word.strip_prefix(PREFIX)
                && let Err(why) = words.take(rest)
            {
                words.complaints.push(format!("{word:?}: {why}"));
            }
        }
        words
    }

    fn take(&mut self, word: &str) -> Result<(), String> {
        let (key, value) = word.split_once('=').unwrap_or((word, ""));
        match key {
            "log" => self.log = choice(value)?,
            "sandbox" => self.sandbox = choice(value)?,
            "polling" => self.polling = choice(value)?,
            "ramdisk" => {
                for text in value.split(',') {
                    let disk: RamDisk = text.parse()?;
                    if self.disks.iter().any(|other| other.name == disk.name) {
                        return Err(format!("a second RAM disk \"{}\"", disk.name));
                    }
                    self.disks.push(disk);
                }
            }
            _ => {
                return Err(
                    "no such word; there are avps.log, avps.sandbox, avps.polling, avps.ramdisk"
                        .to_owned(),
                );
            }
        }
        Ok(())
    }
}

fn choice<T: ValueEnum>(value: &str) -> Result<T, String> {
    T::from_str(value, false).map_err(|_| {
        let known: Vec<String> = T::value_variants()
            .iter()
            .filter_map(ValueEnum::to_possible_value)
            .map(|value| value.get_name().to_owned())
            .collect();
        format!("one of {} is expected", known.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_own_words_mean_nothing_here() {
        let words =
            Words::parse("console=hvc0 quiet root=/dev/vda xen_privcmd.unrestricted=1 avpsx=1\n");
        assert_eq!(words, Words::parse(""));
        assert_eq!(words.complaints, Vec::<String>::new());
        assert_eq!(words.sandbox, SandboxMode::Required);
    }

    #[test]
    fn each_word_is_understood_and_the_last_counts() {
        let words = Words::parse(
            "avps.log=warn avps.log=debug avps.sandbox=best-effort avps.polling=off avps.ramdisk=a:64M,b:1G avps.ramdisk=c:512",
        );
        assert_eq!(words.log, LogLevel::Debug);
        assert_eq!(words.sandbox, SandboxMode::BestEffort);
        assert_eq!(words.polling, Polling::Off);
        let disks: Vec<_> = words.disks.iter().map(|disk| disk.bytes).collect();
        assert_eq!(disks, [64 << 20, 1 << 30, 512]);
        assert_eq!(words.complaints, Vec::<String>::new());
    }

    #[test]
    fn a_bad_word_is_told_and_spoils_no_other() {
        let words = Words::parse(
            "avps.log=loud avps.ramdisk=a:64M,a:1M avps.what avps.polling=off avps.sandbox avps.ramdisk",
        );
        assert_eq!(words.log, LogLevel::Info);
        assert_eq!(words.polling, Polling::Off);
        assert_eq!(words.disks.len(), 1);
        let told = words.complaints.join("\n");
        assert_eq!(words.complaints.len(), 5, "{told}");
        for text in [
            "error, warn, info, debug, trace",
            "second RAM disk",
            "no such word",
        ] {
            assert!(told.contains(text), "{text}\n{told}");
        }
    }
}
