//! A process that shuts itself in: Landlock, a seccomp filter, and no privileges.

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
