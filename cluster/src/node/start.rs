//! One start of a station: fetch the program, execute it, and tell the owner what comes of it.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use async_nats::Client;
use tokio::sync::mpsc::UnboundedSender;

use super::config::Config;
use super::execute::{execute, probe};
use super::fetch::fetch;
use super::reins::Reins;
use super::station::Orders;
use crate::key::{Digest, Id};
use crate::wire::{self, Alone, Hire, Named, Sent};

/// Interval at which the owner is told that it will take a while.
const PREPARING: Duration = Duration::from_secs(1);

/// The programs that were fetched and found to run here, as sealed memory files. Locked while one
/// is fetched, so that it is fetched once, whoever asks for it.
#[derive(Default)]
pub(crate) struct Programs(tokio::sync::Mutex<HashMap<Digest, Arc<File>>>);

/// What a start has to say to the owner.
pub(crate) struct Event {
    pub(crate) session: Id,
    pub(crate) subject: String,
    pub(crate) alone: Option<Alone>,
    /// True if nothing more comes of it.
    pub(crate) is_end: bool,
}

/// A station, from the request on.
pub(crate) struct Start {
    reins: Arc<Reins>,
}

impl Start {
    /// Begins a start; all else happens in a task of its own.
    pub(crate) fn begin(
        hire: Hire,
        config: &Config,
        client: Client,
        programs: Arc<Programs>,
        events: UnboundedSender<Event>,
    ) -> Start {
        let reins = Arc::new(Reins::new());
        let mut orders = Orders {
            way: config.way.clone(),
            key: config.key.bytes().to_vec(),
            name: config.name.clone(),
            hands: config.hands,
            memory: config.memory,
            hire,
        };
        let kept = Arc::clone(&reins);
        tokio::spawn(async move {
            let (session, pool) = (orders.hire.session, orders.hire.pool);
            let tell = |alone, is_end| {
                let subject = wire::pool_subject(&pool);
                let _ = events.send(Event { session, subject, alone, is_end });
            };
            let ready = prepare(&client, &mut orders.hire, &programs, &tell);
            let ready = meanwhile(ready, || tell(Some(Alone::Preparing), false));
            let file = tokio::select! {
                file = ready => match file {
                    Ok(file) => file,
                    Err(alone) => return tell(Some(alone), true),
                },
                // What it needs may never come, as the broker is away.
                () = kept.left() => return tell(None, true),
            };
            // A thread of its own, as it waits for the process.
            let ended = tokio::task::spawn_blocking(move || execute(&file, &orders, &kept)).await;
            let reason = match ended {
                Ok(Ok(())) => None,
                Ok(Err(reason)) => Some(reason),
                Err(error) => Some(error.to_string()),
            };
            tell(reason.map(|reason| Alone::refused(&reason, false)), true);
        });
        Start { reins }
    }

    /// Has the station finish what it runs, and leave; one that runs nothing yet is given up.
    pub(crate) fn drain(&self) {
        self.reins.drain();
    }
}

/// Waits for something, and calls `beat` again and again meanwhile.
async fn meanwhile<T>(something: impl Future<Output = T>, beat: impl Fn()) -> T {
    let mut something = std::pin::pin!(something);
    loop {
        match tokio::time::timeout(PREPARING, &mut something).await {
            Ok(done) => return done,
            Err(_) => beat(),
        }
    }
}

/// Gets all that a station is made of: the program, which runs here, and the pool's settings.
///
/// # Errors
/// What the owner is told.
async fn prepare(
    client: &Client,
    hire: &mut Hire,
    programs: &Programs,
    tell: &impl Fn(Option<Alone>, bool),
) -> Result<Arc<File>, Alone> {
    let missing = |alone| tell(Some(alone), false);
    let unfit = |reason: String| Alone::refused(&reason, false);
    if let Sent::Stored(named) = hire.charter {
        let file = fetch(client, named, &missing).await.map_err(unfit)?;
        let mut bytes = vec![0; usize::try_from(named.length).unwrap_or(0)];
        let read = file.read_exact_at(&mut bytes, 0);
        read.map_err(|error| Alone::refused(&format!("cannot read the settings: {error}"), false))?;
        hire.charter = Sent::Here(bytes);
    }
    let mut programs = programs.0.lock().await;
    if let Some(file) = programs.get(&hire.program) {
        return Ok(Arc::clone(file));
    }
    let named = Named { digest: hire.program, length: hire.length };
    let file = Arc::new(fetch(client, named, &missing).await.map_err(unfit)?);
    let tried = Arc::clone(&file);
    // A thread of its own, as it waits for the process.
    match tokio::task::spawn_blocking(move || probe(&tried)).await {
        Ok(runs) => runs?,
        Err(error) => return Err(Alone::refused(&error.to_string(), false)),
    }
    // Those that no station runs are of programs that were built anew, as a rule.
    programs.retain(|_, file| Arc::strong_count(file) > 1);
    programs.insert(hire.program, Arc::clone(&file));
    Ok(file)
}
