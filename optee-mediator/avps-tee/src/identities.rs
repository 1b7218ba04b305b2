//! Who a guest's clients are to the secure world.
//!
//! A guest's kernel says which of its users or groups opens a session. Towards others that proves nothing, and the number that it
//! names may be somebody else's in dom0. So each client of each guest gets a number of its own, and a session is opened by a thread of
//! that effective user or group ([`crate::world`]): the application is told an identity that is the client's alone, the same each time.
//!
//! Numbers are never used for anything else: they are above those that systemd hands out, and no file or process has them. They are
//! kept in a file, for they must be the same after a restart; one that is lost is not remade with the same numbers, for they are
//! chosen at random. What cannot be kept is refused.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

use optee_abi::{Login, Uuid};
use serde::{Deserialize, Serialize};

use crate::world::Client;

/// Version of the file.
const SCHEMA: &str = "avps-tee-identities/1";
/// Clients of one guest: it cannot fill the file.
pub(crate) const MOST: usize = 256;
/// Numbers from here on: below are users of dom0 and of containers (systemd: docs/UIDS-GIDS.md). The last one means "no user".
const FIRST: u32 = 0x8000_0000;
const LAST: u32 = 0xffff_fffe;
/// Times that a number is chosen that is taken.
const TRIES: u32 = 64;

/// Why a client gets no identity.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IdentityError {
    /// The guest has enough.
    #[error("{MOST} clients of the guest have an identity, as many as may")]
    TooMany,
    /// The file cannot be used.
    #[error("identities of clients cannot be kept in {}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// The identities of all guests' clients.
#[derive(Debug)]
pub(crate) struct Identities {
    path: PathBuf,
    /// None until somebody asks.
    known: Mutex<Option<Known>>,
}

#[derive(Debug, Default)]
struct Known {
    numbers: BTreeMap<Key, u32>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    guest: String,
    /// As OP-TEE counts.
    login: u64,
    client: Uuid,
}

#[derive(Debug, Serialize, Deserialize)]
struct Content {
    schema: String,
    identities: Vec<Entry>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    guest: String,
    login: u64,
    client: String,
    number: u32,
}

impl Identities {
    /// Kept in this file, which is read when the first client has an identity.
    pub(crate) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            known: Mutex::default(),
        }
    }

    /// How the secure world is told of a client that a guest says is `claimed`.
    ///
    /// # Errors
    /// [`IdentityError`].
    pub(crate) fn client(
        &self,
        guest: &str,
        login: Login,
        claimed: Uuid,
    ) -> Result<Client, IdentityError> {
        let kind = match login {
            Login::User => Client::User,
            Login::Group => Client::Group,
            // Others are refused before.
            _ => return Ok(Client::Public),
        };
        let key = Key {
            guest: guest.to_owned(),
            login: login.raw(),
            client: claimed,
        };
        Ok(kind(self.number(key)?))
    }

    fn number(&self, key: Key) -> Result<u32, IdentityError> {
        let failed = |source| IdentityError::File {
            path: self.path.clone(),
            source,
        };
        let mut known = self.lock();
        let current = match known.take() {
            Some(current) => current,
            None => Known::read(&self.path).map_err(failed)?,
        };
        let current = known.insert(current);
        if let Some(number) = current.numbers.get(&key) {
            return Ok(*number);
        }
        let of_guest = current.numbers.keys().filter(|of| of.guest == key.guest);
        if of_guest.count() >= MOST {
            return Err(IdentityError::TooMany);
        }
        let number = current.unused().map_err(failed)?;
        current.numbers.insert(key.clone(), number);
        if let Err(error) = current.write(&self.path) {
            // What the next start would not know is not used.
            current.numbers.remove(&key);
            return Err(failed(error));
        }
        Ok(number)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Known>> {
        crate::lock(&self.known)
    }
}

