//! A function for each of the server's methods.

use std::time::Duration;

use circled_protocol::{
    DeviceClaim, DeviceKey, DeviceSecretKey, JobId, PublicKey, Scope,
    methods::{
        AddDeviceKey, AddMember, Called, CheckScript, CircleUsage, DeleteScript, Deliveries,
        DeliveryDetails, Device, GetDelivery, GetJob, GetScript, Identity, Job, Jobs,
        ListDeliveries, ListDeviceKeys, ListJobs, ListMembers, ListScripts, Members, PutScript,
        Redeliver, RemoveDeviceKey, RemoveMember, Removed, Retried, RetriedDead, RetryDead,
        RetryJob, Script, ScriptEntry, ScriptPut, StopJob, StoreEntry, StoreGet, StoreList,
        StorePage, SubmitJob, Submitted, Usage, Whoami,
    },
};

use jiff::Timestamp;

use crate::{Client, Error, Options};

impl Client {
    /// Returns what the server knows of this session.
    ///
    /// # Errors
    /// [`Error::Rpc`] if the server can't read it.
    pub async fn whoami(&self) -> Result<Identity, Error> {
        self.request(&Whoami {}).await
    }

    /// Runs a named script of the circle.
    ///
    /// # Errors
    /// [`Error::Rpc`] if the script fails, or there is none.
    pub async fn call_script(
        &self,
        name: &str,
        version: Option<&str>,
        options: &Options,
    ) -> Result<Called, Error> {
        self.request(&options.call(name, version)).await
    }

    /// Stores a script under a name, or a new version of it.
    ///
    /// # Errors
    /// [`Error::Rpc`] if it doesn't compile, with line and column.
    pub async fn put_script(&self, name: &str, source: &str) -> Result<ScriptPut, Error> {
        let put = PutScript {
            name: name.to_owned(),
            source: source.to_owned(),
            if_version: None,
            call: None,
        };
        self.request(&put).await
    }

    /// Does the same with all that can be said about it.
    ///
    /// # Errors
    /// The same, and [`Error::Rpc`] with the newest version in `data.version` if it isn't `if_version`.
    pub async fn put_script_with(&self, put: &PutScript) -> Result<ScriptPut, Error> {
        self.request(put).await
    }

    /// Compiles a script, which isn't stored. Returns the version that it would have.
    ///
    /// # Errors
    /// [`Error::Rpc`] if it doesn't compile, with line and column.
    pub async fn check_script(&self, source: &str) -> Result<String, Error> {
        let source = source.to_owned();
        Ok(self.request(&CheckScript { source }).await?.version)
    }

    /// Returns a version of a script, the newest one if none is given.
    ///
    /// # Errors
    /// [`Error::Rpc`] if there is none.
    pub async fn get_script(&self, name: &str, version: Option<&str>) -> Result<Script, Error> {
        let get = GetScript {
            name: name.to_owned(),
            version: version.map(str::to_owned),
        };
        self.request(&get).await
    }

    /// Lists keys of the circle's store with their values.
    ///
    /// # Errors
    /// [`Error::Rpc`] if the caller may not.
    pub async fn store_list(&self, list: &StoreList) -> Result<StorePage, Error> {
        self.request(list).await
    }

    /// Returns how much the circle has.
    ///
    /// # Errors
    /// [`Error::Rpc`] if the caller may not.
    pub async fn usage(&self) -> Result<CircleUsage, Error> {
        self.request(&Usage {}).await
    }

    /// Returns the value of a key of the circle's store.
    ///
    /// # Errors
    /// [`Error::Rpc`] if the caller may not, or there is no such key.
    pub async fn store_get(&self, key: &str) -> Result<StoreEntry, Error> {
        let key = key.to_owned();
        self.request(&StoreGet { key }).await
    }

    /// Returns the circle's scripts, sorted by name.
    ///
    /// # Errors
    /// [`Error::Rpc`] if the caller may not see them.
    pub async fn list_scripts(&self) -> Result<Vec<ScriptEntry>, Error> {
        Ok(self.request(&ListScripts {}).await?.scripts)
    }

