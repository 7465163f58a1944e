//! The current transaction: that of the run on this thread. Functions that scripts call know nothing of their run, so
//! they find it here.

use std::cell::RefCell;

use crate::store::{Transaction, WriteError};

thread_local! {
    static TRANSACTION: RefCell<Option<Transaction>> = const { RefCell::new(None) };
}

/// Makes a transaction the current one while `run` runs, and gives it back, however the run ends.
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

/// Calls `work` with the current transaction. `None` if the run has no store.
pub(super) fn with<R>(
    work: impl FnOnce(&mut Transaction) -> Result<R, WriteError>,
) -> Option<Result<R, WriteError>> {
    TRANSACTION.with_borrow_mut(|transaction| transaction.as_mut().map(work))
}
