//! The transaction of the run on this thread. Functions that scripts call know nothing of their run, so it
//! is where any of them can reach it.

use std::cell::RefCell;

use crate::store::{Transaction, WriteError};

thread_local! {
    static TRANSACTION: RefCell<Option<Transaction>> = const { RefCell::new(None) };
}

/// Has `run` use a transaction, and gives it back, whatever becomes of the run.
pub(super) fn within<R>(transaction: &mut Option<Transaction>, run: impl FnOnce() -> R) -> R {
    struct Back<'a>(&'a mut Option<Transaction>);

    impl Drop for Back<'_> {
        fn drop(&mut self) {
            *self.0 = TRANSACTION.take();
        }
    }

    TRANSACTION.set(transaction.take());
    let _back = Back(transaction);
    run()
}

/// Does something with the run's transaction. `None` where the run has no store.
pub(super) fn with<R>(
    work: impl FnOnce(&mut Transaction) -> Result<R, WriteError>,
) -> Option<Result<R, WriteError>> {
    TRANSACTION.with_borrow_mut(|transaction| transaction.as_mut().map(work))
}
