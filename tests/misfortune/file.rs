//! The program's file is deleted or replaced while it runs.

use std::fs;
use std::path::{Path, PathBuf};

use multiproc::{Process, StartMethod};

use crate::common::{part, program_at, success};
use crate::support::METHODS;

/// A folder that goes with its owner.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Folder {
        let folder = std::env::temp_dir().join(format!("misfortune-{}", std::process::id()));
        fs::create_dir(&folder).expect("a new folder");
        Folder(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn start_all() {
    for method in METHODS {
        let child = Process::new(nested, (method, 1)).start_method(method).start().expect("start");
        assert_eq!(child.start_method(), method);
        assert_eq!(child.join().expect("join"), 2);
    }
}

fn nested(method: StartMethod, depth: u32) -> u32 {
    if depth == 0 {
        return 1;
    }
    Process::new(nested, (method, depth - 1))
        .start_method(method)
        .start()
        .expect("start")
        .join()
        .expect("join")
        + 1
}

/// The program: does to its own file what its part says.
fn lose_own_file(part: &str) {
    let (when, what) = part.split_once(' ').expect("when and what");
    let file = std::env::current_exe().expect("the path of the file");
    if when == "later" {
        start_all();
    }
    match what {
        "deleted" => fs::remove_file(&file).expect("delete"),
        "garbage" => replace(&file, |new| fs::write(new, "no program at all").expect("write")),
        _ => replace(&file, |new| assert!(fs::copy("/bin/true", new).expect("copy") > 0)),
    }
    start_all();
}

fn replace(file: &Path, make: impl FnOnce(&Path)) {
    let new = file.with_extension("new");
    make(&new);
    fs::rename(&new, file).expect("replace");
}

pub(crate) fn file_deleted_or_replaced() {
    if let Some(part) = part() {
        return lose_own_file(&part);
    }
    let folder = Folder::new();
    let file = folder.0.join("program");
    for when in ["first", "later"] {
        for what in ["deleted", "garbage", "another program"] {
            // Not over the old file, which somebody may still execute.
            let _ = fs::remove_file(&file);
            fs::copy("/proc/self/exe", &file).expect("copy this program");
            let path = file.to_str().expect("a path");
            success(&mut program_at(path, "file_deleted_or_replaced", &format!("{when} {what}")));
        }
    }
}
