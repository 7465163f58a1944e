//! `get_delivery`: returns one delivery with its body.

use circled_protocol::methods::{DeliveryDetails, GetDelivery};

use super::{
    deliveries::{delivery, described, payload},
    jobs::{job, read_reply},
    run::Raw,
};
use crate::{
    dispatch::{ReservedRead, Viewer},
    rpc::{
        Answer, Context,
        context::Admitted,
        method::{Call, Needs},
    },
};

impl Call for GetDelivery {
    const NEEDS: Needs = Needs::Owner;
    type Params<'a> = Self;
    type Output = ReservedRead<DeliveryDetails<Raw>>;

    fn call(
        context: &mut Context,
        admitted: Admitted,
        params: Self,
    ) -> Answer<ReservedRead<DeliveryDetails<Raw>>> {
        let memory = context.memory.clone();
        let (circle, shared) = (context.circle, context.shared.clone());
        let viewer = Viewer::Caller(admitted.key);
        match job(&params.job_id) {
            Err(error) => Answer::Now(Err(error)),
            Ok(id) => read_reply(async move {
                let read = delivery(&shared, circle, id, viewer, &memory).await?;
                let (mut job, running) = read.into_found();
                let logs = std::mem::take(&mut job.logs);
                let delivery = described(job, running, true);
                let payload = payload(&shared, circle, id, viewer, &memory).await?;
                Ok(payload.map(|payload| DeliveryDetails {
                    delivery,
                    logs,
                    payload,
                }))
            }),
        }
    }
}
