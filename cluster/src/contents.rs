//! Bytes at the broker, named by their SHA-256: programs, and whatever else is too long to be a
//! message or is wanted by many.
//!
//! The broker is trusted with nothing. Its store may be empty, of an earlier time, or have lost
//! what it had acknowledged; it may have something else under a name. A node checks what it was
//! given, and asks the owner, who keeps the bytes, to store them again.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream::object_store::PutError;
use multiproc::elsewhere::Memory;
use rustix::fs::{MemfdFlags, SealFlags};
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};
use tokio::time::timeout;

use crate::broker;
use crate::error::{Error, Result};
use crate::key::Digest;
use crate::store::{self, Store};
use crate::wire::Named;

/// Time in which the broker has to give the next bytes. Its client would wait for ever for those
/// that the store has lost.
const NEXT: Duration = Duration::from_secs(5);

/// Where the bytes are, at their owner's.
#[derive(Clone, Debug)]
enum Source {
    File(Arc<File>),
    Bytes(Arc<[u8]>),
    /// Of no more use once nobody has it.
    Memory(Weak<OwnedFd>),
}

/// What an owner has for its nodes.
#[derive(Clone, Debug)]
pub(crate) struct Content {
    /// What it is, for errors.
    what: &'static str,
    source: Source,
    pub(crate) digest: Digest,
    pub(crate) length: u64,
}

impl Content {
    /// The file of the running program, which is read once to name it.
    ///
    /// # Errors
    /// The system does not let it be read.
    pub(crate) fn program() -> Result<Content> {
        // The file that runs, whatever has its path by now.
        let file = File::open("/proc/self/exe")
            .map_err(|error| Error::os("cannot read this program's own file", error))?;
        Content::file("this program", file)
    }

    /// A file.
    ///
    /// # Errors
    /// The system does not let it be read.
    pub(crate) fn file(what: &'static str, file: File) -> Result<Content> {
        let read = Digest::of(&mut Cursor { file: &file, at: 0 });
        let (digest, length) =
            read.map_err(|error| Error::os(format!("cannot read {what}"), error))?;
        Ok(Content { what, source: Source::File(Arc::new(file)), digest, length })
    }

    /// Constant memory, which this does not keep.
    ///
    /// # Errors
    /// The system does not let it be read.
    pub(crate) fn memory(memory: &Memory) -> Result<Content> {
        let what = "shared memory";
        let copy = memory.fd().try_clone();
        let copy = copy.map_err(|error| Error::os(format!("cannot read {what}"), error))?;
        let Content { digest, length, .. } = Content::file(what, File::from(copy))?;
        Ok(Content { what, source: Source::Memory(Arc::downgrade(memory.fd())), digest, length })
    }

    /// Its name and length.
    pub(crate) fn name(&self) -> Named {
        Named { digest: self.digest, length: self.length }
    }

    /// Bytes.
    pub(crate) fn bytes(what: &'static str, bytes: Vec<u8>) -> Content {
        let (digest, length) = Digest::of_bytes(&bytes);
        Content { what, source: Source::Bytes(bytes.into()), digest, length }
    }

    /// Puts it into the broker's store, where it makes room for it. Unless `is_doubted`, what is
    /// there already is taken for it, if it has the name and the length.
    ///
    /// # Errors
    /// The broker refuses it, or is away.
    pub(crate) async fn store(&self, client: &Client, is_doubted: bool) -> Result<()> {
        let (store, name) = (Store::open(client).await?, self.digest.name());
        if !is_doubted && store.uses(&name, self.length).await {
            return Ok(());
        }
        let mut attempt = 1;
        while let Err(error) = self.put(&store, &name).await? {
            let has_room = store.makes_room(&error, &name, self.length).await;
            if !has_room || attempt == store::ATTEMPTS {
                let what = format!("cannot store {} at the broker", self.what);
                return Err(Error::broker(what, error));
            }
            attempt += 1;
        }
        store.tidy(&name, store::KEPT).await;
        Ok(())
    }

