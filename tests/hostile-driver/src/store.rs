//! Attempts on XenStore through `/dev/xen/xenbus`, as any program of root's in a guest may talk to it.
//!
//! `{own}`, `{foreign}`, `{me}` and `{other}` in a path stand for domain numbers.

mod keys;

use xenstore::Client;
use xenstore::{Access, Error, Permission};

use crate::attacker::Domains;
use crate::attempt::{Outcome, Target, Verdict};

use keys::Verb;
pub(crate) use keys::{KEYS, Key};

/// A request to XenStore itself; all must be refused.
pub(crate) struct Request {
    pub(crate) name: &'static str,
    pub(crate) aim: &'static str,
    pub(crate) how: fn(&Client, &Domains) -> Result<(), Error>,
}

/// The requests that are no key's.
pub(crate) const REQUESTS: &[Request] = &[
    request(
        "store-introduce",
        "make XenStore serve a page of a foreign domain's to itself",
        |c, d| c.introduce(d.foreign, 0x41000, 1),
    ),
    request(
        "store-release",
        "make XenStore forget a foreign domain",
        |c, d| c.release(d.foreign),
    ),
    request(
        "store-resume",
        "reset a foreign domain's shutdown",
        |c, d| c.resume(d.foreign),
    ),
    request(
        "store-set-target",
        "get a foreign domain's rights in XenStore",
        |c, d| c.set_target(d.me, d.foreign),
    ),
    request("store-control", "command XenStore", |c, _| {
        c.control(&["help"]).map(drop)
    }),
    request(
        "store-is-introduced",
        "ask which domains there are",
        |c, d| c.is_introduced(d.foreign).map(drop),
    ),
    request("store-many-keys", "fill XenStore with keys", many_keys),
    request(
        "store-large-value",
        "fill XenStore with one value",
        |c, d| {
            let path = format!("/local/domain/{}/data/hostile-large", d.me);
            let written = c.write(&path, [0x61; 3000]);
            if written.is_ok() {
                c.rm(&path)?;
            }
            written
        },
    ),
    request(
        "store-many-transactions",
        "hold many transactions",
        |c, _| {
            let mut held = Vec::new();
            for _ in 0..64 {
                match c.begin() {
                    Ok(transaction) => held.push(transaction),
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        },
    ),
    request("store-many-watches", "hold many watches", |c, d| {
        let mut held = Vec::new();
        for number in 0..512 {
            match c.watch(&format!("/local/domain/{}/data/hostile-{number}", d.me)) {
                Ok(watch) => held.push(watch),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }),
];

const fn request(
    name: &'static str,
    aim: &'static str,
    how: fn(&Client, &Domains) -> Result<(), Error>,
) -> Request {
    Request { name, aim, how }
}

/// Tries one key; `None` where its path names a domain that there is none of.
pub(crate) fn try_key(key: &Key, domains: &Domains) -> Option<Verdict> {
    let path = expand(key.path, domains)?;
    let client = match Client::open() {
        Ok(client) => client,
        Err(error) => return Some(Verdict::failed(error.to_string())),
    };
    let done = apply(&client, key.verb, &path, domains.me);
    Some(by_name(done, &[]))
}

/// Tries one request.
pub(crate) fn try_request(request: &Request, domains: &Domains) -> Verdict {
    match Client::open() {
        Ok(client) => by_name(
            (request.how)(&client, domains).map(|()| "done".to_owned()),
            &["ENOSPC", "EDQUOT", "E2BIG"],
        ),
        Err(error) => Verdict::failed(error.to_string()),
    }
}

fn apply(client: &Client, verb: Verb, path: &str, me: u16) -> Result<String, Error> {
    match verb {
        Verb::Read => client
            .read(path)
            .map(|value| format!("{:?}", String::from_utf8_lossy(&value))),
        Verb::List => client.directory(path).map(|children| {
            format!(
                "{} children: {:?}",
                children.len(),
                children.iter().take(6).collect::<Vec<_>>()
            )
        }),
        Verb::Write => write(client, path),
        // What may be removed may be listed or not: the removal itself decides.
        Verb::Remove => client.rm(path).map(|()| "removed".to_owned()),
        Verb::Take => {
            let mine = [Permission::new(me, Access::Both)];
            client
                .set_permissions(path, &mine)
                .map(|()| "taken".to_owned())
        }
        Verb::Give => {
            client.write(path, "")?;
            let given = client.set_permissions(path, &[Permission::new(0, Access::Both)]);
            client.rm(path)?;
            given.map(|()| "given".to_owned())
        }
    }
}

/// Writes a key, and undoes it.
fn write(client: &Client, path: &str) -> Result<String, Error> {
    let before = client.read(path).ok();
    client.write(path, before.as_deref().unwrap_or(b"hostile"))?;
    if before.is_none() {
        client.rm(path)?;
    }
    Ok("written, and undone".to_owned())
}

fn by_name(result: Result<String, Error>, refusals: &[&str]) -> Verdict {
    let error = match result {
        Ok(detail) => return Verdict::allowed(detail),
        Err(error) => error,
    };
    let name = error.errno_name().unwrap_or_default().to_owned();
    let refused = error.is_permission_denied() || refusals.contains(&name.as_str());
    Verdict {
        outcome: if refused {
            Outcome::Refused
        } else {
            Outcome::Failed
        },
        errno: number(&name),
        detail: error.to_string(),
    }
}

fn number(name: &str) -> Option<i32> {
    Some(match name {
        "EPERM" => libc::EPERM,
        "ENOENT" => libc::ENOENT,
        "E2BIG" => libc::E2BIG,
        "EACCES" => libc::EACCES,
        "EINVAL" => libc::EINVAL,
        "ENOSPC" => libc::ENOSPC,
        "EDQUOT" => libc::EDQUOT,
        _ => return None,
    })
}

/// Puts domain numbers into a path.
fn expand(path: &str, domains: &Domains) -> Option<String> {
    let mut path = path.to_owned();
    for (name, target) in [
        ("{own}", Target::Own),
        ("{foreign}", Target::Foreign),
        ("{me}", Target::Here),
        ("{other}", Target::Other),
    ] {
        if path.contains(name) {
            path = path.replace(name, &domains.number(target)?.to_string());
        }
    }
    Some(path)
}

/// Writes keys until XenStore refuses, and removes them all. Xen's default is 1000 a domain. One request makes a whole path of
/// keys: 10 requests, each of 400 keys, bound the attempt.
fn many_keys(client: &Client, domains: &Domains) -> Result<(), Error> {
    let folder = format!("/local/domain/{}/data/hostile-many", domains.me);
    let below = "/x".repeat(399);
    let mut result = Ok(());
    for number in 0..10 {
        result = client.write(&format!("{folder}/{number}{below}"), "");
        if result.is_err() {
            break;
        }
    }
    client.rm(&folder)?;
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOMAINS: Domains = Domains {
        me: 3,
        own: 4,
        foreign: 5,
        other: None,
    };

    #[test]
    fn paths_name_the_domains_and_none_that_is_not_there() {
        let expanded = expand("/local/domain/{me}/{foreign}/{own}", &DOMAINS);
        assert_eq!(expanded.as_deref(), Some("/local/domain/3/5/4"));
        assert_eq!(expand("/local/domain/{other}", &DOMAINS), None);
        for key in KEYS {
            let all = Domains {
                other: Some(6),
                ..DOMAINS
            };
            assert!(
                !expand(key.path, &all).unwrap().contains('{'),
                "{}",
                key.name
            );
        }
    }

    #[test]
    fn nothing_but_a_refusal_is_one() {
        let missing = Error::NotFound {
            request: "read x".to_owned(),
        };
        assert_eq!(by_name(Err(missing), &[]).outcome, Outcome::Failed);
        assert_eq!(by_name(Ok(String::new()), &[]).outcome, Outcome::Allowed);
    }
}
