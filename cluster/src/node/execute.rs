//! A program of another machine is executed here: first to see whether this machine can, then as
//! a station.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use super::journal::{self, Stream};
use super::reins::Reins;
use super::station::{self, Orders};
use crate::wire::{self, Alone};

/// Bytes of what a program wrote to standard error that are kept, to say why it failed.
const KEPT: usize = 2048;

/// Number of its last lines that are told.
const LINES: usize = 5;

/// Executes the program once to see whether it gets as far as its own code: libraries, their
/// versions and the processor's instructions are found out before that.
///
/// # Errors
/// It does not. That is final if another attempt would end the same way.
pub(super) fn probe(file: &File) -> Result<(), Alone> {
    let mut child = spawn(file, station::PROBE).map_err(|error| {
        let lacks_loader = matches!(error.kind(), ErrorKind::NotFound);
        let what = match interpreter(file).filter(|_| lacks_loader) {
            Some(path) => format!(
                "cannot execute the program on this machine, which has not got its dynamic loader \
                 {path}: it was built for another C library"
            ),
            None => format!("cannot execute the program on this machine: {error}"),
        };
        // Another format, or a loader that is not here; anything else may pass.
        let is_final = lacks_loader || error.raw_os_error() == Some(NO_FORMAT);
        Alone::refused(&what, is_final)
    })?;
    drop(child.stdin.take());
    let wrote = listen(&mut child);
    let status = child.wait().map_err(|error| {
        Alone::refused(&format!("cannot wait for the program's first start: {error}"), false)
    })?;
    let last = wrote.recv_timeout(REST).unwrap_or_default();
    if status.success() {
        return Ok(());
    }
    // Its loader has said why, or the processor has not got an instruction. A program that was
    // killed may have met a want of memory.
    let is_final = status.code().is_some() || status.signal() == Some(ILLEGAL);
    let what = format!("the program does not run on this machine: it {}", told(status, &last));
    Err(Alone::refused(&what, is_final))
}

/// The kernel's numbers of "exec format error", and of the signal for an instruction that there is
/// not. They are the same on all platforms that a node runs on.
const NO_FORMAT: i32 = 8;
const ILLEGAL: i32 = 4;

/// Executes the program as a station, and waits for its end.
///
/// # Errors
/// How it ended, unless it ended in order.
pub(super) fn execute(file: &File, orders: &Orders, reins: &Reins) -> Result<(), String> {
    let mut child = spawn(file, station::SERVE)
        .map_err(|error| format!("cannot execute the program on this machine: {error}"))?;
    if let Some(mut input) = child.stdin.take() {
        let bytes = wire::encode(orders, &[]);
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes();
        // A station that has ended already says so below.
        let _ = input.write_all(&[&length, &*bytes].concat());
        reins.take(input);
    }
    let wrote = listen(&mut child);
    let status = child.wait().map_err(|error| format!("cannot wait for the station: {error}"))?;
    reins.release();
    let last = wrote.recv_timeout(REST).unwrap_or_default();
    if status.success() { Ok(()) } else { Err(format!("its station {}", told(status, &last))) }
}

/// Executes the program, for this purpose.
fn spawn(file: &File, purpose: &str) -> std::io::Result<Child> {
    let mut command = Command::new(format!("/proc/self/fd/{}", file.as_raw_fd()));
    command.arg0("multiproc-station").stdin(Stdio::piped());
    // Not the node's own: nobody may read there, which would stop whoever writes.
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    // What a task sees of the environment is this node's, without what makes it a node.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("MULTIPROC_") {
            command.env_remove(name);
        }
    }
    command.env(station::VARIABLE, purpose).spawn()
}

/// Time in which the rest of what a program wrote is read after its end. Processes that it has left
/// behind may have its standard error open for ever.
const REST: Duration = Duration::from_secs(1);

/// Shows what a program and its children write, as what this node writes. At the end, the end of
/// what went to standard error arrives.
fn listen(child: &mut Child) -> Receiver<Vec<u8>> {
    let (tell, wrote) = mpsc::channel();
    let thread = || std::thread::Builder::new().name("node-listen".to_owned());
    // Without a thread, the pipe is closed: whoever writes is told.
    if let Some(output) = child.stdout.take() {
        let _ = thread().spawn(move || drop(pass_on(output, &journal::OUTPUT)));
    }
    if let Some(errors) = child.stderr.take() {
        let _ = thread().spawn(move || {
            let _ = tell.send(pass_on(errors, &journal::ERRORS));
        });
    }
    wrote
}

/// Passes on what is written, until nobody is left who could. Returns the end of it.
fn pass_on(mut from: impl Read, to: &'static Stream) -> Vec<u8> {
    let mut last = Vec::new();
    let mut buffer = [0; 8192];
    loop {
        match from.read(&mut buffer) {
            Ok(count @ 1..) => {
                to.pass_on(&buffer[..count]);
                last.extend_from_slice(&buffer[..count]);
                // However long its lines are, little of them is kept.
                last.drain(..last.len().saturating_sub(KEPT));
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Ok(0) | Err(_) => return last,
        }
    }
}

/// Says how a program ended.
fn told(status: ExitStatus, last: &[u8]) -> String {
    let how = match status.signal() {
        Some(signal) => format!("was killed by {}", multiproc::Signal::new(signal)),
        None => format!("ended with code {}", status.code().unwrap_or(-1)),
    };
    let text = String::from_utf8_lossy(last);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    match &lines[lines.len().saturating_sub(LINES)..] {
        [] => how,
        lines => format!("{how}, after it wrote: {}", lines.join(" | ")),
    }
}

/// Returns the path of the dynamic loader that a program asks for: in a 64-bit ELF file of this
/// byte order. `None` if it asks for none, or is something else.
pub(crate) fn interpreter(file: &File) -> Option<String> {
    /// The kind of segment that has the path.
    const PATH: u32 = 3;
    let mut head = [0; 64];
    file.read_exact_at(&mut head, 0).ok()?;
    if !head.starts_with(b"\x7fELF\x02") {
        return None;
    }
    let (table, size) = (number::<8>(&head, 32)?, number::<2>(&head, 54)?);
    for index in 0..number::<2>(&head, 56)? {
        let mut segment = [0; 56];
        let at = table.checked_add(size.checked_mul(index)?)?;
        file.read_exact_at(&mut segment, at).ok()?;
        if number::<4>(&segment, 0)? == u64::from(PATH) {
            let length = usize::try_from(number::<8>(&segment, 32)?).ok()?;
            // The longest path that the kernel takes.
            let mut path = vec![0; length.min(4096)];
            file.read_exact_at(&mut path, number::<8>(&segment, 8)?).ok()?;
            let path = path.split(|byte| *byte == 0).next()?;
            return Some(String::from_utf8_lossy(path).into_owned());
        }
    }
    None
}

/// Reads a number of so many bytes.
fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<u64> {
    let mut number = [0; 8];
    number[..N].copy_from_slice(bytes.get(at..at + N)?);
    Some(u64::from_le_bytes(number))
}
