//! Processes that a task has left behind, once they have ended.
//!
//! A worker inherits those of its descendants whose parents end (it is a subreaper), so that they
//! are found when it is killed. When they end they are zombies until their worker takes their
//! status, as the first process of the system would have. Nothing tells them from children that a
//! later task wants to wait for; so a status is left alone for [`GRACE`].

use std::time::{Duration, Instant};

use rustix::process::{Pid, WaitId, WaitIdOptions};

use super::tree::{self, Zombie};

/// Time for which the status of a child is left for whoever wants it.
const GRACE: Duration = Duration::from_secs(10);

/// Interval at which zombies are listed, at the shortest.
const LISTED: Duration = Duration::from_secs(1);

/// The zombies of this process.
#[derive(Debug, Default)]
pub(crate) struct Leftovers {
    /// Each, with the time when it was seen first.
    seen: Vec<(Zombie, Instant)>,
    listed: Option<Instant>,
}

impl Leftovers {
    /// Takes the status of each child that has been a zombie for [`GRACE`]. Returns when to call it
    /// again; `None` if there are no children.
    pub(crate) fn take(&mut self, now: Instant) -> Option<Instant> {
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        match rustix::io::retry_on_intr(|| rustix::process::waitid(WaitId::All, look)) {
            Ok(Some(_)) => {}
            // They all run.
            Ok(None) => {
                self.seen.clear();
                return Some(now + GRACE);
            }
            // There are none (ECHILD), or a sandbox does not let anybody ask.
            Err(_) => {
                self.seen.clear();
                return None;
            }
        }
        if let Some(listed) = self.listed.filter(|listed| now < *listed + LISTED) {
            return Some(listed + LISTED);
        }
        self.listed = Some(now);
        let before = std::mem::take(&mut self.seen);
        for zombie in tree::own_zombies() {
            let since = before.iter().find(|(one, _)| *one == zombie).map_or(now, |(_, at)| *at);
            if now < since + GRACE {
                self.seen.push((zombie, since));
            } else {
                reap(zombie);
            }
        }
        let first = self.seen.iter().map(|(_, since)| *since + GRACE).min();
        Some(first.unwrap_or(now + GRACE).max(now + LISTED))
    }
}

/// Takes the status of a child that has ended.
fn reap(zombie: Zombie) {
    let Some(pid) = i32::try_from(zombie.pid).ok().and_then(Pid::from_raw) else { return };
    let now = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
    // Another thread may have been faster.
    let _ = rustix::process::waitid(WaitId::Pid(pid), now);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_left_alone_for_a_while() {
        // Other tests of this program have children, too.
        let mut child = std::process::Command::new("true").spawn().expect("spawned");
        let zombie = |pid| tree::own_zombies().into_iter().find(|zombie| zombie.pid == pid);
        let until = Instant::now() + Duration::from_secs(60);
        while zombie(child.id()).is_none() {
            assert!(Instant::now() < until, "it has not ended");
            std::thread::yield_now();
        }
        let mut leftovers = Leftovers::default();
        let now = Instant::now();
        assert!(leftovers.take(now).is_some());
        let seen = |leftovers: &Leftovers| {
            leftovers.seen.iter().any(|(zombie, since)| (zombie.pid, *since) == (child.id(), now))
        };
        assert!(seen(&leftovers));
        // Not listed again so soon; then it is still there, as it was seen.
        assert_eq!(leftovers.take(now), Some(now + LISTED));
        assert!(leftovers.take(now + LISTED).is_some_and(|next| next <= now + GRACE));
        assert!(seen(&leftovers) && zombie(child.id()).is_some());
        assert!(child.wait().expect("its status is still there").success());
    }
}
