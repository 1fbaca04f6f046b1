//! A small disk of a test's own that can be filled to the last page.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::annals::{Annals, program};

/// A tmpfs mounted over a folder, for the commands started through it alone.
///
/// It lives in a mount namespace that a keeper process holds open. The keeper ends with its input,
/// so the mount is gone with this value, and also when the test panics or is killed.
pub struct SmallDisk {
    folder: PathBuf,
    keeper: Child,
    as_root: bool,
}

/// What one page of the disk holds.
pub const PAGE_BYTES: u64 = 4096;

impl SmallDisk {
    /// Mounts `pages` pages over `folder`, which is created.
    pub fn over(folder: &Path, pages: u64) -> Self {
        fs::create_dir_all(folder).expect("the folder is ours");
        let as_root = rustix::process::geteuid().is_root();
        // An ordinary user gets a user namespace in which a tmpfs may be mounted.
        let own = if as_root { "-m" } else { "-rm" };
        let script = "mount -t tmpfs -o size=\"$2\" tmpfs \"$1\" && echo mounted && exec cat";
        let mut keeper = Command::new("unshare")
            .args([own, "--propagation", "private", "sh", "-c", script, "sh"])
            .arg(folder)
            .arg((pages * PAGE_BYTES).to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare (util-linux) is installed");
        let said = keeper.stdout.take().map(|out| {
            let mut line = String::new();
            let _ = BufReader::new(out).read_line(&mut line);
            line
        });
        assert_eq!(
            said.as_deref(),
            Some("mounted\n"),
            "this test mounts a tmpfs: run it as root, or allow user namespaces"
        );
        Self { folder: folder.to_owned(), keeper, as_root }
    }

    /// `annals` in `folder`, seeing the disk.
    pub fn annals(&self, folder: &Path, line: &str) -> Annals {
        self.run(&program(), folder, line)
    }

    /// Another `program` in `folder`, seeing the disk.
    pub fn run(&self, program: &Path, folder: &Path, line: &str) -> Annals {
        let pid = self.keeper.id().to_string();
        let mut command = Annals::new(Path::new("nsenter"), folder).arg("-t").arg(pid);
        if !self.as_root {
            command = command.args("-U --preserve-credentials");
        }
        // Entering changes the folder to the root of the namespace.
        command.args("-m sh -c").arg("cd \"$0\" && exec \"$@\"").arg(folder).arg(program).args(line)
    }

    /// The folder the disk is mounted over, as the test sees it from outside.
    pub fn inside(&self) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.keeper.id()));
        root.join(self.folder.strip_prefix("/").unwrap_or(&self.folder))
    }

    /// Fills the disk, leaving `pages` pages free.
    pub fn fill(&self, pages: u64) {
        let path = self.inside().join("filling");
        let mut file = fs::File::create(&path).expect("the disk takes a file");
        while file.write_all(&[0; PAGE_BYTES as usize]).is_ok() {}
        let full = file.metadata().expect("an open file has metadata").len();
        let pages_used = full / PAGE_BYTES;
        assert!(pages_used >= pages, "the disk is too small to leave {pages} pages free");
        file.set_len((pages_used - pages) * PAGE_BYTES).expect("a file can be cut");
    }

    /// Allows writing no longer.
    pub fn make_read_only(&self) {
        let mut command = Command::new("nsenter");
        command.arg("-t").arg(self.keeper.id().to_string());
        if !self.as_root {
            command.args(["-U", "--preserve-credentials"]);
        }
        let status = command.args(["-m", "mount", "-o", "remount,ro"]).arg(&self.folder).status();
        assert!(status.is_ok_and(|status| status.success()), "a tmpfs can be remounted");
    }

    /// Takes the filling away.
    pub fn make_room(&self) {
        fs::remove_file(self.inside().join("filling")).expect("the disk was filled");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}
