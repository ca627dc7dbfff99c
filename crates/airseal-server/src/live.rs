//! Open connections and downloads, so that a decision of an administrator reaches them at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::{Notify, watch};

use crate::tls::KeyHash;

/// Every open device connection by its key, and a count of decisions that downloads watch.
#[derive(Debug)]
pub(crate) struct Live {
    connections: Mutex<HashMap<KeyHash, Vec<Arc<Notify>>>>,
    decisions: watch::Sender<u64>,
}

impl Live {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            connections: Mutex::default(),
            decisions: watch::Sender::new(0),
        })
    }

    /// Notes an open connection, and cuts the oldest of its key when there are more than `most`; a device that lost
    /// its connections without a word still gets in. It is forgotten when the guard is dropped.
    pub(crate) fn enter(self: &Arc<Self>, key: KeyHash, most: usize) -> Connection {
        let cut = Arc::new(Notify::new());
        let mut connections = self.lock();
        let same_key = connections.entry(key).or_default();
        let too_many = same_key.len().saturating_add(1).saturating_sub(most);
        for oldest in same_key.drain(..too_many.min(same_key.len())) {
            oldest.notify_one();
        }
        same_key.push(Arc::clone(&cut));
        drop(connections);
        Connection {
            live: Arc::clone(self),
            key,
            cut,
        }
    }

    /// Ends every connection of a key. To be called after the decision is durable: a request that arrives later is
    /// refused by the store, one that arrived before is cut here.
    pub(crate) fn cut(&self, key: &KeyHash) {
        if let Some(connections) = self.lock().get(key) {
            for cut in connections {
                cut.notify_one();
            }
        }
        self.decided();
    }

    /// Makes every open download ask again whether it may go on.
    pub(crate) fn decided(&self) {
        self.decisions
            .send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Sees each decision from now on.
    pub(crate) fn watch(&self) -> watch::Receiver<u64> {
        self.decisions.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<KeyHash, Vec<Arc<Notify>>>> {
        match self.connections.lock() {
            Ok(guard) => guard,
            Err(poisoned) => poisoned.into_inner(),
        }
    }
}

/// One open connection.
#[derive(Debug)]
pub(crate) struct Connection {
    live: Arc<Live>,
    key: KeyHash,
    cut: Arc<Notify>,
}

impl Connection {
    /// Ends when the connection has to be closed.
    pub(crate) async fn cut(&self) {
        self.cut.notified().await;
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let mut connections = self.live.lock();
        if let Some(same_key) = connections.get_mut(&self.key) {
            same_key.retain(|cut| !Arc::ptr_eq(cut, &self.cut));
            if same_key.is_empty() {
                connections.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_cut_reaches_every_connection_of_the_key_and_no_other() {
        let live = Live::new();
        let (one, two) = (
            live.enter(KeyHash([1; 32]), 8),
            live.enter(KeyHash([1; 32]), 8),
        );
        let other = live.enter(KeyHash([2; 32]), 8);
        live.cut(&KeyHash([1; 32]));
        one.cut().await;
        two.cut().await;
        let waited = tokio::time::timeout(std::time::Duration::from_millis(20), other.cut()).await;
        assert!(waited.is_err());
    }

    #[test]
    fn a_closed_connection_is_forgotten() {
        let live = Live::new();
        drop(live.enter(KeyHash([1; 32]), 8));
        assert!(live.lock().is_empty());
    }
}
