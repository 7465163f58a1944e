//! `call`: runs a named script of the circle.

use circled_protocol::methods::{CallScript, Called};

use super::run::{Raw, play_result, run};
use crate::{
    auth::Action,
    circle::Task,
    rpc::{
        Answer, Context,
        context::Admitted,
        method::{Call, Needs},
    },
};

impl Call for CallScript<'static> {
    const NEEDS: Needs = Needs::To(Action::Call);
    type Params<'a> = CallScript<'a>;
    type Output = Called<Raw>;

    fn call(context: &mut Context, _: Admitted, params: CallScript<'_>) -> Answer<Called<Raw>> {
        let CallScript {
            name,
            args,
            version,
            timeout_ms,
        } = params;
        let admitted = match context.permits_version(Action::Call, version.as_deref()) {
            Ok(admitted) => admitted,
            Err(error) => return Answer::Now(Err(error)),
        };
        let task = Task::Named { name, version };
        run(
            context,
            admitted,
            task,
            args,
            timeout_ms,
            |job_id, mut ran| Called {
                version: ran.version.take().unwrap_or_default(),
                played: play_result(job_id, ran),
            },
        )
    }
}
