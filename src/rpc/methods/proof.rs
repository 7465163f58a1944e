//! The proof that this server speaks for the session's circle.

use circled_protocol::{Proof, methods::Prove};
use jiff::Timestamp;

use crate::rpc::{Admitted, Answer, Call, CallResult, Context, DeviceNeeds, Error, Method, Needs};

pub(super) const METHODS: &[Method] = &[Method::of::<Prove>()];

impl Call for Prove {
    /// A signature costs as much as a login's.
    const NEEDS: Needs = Needs::Credentials;
    const DEVICE: DeviceNeeds = DeviceNeeds::Nothing;
    type Params<'a> = Self;
    type Output = Proof;

    fn call(context: &mut Context, _: Admitted, params: Self) -> CallResult<Proof> {
        let mut challenge = [0; 32];
        hex::decode_to_slice(&params.challenge, &mut challenge).map_err(|_| {
            Error::InvalidParams {
                reason: "`challenge` must be 64 hex digits".to_owned(),
            }
        })?;
        let grants = context.shared.grants.load();
        let proof = grants.prove(&context.circle, &challenge, Timestamp::now());
        let proof = proof.ok_or(Error::NotFound {
            what: "grant".into(),
        })?;
        Ok(Answer::Now(Ok(proof)))
    }
}
