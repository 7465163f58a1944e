//! `play`: runs a script.

use circled_protocol::methods::{Play, Played};

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

impl Call for Play<'static> {
    const NEEDS: Needs = Needs::To(Action::Play);
    type Params<'a> = Play<'a>;
    type Output = Played<Raw>;

    fn call(context: &mut Context, admitted: Admitted, params: Play<'_>) -> Answer<Played<Raw>> {
        let Play {
            script,
            args,
            timeout_ms,
        } = params;
        let task = Task::Source(script);
        run(context, admitted, task, args, timeout_ms, play_result)
    }
}
