//! The specification of a process: told once, and held by the builder, the child and its handles
//! alike.

use std::time::Duration;

use serde::{Deserialize, Serialize};

#[cfg(feature = "cage")]
use crate::cage::Cage;
use crate::limits::Limits;

/// The name of a process, its end, and its limits.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ProcessSpec {
    /// The type that it is printed as: `Process`, or that of a `Run`.
    pub(crate) kind: String,
    /// The name that it is started with.
    pub(crate) name: String,
    /// Its numbers, from the program's children on.
    pub(crate) path: Vec<u32>,
    /// Terminated when its parent ends, and not allowed to have children.
    pub(crate) daemon: bool,
    /// A worker of a pool: terminated like a daemon, but allowed to have children.
    pub(crate) serves_pool: bool,
    /// Ended by the lifeline when its parent ends.
    pub(crate) dies_with_parent: bool,
    /// In bytes; the main thread's stack if there is none.
    pub(crate) stack_size: Option<u64>,
    /// Length that its encoded result may have, in bytes.
    pub(crate) max_result: u64,
    /// Bytes of each of its standard streams that are gathered; no limit if there is none.
    pub(crate) max_output: Option<u64>,
    /// Limits of what it may use.
    pub(crate) limits: Limits,
    /// Time that it may run, from its start.
    pub(crate) deadline: Option<Duration>,
    /// Time between SIGTERM and SIGKILL at its deadline.
    pub(crate) grace: Duration,
    /// The cage around it; it may reach everything if there is none.
    #[cfg(feature = "cage")]
    pub(crate) cage: Option<Cage>,
}

impl ProcessSpec {
    /// A process without limits, called `name`, that ends with its parent.
    pub(crate) fn new(kind: String, name: String, path: Vec<u32>, max_result: u64) -> ProcessSpec {
        ProcessSpec {
            kind,
            name,
            path,
            daemon: false,
            serves_pool: false,
            dies_with_parent: true,
            stack_size: None,
            max_result,
            max_output: None,
            limits: Limits::new(),
            deadline: None,
            grace: Duration::from_secs(3),
            #[cfg(feature = "cage")]
            cage: None,
        }
    }

    /// Returns `true` if it gets a session of its own, in which all that it starts can be found and
    /// killed.
    pub(crate) fn leads_session(&self) -> bool {
        self.serves_pool || self.deadline.is_some() || !self.limits.is_empty() || self.is_caged()
    }

    /// Returns `true` if it runs in a cage. False without the feature.
    pub(crate) fn is_caged(&self) -> bool {
        #[cfg(feature = "cage")]
        return self.cage.is_some();
        #[cfg(not(feature = "cage"))]
        false
    }

    /// Returns `true` if its parent terminates it at its own end, instead of waiting for it.
    pub(crate) fn ends_with_parent(&self) -> bool {
        self.daemon || self.serves_pool
    }

    /// Refuses limits and cages that no process can have, with the reason: where they are given,
    /// not where they fail.
    pub(crate) fn check(&self) -> Result<(), String> {
        self.limits.check()?;
        #[cfg(feature = "cage")]
        if let Some(cage) = &self.cage {
            cage.check()?;
        }
        Ok(())
    }
}
