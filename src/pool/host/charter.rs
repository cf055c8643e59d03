//! A pool's settings as a charter, and back.

use std::sync::Arc;
use std::time::Duration;

use log::LevelFilter;
use serde::{Deserialize, Serialize};

use super::settings::Settings;
use crate::codec::{self, Carried};
use crate::limits::Limits;
use crate::pool::child::worker_loop::Initializer;
use crate::pool::elsewhere::charter::Charter;
use crate::pool::elsewhere::memory::Memory;
use crate::process;
use crate::relay::records::Wanted;
use crate::start::method::StartMethod;
use crate::sys::program::code::Offset;

/// What of a pool's settings holds on every machine.
#[derive(Serialize, Deserialize)]
struct Terms {
    name: Option<String>,
    /// Entry and encoded arguments.
    initializer: Option<(Offset, Vec<u8>)>,
    max_tasks: Option<u64>,
    max_growth: Option<u64>,
    method: StartMethod,
    /// Level of the least important log records that are wanted, as a number; 0 for none.
    records: usize,
    /// The greatest level of spans and events that is wanted; 0 for none.
    spans: u8,
    max_restarts: u32,
    grace: Duration,
    deadline: Option<Duration>,
    limits: Limits,
    #[cfg(feature = "cage")]
    cage: Option<crate::Cage>,
}

/// Writes the settings of a pool whose workers are elsewhere.
///
/// # Errors
/// The initializer's arguments have descriptors in them that cannot leave this machine.
pub(crate) fn write(settings: &Settings) -> Result<Charter, String> {
    let initializer = settings.initializer.as_ref();
    let fds = initializer.into_iter().flat_map(|initializer| &initializer.fds);
    let memories = Memory::all(fds.map(|fd| &fd.0)).map_err(|others| {
        format!(
            "the arguments of the initializer have descriptors in them, which cannot leave this \
             machine: {others}"
        )
    })?;
    let initializer = initializer.map(|initializer| (initializer.entry, initializer.bytes.clone()));
    let records = if settings.forwards_records { log::max_level() } else { LevelFilter::Off };
    let terms = Terms {
        name: settings.name.clone(),
        initializer,
        max_tasks: settings.max_tasks,
        max_growth: settings.max_growth,
        // Workers there are not copies of this program: see `read`.
        method: settings.method,
        records: records as usize,
        spans: settings.trace_level(),
        max_restarts: settings.max_restarts,
        grace: settings.grace,
        deadline: settings.deadline,
        limits: settings.limits.clone(),
        #[cfg(feature = "cage")]
        cage: settings.cage.clone(),
    };
    let mut bytes = Vec::new();
    codec::encode_plain(&terms, &mut bytes)?;
    Ok(Charter::new(bytes, memories))
}

/// Reads the settings of a pool of so many workers here, and what is wanted of it beside answers.
///
/// # Errors
/// The bytes are no charter.
pub(crate) fn read(charter: &Charter, processes: usize) -> Result<(Settings, Wanted), String> {
    let terms: Terms = codec::decode_plain(charter.bytes())?;
    let memories = charter.memories().iter();
    let fds = memories.map(|memory| Carried(Arc::clone(memory.fd()))).collect();
    let initializer = terms.initializer.map(|(entry, bytes)| Initializer { entry, bytes, fds });
    let settings = Settings {
        processes,
        name: terms.name,
        initializer,
        max_tasks: terms.max_tasks,
        max_growth: terms.max_growth,
        // A fork would be a copy of the process that serves the pool, with its threads.
        method: match terms.method {
            StartMethod::Fork => StartMethod::Forkserver,
            method => method,
        },
        forwards_records: terms.records > 0 || terms.spans > 0,
        onward: None,
        max_restarts: terms.max_restarts,
        grace: terms.grace,
        deadline: terms.deadline,
        // Looked up here: the owner's directory need not exist on this machine.
        temporary: terms.limits.wants_dir().then(process::temporary_directory),
        limits: terms.limits,
        #[cfg(feature = "cage")]
        cage: terms.cage,
    };
    // There is no greater level than 5.
    let level = u8::try_from(terms.records).unwrap_or(u8::MAX);
    Ok((settings, Wanted { level, trace_level: terms.spans }))
}
