//! A function for each of the server's methods.

use std::time::Duration;

use circled_json::Json;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    Called, Client, Delivery, DeliveryPage, Error, Job, JobPage, JobStatus, Members, Options,
    Removed, Retried, Script, ScriptEntry, Submitted,
};
use crate::auth::PublicKey;

/// A run to be kept until it is done.
#[derive(Debug, Clone, Serialize)]
pub struct Submission {
    /// What is to run.
    #[serde(flatten)]
    pub work: Work,
    /// What it sees as `ARGS`.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub args: Value,
    /// A second submission with the same key runs nothing, and is answered with the first one's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// Not before then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_at: Option<Timestamp>,
    /// Which version of the named script; without it, the current one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// What is to run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Work {
    /// This source.
    Script(String),
    /// The circle's script of this name.
    Name(String),
}

impl Submission {
    /// At once, without arguments.
    pub fn new(work: Work) -> Self {
        Self {
            work,
            args: Value::Null,
            idempotency_key: None,
            run_at: None,
            version: None,
        }
    }
}

/// A share of a long list.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Paging {
    /// How many at most, 1 to 500; 50 where it isn't said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Where the last share ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

impl Client {
    /// Runs a script of the circle's by its name.
    ///
    /// # Errors
    /// [`Error::Rpc`] where the script fails, or there is none.
    pub async fn call_script(
        &self,
        name: &str,
        version: Option<&str>,
        options: &Options,
    ) -> Result<Called, Error> {
        #[derive(Serialize)]
        struct Params<'a> {
            name: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            version: Option<&'a str>,
            #[serde(flatten)]
            options: &'a Options,
        }
        let params = Params {
            name,
            version,
            options,
        };
        self.call("call", params).await
    }

    /// Gives the circle a script, or a script a new version. Answers the version, and whether it is a new one.
    ///
    /// # Errors
    /// [`Error::Rpc`] where it doesn't compile, with line and column.
    pub async fn put_script(&self, name: &str, source: &str) -> Result<(String, bool), Error> {
        #[derive(Deserialize)]
        struct Put {
            version: String,
            created: bool,
        }
        let put: Put = self
            .call("put_script", json!({ "name": name, "source": source }))
            .await?;
        Ok((put.version, put.created))
    }

    /// A script as it is now, or was.
    ///
    /// # Errors
    /// [`Error::Rpc`] where there is none.
    pub async fn get_script(&self, name: &str, version: Option<&str>) -> Result<Script, Error> {
        let params = without_nulls(json!({ "name": name, "version": version }));
        self.call("get_script", params).await
    }

    /// The circle's scripts, in the order of their names.
    ///
    /// # Errors
    /// [`Error::Rpc`] where the caller may not see them.
    pub async fn list_scripts(&self) -> Result<Vec<ScriptEntry>, Error> {
        #[derive(Deserialize)]
        struct List {
            scripts: Vec<ScriptEntry>,
        }
        let list: List = self.call("list_scripts", json!({})).await?;
        Ok(list.scripts)
    }

    /// Removes a script with all its versions. Answers whether there was one.
    ///
    /// # Errors
    /// [`Error::Rpc`] where the caller may not.
    pub async fn delete_script(&self, name: &str) -> Result<bool, Error> {
        self.flag("delete_script", json!({ "name": name }), "deleted")
            .await
    }

    /// Makes someone a member. Answers whether they weren't one.
    ///
    /// # Errors
    /// [`Error::Rpc`] where the caller isn't the owner.
    pub async fn add_member(&self, pubkey: &PublicKey) -> Result<bool, Error> {
        self.flag("add_member", json!({ "pubkey": pubkey }), "added")
            .await
    }

    /// Has someone be a member no longer, at once, and their jobs stopped that are not over, if that is wanted.
    ///
    /// # Errors
    /// [`Error::Rpc`] where the caller isn't the owner, or the settings file names the member.
    pub async fn remove_member(
        &self,
        pubkey: &PublicKey,
        stop_jobs: bool,
    ) -> Result<Removed, Error> {
        let params = json!({ "pubkey": pubkey, "stop_jobs": stop_jobs });
        self.call("remove_member", params).await
    }

    /// Who is a member.
    ///
    /// # Errors
    /// [`Error::Rpc`] where the caller may not see that.
    pub async fn list_members(&self) -> Result<Members, Error> {
        self.call("list_members", json!({})).await
    }

    /// Hands a run over to the server, which keeps it until it is done, whoever is connected.
    ///
    /// # Errors
    /// [`Error::Rpc`] where it can't be kept, or its script doesn't compile.
    pub async fn submit_job(&self, submission: &Submission) -> Result<Submitted, Error> {
        self.call("submit_job", submission).await
    }

    /// What became of a job.
    ///
    /// # Errors
    /// [`Error::Rpc`] where the caller has no such job.
    pub async fn get_job(&self, job_id: &str) -> Result<Job, Error> {
        self.call("get_job", json!({ "job_id": job_id })).await
    }

    /// What became of a job, after so long at most: as soon as it is over. The server bounds the wait.
    ///
    /// # Errors
    /// [`Error::Rpc`] where the caller has no such job.
    pub async fn wait_for_job(&self, job_id: &str, wait: Duration) -> Result<Job, Error> {
        let wait = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        self.call("get_job", json!({ "job_id": job_id, "wait": wait }))
            .await
    }

    /// The caller's jobs, the owner's all; the newest first.
    ///
    /// # Errors
    /// [`Error::Rpc`] where the server can't answer.
    pub async fn list_jobs(
        &self,
        status: Option<JobStatus>,
        paging: &Paging,
    ) -> Result<JobPage, Error> {
        #[derive(Serialize)]
        struct Params<'a> {
            #[serde(skip_serializing_if = "Option::is_none")]
            status: Option<JobStatus>,
            #[serde(flatten)]
            paging: &'a Paging,
        }
        self.call("list_jobs", Params { status, paging }).await
    }

    /// Ends a job. Answers `false` where the job was over already.
    ///
    /// # Errors
    /// [`Error::Rpc`] where the caller has no such job.
    pub async fn stop_job(&self, job_id: &str) -> Result<bool, Error> {
        self.flag("stop_job", json!({ "job_id": job_id }), "stopped")
            .await
    }

    /// Has a job that was given up or stopped run again, with its script as it is now, or in a version of it.
    ///
    /// # Errors
    /// [`Error::Rpc`] where the caller has no such job, or its script isn't there.
    pub async fn retry_job(&self, job_id: &str, version: Option<&str>) -> Result<Retried, Error> {
        let params = without_nulls(json!({ "job_id": job_id, "version": version }));
        self.call("retry_job", params).await
    }

    /// What came by webhook, the newest first.
    ///
    /// # Errors
    /// [`Error::Rpc`] where the caller may not see that.
    pub async fn list_deliveries(
        &self,
        provider: Option<&str>,
        status: Option<JobStatus>,
        paging: &Paging,
    ) -> Result<DeliveryPage, Error> {
        #[derive(Serialize)]
        struct Params<'a> {
            #[serde(skip_serializing_if = "Option::is_none")]
            provider: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            status: Option<JobStatus>,
            #[serde(flatten)]
            paging: &'a Paging,
        }
        let params = Params {
            provider,
            status,
            paging,
        };
        self.call("list_deliveries", params).await
    }

    /// A delivery with what was in it.
    ///
    /// # Errors
    /// [`Error::Rpc`] where the caller isn't the owner, or there is none.
    pub async fn get_delivery(&self, job_id: &str) -> Result<Delivery, Error> {
        self.call("get_delivery", json!({ "job_id": job_id })).await
    }

    /// Runs a delivery once more, with the script as it is now. Answers the new job's id.
    ///
    /// # Errors
    /// [`Error::Rpc`] where the caller may not, or there is none.
    pub async fn redeliver(&self, job_id: &str) -> Result<String, Error> {
        #[derive(Deserialize)]
        struct Redelivered {
            job_id: String,
        }
        let redelivered: Redelivered = self.call("redeliver", json!({ "job_id": job_id })).await?;
        Ok(redelivered.job_id)
    }

    async fn flag(&self, method: &str, params: Value, name: &str) -> Result<bool, Error> {
        let Json(mut result) = self.call(method, params).await?;
        Ok(circled_json::from_value(result[name].take())?)
    }
}

/// A parameter that isn't said is left away.
fn without_nulls(mut params: Value) -> Value {
    if let Some(params) = params.as_object_mut() {
        params.retain(|_, value| !value.is_null());
    }
    params
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_is_not_sent() {
        let mut submission = Submission::new(Work::Name("greet".into()));
        assert_eq!(json!(submission), json!({ "name": "greet" }));
        submission.args = json!({ "n": 1 });
        submission.run_at = Some(Timestamp::UNIX_EPOCH);
        submission.version = Some("ab".into());
        assert_eq!(
            json!(submission),
            json!({ "name": "greet", "args": { "n": 1 }, "run_at": "1970-01-01T00:00:00Z", "version": "ab" })
        );
        let script = Submission::new(Work::Script("1".into()));
        assert_eq!(json!(script), json!({ "script": "1" }));
        assert_eq!(json!(Paging::default()), json!({}));
        assert_eq!(
            without_nulls(json!({ "name": "x", "version": null })),
            json!({ "name": "x" })
        );
    }
}