    /// Puts it into the store, unless nobody has it any more. The inner error is the broker's.
    ///
    /// # Errors
    /// The system does not let it be read.
    async fn put(&self, store: &Store, name: &str) -> Result<Result<(), PutError>> {
        let objects = store.objects();
        let stored = match &self.source {
            Source::File(file) => objects.put(name, &mut Cursor { file, at: 0 }).await,
            Source::Bytes(bytes) => objects.put(name, &mut &**bytes).await,
            Source::Memory(memory) => {
                let Some(memory) = memory.upgrade() else { return Ok(Ok(())) };
                let copy = memory.try_clone();
                let file = File::from(
                    copy.map_err(|error| Error::os(format!("cannot read {}", self.what), error))?,
                );
                objects.put(name, &mut Cursor { file: &file, at: 0 }).await
            }
        };
        Ok(stored.map(drop))
    }
}

/// A file that is read from its beginning, whoever else reads it.
struct Cursor<'a> {
    file: &'a File,
    at: u64,
}

impl std::io::Read for Cursor<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.file.read_at(buffer, self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}

impl AsyncRead for Cursor<'_> {
    /// Waits for the disk, which has what was read lately in memory.
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        loop {
            match std::io::Read::read(&mut *self, buffer.initialize_unfilled()) {
                Ok(count) => {
                    buffer.advance(count);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

/// Why there is no content.
#[derive(Debug)]
pub(crate) enum Unloadable {
    /// The store has not got it, or something else under its name: its owner has it.
    Missing(String),
    /// This machine has no room for it.
    NoRoom(String),
}

/// Takes what has this name and length out of the broker's store into a sealed memory file.
///
/// # Errors
/// It is not there, is something else, or there is no memory for it.
pub(crate) async fn load(client: &Client, digest: Digest, length: u64) -> Result<File, Unloadable> {
    let missing = |why: &dyn std::fmt::Display| Unloadable::Missing(why.to_string());
    let store = broker::contents(client).await.map_err(|error| missing(&error))?;
    let late = |_| missing(&"the broker's store does not give it");
    let got = timeout(NEXT, store.get(digest.name())).await.map_err(late)?;
    let mut object = got.map_err(|error| missing(&error))?;
    let mut file = memory_file().map_err(no_room)?;
    let mut buffer = vec![0; 1 << 17];
    let mut had = 0_u64;
    loop {
        let read = timeout(NEXT, object.read(&mut buffer)).await.map_err(late)?;
        let count = read.map_err(|error| missing(&error))?;
        if count == 0 {
            break;
        }
        had = had.saturating_add(count as u64);
        // A broker that lies must not fill this machine's memory.
        if had > length {
            return Err(missing(&"the broker's store has something longer under its name"));
        }
        std::io::Write::write_all(&mut file, &buffer[..count]).map_err(no_room)?;
    }
    let (found, _) = Digest::of(&mut Cursor { file: &file, at: 0 }).map_err(no_room)?;
    if found != digest {
        return Err(missing(&"the broker's store has something else under its name"));
    }
    // From here on nobody can change what was checked.
    let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(file.as_fd(), seals).map_err(|error| no_room(error.into()))?;
    Ok(file)
}

fn no_room(error: std::io::Error) -> Unloadable {
    Unloadable::NoRoom(format!("cannot put what the broker has into a memory file: {error}"))
}

/// A memory file that may be executed.
fn memory_file() -> std::io::Result<File> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Kernels from 6.3 on may be told not to let memory files be executed that do not ask for it;
    // earlier ones do not know the question.
    let made = match rustix::fs::memfd_create("multiproc-content", flags | MemfdFlags::EXEC) {
        Err(rustix::io::Errno::INVAL) => rustix::fs::memfd_create("multiproc-content", flags),
        made => made,
    };
    Ok(File::from(made?))
}
