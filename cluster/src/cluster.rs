//! The cluster, as its programs see it.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;

use async_nats::Client;
use futures_util::{FutureExt, StreamExt};
use multiproc::Workplace;
use multiproc::elsewhere::{Bell, Charter, Hands, Report};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use crate::contents::Content;
use crate::error::{Error, Result};
use crate::hook;
use crate::key::{Id, Key};
use crate::local::Local;
use crate::node::config;
use crate::owner::desk::{Desk, Setup};
use crate::owner::hands::{Command, Remote};
use crate::roll::{NodeInfo, Roll};
use crate::tidings::Tidings;
use crate::way::Way;
use crate::wire::{self, NODES, Sent};

/// The nodes that a broker leads to: where a pool can have its workers, by
/// [`PoolBuilder::on`](multiproc::PoolBuilder::on). Copies are of the same cluster.
///
/// ```no_run
/// use multiproc::Pool;
/// use multiproc_cluster::Cluster;
///
/// // The key comes from the file that MULTIPROC_KEY_FILE names.
/// let cluster = Cluster::connect("nats://broker:4222")?;
/// let pool = Pool::builder().on(&cluster).build()?;
/// assert_eq!(pool.map(|n: u64| n * n, [1, 2, 3])?, [1, 4, 9]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Cluster(Arc<Inner>);

struct Inner {
    /// The process that connected. Its copies have neither the runtime nor the connection.
    process: u32,
    runtime: Handle,
    /// Ends the runtime when it is dropped, and the thread that it runs in.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    client: Client,
    key: Key,
    roll: Arc<Roll>,
    program: OnceLock<Content>,
    local: Mutex<Option<Local>>,
}

/// Settings of a [`Cluster`] that is not connected yet: what [`Cluster::at`] returns.
///
/// ```no_run
/// use multiproc_cluster::{Cluster, Key};
///
/// let key = Key::from_file("/etc/multiproc/key")?;
/// let cluster = Cluster::at("tls://broker:4222").key(key).credentials("/etc/nats/me.creds");
/// let cluster = cluster.connect()?;
/// # Ok::<(), multiproc_cluster::Error>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a cluster is not reached until it is connected"]
pub struct ClusterBuilder {
    way: Way,
    key: Option<Key>,
}

impl ClusterBuilder {
    /// Sets the cluster's key. Default: the one that the environment names, by `MULTIPROC_KEY_FILE`
    /// or `MULTIPROC_KEY`.
    pub fn key(mut self, key: Key) -> ClusterBuilder {
        self.key = Some(key);
        self
    }

    /// Sets the file with the certificates by which the broker's is checked, in PEM, and asks for
    /// TLS. Default: the file that `MULTIPROC_TLS_CA` names, or else the system's certificates,
    /// where the URL begins with `tls://`.
    pub fn tls(mut self, authorities: impl Into<PathBuf>) -> ClusterBuilder {
        self.way.authorities = Some(authorities.into());
        self
    }

    /// Sets the files with the certificate that this program shows to the broker, and with its
    /// key, both in PEM, and asks for TLS. Default: those that `MULTIPROC_TLS_CERT` and
    /// `MULTIPROC_TLS_KEY` name, or none.
    ///
    /// ```no_run
    /// use multiproc_cluster::Cluster;
    ///
    /// let cluster = Cluster::at("tls://broker:4222").tls("ca.pem");
    /// let cluster = cluster.tls_identity("me.pem", "me.key").connect()?;
    /// # Ok::<(), multiproc_cluster::Error>(())
    /// ```
    pub fn tls_identity(
        mut self,
        certificate: impl Into<PathBuf>,
        key: impl Into<PathBuf>,
    ) -> ClusterBuilder {
        self.way.certificate = Some(certificate.into());
        self.way.certificate_key = Some(key.into());
        self
    }

    /// Sets the file with the credentials for the broker (a JWT and an nkey), which is read anew
    /// for each connection: whoever replaces it before the JWT runs out renews it. Default: the one
    /// that `MULTIPROC_CREDENTIALS` names.
    pub fn credentials(mut self, file: impl Into<PathBuf>) -> ClusterBuilder {
        self.way.credentials = Some(file.into());
        self
    }

    /// Sets name and password for the broker.
    pub fn user(mut self, name: impl Into<String>, password: impl Into<String>) -> ClusterBuilder {
        self.way.user = Some((name.into(), password.into()));
        self
    }

    /// Sets the token for the broker.
    pub fn token(mut self, token: impl Into<String>) -> ClusterBuilder {
        self.way.token = Some(token.into());
        self
    }

    /// Sets the file with the seed of the nkey for the broker. Default: the one that
    /// `MULTIPROC_NKEY` names.
    pub fn nkey(mut self, seed: impl Into<PathBuf>) -> ClusterBuilder {
        self.way.nkey = Some(seed.into());
        self
    }

