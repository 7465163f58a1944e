//! `get_delivery`: one delivery, with what was sent.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, Value};

use super::{
    deliveries::{Delivery, delivery, payload},
    jobs::{answered, job},
};
use crate::{
    dispatch::{ReservedRead, Viewer},
    rpc::{
        Answer, Context, code,
        context::Admitted,
        method::{Call, Needs},
    },
};

pub(in crate::rpc) struct GetDelivery;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::rpc) struct Params {
    /// The id of the delivery's job.
    job_id: String,
}

#[derive(Serialize, JsonSchema)]
pub(in crate::rpc) struct Output {
    #[serde(flatten)]
    delivery: Delivery,
    /// The lines that the last run which came to an end has printed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    logs: Vec<String>,
    /// The body that the provider sent, as JSON.
    #[schemars(with = "Value")]
    payload: Box<RawValue>,
}

impl Call for GetDelivery {
    const NAME: &'static str = "get_delivery";
    const SUMMARY: &'static str = "Returns a delivery with its payload.";
    const NEEDS: Needs = Needs::Owner;
    const ERRORS: &'static [i32] = &[code::NOT_FOUND];
    type Params<'a> = Params;
    type Output = ReservedRead<Output>;

    fn call(
        context: &mut Context,
        admitted: Admitted,
        params: Params,
    ) -> Answer<ReservedRead<Output>> {
        let memory = context.memory.clone();
        let (circle, shared) = (context.circle, context.shared.clone());
        let viewer = Viewer::Caller(admitted.key);
        match job(&params.job_id) {
            Err(error) => Answer::Now(Err(error)),
            Ok(id) => answered(async move {
                let read = delivery(&shared, circle, id, viewer, &memory).await?;
                let (mut job, running) = read.into_found();
                let logs = std::mem::take(&mut job.logs);
                let delivery = Delivery::new(job, running, true);
                let payload = payload(&shared, circle, id, viewer, &memory).await?;
                Ok(payload.map(|payload| Output {
                    delivery,
                    logs,
                    payload,
                }))
            }),
        }
    }
}
