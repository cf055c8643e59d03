//! A process that shuts itself in: Landlock, a seccomp filter, and no privileges.
//!
//! `enter` does it, in a process of one thread, as the last step before its function. `rules` are
//! what the user allows; `rights` says who keeps what on which kernel; `files` is Landlock; `calls`
//! and `arguments` say which system calls are allowed with what, and `filter` makes a program for
//! the kernel of that; `privileges` gives up capabilities and the right to lift limits.
//!
//! Nothing of it can be undone by the process. If a part cannot be put in force, the function does
//! not run.

mod arguments;
mod calls;
mod enter;
mod files;
mod filter;
mod privileges;
mod rights;
mod rules;

pub(crate) use enter::{Closed, enter, missing};
pub(crate) use rules::Rules;
