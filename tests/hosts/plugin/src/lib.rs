//! A plug-in: a library that brings its own multiproc, loaded while a program runs.

use multiproc::{Process, StartMethod};

fn triple(n: u32) -> u32 {
    3 * n
}

/// 0 if `start` refuses a function of a library as it should, by forkserver and by spawn.
#[unsafe(no_mangle)]
pub extern "C" fn plugin_is_refused() -> i32 {
    for method in [StartMethod::Forkserver, StartMethod::Spawn] {
        match Process::new(triple, (5,)).start_method(method).start() {
            Ok(_) => return 1,
            Err(error) if !error.is_foreign_code() => {
                eprintln!("{error}");
                return 2;
            }
            Err(error) if !error.to_string().contains("dynamic library") => return 3,
            Err(_) => {}
        }
        if multiproc::set_forkserver_preload(|| ()).map_err(|error| error.is_foreign_code())
            != Err(true)
        {
            return 4;
        }
    }
    0
}

/// 0 if fork, which needs no way to find the function, works.
#[unsafe(no_mangle)]
pub extern "C" fn plugin_forks() -> i32 {
    match Process::new(triple, (5,)).start_method(StartMethod::Fork).start() {
        Ok(child) => match child.join() {
            Ok(15) => 0,
            Ok(_) => 1,
            Err(error) => {
                eprintln!("{error}");
                2
            }
        },
        Err(error) => {
            eprintln!("{error}");
            3
        }
    }
}
