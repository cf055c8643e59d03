//! An order to start a child, and what comes of it.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use super::method::StartMethod;
use super::stdio::{Pipes, Streams};
use super::wire::Job;
use super::{forkserver, spawn};
use crate::error::{Result, os};
use crate::sys::environ::Environment;
use crate::sys::fd;

/// Everything that a child is started with, whatever the method.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) job: Job,
    /// The encoded arguments.
    pub(crate) arguments: Vec<u8>,
    pub(crate) streams: Streams,
    /// Not the caller's environment, but this one.
    pub(crate) environment: Option<Environment>,
    /// Not the caller's working directory, but this one.
    pub(crate) directory: Option<PathBuf>,
}

/// A child that was started.
#[derive(Debug)]
pub(crate) struct Launched {
    pub(crate) pid: u32,
    /// The socket to it.
    pub(crate) control: OwnedFd,
    /// If it cannot be had from the socket.
    pub(crate) pidfd: Option<OwnedFd>,
    /// How it was really made.
    pub(crate) method: StartMethod,
    /// Our ends of its streams.
    pub(crate) pipes: Pipes,
}

impl Order {
    /// Opens the directory that was asked for.
    pub(super) fn open_directory(&self) -> Result<Option<OwnedFd>> {
        let open = |path: &PathBuf| {
            fd::directory(path).map_err(os(format!("cannot use the working directory {}", path.display())))
        };
        self.directory.as_ref().map(open).transpose()
    }
}

/// Starts a child that executes our file, by itself or in the fork server.
pub(crate) fn launch(order: Order, method: StartMethod) -> Result<Launched> {
    match method {
        StartMethod::Forkserver => forkserver::launch(order),
        StartMethod::Spawn | StartMethod::Fork => spawn::launch(order),
    }
}