impl Known {
    fn read(path: &Path) -> io::Result<Self> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(error),
        };
        let content: Content = serde_json::from_str(&text)?;
        let wrong = |what: String| io::Error::new(io::ErrorKind::InvalidData, what);
        if content.schema != SCHEMA {
            return Err(wrong(format!("it is {}, not {SCHEMA}", content.schema)));
        }
        let mut known = Self::default();
        for entry in content.identities {
            let client = entry.client.parse();
            let client = client.map_err(|error| wrong(format!("{}: {error}", entry.client)))?;
            let taken = known.numbers.values().any(|number| *number == entry.number);
            if taken || !(FIRST..=LAST).contains(&entry.number) {
                return Err(wrong(format!("{} is no number of its own", entry.number)));
            }
            let key = Key {
                guest: entry.guest,
                login: entry.login,
                client,
            };
            known.numbers.insert(key, entry.number);
        }
        Ok(known)
    }

    /// A number that nobody has. At random: after the file was lost, a client does not get the number that another one had.
    fn unused(&self) -> io::Result<u32> {
        let mut random = File::open("/dev/urandom")?;
        for _ in 0..TRIES {
            let mut bytes = [0; 4];
            random.read_exact(&mut bytes)?;
            let number = u32::from_ne_bytes(bytes) | FIRST;
            if number <= LAST && !self.numbers.values().any(|taken| *taken == number) {
                return Ok(number);
            }
        }
        Err(io::Error::other("no number is free"))
    }

    /// Rewrites the file, whole or not at all, and waits until it is on the disk.
    fn write(&self, path: &Path) -> io::Result<()> {
        let entry = |(key, number): (&Key, &u32)| Entry {
            guest: key.guest.clone(),
            login: key.login,
            client: key.client.to_string(),
            number: *number,
        };
        let content = Content {
            schema: SCHEMA.to_owned(),
            identities: self.numbers.iter().map(entry).collect(),
        };
        let folder = path.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(folder)?;
        let unfinished = path.with_extension("part");
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&unfinished)?;
        file.write_all(&serde_json::to_vec(&content)?)?;
        file.sync_all()?;
        fs::rename(&unfinished, path)?;
        File::open(folder)?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn client(byte: u8) -> Uuid {
        Uuid([byte; 16])
    }

    fn number(identities: &Identities, guest: &str, login: Login, byte: u8) -> u32 {
        match identities.client(guest, login, client(byte)).unwrap() {
            Client::User(number) | Client::Group(number) => number,
            Client::Public => panic!("no number"),
        }
    }

    #[test]
    fn each_client_of_each_guest_has_a_number_of_its_own_and_keeps_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("below").join("identities");
        let all = || {
            let identities = Identities::new(&path);
            let mut numbers = Vec::new();
            for guest in ["one", "other"] {
                for login in [Login::User, Login::Group] {
                    for byte in 0..4 {
                        numbers.push(number(&identities, guest, login, byte));
                    }
                }
            }
            numbers
        };
        let numbers = all();
        assert_eq!(all(), numbers);
        assert_eq!(numbers.iter().collect::<BTreeSet<_>>().len(), 16);
        assert!(numbers.iter().all(|number| (FIRST..=LAST).contains(number)));
        // Lost, they are others: nobody gets what was somebody else's.
        fs::remove_file(&path).unwrap();
        let again = all();
        assert!(again.iter().all(|number| !numbers.contains(number)));
    }

    #[test]
    fn public_clients_have_none_and_need_no_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let identities = Identities::new(&file.path().join("identities"));
        let public = identities.client("one", Login::Public, Uuid::NIL);
        assert_eq!(public.unwrap(), Client::Public);
        let refused = identities.client("one", Login::User, client(1));
        assert!(refused.is_err());
    }

    #[test]
    fn a_guest_has_so_many_clients_and_takes_none_from_another() {
        let folder = tempfile::tempdir().unwrap();
        let identities = Identities::new(&folder.path().join("identities"));
        for client in 0..MOST as u128 {
            let claimed = Uuid(client.to_ne_bytes());
            identities.client("one", Login::User, claimed).unwrap();
        }
        let more = identities.client("one", Login::User, Uuid([0xff; 16]));
        assert!(matches!(more, Err(IdentityError::TooMany)));
        number(&identities, "other", Login::User, 1);
        // Those that it has stay.
        number(&identities, "one", Login::User, 0);
    }

    #[test]
    fn a_file_that_is_not_understood_is_not_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("identities");
        let twice = r#"{"schema":"avps-tee-identities/1","identities":[
            {"guest":"a","login":1,"client":"8aaaf200-2450-11e4-abe2-0002a5d5c51b","number":2147483649},
            {"guest":"b","login":1,"client":"8aaaf200-2450-11e4-abe2-0002a5d5c51b","number":2147483649}]}"#;
        let of_dom0 = twice.replace("2147483649", "1000");
        let later = twice.replace("identities/1", "identities/2");
        for text in ["{", twice, &of_dom0, &later] {
            fs::write(&path, text).unwrap();
            let refused = Identities::new(&path).client("a", Login::User, client(1));
            assert!(matches!(refused, Err(IdentityError::File { .. })));
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
        }
    }
}
