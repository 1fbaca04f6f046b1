//! Reads the two folders of a workspace. The only IO of this crate.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::thread;

use annals_events::Version;

use crate::names::{self, NameError};
use crate::set::{Migration, MigrationSet, Problem, SourceFile};
use crate::stream::{self, LargeFile};

/// The file in the migrations folder that pins another order than the numeric one.
pub const ORDER_FILE: &str = "order";

/// The largest migration file: 1 GiB. What is larger belongs in a loader, not in a migration.
pub const MAX_FILE_BYTES: u64 = 1 << 30;

/// The largest file whose SQL is held and stands in the plan: 1 MiB. Larger ones are streamed.
pub const INLINE_FILE_BYTES: u64 = 1 << 20;

/// What most migration files are shorter than.
const USUAL_FILE_BYTES: usize = 16 << 10;

/// The most files of one folder.
const MAX_FILES: usize = 100_000;

/// Fewer files than this are read by whoever asks for them.
const WORTH_A_THREAD: usize = 32;

/// The stack of a thread that reads SQL: it takes some for each level of nesting, and memory that is
/// not touched costs nothing.
pub const STACK_BYTES: usize = 256 << 20;

/// Reads the SQL of `files` whose time has come, on two processors where there are many.
///
/// What is wrong with it is said by [`SourceFile::script`], as ever.
pub fn read_ahead<'a>(files: impl Iterator<Item = &'a SourceFile>) {
    let files: Vec<&SourceFile> = files.filter(|file| !file.is_read()).collect();
    if files.len() < WORTH_A_THREAD {
        return;
    }
    let read = |files: &[&SourceFile]| {
        for file in files {
            let _ = file.script();
        }
    };
    let (mine, theirs) = files.split_at(files.len() / 2);
    thread::scope(|scope| {
        let thread = thread::Builder::new().stack_size(STACK_BYTES);
        // Where there is no thread to be had, they are read when they are asked for.
        let _ = thread.spawn_scoped(scope, || read(theirs));
        read(mine);
    });
}

/// What to load, and how strictly.
#[derive(Debug, Clone)]
pub struct LoadOptions {
    /// The workspace; paths in problems are relative to it.
    pub workspace: PathBuf,
    /// Folder of the migrations, relative to the workspace.
    pub migrations: PathBuf,
    /// Folder of the rollbacks, relative to the workspace.
    pub rollbacks: PathBuf,
    /// Refuse a migration without its rollback.
    pub require_rollback: bool,
}

