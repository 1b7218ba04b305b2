//! A few questions whose answers make a document. Questions go to standard error, so that standard output is the document.

use std::io::{BufRead, Write, stderr, stdin};

use platform::document::{self, BlockTable, DocumentTable, DomainTable, PlatformTable};
use platform::units::ByteSize;
use platform::{Comments, document::SCHEMA};

use crate::error::{Error, Result};

/// Guests asked for, at most: who wants more copies a table.
const MOST_GUESTS: usize = 16;
const KERNEL: &str = "/usr/lib/avps/guest/Image";
const RAMDISK: &str = "/usr/lib/avps/guest/initramfs.cpio.gz";
const MEMORY: &str = "128MiB";

/// Asks for a platform; a name that is known is not asked for.
pub(super) fn ask(name: Option<&str>) -> Result<String> {
    let mut questions = Questions {
        input: stdin().lock(),
    };
    let name = match name {
        Some(name) => name.to_owned(),
        None => questions.ask("Name of the platform", "demo")?,
    };
    let mut content = DocumentTable {
        schema: Some(SCHEMA.to_owned()),
        platform: Some(PlatformTable {
            name: Some(name),
            description: None,
        }),
        ..DocumentTable::default()
    };
    let mut comments = Comments::new();
    comments.insert(
        String::new(),
        vec![
            "Check it with avpsctl platform check; avpsctl platform reference tells every key."
                .into(),
        ],
    );
    while content.domain.len() < MOST_GUESTS {
        let guest = questions.guest(content.domain.len())?;
        content.domain.push(guest);
        if !questions.yes("One more guest")? {
            break;
        }
    }
    Ok(document::write(&content, &comments))
}

struct Questions<R> {
    input: R,
}

impl<R: BufRead> Questions<R> {
    fn guest(&mut self, number: usize) -> Result<DomainTable> {
        let default = match number {
            0 => "cockpit".to_owned(),
            number => format!("guest{number}"),
        };
        let name = self.ask("Name of the guest", &default)?;
        let kernel = self.ask("Its kernel", KERNEL)?;
        let ramdisk = self.ask("Its ramdisk (\"-\" for none)", RAMDISK)?;
        let memory = self.parsed("Its memory", MEMORY, |text| {
            text.parse::<ByteSize>().map_err(|error| error.to_string())
        })?;
        let vcpus = self.parsed("Its vCPUs", "1", |text| {
            let number = text.parse::<u64>().ok();
            let number = number.filter(|number| (1..=128).contains(number));
            number.ok_or_else(|| "1 to 128 are possible".to_owned())
        })?;
        let image = format!("/var/lib/avps/images/{name}.img");
        let image = self.ask("The image of its disk (\"-\" for none)", &image)?;
        let mut guest = DomainTable {
            name: Some(name),
            kernel: Some(kernel),
            ramdisk: (ramdisk != "-").then_some(ramdisk),
            memory: Some(memory),
            vcpus: Some(vcpus),
            ..DomainTable::default()
        };
        if image != "-" {
            guest.block.push(BlockTable {
                image: Some(image),
                ..BlockTable::default()
            });
        }
        Ok(guest)
    }

    /// An answer, or what stands in brackets.
    fn ask(&mut self, question: &str, default: &str) -> Result<String> {
        let mut err = stderr();
        let _ = write!(err, "{question} [{}]: ", printable::line(default));
        let _ = err.flush();
        let mut line = String::new();
        let read = self.input.read_line(&mut line);
        if read.map_err(Error::io("reading the answer"))? == 0 {
            let _ = writeln!(err);
            return Err(Error::Usage(format!(
                "the answers end before \"{question}\"; --template makes a document without questions"
            )));
        }
        let answer = line.trim();
        Ok(match answer.is_empty() {
            true => default.to_owned(),
            false => answer.to_owned(),
        })
    }

    /// Asks until the answer can be read.
    fn parsed<T>(
        &mut self,
        question: &str,
        default: &str,
        parse: impl Fn(&str) -> std::result::Result<T, String>,
    ) -> Result<T> {
        loop {
            let answer = self.ask(question, default)?;
            match parse(&answer) {
                Ok(value) => return Ok(value),
                Err(message) => {
                    let _ = writeln!(stderr(), "{}", printable::line(&message));
                }
            }
        }
    }

    fn yes(&mut self, question: &str) -> Result<bool> {
        self.parsed(question, "no", |text| {
            match text.to_ascii_lowercase().as_str() {
                "y" | "yes" => Ok(true),
                "n" | "no" => Ok(false),
                _ => Err("yes or no is expected".to_owned()),
            }
        })
    }
}
