//! Writing: files whole or not at all, standard output, and diffs.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use similar::TextDiff;

use super::Failure;

/// Writes a file in one step: whoever reads it sees the old text or the new one. Permissions are kept.
pub fn replace(path: &Path, text: &[u8]) -> Result<(), Failure> {
    let cannot = |error: io::Error| Failure::new(format!("cannot write `{}`: {error}", path.display()));
    // What is no regular file (a pipe, a terminal) cannot be replaced, only written to.
    let existing = fs::metadata(path);
    if existing.as_ref().is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir()) {
        return fs::write(path, text).map_err(cannot);
    }
    let target = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let directory = match target.parent() {
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        Some(_) | None => Path::new(".").to_owned(),
    };
    let mut file = tempfile::Builder::new().prefix(".lbc-").tempfile_in(&directory).map_err(cannot)?;
    file.write_all(text).map_err(cannot)?;
    let permissions = match existing {
        Ok(metadata) => metadata.permissions(),
        Err(_) => default_permissions(),
    };
    file.as_file().set_permissions(permissions).map_err(cannot)?;
    file.as_file().sync_all().map_err(cannot)?;
    file.persist(&target).map_err(|error| cannot(error.error))?;
    Ok(())
}

/// What a new file gets: readable by all, as other compilers' output is.
#[cfg(unix)]
fn default_permissions() -> fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(0o644)
}

/// Writes to standard output.
pub fn print(text: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(text)?;
    out.flush()?;
    Ok(())
}

/// A unified diff that `git apply` and `patch -p1` take.
pub fn diff(name: &str, old: &str, new: &str) -> String {
    let name = name.trim_start_matches("./");
    TextDiff::from_lines(old, new).unified_diff().header(&format!("a/{name}"), &format!("b/{name}")).to_string()
}
