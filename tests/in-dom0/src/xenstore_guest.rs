//! The XenStore client in a guest, where most of the store is somebody else's.

use std::error::Error;

use xenstore::{Client, Permission, Result};

use crate::{Outcome, Test};

pub(crate) const TESTS: &[Test] = &[(
    "guest: XenStore refuses what is not the guest's own, and the client says so",
    what_is_refused,
)];

fn what_is_refused() -> Outcome {
    let client = Client::open()?;
    let domid = String::from_utf8(client.read("domid")?)?;
    if domid == "0" {
        return Err("this is dom0, where nothing is refused".into());
    }
    let theirs = "/local/domain/0/data/avps-probe";
    refused("a write", client.write(theirs, "x"), theirs)?;
    refused("a directory", client.mkdir(theirs), theirs)?;
    let home = "/local/domain/0";
    refused(
        "permissions",
        client.set_permissions(home, &open_to_all()?),
        home,
    )?;
    let tx = client.begin()?;
    refused("a write in a transaction", tx.write(theirs, "x"), theirs)?;
    tx.abort()?;
    // The connection is as good as before.
    client.write("data/avps-probe", "mine")?;
    if client.read("data/avps-probe")? != b"mine" {
        return Err("the guest's own key holds something else".into());
    }
    client.rm("data/avps-probe")?;
    Ok(())
}

fn open_to_all() -> std::result::Result<Vec<Permission>, Box<dyn Error>> {
    Ok(vec!["b0".parse()?])
}

fn refused<T>(what: &str, outcome: Result<T>, path: &str) -> Outcome {
    match outcome {
        Err(error)
            if error.is_permission_denied()
                && !error.is_fatal()
                && error.to_string().contains(path) =>
        {
            Ok(())
        }
        Err(error) => Err(format!("{what}: {error}").into()),
        Ok(_) => Err(format!("{what} was permitted on {path}").into()),
    }
}