    /// Deletes a script with all its versions. Returns true if there was one.
    ///
    /// # Errors
    /// [`Error::Rpc`] if the caller may not.
    pub async fn delete_script(&self, name: &str) -> Result<bool, Error> {
        self.delete_script_if(name, None).await
    }

    /// Does the same if `if_version` is the newest version, where one is given.
    ///
    /// # Errors
    /// The same, and [`Error::Rpc`] with the newest version in `data.version` if it is another one.
    pub async fn delete_script_if(
        &self,
        name: &str,
        if_version: Option<&str>,
    ) -> Result<bool, Error> {
        let delete = DeleteScript {
            name: name.to_owned(),
            if_version: if_version.map(str::to_owned),
        };
        Ok(self.request(&delete).await?.deleted)
    }

    /// Adds a member. Returns true if they weren't one.
    ///
    /// # Errors
    /// [`Error::Rpc`] if the caller isn't the owner.
    pub async fn add_member(&self, pubkey: &PublicKey) -> Result<bool, Error> {
        Ok(self.request(&AddMember::new(*pubkey)).await?.added)
    }

    /// Removes a member at once, and stops their jobs that haven't ended if `stop_jobs` is true.
    ///
    /// # Errors
    /// [`Error::Rpc`] if the caller isn't the owner, or the settings file names the member.
    pub async fn remove_member(
        &self,
        pubkey: &PublicKey,
        stop_jobs: bool,
    ) -> Result<Removed, Error> {
        let remove = RemoveMember {
            pubkey: *pubkey,
            stop_jobs,
        };
        self.request(&remove).await
    }

    /// Returns the members of the circle.
    ///
    /// # Errors
    /// [`Error::Rpc`] if the caller may not see them.
    pub async fn list_members(&self) -> Result<Members, Error> {
        self.request(&ListMembers {}).await
    }

    /// Has a device's key act for the caller, within a scope and until a time (in whole seconds). `caller` is the caller's
    /// own key: [`Client::whoami`] returns it.
    ///
    /// # Errors
    /// [`Error::Rpc`] if the caller may do nothing in the circle, has too many device keys, or the key is another's.
    pub async fn add_device_key(
        &self,
        caller: PublicKey,
        device: &DeviceSecretKey,
        label: &str,
        scope: Scope,
        expires: Timestamp,
    ) -> Result<Device, Error> {
        let claim = DeviceClaim {
            circle: *self.circle(),
            caller,
            key: device.public(),
            scope,
            expires,
        };
        let proof = device.sign(&claim.text());
        let add = AddDeviceKey {
            pubkey: claim.key,
            label: label.to_owned(),
            expires_at: claim.expires,
            scope: claim.scope,
            proof,
        };
        self.request(&add).await
    }

    /// Returns the caller's device keys.
    ///
    /// # Errors
    /// [`Error::Rpc`] without a login.
    pub async fn list_device_keys(&self) -> Result<Vec<Device>, Error> {
        Ok(self.request(&ListDeviceKeys {}).await?.device_keys)
    }

    /// Removes a device key of the caller's, at once and in all its sessions. Returns true if there was one.
    ///
    /// # Errors
    /// [`Error::Rpc`] without a login.
    pub async fn remove_device_key(&self, pubkey: &DeviceKey) -> Result<bool, Error> {
        let remove = RemoveDeviceKey { pubkey: *pubkey };
        Ok(self.request(&remove).await?.removed)
    }

    /// Submits a durable job, which the server keeps until it has run, even if nobody stays connected.
    ///
    /// # Errors
    /// [`Error::Rpc`] if it can't be stored, or its script doesn't compile.
    pub async fn submit_job(&self, submission: &SubmitJob) -> Result<Submitted, Error> {
        self.request(submission).await
    }

    /// Returns a job as it is now.
    ///
    /// # Errors
    /// [`Error::Rpc`] if the caller has no such job.
    pub async fn get_job(&self, job_id: impl ToString) -> Result<Job, Error> {
        let get = GetJob {
            job_id: job_id.to_string(),
            wait: None,
            input: false,
        };
        self.request(&get).await
    }

