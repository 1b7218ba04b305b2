//! What may name a node, checked before it is sent.
//!
//! The server checks too; asking it first would cost a round trip and answer only `EINVAL`.
//! Source: `docs/misc/xenstore.txt`, the paragraph on paths.

use crate::error::{Error, Result};
use crate::wire::{ABSOLUTE_PATH_MAX, RELATIVE_PATH_MAX};

/// Checks the path of a node or a watch: absolute, relative to the domain's home (which only works
/// through the kernel's device: for a socket's server every path must be absolute), or one of the
/// special watches such as `@introduceDomain` and `@releaseDomain/5`.
///
/// # Errors
/// [`Error::InvalidPath`], which says what is wrong with it.
pub fn validate(path: &str) -> Result<()> {
    match problem(path) {
        None => Ok(()),
        Some(reason) => Err(Error::InvalidPath {
            path: shorten(path),
            reason,
        }),
    }
}

/// Joins a directory and a child, for `/` too.
pub fn join(directory: &str, child: &str) -> String {
    let separator = if directory.ends_with('/') { "" } else { "/" };
    format!("{directory}{separator}{child}")
}

/// How many levels `path` lies below `root`; `None` when it does not lie below it at all.
pub fn depth_below(root: &str, path: &str) -> Option<u32> {
    let rest = if root == "/" {
        path.strip_prefix('/')?
    } else {
        match path.strip_prefix(root)? {
            "" => return Some(0),
            rest => rest.strip_prefix('/')?,
        }
    };
    if rest.is_empty() {
        return Some(0);
    }
    u32::try_from(rest.split('/').count()).ok()
}

fn problem(path: &str) -> Option<&'static str> {
    if path.is_empty() {
        return Some("it is empty");
    }
    if path == "/" {
        return None;
    }
    if !path.bytes().all(allowed) {
        return Some("only ASCII letters, digits and - / _ @ may occur in a path");
    }
    if path.contains("//") {
        return Some("it has two slashes in a row");
    }
    if path.ends_with('/') {
        return Some("it ends with a slash");
    }
    if path.starts_with('/') {
        (path.len() > ABSOLUTE_PATH_MAX).then_some("it is longer than 3072 bytes")
    } else {
        (path.len() > RELATIVE_PATH_MAX).then_some("it is relative and longer than 2048 bytes")
    }
}

fn allowed(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'/' | b'_' | b'@')
}

/// Keeps error messages readable when a path is absurdly long.
fn shorten(path: &str) -> String {
    const SHOWN: usize = 120;
    if path.chars().count() <= SHOWN {
        return path.to_owned();
    }
    let mut start: String = path.chars().take(SHOWN).collect();
    start.push('…');
    start
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_the_specification_are_accepted() {
        for path in [
            "/",
            "/local/domain/0",
            "device/vbd/51712",
            "/tool/-_@x",
            "@releaseDomain",
            "@introduceDomain",
            "@releaseDomain/5",
        ] {
            assert!(validate(path).is_ok(), "{path}");
        }
        let longest = format!("/{}", "a".repeat(ABSOLUTE_PATH_MAX - 1));
        assert!(validate(&longest).is_ok());
        assert!(validate(&"r".repeat(RELATIVE_PATH_MAX)).is_ok());
    }

    #[test]
    fn paths_the_server_would_refuse_are_refused_here() {
        let too_long = format!("/{}", "a".repeat(ABSOLUTE_PATH_MAX));
        let too_long_relative = "r".repeat(RELATIVE_PATH_MAX + 1);
        for path in [
            "",
            "//",
            "/a//b",
            "/a/",
            "a/",
            "/a b",
            "/a\0b",
            "/ä",
            "/a.b",
            "/a:b",
            &too_long,
            &too_long_relative,
        ] {
            let error = validate(path).unwrap_err();
            assert!(error.to_string().len() < 400, "{error}");
        }
    }

    #[test]
    fn depth_counts_levels_below_the_root() {
        assert_eq!(depth_below("/a", "/a"), Some(0));
        assert_eq!(depth_below("/a", "/a/b"), Some(1));
        assert_eq!(depth_below("/a", "/a/b/c"), Some(2));
        assert_eq!(depth_below("/a", "/ab"), None);
        assert_eq!(depth_below("/", "/"), Some(0));
        assert_eq!(depth_below("/", "/a/b"), Some(2));
        assert_eq!(depth_below("x", "x/y"), Some(1));
    }

    #[test]
    fn join_does_not_double_the_root_slash() {
        assert_eq!(join("/", "a"), "/a");
        assert_eq!(join("/a", "b"), "/a/b");
    }
}
