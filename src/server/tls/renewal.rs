//! Takes up certificates whose files have changed.

use std::{collections::HashMap, path::PathBuf, sync::Arc, time::Duration};

use jiff::Timestamp;
use tokio::{
    task::spawn_blocking,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use super::{Tls, certificate::Certificate};

/// Looks at the files of the certificates until the server stops. Sessions go on; new connections get the new
/// certificates. One that can't be used is logged once, and the old one stays.
pub(in crate::server) async fn renew(tls: Tls, every: Duration, stopping: CancellationToken) {
    let mut pace = interval(every);
    pace.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut told = HashMap::new();
    loop {
        tokio::select! {
            _ = pace.tick() => {}
            () = stopping.cancelled() => return,
        }
        let looking = tls.clone();
        // Files may be slow, or have no end: then stopping doesn't wait for them.
        let looked = spawn_blocking(move || {
            looking.look(&mut told);
            told
        });
        told = tokio::select! {
            looked = looked => looked.unwrap_or_default(),
            () = stopping.cancelled() => return,
        };
    }
}

impl Tls {
    /// Takes up the certificates that have changed. `told` has the mistakes that were logged, by their files.
    fn look(&self, told: &mut HashMap<PathBuf, String>) {
        let certificates = self.certificates();
        let now = Timestamp::now();
        let mut is_other = false;
        let mut renew = |certificate: &Arc<Certificate>| {
            let file = &certificate.files().cert;
            match certificate.renewed(now) {
                Ok(None) => drop(told.remove(file)),
                Ok(Some(renewed)) => {
                    told.remove(file);
                    tracing::info!(certificate = %file.display(), ends = %renewed.ends(), "a renewed certificate was taken up");
                    is_other = true;
                    return Arc::new(renewed);
                }
                Err(unusable) => {
                    let why = format!("{}: {unusable}", unusable.setting());
                    if told.get(file) != Some(&why) {
                        tracing::error!(certificate = %file.display(), why, "a renewed certificate can't be used: the old one stays");
                        told.insert(file.clone(), why);
                    }
                }
            }
            certificate.clone()
        };
        let all = certificates.all().iter().map(&mut renew).collect();
        if is_other {
            let renewed = Arc::new(certificates.with(all));
            // If SIGHUP has brought others meanwhile, those have been read just now.
            if self.replace_if(&certificates, renewed.clone()) {
                renewed.warn(now);
            }
        }
    }
}