    /// Connects to the broker, for ten seconds at the longest.
    ///
    /// # Errors
    /// There is no key, the broker is not there, or it refuses.
    pub fn connect(self) -> Result<Cluster> {
        let key = match self.key {
            Some(key) => key,
            None => config::key()?,
        };
        Cluster::start(&self.way, key, None)
    }
}

impl Cluster {
    /// Connects to the broker at `url`, with the key that the environment names
    /// (`MULTIPROC_KEY_FILE` or `MULTIPROC_KEY`), for ten seconds at the longest. A name and a
    /// password, or a token, may be in the URL: `nats://name:password@broker:4222`.
    ///
    /// # Errors
    /// There is no key, the broker is not there, or it refuses.
    pub fn connect(url: &str) -> Result<Cluster> {
        Cluster::at(url).connect()
    }

    /// Returns the settings of a cluster, to be changed and then
    /// [connected](ClusterBuilder::connect).
    pub fn at(url: &str) -> ClusterBuilder {
        ClusterBuilder { way: Way::from_environment(url), key: None }
    }

    /// Starts a cluster on this machine, for trying out: a broker, and `nodes` nodes with `hands`
    /// workers each, for each pool. They end with the last copy of the cluster, however this
    /// program ends.
    ///
    /// The broker is the program `nats-server` (Debian's package of that name), or the one whose
    /// path is in `MULTIPROC_NATS_SERVER`.
    ///
    /// # Errors
    /// There is no broker to be found, or it does not start.
    ///
    /// ```no_run
    /// use multiproc::Pool;
    /// use multiproc_cluster::Cluster;
    ///
    /// let cluster = Cluster::local(2, 1)?;
    /// let pool = Pool::builder().on(&cluster).build()?;
    /// assert_eq!(pool.apply(u32::pow, (2, 3))?, 8);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn local(nodes: usize, hands: usize) -> Result<Cluster> {
        hook::keep();
        let local = Local::start(nodes, hands.max(1))?;
        let (way, key) = (Way { url: local.url.clone(), ..Way::default() }, local.key.clone());
        Cluster::start(&way, key, Some(local))
    }

    /// Starts the runtime, and connects.
    fn start(way: &Way, key: Key, local: Option<Local>) -> Result<Cluster> {
        hook::keep();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Error::os("cannot start the runtime of a cluster", error))?;
        let roll = Arc::new(Roll::default());
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let (tell, connected) = std::sync::mpsc::channel();
        let (way, kept, keys) = (way.clone(), Arc::clone(&roll), key.clone());
        // All of it in a thread of its own: this one may be a runtime's already.
        let thread = std::thread::Builder::new()
            .name("multiproc-cluster".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    let is_connected = match meet(&way).await {
                        Ok((client, nodes)) => {
                            tokio::spawn(keep_roll(nodes, kept, keys));
                            tell.send(Ok(client)).is_ok()
                        }
                        Err(error) => {
                            let _ = tell.send(Err(error));
                            false
                        }
                    };
                    if is_connected {
                        // Until the last copy of the cluster is dropped.
                        let _ = stopped.await;
                    }
                });
                runtime.shutdown_background();
            })
            .map_err(|error| Error::os("cannot start the thread of a cluster", error))?;
        let gone = |_| Error::config("the thread of a cluster has ended");
        let client = connected.recv().map_err(gone)??;
        Ok(Cluster(Arc::new(Inner {
            process: std::process::id(),
            runtime: handle,
            stop: Some(stop),
            thread: Some(thread),
            client,
            key,
            roll,
            program: OnceLock::new(),
            local: Mutex::new(local),
        })))
    }

    /// Returns the nodes that have announced themselves lately, by name. Those with another key are
    /// not among them: see [`strangers`](Cluster::strangers). In a forked copy of the program that
    /// connected there are none: it has no connection.
    #[must_use]
    pub fn nodes(&self) -> Vec<NodeInfo> {
        if self.0.is_copied() {
            // Whoever had the roll locked at the fork is not there.
            return Vec::new();
        }
        self.0.roll.nodes()
    }

    /// Returns the number of announcements that were made with another key than this program's: if
    /// it grows, and [`nodes`](Cluster::nodes) has none, the keys differ.
    #[must_use]
    pub fn strangers(&self) -> u64 {
        if self.0.is_copied() {
            return 0;
        }
        self.0.roll.strangers()
    }

    /// Returns the broker's address of a cluster on this machine, and its key, for other programs.
    #[doc(hidden)]
    #[must_use]
    pub fn local_address(&self) -> Option<(String, Key)> {
        let local = self.0.local.lock().unwrap_or_else(PoisonError::into_inner);
        local.as_ref().map(|local| (local.url.clone(), local.key.clone()))
    }

    /// Has the minder of a cluster on this machine do something, for tests of bad luck.
    ///
    /// # Errors
    /// It cannot be reached.
    #[doc(hidden)]
    pub fn tell_minder(&self, order: &str) -> Result<()> {
        let mut local = self.0.local.lock().unwrap_or_else(PoisonError::into_inner);
        local.as_mut().map_or(Ok(()), |local| local.tell(order))
    }

    /// Runs something on the runtime, and waits for it.
    fn wait<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Result<T> {
        let (done, outcome) = std::sync::mpsc::channel();
        self.0.runtime.spawn(async move {
            let _ = done.send(future.await);
        });
        outcome.recv().map_err(|_| Error::config("the cluster has ended"))
    }

    /// The running program, in the broker's store.
    fn stored_program(&self) -> Result<Content> {
        let program = match self.0.program.get() {
            Some(program) => program.clone(),
            None => {
                let program = Content::program()?;
                self.0.program.get_or_init(|| program).clone()
            }
        };
        self.stored(program)
    }

    /// Puts something into the broker's store, unless it is there.
    fn stored(&self, content: Content) -> Result<Content> {
        let client = self.0.client.clone();
        self.wait(async move { content.store(&client, false).await.map(|()| content) })?
    }

    /// Makes the desk of a pool.
    fn open_pool(&self, charter: &Charter) -> Result<Remote> {
        self.0.check_process()?;
        let program = self.stored_program()?;
        let kept = charter.memories().to_vec();
        let (mut contents, mut memories) = (vec![program.clone()], Vec::new());
        for memory in &kept {
            let content = self.stored(Content::memory(memory)?)?;
            memories.push(content.name());
            contents.push(content);
        }
        let charter = if charter.bytes().len() > wire::LONGEST_HERE {
            let content = Content::bytes("a pool's settings", charter.bytes().to_vec());
            let content = self.stored(content)?;
            contents.push(content.clone());
            Sent::Stored(content.name())
        } else {
            Sent::Here(charter.bytes().to_vec())
        };
        let pool = Id::random()?;
        let client = self.0.client.clone();
        let subscribed = self.wait(async move {
            let said = client.subscribe(wire::pool_subject(&pool)).await?;
            let nodes = client.subscribe(NODES).await?;
            // Nodes are asked only once their answers would be heard.
            let _ = client.flush().await;
            Ok::<_, async_nats::SubscribeError>((said, nodes))
        })?;
        let (said, nodes) = subscribed
            .map_err(|error| Error::broker("cannot listen for the nodes of a pool", error))?;
        let (desk, commands) = mpsc::unbounded_channel::<Vec<Command>>();
        let bell = Bell::new();
        let desk_of_pool = Desk::run(Setup {
            client: self.0.client.clone(),
            key: self.0.key.clone(),
            pool,
            owner: format!("pool of process {} on {}", std::process::id(), config::host()),
            charter,
            memories,
            kept,
            program,
            contents,
            bell: bell.clone(),
            roll: Arc::clone(&self.0.roll),
            said,
            nodes,
            commands,
        });
        let failed = bell.clone();
        self.0.runtime.spawn(async move {
            // Nobody may wait for a desk that is not there.
            if AssertUnwindSafe(desk_of_pool).catch_unwind().await.is_err() {
                let why = "the part of the program that speaks with nodes has failed".to_owned();
                failed.report(vec![Report::Hopeless { why }]);
            }
        });
        Ok(Remote { bell, batch: Vec::new(), desk, cluster: Arc::clone(&self.0) as _ })
    }
}

