//! The program's own standard streams are closed.
#![expect(unsafe_code, reason = "closes standard streams, which nothing safe does")]

use std::io::Read;

use multiproc::{Process, Stdio};

use crate::common::{part, program, success};
use crate::support::{METHODS, open_fds};

/// Which of the standard streams are open.
fn open_streams() -> Vec<i32> {
    open_fds().into_iter().filter(|number| *number < 3).collect()
}

fn child() -> Vec<i32> {
    // With a closed stream, this would be a panic or worse.
    println!("out");
    eprintln!("err");
    let nested = Process::new(open_streams, ()).start().expect("start").join().expect("join");
    assert_eq!(nested, [0, 1, 2]);
    open_streams()
}

fn without(closed: &[i32]) {
    for number in closed {
        // SAFETY: this process has one thread, which uses none of them meanwhile.
        unsafe { libc::close(*number) };
    }
    let open = open_streams();
    for _ in 0..2 {
        for method in METHODS {
            let child = Process::new(child, ()).start_method(method).start().expect("start");
            assert_eq!(child.start_method(), method);
            assert_eq!(child.join().expect("join"), [0, 1, 2]);
            let mut child = Process::new(|| println!("heard"), ())
                .start_method(method)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .start()
                .expect("start");
            let mut text = String::new();
            child.take_stdout().expect("a pipe").read_to_string(&mut text).expect("read");
            child.join().expect("join");
            assert_eq!(text, "heard\n");
        }
        assert_eq!(
            open_streams(),
            open,
            "the library put something of its own in the place of a standard stream"
        );
    }
}

pub(crate) fn closed_standard_streams() {
    if let Some(part) = part() {
        let closed: Vec<i32> =
            part.chars().filter_map(|number| number.to_digit(10)?.try_into().ok()).collect();
        return without(&closed);
    }
    for closed in ["0", "1", "2", "01", "02", "12", "012"] {
        success(&mut program("closed_standard_streams", closed));
    }
}
