//! Writing: files whole or not at all, standard output, and diffs.

use std::fs;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::Path;

use similar::TextDiff;

use super::Failure;
use super::config::relative;
use super::render::harmless;

/// Writes a file in one step: whoever reads it sees the old text or the new one. Permissions are kept, and the owner where the process
/// may give files away.
pub fn replace(path: &Path, text: &[u8]) -> Result<(), Failure> {
    replace_with(path, |to| to.write_all(text))
}

/// As [`replace`], with what `writer` writes, without a buffer of ours in between.
pub fn replace_with(path: &Path, writer: impl FnOnce(&mut fs::File) -> io::Result<()>) -> Result<(), Failure> {
    let cannot = |error: io::Error| Failure::new(format!("cannot write `{}`: {error}", path.display()));
    // What is no regular file (a pipe, a terminal) cannot be replaced, only written to.
    let existing = fs::metadata(path);
    if existing.as_ref().is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir()) {
        return fs::File::create(path).and_then(|mut file| writer(&mut file)).map_err(cannot);
    }
    let target = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let directory = match target.parent() {
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        Some(_) | None => Path::new(".").to_owned(),
    };
    let mut builder = tempfile::Builder::new();
    // Readable by all, as far as the umask allows, like the output of other compilers.
    builder.prefix(".lbc-").permissions(fs::Permissions::from_mode(0o666));
    let mut file = builder.tempfile_in(&directory).map_err(cannot)?;
    writer(file.as_file_mut()).map_err(cannot)?;
    if let Ok(metadata) = existing {
        keep_owner(file.as_file(), &metadata);
        file.as_file().set_permissions(metadata.permissions()).map_err(cannot)?;
    }
    file.as_file().sync_all().map_err(cannot)?;
    file.persist(&target).map_err(|error| cannot(error.error))?;
    Ok(())
}

/// Gives a new file to the owner and group of the one whose place it takes, as far as the process may.
fn keep_owner(file: &fs::File, old: &fs::Metadata) {
    let Ok(new) = file.metadata() else { return };
    if (new.uid(), new.gid()) != (old.uid(), old.gid()) && fchown(file, Some(old.uid()), Some(old.gid())).is_err() {
        // Whoever may not give files away may still belong to the group.
        let _ = fchown(file, None, Some(old.gid()));
    }
}

/// Writes to standard output. A reader that has stopped reading is no failure.
pub fn print(text: &[u8]) -> Result<(), Failure> {
    write(io::stdout().lock(), text)
}

/// Lets `writer` write to standard output, without a buffer of ours in between.
pub fn print_with(writer: impl FnOnce(&mut fs::File) -> io::Result<()>) -> Result<(), Failure> {
    // `Stdout` looks for line ends in everything it is given; the file behind it does not.
    let file = io::stdout().as_fd().try_clone_to_owned().map(fs::File::from);
    finished(file.and_then(|mut file| writer(&mut file)))
}

/// Writes to a standard stream, and flushes it.
pub fn write(mut stream: impl Write, text: &[u8]) -> Result<(), Failure> {
    finished(stream.write_all(text).and_then(|()| stream.flush()))
}

fn finished(result: io::Result<()>) -> Result<(), Failure> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::new(format!("cannot write the output: {error}")))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Prints what would change, byte for byte where it goes into a file or a pipe, harmlessly where it goes to a terminal.
/// Returns the patch.
pub fn print_diff(name: &str, old: &str, new: &str) -> Result<String, Failure> {
    let text = diff(name, old, new);
    match io::stdout().is_terminal() {
        true => print(harmless(&text).as_bytes())?,
        false => print(text.as_bytes())?,
    }
    Ok(text)
}

/// A unified diff that `git apply` and `patch -p1` take.
fn diff(name: &str, old: &str, new: &str) -> String {
    // What a link points to is what changes.
    let real = Some(Path::new(name)).filter(|path| path.is_symlink()).and_then(|path| path.canonicalize().ok());
    let real = real.map(|path| relative(&path).display().to_string());
    let name = real.as_deref().unwrap_or(name);
    let in_git = below_git(Path::new(name));
    // An absolute path is taken apart at the root: `patch -p1 -d /` finds it.
    let name = in_git.as_deref().unwrap_or_else(|| name.trim_start_matches("./").trim_start_matches('/'));
    let (old_name, new_name) = (quoted(&format!("a/{name}")), quoted(&format!("b/{name}")));
    let text = TextDiff::from_lines(old, new).unified_diff().header(&old_name, &new_name).to_string();
    // This line tells git that the names start where its work tree does, wherever it is run.
    let first = in_git.iter().filter(|_| !text.is_empty()).map(|_| format!("diff --git {old_name} {new_name}\n"));
    first.chain([text.clone()]).collect()
}

/// The name of a file below the work tree of git that it is in.
fn below_git(path: &Path) -> Option<String> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let file = parent.canonicalize().ok()?.join(path.file_name()?);
    let top = file.ancestors().skip(1).find(|ancestor| ancestor.join(".git").exists())?;
    if !file.exists() {
        return None;
    }
    Some(file.strip_prefix(top).ok()?.to_str()?.to_owned())
}

/// A path as git writes it in a patch: in double quotes with escapes where it holds what needs them.
fn quoted(path: &str) -> String {
    if !path.contains(|c: char| c.is_control() || c == '"' || c == '\\') {
        return path.to_owned();
    }
    let mut text = String::from("\"");
    for c in path.chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            '\n' => text.push_str("\\n"),
            '\t' => text.push_str("\\t"),
            c if c.is_control() => {
                let mut bytes = [0; 4];
                for byte in c.encode_utf8(&mut bytes).bytes() {
                    text.push_str(&format!("\\{byte:03o}"));
                }
            }
            c => text.push(c),
        }
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_patches_are_quoted_as_git_does() {
        assert_eq!(quoted("a/web.lb"), "a/web.lb");
        assert_eq!(quoted("a/\u{1b}[31m\"x\\y.lb"), r#""a/\033[31m\"x\\y.lb""#);
    }
}
