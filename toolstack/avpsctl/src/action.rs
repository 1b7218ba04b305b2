//! What a command did with a domain: a word for programs (`action` in its JSON), and others for people.

use serde::Serialize;

/// What was done with a domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// It was so already.
    Unchanged,
    /// It was created and runs.
    Started,
    /// It could not be started.
    Failed,
    /// It was removed and started again.
    Replaced,
    /// Xen had started it; its devices are served now.
    Served,
    /// It runs on, with other rights in the secure world.
    RightsChanged,
    /// It powered off and was removed.
    Removed,
    /// It did not power off in time and was removed.
    Forced,
    /// It did not power off in time and runs on.
    Running,
    /// It was removed without being asked.
    Destroyed,
    /// Its CPUs were stopped.
    Paused,
    /// Its CPUs run again.
    Unpaused,
    /// It was asked to power off.
    ShutdownRequested,
    /// It was asked to reboot.
    RebootRequested,
    /// It was asked to power off, and has.
    PoweredOff,
}

impl Action {
    /// For people, behind the domain's name.
    pub fn words(self) -> &'static str {
        match self {
            Action::Unchanged => "unchanged",
            Action::Started => "started",
            Action::Failed => "not started",
            Action::Replaced => "replaced",
            Action::Served => "served",
            Action::RightsChanged => "given other rights",
            Action::Removed => "shut down and removed",
            Action::Forced => "removed by force",
            Action::Running => "still running",
            Action::Destroyed => "destroyed",
            Action::Paused => "paused",
            Action::Unpaused => "unpaused",
            Action::ShutdownRequested => "asked to power off",
            Action::RebootRequested => "asked to reboot",
            Action::PoweredOff => "powered off",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    /// What each command can say.
    const OF_COMMANDS: &[(&str, &[Action])] = &[
        (
            "up",
            &[
                Action::Started,
                Action::Unchanged,
                Action::Replaced,
                Action::Served,
                Action::RightsChanged,
                Action::Failed,
            ],
        ),
        ("down", &[Action::Removed, Action::Forced, Action::Running]),
        ("destroy", &[Action::Destroyed]),
        ("pause", &[Action::Paused, Action::Unchanged]),
        ("unpause", &[Action::Unpaused, Action::Unchanged]),
        (
            "shutdown",
            &[
                Action::ShutdownRequested,
                Action::PoweredOff,
                Action::Forced,
                Action::Running,
                Action::Unchanged,
            ],
        ),
        ("reboot", &[Action::RebootRequested]),
    ];

    #[test]
    fn programs_get_words_without_blanks_and_the_help_names_each() {
        let mut cli = crate::cli::Cli::command();
        for (name, actions) in OF_COMMANDS {
            let command = cli.find_subcommand_mut(name).expect("a command");
            let help = command.render_long_help().to_string();
            for action in *actions {
                let json = serde_json::to_value(action).expect("serialises");
                let word = json.as_str().expect("a word");
                let plain = |c: char| c.is_ascii_lowercase() || c == '-';
                assert!(word.chars().all(plain), "{word}");
                let (_, after) = help.split_once("action = ").unwrap_or_default();
                assert!(
                    after.split(|c: char| !plain(c)).any(|known| known == word),
                    "the help of {name} does not name {word}: {help}"
                );
            }
        }
    }
}