    /// Waits until a job has ended, at most for `wait`, and returns it. The server bounds the wait.
    ///
    /// # Errors
    /// [`Error::Rpc`] if the caller has no such job.
    pub async fn wait_for_job(&self, job_id: impl ToString, wait: Duration) -> Result<Job, Error> {
        let get = GetJob {
            job_id: job_id.to_string(),
            wait: Some(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)),
            input: false,
        };
        self.request(&get).await
    }

    /// Returns the caller's jobs, or all jobs for the owner, the newest first.
    ///
    /// # Errors
    /// [`Error::Rpc`] if the server can't read them.
    pub async fn list_jobs(&self, wanted: &ListJobs) -> Result<Jobs, Error> {
        self.request(wanted).await
    }

    /// Counts the circle's dead jobs, or has some of them run again: see [`RetryDead`]. Call it again with the cursor, until
    /// there is none.
    ///
    /// # Errors
    /// [`Error::Rpc`] if the caller isn't the owner; with the number in `data.dead`, if more are dead than expected.
    pub async fn retry_dead(&self, wanted: &RetryDead) -> Result<RetriedDead, Error> {
        self.request(wanted).await
    }

    /// Stops a job. Returns `false` if it had ended already.
    ///
    /// # Errors
    /// [`Error::Rpc`] if the caller has no such job.
    pub async fn stop_job(&self, job_id: impl ToString) -> Result<bool, Error> {
        let job_id = job_id.to_string();
        Ok(self.request(&StopJob { job_id }).await?.stopped)
    }

    /// Runs a dead or cancelled job again, with its script as it is now, or in a version of it.
    ///
    /// # Errors
    /// [`Error::Rpc`] if the caller has no such job, or its script doesn't exist.
    pub async fn retry_job(
        &self,
        job_id: impl ToString,
        version: Option<&str>,
    ) -> Result<Retried, Error> {
        let retry = RetryJob {
            job_id: job_id.to_string(),
            version: version.map(str::to_owned),
        };
        self.request(&retry).await
    }

    /// Returns the deliveries of webhooks, the newest first.
    ///
    /// # Errors
    /// [`Error::Rpc`] if the caller may not see them.
    pub async fn list_deliveries(&self, wanted: &ListDeliveries) -> Result<Deliveries, Error> {
        self.request(wanted).await
    }

    /// Returns a delivery with its body.
    ///
    /// # Errors
    /// [`Error::Rpc`] if the caller isn't the owner, or there is none.
    pub async fn get_delivery(&self, job_id: impl ToString) -> Result<DeliveryDetails, Error> {
        let job_id = job_id.to_string();
        self.request(&GetDelivery { job_id }).await
    }

    /// Runs a delivery once more, with the script as it is now. Returns the new job's id.
    ///
    /// # Errors
    /// [`Error::Rpc`] if the caller may not, or there is none.
    pub async fn redeliver(&self, job_id: impl ToString) -> Result<JobId, Error> {
        let job_id = job_id.to_string();
        Ok(self.request(&Redeliver { job_id }).await?.job_id)
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::json;

    use super::{super::params, *};

    #[test]
    fn unset_parameters_are_not_sent() {
        let mut submission = SubmitJob::named("greet");
        assert_eq!(params(&submission).unwrap(), json!({ "name": "greet" }));
        submission.args = json!({ "n": 1 });
        submission.run_at = Some(Timestamp::UNIX_EPOCH);
        submission.version = Some("ab".into());
        assert_eq!(
            params(&submission).unwrap(),
            json!({ "name": "greet", "args": { "n": 1 }, "run_at": "1970-01-01T00:00:00Z", "version": "ab" })
        );
        let script = SubmitJob::script("1");
        assert_eq!(params(&script).unwrap(), json!({ "script": "1" }));
        assert_eq!(params(&ListJobs::default()).unwrap(), json!({}));
    }
}
