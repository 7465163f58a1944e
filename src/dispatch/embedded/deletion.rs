//! Deletes circles of the data folder, and finds the largest ones.

use circled_protocol::PublicKey;
use tokio::task::spawn_blocking;

use super::Embedded;
use crate::{
    dispatch::{circles::Largest, deletion::Deleting},
    store::{Scan, Store, Table, Unavailable},
};

impl Embedded {
    pub(in crate::dispatch) fn deleting(&self) -> &Deleting {
        &self.deleting
    }

    pub(in crate::dispatch) async fn delete_circle(
        &self,
        circle: PublicKey,
        sessions_ended: impl Future<Output = ()>,
    ) -> Result<(), Unavailable> {
        let _one = self.one_deletion.lock().await;
        self.deleting.add(circle);
        sessions_ended.await;
        let (store, durable) = (self.runner.store.clone(), self.durable.clone());
        let delete = move || {
            store.delete_circle(circle)?;
            durable.forget_circle(&circle);
            Ok(())
        };
        spawn_blocking(delete).await.unwrap_or(Err(Unavailable))?;
        self.deleting.remove(&circle);
        Ok(())
    }

    pub(in crate::dispatch) async fn largest_circles(
        &self,
        most: usize,
    ) -> Result<Largest, Unavailable> {
        let store = self.runner.store.clone();
        let find = move || largest(&store, most);
        spawn_blocking(find).await.unwrap_or(Err(Unavailable))
    }
}

fn largest(store: &Store, most: usize) -> Result<Largest, Unavailable> {
    let mut largest = Largest::new(most);
    // The first record of a circle there is the size of its store, if it has one.
    store.scan(Table::Usage, &[], &mut |circle, key, value| {
        let bytes = value.first_chunk().filter(|_| key.is_empty());
        largest.add(circle, bytes.map_or(0, |bytes| u64::from_be_bytes(*bytes)));
        Scan::NextCircle
    })?;
    let mut unread = Ok(());
    store.scan(Table::Jobs, &[], &mut |circle, _, _| {
        match store.has_usage(&circle) {
            Ok(true) => {}
            Ok(false) => largest.add(circle, 0),
            Err(unavailable) => {
                unread = Err(unavailable);
                return Scan::Stop;
            }
        }
        Scan::NextCircle
    })?;
    unread.map(|()| largest)
}
