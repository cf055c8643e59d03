//! The program of this process: its file, functions, environment, title and rights.

pub(crate) mod code;
pub(crate) mod creds;
pub(crate) mod environ;
pub(crate) mod own_file;
pub(crate) mod profile;
pub(crate) mod stack;
pub(crate) mod title;
