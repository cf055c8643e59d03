//! The running program as a file that other machines can run: into the broker's store, and out of
//! it.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::os::fd::AsFd;

use async_nats::Client;
use rustix::fs::{MemfdFlags, SealFlags};
use tokio::io::AsyncReadExt;

use crate::broker;
use crate::error::{Error, Result};
use crate::key::Digest;

/// The file of the running program.
#[derive(Debug)]
pub(crate) struct Program {
    file: File,
    pub(crate) digest: Digest,
    pub(crate) length: u64,
}

impl Program {
    /// Opens the running program's file, and reads it once to name it.
    ///
    /// # Errors
    /// The system does not let it be read.
    pub(crate) fn running() -> Result<Program> {
        let what = "cannot read this program's own file";
        // The file that runs, whatever has its path by now.
        let mut file = File::open("/proc/self/exe").map_err(|error| Error::os(what, error))?;
        let (digest, length) = Digest::of(&mut file).map_err(|error| Error::os(what, error))?;
        Ok(Program { file, digest, length })
    }

    /// Puts it into the broker's store, unless it is there.
    ///
    /// # Errors
    /// The broker refuses it, or is away.
    pub(crate) async fn store(&self, client: &Client) -> Result<()> {
        let store = broker::programs(client).await?;
        let name = self.digest.name();
        if let Ok(info) = store.info(&name).await
            && info.size as u64 == self.length
        {
            return Ok(());
        }
        let what = "cannot store this program at the broker";
        let mut copy = self.file.try_clone().map_err(|error| Error::os(what, error))?;
        copy.seek(SeekFrom::Start(0)).map_err(|error| Error::os(what, error))?;
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut copy, &mut bytes)
            .map_err(|error| Error::os(what, error))?;
        store
            .put(name.as_str(), &mut bytes.as_slice())
            .await
            .map(drop)
            .map_err(|error| Error::broker(what, error))
    }
}

/// Why there is no program.
#[derive(Debug)]
pub(crate) enum Unloadable {
    /// The store has not got it.
    Missing,
    /// The store has something else under its name, or this machine has no room.
    Broken(String),
}

/// Takes a program out of the broker's store into a sealed memory file.
///
/// # Errors
/// It is not there, is another one, or there is no memory for it.
pub(crate) async fn load(client: &Client, digest: Digest, length: u64) -> Result<File, Unloadable> {
    let store = broker::programs(client).await.map_err(|_| Unloadable::Missing)?;
    let mut object = store.get(digest.name()).await.map_err(|_| Unloadable::Missing)?;
    let broken = |error: std::io::Error| {
        Unloadable::Broken(format!("cannot put the program into a memory file: {error}"))
    };
    let file = rustix::fs::memfd_create(
        "multiproc-program",
        MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING,
    )
    .map_err(|error| broken(error.into()))?;
    let mut file = File::from(file);
    let mut buffer = vec![0; 1 << 16];
    let mut had = 0_u64;
    loop {
        let count = object.read(&mut buffer).await.map_err(|_| Unloadable::Missing)?;
        if count == 0 {
            break;
        }
        had = had.saturating_add(count as u64);
        // A broker that lies must not fill this machine's memory.
        if had > length {
            return Err(Unloadable::Broken("the store has a longer program".to_owned()));
        }
        file.write_all(&buffer[..count]).map_err(broken)?;
    }
    file.seek(SeekFrom::Start(0)).map_err(broken)?;
    let (found, _) = Digest::of(&mut file).map_err(broken)?;
    if found != digest {
        return Err(Unloadable::Broken("the store has another program under its name".to_owned()));
    }
    // From here on nobody can change what was checked.
    let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(file.as_fd(), seals).map_err(|error| broken(error.into()))?;
    Ok(file)
}