/// Connects, and listens for nodes.
async fn meet(way: &Way) -> Result<(Client, async_nats::Subscriber)> {
    let client = way.connect("multiproc owner", &Tidings::logged()).await?;
    let nodes = client
        .subscribe(NODES)
        .await
        .map_err(|error| Error::broker("cannot listen for nodes", error))?;
    Ok((client, nodes))
}

/// Keeps the roll.
async fn keep_roll(mut nodes: async_nats::Subscriber, roll: Arc<Roll>, key: Key) {
    while let Some(message) = nodes.next().await {
        roll.open(&key, &message.payload);
    }
}

impl Workplace for Cluster {
    fn open(&self, charter: Charter, _places: usize) -> Result<Box<dyn Hands>, String> {
        match self.open_pool(&charter) {
            Ok(remote) => Ok(Box::new(remote)),
            Err(error) => Err(error.to_string()),
        }
    }
}

impl Inner {
    /// Returns whether this process is a forked copy of the one that connected.
    fn is_copied(&self) -> bool {
        self.process != std::process::id()
    }

    /// Refuses a forked copy.
    fn check_process(&self) -> Result<()> {
        if !self.is_copied() {
            return Ok(());
        }
        Err(Error::config(format!(
            "the cluster was connected by process {}, of which this one is a copy: it has to \
             connect itself",
            self.process
        )))
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if self.is_copied() {
            // The thread is not here, and what it waits for is not to be woken from here.
            std::mem::forget((self.stop.take(), self.thread.take()));
            return;
        }
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            // The last copy may be dropped by a task of the runtime itself.
            && thread.thread().id() != std::thread::current().id()
        {
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster").field("nodes", &self.nodes()).finish_non_exhaustive()
    }
}
