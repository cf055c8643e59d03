//! Watches over the processes of targets: that they end, go on, and take no more memory than they
//! should.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use multiproc::fuzz::Target;

use crate::job::HEADER;

/// How long one input may take.
const LIMIT: Duration = Duration::from_secs(20);

/// The most memory that a process may have at any time, and the most addresses, in KiB.
const MEMORY: u64 = 1 << 20;
const ADDRESSES: u64 = 4 << 20;

/// Runs all targets, as many at a time as there are cores, and says which failed.
pub(crate) fn all(targets: &[Target], seed: u64, seconds: f64, kept: &Path) -> Result<(), String> {
    let left = Mutex::new(targets.iter());
    let failures = Mutex::new(Vec::new());
    let next = || left.lock().expect("no panic").next();
    let worker = || {
        while let Some(target) = next() {
            if let Err(why) = one(*target, seed, seconds, kept) {
                failures.lock().expect("no panic").push(format!("{}: {why}", target.name));
            }
        }
    };
    let cores = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| (0..cores).for_each(|_| drop(scope.spawn(worker))));
    let failures = failures.into_inner().expect("no panic");
    if failures.is_empty() { Ok(()) } else { Err(failures.join("\n")) }
}

fn one(target: Target, seed: u64, seconds: f64, kept: &Path) -> Result<(), String> {
    let noted = Noted::new(target.name)?;
    // The shell sets the limits, and is then replaced.
    let script = format!("ulimit -c 0; ulimit -v {ADDRESSES}; exec \"$0\" \"$@\"");
    let program =
        std::env::current_exe().map_err(|error| format!("where this program is: {error}"))?;
    let child = Command::new("/bin/sh")
        .args(["-c", &script])
        .arg(program)
        .args(["--job", target.name, &seed.to_string(), &seconds.to_string()])
        .arg(&noted.0)
        .stdin(Stdio::null())
        .spawn();
    let mut child = Watched(child.map_err(|error| format!("cannot start it: {error}"))?);
    let started = Instant::now();
    match child.watch(&noted) {
        Ok(()) => {
            let (count, time) = (noted.read().0, started.elapsed().as_secs_f64());
            println!("{}: {count} inputs in {time:.1} s", target.name);
            Ok(())
        }
        Err(why) => {
            let (number, input) = noted.read();
            let file = kept.join(format!("multiproc-fuzz-{}-{seed}-{number}", target.name));
            let kept = match fs::write(&file, &input) {
                Ok(()) => format!("fuzz --replay {} {}", target.name, file.display()),
                Err(error) => format!(
                    "its input, {:02x?}, could not be written to {}: {error}",
                    input,
                    file.display()
                ),
            };
            Err(format!("{why}, at input {number} of seed {seed}: {kept}"))
        }
    }
}

/// A process that does not outlive its watch.
struct Watched(Child);

impl Watched {
    fn watch(&mut self, noted: &Noted) -> Result<(), String> {
        let mut last = (noted.read().0, Instant::now());
        loop {
            if let Some(status) =
                self.0.try_wait().map_err(|error| format!("cannot wait for it: {error}"))?
            {
                return if status.success() {
                    Ok(())
                } else {
                    Err(format!("it ended with {status}"))
                };
            }
            let number = noted.read().0;
            if number != last.0 {
                last = (number, Instant::now());
            }
            if last.1.elapsed() > LIMIT {
                return Err(format!("it hangs for {LIMIT:?}"));
            }
            if let Some(memory) = self.memory().filter(|memory| *memory > MEMORY) {
                return Err(format!("it has {memory} KiB of memory"));
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// How much memory it has at this moment, in KiB.
    fn memory(&self) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.trim().strip_suffix(" kB")?.parse().ok()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The file in which a process notes what it is about to try.
struct Noted(PathBuf);

impl Noted {
    fn new(name: &str) -> Result<Noted, String> {
        let path =
            std::env::temp_dir().join(format!("multiproc-fuzz-{}-{name}", std::process::id()));
        fs::write(&path, [0; HEADER]).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Noted(path))
    }

    /// The number of the input and itself.
    fn read(&self) -> (u64, Vec<u8>) {
        let bytes = fs::read(&self.0).unwrap_or_default();
        let word = |at: usize| {
            bytes
                .get(at..at + 8)
                .map_or(0, |word| u64::from_le_bytes(word.try_into().unwrap_or_default()))
        };
        let input = bytes.get(HEADER..).unwrap_or_default();
        (word(0), input.get(..word(8) as usize).unwrap_or(input).to_vec())
    }
}

impl Drop for Noted {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}
