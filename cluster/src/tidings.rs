//! What happens to a connection to the broker, told to whoever has it: why it was lost, why it does
//! not come back, and what the broker forbids. None of that fails a call.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_nats::Event;

/// Interval at which the same is told again.
const REMIND: Duration = Duration::from_secs(60);

/// Number of different things that are told in that time.
const MANY: usize = 16;

/// Tells of a connection. Copies are of the same one.
#[derive(Clone)]
pub(crate) struct Tidings(Arc<Inner>);

struct Inner {
    tell: Box<dyn Fn(&str) + Send + Sync>,
    told: Mutex<HashMap<String, Instant>>,
}

impl Tidings {
    /// Has them told by `tell`.
    pub(crate) fn new(tell: impl Fn(&str) + Send + Sync + 'static) -> Tidings {
        Tidings(Arc::new(Inner { tell: Box::new(tell), told: Mutex::default() }))
    }

    /// Has them told by the program's logger.
    pub(crate) fn logged() -> Tidings {
        Tidings::new(|text| log::warn!("{text}"))
    }

    /// Tells something, unless it was told a moment ago.
    pub(crate) fn tell(&self, text: &str) {
        let mut told = self.0.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.retain(|_, at| at.elapsed() < REMIND);
        if told.len() < MANY && !told.contains_key(text) {
            (self.0.tell)(text);
            told.insert(text.to_owned(), Instant::now());
        }
    }

    /// Tells that the broker is there again, if it was told that it is not.
    fn tell_of_return(&self) {
        let mut told = self.0.told.lock().unwrap_or_else(PoisonError::into_inner);
        if !told.is_empty() {
            told.clear();
            (self.0.tell)("is connected to the broker");
        }
    }

    /// Tells what an event is about.
    pub(crate) fn see(&self, event: &Event) {
        match event {
            Event::Connected => self.tell_of_return(),
            Event::ServerError(error) => self.tell(&format!("is told by the broker: {error}")),
            Event::ClientError(error) => self.tell(&format!("waits for the broker: {error}")),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_told_once_until_it_is_over() {
        let said = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&said);
        let tidings = Tidings::new(move |text| heard.lock().expect("lock").push(text.to_owned()));
        let refused = || {
            let violation = async_nats::ServerError::AuthorizationViolation;
            tidings.see(&Event::ServerError(violation));
        };
        tidings.see(&Event::Connected);
        refused();
        refused();
        tidings.see(&Event::Connected);
        refused();
        let said = std::mem::take(&mut *said.lock().expect("lock"));
        assert_eq!(said.len(), 3, "{said:?}");
        assert!(said[0].contains("authorization violation"), "{said:?}");
        assert_eq!(said[1], "is connected to the broker");
        assert_eq!(said[2], said[0]);
    }

    #[test]
    fn not_everything_is_told() {
        let said = Arc::new(Mutex::new(0));
        let heard = Arc::clone(&said);
        let tidings = Tidings::new(move |_| *heard.lock().expect("lock") += 1);
        for number in 0..100 {
            tidings.tell(&number.to_string());
        }
        assert_eq!(*said.lock().expect("lock"), MANY);
    }
}
