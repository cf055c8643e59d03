//! The way from a station to its owner.

use async_nats::{Client, Subject};

use super::Orders;
use crate::broker;
use crate::key::{Direction, Id, Key};
use crate::node::journal;
use crate::tidings::Tidings;
use crate::wire::{self, Alone};

/// The way to the owner.
pub(super) struct Voice {
    pub(super) client: Client,
    /// The cluster's.
    pub(super) key: Key,
    subject: Subject,
    pub(super) session: Id,
    pub(super) node: Id,
}

impl Voice {
    /// Connects to the broker.
    pub(super) async fn connect(orders: &Orders, key: Key) -> crate::Result<Voice> {
        let name = format!("station of {}", orders.name);
        // What the broker forbids a station only, nobody else can tell.
        let tidings = Tidings::new(|text| journal::note(text));
        let client = orders.way.connect_patiently(&name, &tidings).await?;
        let subject = Subject::from(wire::pool_subject(&orders.hire.pool));
        let (session, node) = (orders.hire.session, orders.hire.node);
        Ok(Voice { client, key, subject, session, node })
    }

    /// Says something outside of the line. It is lost without a connection, and said again.
    pub(super) async fn say(&self, alone: &Alone) {
        let inner = [&self.session.0, &*wire::encode(alone, &[])].concat();
        self.send(&self.key.seal(Direction::Alone, &inner)).await;
    }

    /// Sends something sealed.
    pub(super) async fn send(&self, sealed: &[u8]) {
        if broker::is_connected(&self.client) {
            let message = [&self.session.0, sealed].concat();
            let _ = self.client.publish(self.subject.clone(), message.into()).await;
        }
    }
}
