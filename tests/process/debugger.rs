//! A process that holds another as a debugger does: the kernel tells it of the end first.
#![expect(unsafe_code, reason = "no crate has the calls")]

use std::io::{Read, Write};
use std::process::Command;

use multiproc::{Child, Process, Queue};

/// Holds a process until it is dropped.
pub(crate) struct Debugger(i32);

impl Debugger {
    /// Holds a process that allows it; `None`, and a line about it, if nobody may debug here.
    pub(crate) fn hold(pid: u32) -> Option<Debugger> {
        let (mut answer, mut told) = std::io::pipe().expect("pipe");
        // SAFETY: the copy makes system calls only.
        let debugger = unsafe { libc::fork() };
        if debugger == 0 {
            // SAFETY: no preconditions.
            unsafe {
                let done = libc::ptrace(libc::PTRACE_SEIZE, pid.cast_signed(), 0, 0);
                let _ = told.write_all(&[u8::from(done == 0)]);
                loop {
                    libc::pause();
                }
            }
        }
        let debugger = Debugger(debugger);
        let mut done = [0];
        answer.read_exact(&mut done).expect("read");
        if done == [0] {
            println!("nobody may debug here");
        }
        (done == [1]).then_some(debugger)
    }
}

impl Drop for Debugger {
    fn drop(&mut self) {
        // SAFETY: it is our child.
        unsafe {
            libc::kill(self.0, libc::SIGKILL);
            libc::waitpid(self.0, std::ptr::null_mut(), 0);
        }
    }
}

/// Lets anybody debug it, starts a program that has its streams, says the number of that, and waits
/// for it.
fn may_be_debugged(told: Queue<u32>) {
    // SAFETY: no preconditions.
    unsafe { libc::prctl(libc::PR_SET_PTRACER, libc::PR_SET_PTRACER_ANY, 0, 0, 0) };
    let mut program = Command::new("sleep").arg("1000").spawn().expect("start a program");
    told.put(program.id()).expect("say its number");
    let _ = program.wait();
}

/// Starts a process that allows to be held; with the number of a program that it has started.
pub(crate) fn start(set: impl FnOnce(Process<()>) -> Process<()>) -> (Child<()>, u32) {
    let told = Queue::new().expect("queue");
    let child = set(Process::new(may_be_debugged, (told.clone(),))).start().expect("start");
    (child, told.get().expect("it is ready"))
}