/// Loads the migrations of a workspace.
///
/// The SQL itself is read when it is first asked for: a file that has been applied and has not
/// changed since need not be parsed again.
///
/// # Errors
///
/// Every problem found with names, files and pairing, in the order of their paths.
pub fn load(options: &LoadOptions) -> Result<MigrationSet, Vec<Problem>> {
    // Thousands of small files take their time; the folders have nothing to do with each other.
    let (ups, downs) = thread::scope(|scope| {
        let downs = scope.spawn(|| read_folder(options, &options.rollbacks, "_rollback.sql"));
        let ups = read_folder(options, &options.migrations, ".sql");
        (ups, downs.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    let ((ups, mut problems), (mut downs, of_downs)) = (ups, downs);
    problems.extend(of_downs);
    let mut migrations = Vec::with_capacity(ups.len());
    for (version, (name, up)) in ups {
        let down = downs.remove(&version);
        if let Some((down_name, down)) = &down
            && *down_name != name
        {
            let reason = format!(
                "rolls back {version}_{down_name}, but the migration is named {}",
                up.name()
            );
            problems.push(problem(down.path(), reason));
        }
        if down.is_none() && options.require_rollback && !is_irreversible(&up) {
            let wanted = options.rollbacks.join(names::rollback_file_name(&version, &name));
            let reason = format!("has no rollback; write {}", wanted.display());
            problems.push(problem(up.path(), reason));
        }
        migrations.push(Migration { version, name, up, down: down.map(|(_, file)| file) });
    }
    for (version, (name, down)) in downs {
        let wanted = options.migrations.join(names::migration_file_name(&version, &name));
        let reason = format!("rolls back a migration that is not there ({})", wanted.display());
        problems.push(problem(down.path(), reason));
    }
    let migrations = pin_order(options, migrations, &mut problems);
    problems.sort_by(|a, b| (&a.path, a.position).cmp(&(&b.path, b.position)));
    if problems.is_empty() { Ok(MigrationSet::in_order(migrations)) } else { Err(problems) }
}

/// Whether the file says that there is no way back. One that cannot be read says nothing.
fn is_irreversible(file: &SourceFile) -> bool {
    file.script().is_ok_and(|script| script.directives.irreversible.is_some())
}

fn problem(path: &Path, reason: impl Into<String>) -> Problem {
    Problem { path: path.to_owned(), position: None, reason: reason.into() }
}

type Files = BTreeMap<Version, (String, SourceFile)>;

fn read_folder(
    options: &LoadOptions,
    folder: &Path,
    suffix: &'static str,
) -> (Files, Vec<Problem>) {
    let (mut files, mut problems) = (Files::new(), Vec::new());
    let entries = match fs::read_dir(options.workspace.join(folder)) {
        Ok(entries) => entries,
        Err(error) => {
            problems.push(problem(folder, format!("cannot read the folder: {error}")));
            return (files, problems);
        }
    };
    let entries = entries.filter_map(Result::ok);
    let mut entries: Vec<_> = entries.map(|entry| (entry.file_name(), entry)).collect();
    entries.sort_by(|(a, _), (b, _)| a.cmp(b));
    if entries.len() > MAX_FILES {
        problems.push(problem(folder, format!("holds more than {MAX_FILES} files")));
        return (files, problems);
    }
    let mut buffer = Vec::with_capacity(USUAL_FILE_BYTES);
    for (name, entry) in entries {
        let path = folder.join(&name);
        let Some(name) = name.to_str() else {
            problems.push(problem(&path, "the file name is not UTF-8; rename it"));
            continue;
        };
        if name.starts_with('.') || name == "README.md" || name == ORDER_FILE {
            continue;
        }
        match read_file(&entry, &path, (name, suffix), &mut buffer) {
            Ok((version, stem, file)) => insert(&mut files, version, stem, file, &mut problems),
            Err(found) => problems.push(found),
        }
    }
    (files, problems)
}

fn insert(
    files: &mut Files,
    version: Version,
    name: String,
    file: SourceFile,
    problems: &mut Vec<Problem>,
) {
    if let Some((_, other)) = files.get(&version) {
        let reason = format!("has the same version as {}; renumber one of them", other.name());
        problems.push(problem(file.path(), reason));
    } else {
        files.insert(version, (name, file));
    }
}

fn read_file(
    entry: &fs::DirEntry,
    path: &Path,
    (name, suffix): (&str, &'static str),
    buffer: &mut Vec<u8>,
) -> Result<(Version, String, SourceFile), Problem> {
    let full = entry.path();
    let io = |error: std::io::Error| problem(path, format!("cannot be read: {error}"));
    // Of the link itself, where it is one.
    let kind = entry.file_type().map_err(io)?;
    if kind.is_symlink() {
        return Err(problem(path, "is a symbolic link; put the file itself here"));
    }
    if !kind.is_file() {
        return Err(problem(path, "is not a regular file; move it elsewhere"));
    }
    let (version, stem) = names::parse_file_name(name, suffix)
        .map_err(|error: NameError| problem(path, format!("{error}; rename it")))?;
    let mut opened = fs::File::open(&full).map_err(io)?;
    // Most files are read by one call into this, and a second one that says that it was all.
    buffer.clear();
    opened.by_ref().take(INLINE_FILE_BYTES + 1).read_to_end(buffer).map_err(io)?;
    if buffer.len() as u64 <= INLINE_FILE_BYTES {
        let file = SourceFile::new(path, buffer.as_slice().to_vec())?;
        if buffer.capacity() > USUAL_FILE_BYTES {
            *buffer = Vec::with_capacity(USUAL_FILE_BYTES);
        }
        return Ok((version, stem, file));
    }
    let mut all = buffer.as_slice().chain(opened).take(MAX_FILE_BYTES + 1);
    let (raw, blocks, bytes) = stream::measure(&mut all).map_err(io)?;
    if bytes > MAX_FILE_BYTES {
        return Err(problem(path, "is larger than 1 GiB; load bulk data with another tool"));
    }
    let file = SourceFile::large(path, raw, LargeFile { full, bytes, blocks });
    Ok((version, stem, file))
}

/// Applies `migrations/order` where it exists: one version a line, `#` starts a comment, every
/// migration exactly once.
fn pin_order(
    options: &LoadOptions,
    migrations: Vec<Migration>,
    problems: &mut Vec<Problem>,
) -> Vec<Migration> {
    let path = options.migrations.join(ORDER_FILE);
    let text = match fs::read_to_string(options.workspace.join(&path)) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return migrations,
        Err(error) => {
            problems.push(problem(&path, format!("cannot be read: {error}")));
            return migrations;
        }
    };
    let mut by_version: HashMap<Version, Migration> =
        migrations.into_iter().map(|migration| (migration.version.clone(), migration)).collect();
    let mut ordered = Vec::with_capacity(by_version.len());
    for (line, text) in (1u32..).zip(text.lines()) {
        let text = text.split('#').next().unwrap_or_default().trim();
        if text.is_empty() {
            continue;
        }
        let mut refuse = |reason: String| {
            let position = Some(crate::Position { line, column: 1 });
            problems.push(Problem { path: path.clone(), position, reason });
        };
        match text.parse::<Version>() {
            Err(error) => refuse(error.to_string()),
            Ok(version) => match by_version.remove(&version) {
                Some(migration) => ordered.push(migration),
                None => refuse(format!("version {version} stands twice or has no migration")),
            },
        }
    }
    let mut missing: Vec<Migration> = by_version.into_values().collect();
    missing.sort_by(|a, b| a.version.cmp(&b.version));
    for migration in &missing {
        let reason = format!("does not list version {}; add a line for it", migration.version);
        problems.push(problem(&path, reason));
    }
    ordered.extend(missing);
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Folder(tempfile::TempDir);

    impl Folder {
        fn new(files: &[(&str, &str)]) -> Self {
            let folder = Self(tempfile::tempdir().unwrap());
            for part in ["migrations", "rollbacks"] {
                fs::create_dir(folder.0.path().join(part)).unwrap();
            }
            for (name, text) in files {
                fs::write(folder.0.path().join(name), text).unwrap();
            }
            folder
        }

        fn load(&self) -> Result<MigrationSet, Vec<String>> {
            let options = LoadOptions {
                workspace: self.0.path().to_owned(),
                migrations: "migrations".into(),
                rollbacks: "rollbacks".into(),
                require_rollback: true,
            };
            load(&options).map_err(|found| found.iter().map(Problem::to_string).collect())
        }

        fn order(&self) -> Vec<String> {
            self.load().unwrap().iter().map(Migration::id).collect()
        }
    }

    const SQL: &str = "select 1;";

    #[test]
    fn versions_are_ordered_as_numbers_of_any_length() {
        let names = [
            "2_b",
            "10_c",
            "001_a",
            "20250921_171500_e",
            "20250921171459_d",
            "99999999999999999999999_f",
        ];
        let files: Vec<(String, &str)> = names
            .iter()
            .flat_map(|n| [format!("migrations/{n}.sql"), format!("rollbacks/{n}_rollback.sql")])
            .map(|name| (name, SQL))
            .collect();
        let files: Vec<_> = files.iter().map(|(n, t)| (n.as_str(), *t)).collect();
        let expected = [
            "001_a",
            "2_b",
            "10_c",
            "20250921171459_d",
            "20250921_171500_e",
            "99999999999999999999999_f",
        ];
        assert_eq!(Folder::new(&files).order(), expected);
    }

    #[test]
    fn what_is_declared_irreversible_needs_no_rollback() {
        let declared = "-- annals: irreversible=\"the rows are gone\"\nselect 1;";
        let folder = Folder::new(&[("migrations/1_a.sql", declared), ("migrations/2_b.sql", SQL)]);
        let problems = folder.load().unwrap_err();
        assert_eq!(
            problems,
            ["migrations/2_b.sql: has no rollback; write rollbacks/2_b_rollback.sql"]
        );
    }

    #[test]
    fn an_order_file_pins_the_order() {
        let mut files = vec![
            ("migrations/1_a.sql", SQL),
            ("rollbacks/1_a_rollback.sql", SQL),
            ("migrations/2_b.sql", SQL),
            ("rollbacks/2_b_rollback.sql", SQL),
            ("migrations/order", "2 # first\n\n1\n"),
        ];
        assert_eq!(Folder::new(&files).order(), ["2_b", "1_a"]);
        files[4].1 = "2\n3\n2\n";
        let problems = Folder::new(&files).load().unwrap_err();
        assert_eq!(
            problems,
            [
                "migrations/order: does not list version 1; add a line for it",
                "migrations/order:2:1: version 3 stands twice or has no migration",
                "migrations/order:3:1: version 2 stands twice or has no migration",
            ]
        );
    }

    #[test]
    fn every_problem_is_named() {
        let folder = Folder::new(&[
            ("migrations/1_a.sql", SQL),
            ("migrations/01_b.sql", SQL),
            ("migrations/2_c.sql", SQL),
            ("rollbacks/3_d_rollback.sql", SQL),
            ("migrations/4_E.sql", SQL),
            ("migrations/notes.txt", SQL),
            ("rollbacks/1_x_rollback.sql", SQL),
            ("migrations/5_f.sql", "\u{202e}"),
            ("migrations/README.md", "fine"),
            ("migrations/.gitkeep", ""),
        ]);
        fs::write(folder.0.path().join("migrations/6_g.sql"), b"select '\n\xff'").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", folder.0.path().join("migrations/7_h.sql"))
            .unwrap();
        fs::create_dir(folder.0.path().join("migrations/8_i.sql")).unwrap();
        let problems = folder.load().unwrap_err().join("\n");
        for expected in [
            "migrations/1_a.sql: has the same version as 01_b.sql",
            "migrations/2_c.sql: has no rollback; write rollbacks/2_c_rollback.sql",
            "migrations/4_E.sql: the name \"E\"",
            "migrations/5_f.sql:1:1: hidden character U+202E",
            "migrations/6_g.sql:2:1: not UTF-8",
            "migrations/7_h.sql: is a symbolic link",
            "migrations/8_i.sql: is not a regular file",
            "migrations/notes.txt: the name is not <version>_<name>.sql",
            "rollbacks/1_x_rollback.sql: rolls back 01_x, but the migration is named 01_b.sql",
            "rollbacks/3_d_rollback.sql: rolls back a migration that is not there (migrations/3_d.sql)",
        ] {
            assert!(problems.contains(expected), "{expected}\nnot in\n{problems}");
        }
    }
}
