//! `file:` URIs and paths.

use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use lsp_types::Uri;

/// The path of a `file:` URI of this machine; `None` for any other.
pub fn path(uri: &Uri) -> Option<PathBuf> {
    let rest = uri.as_str().strip_prefix("file://")?;
    let rest = rest.strip_prefix("localhost").unwrap_or(rest);
    let rest = rest.split(['?', '#']).next().unwrap_or(rest);
    if !rest.starts_with('/') {
        return None;
    }
    let mut bytes = Vec::with_capacity(rest.len());
    let mut left = rest.as_bytes();
    while let [first, behind @ ..] = left {
        let hex = |byte: u8| char::from(byte).to_digit(16);
        match (first, behind) {
            (b'%', [high, low, behind @ ..]) if hex(*high).is_some() && hex(*low).is_some() => {
                bytes.push((hex(*high)? * 16 + hex(*low)?) as u8);
                left = behind;
            }
            _ => {
                bytes.push(*first);
                left = behind;
            }
        }
    }
    // A NUL byte is in no path.
    (!bytes.contains(&0)).then(|| PathBuf::from(std::ffi::OsString::from_vec(bytes)))
}

/// The `file:` URI of an absolute path.
pub fn of(path: &Path) -> Option<Uri> {
    let mut text = "file://".to_owned();
    for byte in OsStr::as_bytes(path.as_os_str()) {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' | b'~' => text.push(char::from(*byte)),
            _ => text.push_str(&format!("%{byte:02X}")),
        }
    }
    if path.is_absolute() { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_come_back_from_their_uris() {
        for text in ["/", "/a/b.lb", "/a b/ü🙂%#?.lb"] {
            let uri = of(Path::new(text)).expect("an absolute path");
            assert_eq!(path(&uri).as_deref(), Some(Path::new(text)), "{}", uri.as_str());
        }
        assert_eq!(of(Path::new("a.lb")), None);
    }

    #[test]
    fn what_is_no_file_of_this_machine_has_no_path() {
        let path = |text: &str| path(&text.parse().expect("a URI"));
        assert_eq!(path("untitled:Untitled-1"), None);
        assert_eq!(path("file://other/a.lb"), None);
        assert_eq!(path("file:///a%00"), None);
    }
}
